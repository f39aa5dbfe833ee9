/* SPDX-License-Identifier: BSD-2-Clause */
/* headers.c - see headers.h. */
#include "base/base.h"
#include "worker/provider/headers.h"

#include <math.h>
#include <strings.h>

#define WAIT_MAX_MS (24 * 3600 * 1000ull)

static const char *value_of(CURL *easy, const char *name)
{
	struct curl_header *header;

	return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK
		? header->value
		: NULL;
}

enum should_retry headers_should_retry(CURL *easy)
{
	const char *said = value_of(easy, "x-should-retry");

	if (!said)
		return SHOULD_RETRY_UNSAID;
	if (!strcasecmp(said, "true"))
		return SHOULD_RETRY_YES;
	return strcasecmp(said, "false") ? SHOULD_RETRY_UNSAID : SHOULD_RETRY_NO;
}

uint64_t headers_retry_after_ms(CURL *easy)
{
	const char *said = value_of(easy, "retry-after-ms");
	curl_off_t seconds = 0;

	if (said) {
		char *end;
		double ms = strtod(said, &end);

		if (end != said && ms > 0 && ms <= (double)WAIT_MAX_MS)
			return (uint64_t)(ms + 0.999);
	}
	/* Seconds or a date, which libcurl makes seconds. */
	curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);
	if (seconds <= 0)
		return 0;
	if ((uint64_t)seconds > WAIT_MAX_MS / 1000)
		return WAIT_MAX_MS;
	return (uint64_t)seconds * 1000;
}

/* A unit at text, in ms; *text moves behind it. 0: there is none such. */
static double unit_ms(const char **text)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = { { "ms", 1 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 } };

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i].name);

		if (strncmp(*text, units[i].name, len))
			continue;
		*text += len;
		return units[i].ms;
	}
	return 0;
}

uint64_t headers_duration_ms(const char *text)
{
	double all = 0;

	while (*text) {
		char *end;
		double n = *text >= '0' && *text <= '9' ? strtod(text, &end) : -1, unit;

		if (n < 0 || !isfinite(n))
			return 0;
		if (!*end && !all)
			return n * 1000 < (double)WAIT_MAX_MS ? (uint64_t)(n * 1000) : WAIT_MAX_MS;
		text = end;
		unit = unit_ms(&text);
		if (!unit)
			return 0;
		all += n * unit;
	}
	return all < (double)WAIT_MAX_MS ? (uint64_t)all : WAIT_MAX_MS;
}

uint64_t headers_exhausted_ms(CURL *easy)
{
	static const char *const names[][2] = {
		{ "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" },
		{ "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" },
	};
	uint64_t longest = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *left = value_of(easy, names[i][0]), *reset;
		uint64_t ms;

		if (!left || strcmp(left, "0"))
			continue;
		reset = value_of(easy, names[i][1]);
		ms = reset ? headers_duration_ms(reset) : 0;
		if (ms > longest)
			longest = ms;
	}
	return longest;
}
