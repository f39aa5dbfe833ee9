/* SPDX-License-Identifier: BSD-2-Clause */
/* account.c - see account.h. */
#include "base/base.h"
#include "tools/llmsim/account.h"

bool account_parse(struct account *a, const char *text, struct buf *why)
{
	size_t len = strcspn(text, ",");

	*a = (struct account){.key = xmemdup0(text, len)};
	if (!len)
		buf_adds(why, "give KEY, or KEY and a fault, such as secret,401");
	if (!len || !text[len])
		return len;
	a->fault_count = 1;
	return fault_parse(&a->fault, text + len + 1, strlen(text + len + 1), true, why);
}

void account_release(struct account *a)
{
	free(a->key);
	free(a->entries);
}

struct account *account_find(struct account *accounts, size_t count, const char *authorization)
{
	static const char bearer[] = "Bearer ";
	bool given = authorization && !strncmp(authorization, bearer, sizeof(bearer) - 1);

	for (size_t i = 0; i < count; i++)
		if (!accounts[i].key ||
			(given && !strcmp(authorization + sizeof(bearer) - 1, accounts[i].key)))
			return &accounts[i];
	return NULL;
}

/* Forget what is a minute old. */
static void expire(struct account *a, const struct account_limits *limits, uint64_t now_us)
{
	uint64_t minute_us = (uint64_t)limits->minute_ms * 1000;
	size_t old = 0;

	while (old < a->count && a->entries[old].at_us + minute_us <= now_us)
		a->tokens -= a->entries[old++].tokens;
	if (!old)
		return;
	a->count -= old;
	memmove(a->entries, a->entries + old, a->count * sizeof(*a->entries));
}

/* How long until the entry is a minute old. */
static uint64_t leaves_in_us(const struct account *a, const struct account_limits *limits,
	size_t entry, uint64_t now_us)
{
	return a->entries[entry].at_us + (uint64_t)limits->minute_ms * 1000 - now_us;
}

enum account_verdict account_take(struct account *a, const struct account_limits *limits,
	uint64_t now_us, uint64_t tokens, uint64_t *wait_us_r)
{
	uint64_t requests = (uint64_t)limits->requests, most = (uint64_t)limits->tokens;
	uint64_t left = a->tokens;

	if (!requests && !most)
		return ACCOUNT_OK;
	expire(a, limits, now_us);
	if (requests && a->count >= requests) {
		*wait_us_r = leaves_in_us(a, limits, a->count - requests, now_us);
		return ACCOUNT_REQUESTS;
	}
	left = a->tokens;
	*wait_us_r = 0;
	for (size_t i = 0; most && left + tokens > most; i++) {
		if (i == a->count) {
			*wait_us_r = 0;
			return ACCOUNT_TOKENS;
		}
		left -= a->entries[i].tokens;
		*wait_us_r = leaves_in_us(a, limits, i, now_us);
	}
	if (*wait_us_r)
		return ACCOUNT_TOKENS;
	if (a->count == a->size) {
		a->size = a->size ? a->size * 2 : 64;
		a->entries = xrealloc(a->entries, a->size * sizeof(*a->entries));
	}
	a->entries[a->count++] = (struct account_entry){now_us, tokens};
	a->tokens += tokens;
	return ACCOUNT_OK;
}

/* As OpenAI writes times: 12ms, 1s, 1.5s, 6m0s. */
static void add_time(struct buf *out, uint64_t us)
{
	uint64_t ms = (us + 999) / 1000;

	if (ms && ms < 1000) {
		buf_addf(out, "%" PRIu64 "ms", ms);
		return;
	}
	if (ms >= 60000)
		buf_addf(out, "%" PRIu64 "m", ms / 60000);
	buf_addf(out, "%gs", (double)(ms % 60000) / 1000);
}

static void add_limit(struct buf *out, const char *what, uint64_t limit, uint64_t used,
	uint64_t reset_us)
{
	buf_addf(out,
		"x-ratelimit-limit-%s: %" PRIu64 "\r\nx-ratelimit-remaining-%s: %" PRIu64
		"\r\nx-ratelimit-reset-%s: ",
		what, limit, what, limit > used ? limit - used : 0, what);
	add_time(out, reset_us);
	buf_adds(out, "\r\n");
}

void account_headers(struct account *a, const struct account_limits *limits, uint64_t now_us,
	struct buf *out)
{
	uint64_t reset_us = 0;

	expire(a, limits, now_us);
	if (a->count)
		reset_us = leaves_in_us(a, limits, a->count - 1, now_us);
	if (limits->requests)
		add_limit(out, "requests", (uint64_t)limits->requests, a->count, reset_us);
	if (limits->tokens)
		add_limit(out, "tokens", (uint64_t)limits->tokens, a->tokens, reset_us);
}
