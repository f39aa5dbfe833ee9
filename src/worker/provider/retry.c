/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retry.c - what becomes of a call whose attempt failed: another attempt, or its end.
 *
 * Tried again is what may go better the next time, while the asker has heard nothing of an
 * answer: at most max_retries times, while the provider's retry budget (shm/budget.h) lasts, and within
 * queue_timeout. The wait is what the provider asks for, else backoff_factor * 2^n with full
 * jitter (each time between nothing and that, so that those who failed together do not come
 * back together). Meanwhile the call holds nothing; then it stands in line again, at its end.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "shm/budget.h"
#include "shm/stats.h"
#include "worker/provider/transfer.h"

#include <math.h>

#define WAIT_MAX_MS 60000
#define DEPTH_MAX 256

/* Money is used up, not time: waiting does not help. */
static bool is_quota(const struct answer *answer)
{
	static const char *const codes[] = { "insufficient_quota", "credit_balance_exhausted",
		"organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded" };
	struct json_find found[] = { { .path = "error.code" }, { .path = "error.type" } };

	if (!answer->body.data ||
		!json_scan(answer->body.data, answer->body.len, DEPTH_MAX, found, 2, NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (json_find_equals(answer->body.data, &found[0], codes[i]) ||
			json_find_equals(answer->body.data, &found[1], codes[i]))
			return true;
	return false;
}

static bool status_may_retry(const struct provider_call *call)
{
	int status = call->answer.status;

	if (is_quota(&call->answer))
		return false;
	switch (transfer_should_retry(call->easy)) {
	case SHOULD_RETRY_YES:
		return true;
	case SHOULD_RETRY_NO:
		return false;
	case SHOULD_RETRY_UNSAID:
		break;
	}
	return status == 408 || status == 409 || status == 429 || status >= 500;
}

/* Might another attempt go better? */
static bool may_retry(const struct provider_call *call, enum ending ending)
{
	switch (call->answer.kind) {
	case ANSWER_NONE:
	case ANSWER_DOCUMENT: /* the asker hears of one when it is complete */
		return ending_facts[ending].may_retry;
	case ANSWER_REFUSAL:
		return status_may_retry(call);
	case ANSWER_STREAM:
		break;
	}
	return false;
}

/* How long to wait before the next attempt; false: longer than we would. */
static bool backoff(const struct provider_call *call, uint64_t retry_after_ms, uint64_t now,
	uint64_t *wait_ms_r)
{
	uint64_t until = call_queue_until_ms(call), wait = retry_after_ms;

	if (!wait) {
		double ms = ldexp(call->provider->conf->backoff_factor * 1000, (int)call->retries);

		wait = arc4random_uniform(ms < WAIT_MAX_MS ? (uint32_t)ms + 1 : WAIT_MAX_MS);
	}
	*wait_ms_r = wait;
	return wait <= WAIT_MAX_MS && now + wait < until;
}

bool retry(struct provider_call *call, struct provider_result *result)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms(), wait;
	bool may = may_retry(call, result->ending);

	result->attempts = call->retries + 1;
	if (result->ending == END_COMPLETE)
		return false;
	result->give_up = call->retries || (call->answer.kind == ANSWER_REFUSAL && !may);
	if (!may || call->retries >= provider->conf->max_retries ||
		!backoff(call, result->retry_after_ms, now, &wait))
		return false;
	if (!budget_retry(provider->all->shm, provider->index, now)) {
		pstat_add(provider->index, PSTAT_RETRIES_DENIED, 1);
		result->give_up = true;
		return false;
	}
	pstat_add(provider->index, PSTAT_RETRIES, 1);
	call->retries++;
	call->retry_at_ms = now + wait;
	log_info("provider", "[%s] '%s': %s; again in %" PRIu64 " ms (%u of %" PRIu64 ")",
		call->request_id, provider->conf->name,
		result->message ? result->message : ending_facts[result->ending].text, wait,
		call->retries, provider->conf->max_retries);
	return true;
}
