/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * appoint.c - requests_per_minute: when a call that has its permit may go out.
 *
 * A request never goes out on the dot: timers are late, and a connection may have to be made
 * first. The window takes the true time of sending instead of the appointed one as long as the
 * slot has not been promised for its next round. So nobody takes an appointment that is
 * nearly a whole window away: by the time a slot is promised again, a tenth of the window has
 * gone since its last appointment, and that request is out. Until then the caller stays in
 * the provider's list, first come, first served. Who would have to wait for longer than queue_timeout
 * is refused when that is known: at once, or when it has become the first in the list.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"

static uint64_t latest_ms(const struct provider_call *call)
{
	return call->arrived_us / 1000 + call->provider->conf->queue_timeout_ms;
}

/* False: not yet; appointment.at_ms says when it would be. */
static bool take(struct provider_call *call, uint64_t now, uint64_t latest)
{
	struct provider *provider = call->provider;

	call->appointed = window_take(provider->all->shm, SHM_WINDOW_PROVIDER(provider->index), now,
		latest, &call->appointment);
	return call->appointed;
}

static bool take_soon(struct provider_call *call, uint64_t now)
{
	uint64_t soon = now + call->provider->ahead_ms, latest = latest_ms(call);

	return take(call, now, soon < latest ? soon : latest);
}

static void refuse(struct provider_call *call, uint64_t now)
{
	uint64_t at = call->appointment.at_ms;
	struct provider_result result = {
		.ending = END_RATE_LIMITED,
		.limit = call->provider->rate_limit,
		.retry_after_ms = call_retry_after_ms(at > now ? at - now : 0),
	};

	call_end(call, &result);
}

void appoint(struct provider_call *call)
{
	struct provider *provider = call->provider;
	struct provider_call *first = TAILQ_FIRST(&provider->asking);
	uint64_t now = clock_ms();

	if (first)
		call->appointment.at_ms = first->appointment.at_ms;
	if ((first || !take_soon(call, now)) && call->appointment.at_ms > latest_ms(call)) {
		refuse(call, now);
		return;
	}
	call_to(call, CALL_APPOINTED);
	if (call->appointed && call->appointment.at_ms <= now) {
		call_send(call);
		return;
	}
	if (!call->appointed) {
		call->asking = true;
		TAILQ_INSERT_TAIL(&provider->asking, call, entry);
	}
	if (!first)
		call_arm(call);
	if (!call->window_waited)
		pstat_add(provider->index, PSTAT_WINDOW_WAITS, 1);
	call->window_waited = true;
	call_tell_queued(call);
}

static void stop_asking(struct provider_call *call)
{
	if (call->asking)
		TAILQ_REMOVE(&call->provider->asking, call, entry);
	call->asking = false;
}

/* Appointments for those in the list, in their order; only the first one's timer is set. */
static void serve(struct provider *provider)
{
	uint64_t now = clock_ms();
	struct provider_call *call;

	while ((call = TAILQ_FIRST(&provider->asking))) {
		bool taken = take_soon(call, now);

		if (!taken && call->appointment.at_ms <= latest_ms(call)) {
			call_arm(call);
			return;
		}
		stop_asking(call);
		if (!taken)
			refuse(call, now);
		else if (call->appointment.at_ms <= now)
			call_send(call);
		else
			call_arm(call);
	}
}

uint64_t appoint_due_ms(const struct provider_call *call)
{
	uint64_t at = call->appointment.at_ms, ahead = call->provider->ahead_ms;

	if (!call->asking)
		return at;
	return at > ahead ? at - ahead : 0;
}

void appoint_due(struct provider_call *call)
{
	if (call->asking)
		serve(call->provider);
	else
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
	call->missed = !(call->appointed || take(call, now, now)) ||
		!window_keep(provider->all->shm, SHM_WINDOW_PROVIDER(provider->index),
			&call->appointment, now);
	call->appointed = false;
	if (call->missed)
		return false;
	call->kept = true;
	pstat_add(provider->index, PSTAT_ATTEMPTS, 1);
	call->uploaded = 0;
	call->progress_ms = now;
	call_arm(call);
	return true;
}

void appoint_leave(struct provider_call *call)
{
	struct provider *provider = call->provider;
	bool gives_back = call->appointed, was_first = call == TAILQ_FIRST(&provider->asking);
	struct provider_call *first;

	if (gives_back)
		window_return(
			provider->all->shm, SHM_WINDOW_PROVIDER(provider->index), &call->appointment);
	call->appointed = false;
	stop_asking(call);
	first = TAILQ_FIRST(&provider->asking);
	if (!first || !(gives_back || was_first))
		return;
	if (gives_back)
		first->appointment.at_ms = clock_ms(); /* it may be for this one: ask soon */
	call_arm(first);
}
