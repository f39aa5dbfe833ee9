/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * appoint.c - requests_per_minute and tokens_per_minute: when a call that has its permit may go
 * out.
 *
 * Tokens first, by estimate, then the appointment; when both are due, the request goes out. Whichever
 * has to be waited for, the other is given back meanwhile if it would not keep, so that nothing is
 * booked at a time when it is not used. The appointment is kept when the connection stands, just
 * before the request is sent. Who comes so late that the window has promised the slot to somebody else
 * does not send, but takes another appointment; the asker only sees a longer wait.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"

/* How often those who wait for tokens look whether some came free. */
#define ADVANCE_MS 200
/* Who finds no time in this host's part of a shared limit asks again until for so long no more of it was in sight. */
#define SHARE_PATIENCE_MS 1000
/* How many bytes of a request make a token, about. */
#define BYTES_PER_TOKEN 4

static uint64_t since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

/* ---- tokens ----------------------------------------------------------------------- */

static unsigned tokens_of(const struct provider_call *call)
{
	return SHM_TOKENS_PROVIDER(call->provider->index);
}

uint64_t appoint_estimate(const struct provider_call *call)
{
	return call->body_len / BYTES_PER_TOKEN +
		(call->max_tokens ? call->max_tokens : call->provider->mean_answer_tokens);
}

static void return_tokens(struct provider_call *call)
{
	tokens_return(call->provider->all->shm, tokens_of(call), &call->promise);
}

/* The promise is for a part of a second; who needed longer to connect books anew. */
static bool keep_tokens(struct provider_call *call, uint64_t now)
{
	struct provider *provider = call->provider;

	if (call->kept || !call->promise.tokens ||
		(now < call->promise.until_ms && tokens_hold(provider->all->shm, tokens_of(call), &call->promise)))
		return true;
	return_tokens(call);
	return tokens_take(provider->all->shm, tokens_of(call), now, now, appoint_estimate(call),
		&call->promise);
}

/* As reported; else what went out and about a token an event, but nothing if it was refused. */
static uint64_t took(const struct provider_call *call)
{
	const struct provider_usage *usage = &call->usage;

	if (usage->known)
		return usage->prompt_tokens + usage->completion_tokens;
	if (call->answer.kind == ANSWER_REFUSAL)
		return 0;
	return call->body_len / BYTES_PER_TOKEN + call->answer.events;
}

/* What the request really took, as far as it is known. */
static void settle_tokens(struct provider_call *call)
{
	struct provider *provider = call->provider;
	const struct provider_usage *usage = &call->usage;
	enum answer_kind kind = call->answer.kind;

	if (usage->known)
		provider->mean_answer_tokens =
			(7 * provider->mean_answer_tokens + usage->completion_tokens) / 8;
	call->took = took(call);
	if (call->promise.tokens && (usage->known || kind == ANSWER_REFUSAL || kind == ANSWER_STREAM))
		tokens_settle(provider->all->shm, tokens_of(call), &call->promise, call->took);
	call->promise.tokens = 0;
}

/* ---- the window ------------------------------------------------------------------- */

/* False: it would be after latest_ms; appointment.at_ms says when. */
static bool take(struct provider_call *call, uint64_t now_ms, uint64_t latest_ms)
{
	struct provider *provider = call->provider;

	call->appointed = window_take(provider->all->shm, SHM_WINDOW_PROVIDER(provider->index),
		now_ms, latest_ms, &call->appointment);
	return call->appointed;
}

static void cancel_appointment(struct provider_call *call)
{
	struct provider *provider = call->provider;

	if (call->appointed)
		window_return(
			provider->all->shm, SHM_WINDOW_PROVIDER(provider->index), &call->appointment);
	call->appointed = false;
}

/* ---- both ------------------------------------------------------------------------- */

static void wait_until(struct provider_call *call, uint64_t due_ms)
{
	if (!call->window_waited)
		pstat_add(call->provider->index, PSTAT_WINDOW_WAITS, 1);
	call->window_waited = true;
	call->due_ms = due_ms;
	call_arm(call);
	call_tell_queued(call);
}

/*
 * False: the call waits, or it has ended. Most estimates are too high, so nobody is turned away because
 * of them before queue_timeout has really passed.
 */
static bool have_tokens(struct provider_call *call, uint64_t now, uint64_t until)
{
	struct provider *provider = call->provider;
	struct tokens_promise *promise = &call->promise;
	uint64_t again = now + ADVANCE_MS < until ? now + ADVANCE_MS : until;

	if (promise->tokens && now >= promise->until_ms)
		return_tokens(call);
	if (promise->tokens && promise->at_ms > now)
		tokens_advance(provider->all->shm, tokens_of(call), now, promise);
	if (promise->tokens || tokens_take(provider->all->shm, tokens_of(call), now, until,
				       appoint_estimate(call), promise)) {
		if (promise->at_ms <= now)
			return true;
		again = promise->at_ms < again ? promise->at_ms : again;
	} else if (now >= until) {
		call_refuse(call, END_TOKENS_LIMITED, LIMIT_TOKENS, since(promise->at_ms, now));
		return false;
	}
	cancel_appointment(call);
	wait_until(call, again);
	return false;
}

/* Who is to get more waits for it as he would on one host. What others want, and so whether he is, is known after a while only. */
static bool may_grow(struct provider_call *call, uint64_t now, uint64_t until)
{
	const struct shm *shm = call->provider->all->shm;
	unsigned window = SHM_WINDOW_PROVIDER(call->provider->index);

	if (now >= until || !window_is_short(shm, window))
		return false;
	if (!call->hoped_ms || window_grows(shm, window))
		call->hoped_ms = now;
	return now < call->hoped_ms + SHARE_PATIENCE_MS;
}

static bool have_appointment(struct provider_call *call, uint64_t now, uint64_t until)
{
	if (!call->appointed && !take(call, now, until)) {
		if (may_grow(call, now, until)) {
			return_tokens(call);
			wait_until(call, now + ADVANCE_MS);
			return false;
		}
		call_refuse(call, END_RATE_LIMITED, LIMIT_RATE, since(call->appointment.at_ms, now));
		return false;
	}
	if (call->appointment.at_ms <= now)
		return true;
	if (call->promise.tokens && call->appointment.at_ms >= call->promise.until_ms)
		return_tokens(call);
	wait_until(call, call->appointment.at_ms);
	return false;
}

void appoint(struct provider_call *call)
{
	uint64_t now = clock_ms(), until = call_queue_until_ms(call);

	if (have_tokens(call, now, until) && have_appointment(call, now, until))
		call_send(call);
}

bool appoint_keep(struct provider_call *call)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms();

	/*
	 * libcurl sends a request again when the connection that it reused turns out to be dead.
	 * The provider may have seen the first one all the same, so this one counts as well.
	 */
	call->missed = !keep_tokens(call, now) || !(call->appointed || take(call, now, now)) ||
		!window_keep(provider->all->shm, SHM_WINDOW_PROVIDER(provider->index),
			&call->appointment, now);
	if (call->missed)
		cancel_appointment(call);
	call->appointed = false;
	if (call->missed)
		return false;
	call->kept = true;
	pstat_add(provider->index, PSTAT_ATTEMPTS, 1);
	call->uploaded = 0;
	call->progress_ms = call->kept_ms = now;
	call_arm(call);
	return true;
}

void appoint_leave(struct provider_call *call)
{
	cancel_appointment(call);
	if (call->kept)
		settle_tokens(call);
	else
		return_tokens(call);
}
