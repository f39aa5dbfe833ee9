/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retry.c - whether a failed attempt is made again, and when.
 *
 * Only what has not reached the asker yet may be tried again; then what the provider says of it
 * decides (x-should-retry, or its status), the number of attempts, and the budget that all workers
 * share, so that retries never multiply the load of a provider that is down. The wait is the
 * provider's own wish (retry-after-ms, Retry-After), or backoff_factor * 2^n s with full jitter
 * (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). Nothing is held
 * meanwhile: the next attempt stands in line again and takes an appointment of its own.
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
#include <stdlib.h>

#define WAIT_MAX_MS 60000 /* who is told to wait longer gives up: clients ignore such a time, too */
#define ERROR_DEPTH 64

/* Money, not pace: it will be the same in a minute. */
static bool is_quota(const struct answer *answer)
{
	static const char *const codes[] = { "insufficient_quota", "credit_balance_exhausted",
		"organization_spend_limit_exceeded", "project_spend_limit_exceeded",
		"organization_usage_limit_exceeded" };
	struct json_find find[] = { { .path = "error.code" }, { .path = "error.type" } };

	if (!answer->body.len || !json_scan(answer->body.data, answer->body.len, ERROR_DEPTH, find,
					 ARRAY_SIZE(find), NULL))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		for (size_t k = 0; k < ARRAY_SIZE(find); k++)
			if (json_find_equals(answer->body.data, &find[k], codes[i]))
				return true;
	return false;
}

/* Would another attempt be of any use? */
static bool is_worth_it(const struct provider_call *call, const struct provider_result *result)
{
	int status = result->status;

	if (!ending_facts[result->ending].may_retry)
		return false;
	if (result->ending != END_PROVIDER_STATUS)
		return true;
	switch (transfer_should_retry(call->easy)) {
	case TRANSFER_RETRY:
		return true;
	case TRANSFER_DO_NOT_RETRY:
		return false;
	case TRANSFER_DOES_NOT_SAY:
		break;
	}
	return (status == 408 || status == 409 || status == 429 || status >= 500) &&
	       !is_quota(&call->answer);
}

static uint64_t backoff_ms(const struct provider_call *call)
{
	double most = ldexp(call->provider->conf->backoff_factor, (int)call->tries - 1) * 1000;

	if (most > WAIT_MAX_MS)
		most = WAIT_MAX_MS;
	return (uint64_t)(most * drand48());
}

bool retry(struct provider_call *call, struct provider_result *result)
{
	const struct conf_provider *conf = call->provider->conf;
	unsigned p = call->provider->index;
	uint64_t now = clock_ms(), wait;

	if (call->told_head || call->cancelled)
		return false;
	if (!is_worth_it(call, result)) {
		result->give_up = result->ending == END_PROVIDER_STATUS;
		return false;
	}
	result->give_up = call->tries > 1;
	if (call->tries > conf->max_retries)
		return false;
	wait = result->retry_after_ms ? result->retry_after_ms : backoff_ms(call);
	if (wait > WAIT_MAX_MS)
		return false;
	if (!budget_retry(call->provider->all->shm, p, now)) {
		pstat_add(p, PSTAT_RETRIES_DENIED, 1);
		return false;
	}
	pstat_add(p, PSTAT_RETRIES, 1);
	log_debug("provider", "[%s] %s: attempt %u of %" PRIu64 " ended %s; the next one in %" PRIu64 " ms",
		call->request_id, conf->name, call->tries, conf->max_retries + 1,
		ending_facts[result->ending].code, wait);
	call->retry_at_ms = now + wait;
	return true;
}
