/* SPDX-License-Identifier: BSD-2-Clause */
/* headers.c - see headers.h. */
#include "base/base.h"
#include "worker/provider/headers.h"

#include "worker/provider/transfer.h"

#include <math.h>
#include <strings.h>
#include <time.h>

#define VALUE_BYTES 128 /* of a header that is of use here */
#define WAIT_MAX_MS (24 * 3600 * 1000ull)

enum should_retry headers_should_retry(const struct provider_call *call)
{
	char said[VALUE_BYTES];

	if (!transfer_header(call, "x-should-retry", said, sizeof(said)))
		return SHOULD_RETRY_UNSAID;
	if (!strcasecmp(said, "true"))
		return SHOULD_RETRY_YES;
	return strcasecmp(said, "false") ? SHOULD_RETRY_UNSAID : SHOULD_RETRY_NO;
}

/* Retry-After: seconds, or a date (RFC 9110, 10.2.3). */
static uint64_t retry_after_ms(const char *said)
{
	char *end;
	unsigned long long seconds = strtoull(said, &end, 10);
	time_t date;

	if (*said >= '0' && *said <= '9' && !*end)
		return seconds > WAIT_MAX_MS / 1000 ? WAIT_MAX_MS : seconds * 1000;
	date = curl_getdate(said, NULL);
	if (date < 0 || date <= time(NULL))
		return 0;
	seconds = (unsigned long long)(date - time(NULL));
	return seconds > WAIT_MAX_MS / 1000 ? WAIT_MAX_MS : seconds * 1000;
}

uint64_t headers_retry_after_ms(const struct provider_call *call)
{
	char said[VALUE_BYTES];

	if (transfer_header(call, "retry-after-ms", said, sizeof(said))) {
		char *end;
		double ms = strtod(said, &end);

		if (end != said && ms > 0 && ms <= (double)WAIT_MAX_MS)
			return (uint64_t)(ms + 0.999);
	}
	return transfer_header(call, "retry-after", said, sizeof(said)) ? retry_after_ms(said) : 0;
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

uint64_t headers_exhausted_ms(const struct provider_call *call)
{
	static const char *const names[][2] = {
		{ "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests" },
		{ "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens" },
	};
	uint64_t longest = 0;
	char said[VALUE_BYTES];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		uint64_t ms;

		if (!transfer_header(call, names[i][0], said, sizeof(said)) || strcmp(said, "0"))
			continue;
		ms = transfer_header(call, names[i][1], said, sizeof(said)) ? headers_duration_ms(said) : 0;
		if (ms > longest)
			longest = ms;
	}
	return longest;
}
