/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * account.h - who may ask (--key), what goes wrong for him, and how much a minute he has
 * (--requests-per-minute, --tokens-per-minute): the last minute is known request by request, so
 * these limits are exact for any minute.
 */
#ifndef TOOLS_LLMSIM_ACCOUNT_H
#define TOOLS_LLMSIM_ACCOUNT_H

#include "base/base.h"
#include "base/buf.h"
#include "tools/llmsim/faults.h"

/* One that was let in. */
struct account_entry {
	uint64_t at_us;
	uint64_t tokens;
};

struct account {
	char *key; /* owned; NULL: anybody's */
	struct fault fault;
	size_t fault_count; /* 1 if the key was given a fault */
	struct account_entry *entries; /* of the last minute; owned */
	size_t count, size;
	uint64_t tokens; /* of all entries */
};

struct account_limits {
	int64_t requests, tokens; /* a minute; 0: no limit */
	int64_t minute_ms;
};

/* Read "KEY" or "KEY,SPEC" (faults.h). False: not understood, and why says what is wrong. */
bool account_parse(struct account *a, const char *text, struct buf *why);
void account_release(struct account *a);

/* Whose request this is, by its Authorization (NULL: none given); NULL: nobody's. */
struct account *account_find(struct account *accounts, size_t count, const char *authorization);

enum account_verdict { ACCOUNT_OK, ACCOUNT_REQUESTS, ACCOUNT_TOKENS };

/*
 * Let in a request that takes so many tokens. If not, the limit that is in its way is returned, and
 * *wait_us_r is when there will be room; 0: never.
 */
enum account_verdict account_take(struct account *a, const struct account_limits *limits,
	uint64_t now_us, uint64_t tokens, uint64_t *wait_us_r) MUST_CHECK;

/* Append header lines x-ratelimit-... for the limits that there are. */
void account_headers(struct account *a, const struct account_limits *limits, uint64_t now_us,
	struct buf *out);

#endif
