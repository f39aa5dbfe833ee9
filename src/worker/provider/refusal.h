/* SPDX-License-Identifier: BSD-2-Clause */
/* refusal.h - what a provider's refusal (not 2xx) means. */
#ifndef WORKER_PROVIDER_REFUSAL_H
#define WORKER_PROVIDER_REFUSAL_H

#include "base/base.h"
#include "shm/endings.h"

struct answer;
struct provider_call;

/* Money is used up, not time: waiting does not help (error.code or error.type, whatever the status). */
bool refusal_is_quota(const struct answer *answer);
/*
 * May another attempt follow? HERE: 408, 409, 429, 5xx, unless it is about a quota or
 * x-should-retry says no; ELSEWHERE: also those, and when the key was refused. x-should-retry: true makes
 * it HERE in any other case.
 */
enum again refusal_again(const struct provider_call *call);

#endif
