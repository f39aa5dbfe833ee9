/* SPDX-License-Identifier: BSD-2-Clause */
/* headers.h - what the headers of a provider's answer say about trying again. */
#ifndef WORKER_PROVIDER_HEADERS_H
#define WORKER_PROVIDER_HEADERS_H

#include "base/base.h"

struct provider_call;

/* What the answer's x-should-retry says: it goes before the status. */
enum should_retry { SHOULD_RETRY_UNSAID, SHOULD_RETRY_YES, SHOULD_RETRY_NO };
enum should_retry headers_should_retry(const struct provider_call *call);
/* Retry-After (seconds or a date) or retry-after-ms of the answer; 0 if there is none. A day at most. */
uint64_t headers_retry_after_ms(const struct provider_call *call);
/*
 * The provider's own limit is used up by this very request (x-ratelimit-remaining-requests or
 * -tokens is 0): when there will be more, by x-ratelimit-reset-*; 0: it is not, or does not say.
 */
uint64_t headers_exhausted_ms(const struct provider_call *call);
/* "1s", "6m0s", "20ms", "1h2m3.5s", or bare seconds; 0 if it is none of these. */
uint64_t headers_duration_ms(const char *text);

#endif
