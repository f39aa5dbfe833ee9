/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * retry.c - what becomes of a call whose attempt failed: another attempt, here or at a fallback, or
 * its end. Nothing is tried again once the asker has heard of an answer.
 *
 * Here: at most max_retries times, while the provider's retry budget (shm/budget.h) lasts, and
 * within queue_timeout. The wait is what the provider asks for, else backoff_factor * 2^n with full
 * jitter (each time between nothing and that, so that those who failed together do not come
 * back together). Meanwhile the call holds nothing; then it stands in line again, at its end.
 * If it was the API key that failed and there are others, the next one is tried at once; that is no
 * retry, since each time a key is put aside.
 *
 * Elsewhere: whenever this provider cannot serve and another attempt here is of no use or not
 * allowed; at once, with all rights of a call that arrives there.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/budget.h"
#include "shm/stats.h"
#include "worker/provider/refusal.h"

#include <math.h>

#define WAIT_MAX_MS 60000

/* Where might another attempt go better? */
static enum again where(const struct provider_call *call, enum ending ending)
{
	if (call->told_head || ending == END_COMPLETE)
		return AGAIN_NOT;
	return call->answer.kind == ANSWER_REFUSAL ? refusal_again(call) : ending_facts[ending].again;
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

static void say(struct provider_call *call, const struct provider_result *result, const char *what)
{
	struct log_rate *rate = &call->provider->all->further;
	uint64_t missed = 0;

	if (!log_wanted(LOG_INFO) || !log_rate_ok(rate, &missed))
		return;
	log_info("provider", "[%s] '%s': %s; %s%s", call->request_id, call->provider->conf->name,
		result->message ? result->message : ending_facts[result->ending].text, what,
		missed ? " (and others before)" : "");
}

/* Another key, or the first that is free again; that is no retry. False: that does not help. */
static bool with_another_key(struct provider_call *call, const struct provider_result *result)
{
	uint64_t now = clock_ms(), free_ms = target_key_free_ms(call->provider, now);

	if (call->key_parked && free_ms == now) {
		call->retry_at_ms = now;
		say(call, result, "again with another API key");
		return true;
	}
	if (result->ending != END_KEYS_PARKED || target_has_next(call) ||
		free_ms - now > WAIT_MAX_MS || free_ms >= call_queue_until_ms(call))
		return false;
	call->retry_at_ms = free_ms;
	call_tell_queued(call);
	return true;
}

/* Again here, by the rules of retries. */
static bool once_more(struct provider_call *call, struct provider_result *result)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms(), wait, retry_at_ms;
	char what[64];

	if (call->retries >= provider->conf->max_retries ||
		!backoff(call, result->retry_after_ms, now, &wait) ||
		line_is_shut(provider, now + wait, &retry_at_ms))
		return false;
	if (!budget_retry(provider->all->shm, provider->index, now)) {
		pstat_add(provider->index, PSTAT_RETRIES_DENIED, 1);
		result->give_up = true;
		return false;
	}
	pstat_add(provider->index, PSTAT_RETRIES, 1);
	call->retries++;
	call->retry_at_ms = now + wait;
	snprintf(what, sizeof(what), "again in %" PRIu64 " ms (%u of %" PRIu64 ")", wait, call->retries,
		provider->conf->max_retries);
	say(call, result, what);
	return true;
}

enum retry_verdict retry(struct provider_call *call, struct provider_result *result)
{
	enum again again = where(call, result->ending);

	result->attempts = call->attempts;
	if (result->ending == END_COMPLETE)
		return RETRY_END;
	result->give_up = call->attempts > 1 ||
		(call->answer.kind == ANSWER_REFUSAL && again != AGAIN_HERE);
	if (again == AGAIN_NOT)
		return RETRY_END;
	if (with_another_key(call, result) || (again == AGAIN_HERE && once_more(call, result)))
		return RETRY_HERE;
	if (!target_has_next(call))
		return RETRY_END;
	pstat_add(call->provider->index, PSTAT_FALLBACKS, 1);
	call->retry_at_ms = clock_ms();
	say(call, result, "on to a fallback");
	return RETRY_ELSEWHERE;
}
