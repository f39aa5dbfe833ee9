/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * appoint.c - requests_per_minute: when a call that has its permit may go out.
 *
 * The appointment is kept when the connection stands, just before the request is sent. Who comes
 * so late that the window has promised the slot to somebody else does not send, but takes another
 * appointment; the asker only sees a longer wait.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"

/* False: it would be after latest_ms; appointment.at_ms says when. */
static bool take(struct provider_call *call, uint64_t now_ms, uint64_t latest_ms)
{
	struct provider *provider = call->provider;

	call->appointed = window_take(provider->all->shm, SHM_WINDOW_PROVIDER(provider->index),
		now_ms, latest_ms, &call->appointment);
	return call->appointed;
}

void appoint(struct provider_call *call)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms(), at;
	bool taken = take(call, now, call_queue_until_ms(call));

	at = call->appointment.at_ms;
	if (!taken) {
		struct provider_result result = {
			.ending = END_RATE_LIMITED,
			.limit = provider->rate_limit,
			.retry_after_ms = call_retry_after_ms(at > now ? at - now : 0),
		};
		call_end(call, &result);
		return;
	}
	call_to(call, CALL_APPOINTED);
	if (at <= now) {
		call_send(call);
		return;
	}
	if (!call->window_waited)
		pstat_add(provider->index, PSTAT_WINDOW_WAITS, 1);
	call->window_waited = true;
	call_arm(call);
	call_tell_queued(call);
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

	if (call->appointed)
		window_return(
			provider->all->shm, SHM_WINDOW_PROVIDER(provider->index), &call->appointment);
	call->appointed = false;
}
