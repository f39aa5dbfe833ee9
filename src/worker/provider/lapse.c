/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lapse.c - what happens to calls when a lease (shm/lease.h) has lapsed and more of them run than may: the youngest end, of each
 * worker about as many of a hundred as of the others, until it is enough over all. One of which the client has seen nothing
 * stands in line again; the others end with the named error, as do those of a key that lost its share.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "shm/segment.h"
#include "shm/stats.h"

#define RETRY_AFTER_MS 1000u

static void cut(struct provider_call *call, const char *limit)
{
	struct provider_result result = { .ending = END_LEASE_LOST, .limit = limit,
		.retry_after_ms = RETRY_AFTER_MS };

	call_end(call, &result);
}

/* Its permit is gone. */
static void end_one(struct provider_call *call)
{
	stat_add(STAT_CLUSTER_ENDED, 1);
	if (call->told_head)
		cut(call, call->provider->limit[LIMIT_PERMITS]);
	else
		call_back_in_line(call);
}

/* The last that came of those that hold a permit of this provider; NULL: none. */
static struct provider_call *youngest_at(const struct provider *provider)
{
	struct provider_call *call;

	TAILQ_FOREACH_REVERSE(call, &provider->all->calls, call_list, in_all)
		if (call->provider == provider && call->ticket.state == TICKET_HELD && !call->cancelled)
			break;
	return call;
}

static struct provider_call *youngest_of(const struct providers *all, unsigned place)
{
	struct provider_call *call;

	TAILQ_FOREACH_REVERSE(call, &all->calls, call_list, in_all)
		if (call->client.keyed && call->client.place == place &&
			call->client_ticket.state == TICKET_HELD && !call->cancelled)
			break;
	return call;
}

static void lapse_provider(struct provider *provider)
{
	struct provider_call *call;

	gate_look(provider->line);
	for (uint64_t n = gate_over(provider->line); n && (call = youngest_at(provider)); n--) {
		if (!gate_leave_over(provider->line, &call->ticket))
			return;
		end_one(call);
	}
}

static void lapse_client(struct providers *all, unsigned place)
{
	struct gate_line *line = all->client_lines[place];
	struct provider_call *call;

	gate_look(line);
	for (uint64_t n = gate_over(line); n && (call = youngest_of(all, place)); n--) {
		if (!gate_leave_over(line, &call->client_ticket))
			return;
		stat_add(STAT_CLUSTER_ENDED, 1);
		cut(call, shm_gate_name(all->shm, SHM_GATE_CLIENT_REQUESTS(place)));
	}
}

void providers_lapse(struct providers *all)
{
	for (unsigned i = 0; i < all->count; i++)
		lapse_provider(&all->provider[i]);
	for (unsigned i = 0; i < all->nclient_lines; i++)
		if (all->client_lines[i])
			lapse_client(all, i);
}

void call_lose(struct provider_call *call, const char *limit)
{
	if (!call->cancelled)
		cut(call, limit);
}
