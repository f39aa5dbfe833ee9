/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c - what a client's key may have of all providers together: so many requests and tokens a minute,
 * and so many requests at once. A call beyond the first two is refused; one beyond the third waits in its
 * key's own line, as long as queue_timeout lets it, before it stands in the provider's. The permit is the
 * call's until its end, over all attempts. So is the promise of tokens, an estimate: at the end it becomes
 * what the last attempt took, or is given back if none went out.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/tally.h"

static struct gate_line *line_of(const struct provider_call *call)
{
	return call->provider->all->client_lines[call->client.place];
}

/* False: its key has used up what it may have in a minute; what call->client_... say of it. */
static bool within_the_minute(struct provider_call *call)
{
	struct shm *shm = call->provider->all->shm;
	const unsigned place = call->client.place;
	uint64_t now = clock_ms();
	struct appointment a;

	if (!tokens_take(shm, SHM_TOKENS_CLIENT(place), now, now, appoint_estimate(call), &call->client_promise)) {
		call->client_ending = END_KEY_TOKENS;
		call->client_free_ms = call->client_promise.at_ms;
		return false;
	}
	if (!window_take(shm, SHM_WINDOW_CLIENT(place), now, now, &a)) {
		call->client_ending = END_KEY_RATE;
		call->client_free_ms = a.at_ms;
		return false;
	}
	return true;
}

enum client_verdict client_enter(struct provider_call *call)
{
	if (!call->client.keyed)
		return CLIENT_IN;
	if (!within_the_minute(call))
		return CLIENT_REFUSED;
	return gate_arrive(line_of(call), &call->client_ticket) ? CLIENT_IN : CLIENT_WAITS;
}

void client_leave(struct provider_call *call)
{
	struct shm *shm = call->provider->all->shm;
	const unsigned tokens = SHM_TOKENS_CLIENT(call->client.place);

	if (call->client_ticket.state != TICKET_IDLE)
		gate_leave(line_of(call), &call->client_ticket);
	if (call->took)
		tokens_settle(shm, tokens, &call->client_promise, call->took);
	else
		tokens_return(shm, tokens, &call->client_promise);
}

void client_refuse(struct provider_call *call)
{
	struct providers *all = call->provider->all;
	unsigned place = call->client.place;
	uint64_t now = clock_ms();
	struct provider_result result = { .ending = call->client_ending,
		.retry_after_ms = call->client_free_ms > now ? call->client_free_ms - now : 1 };
	struct gate_reading line;

	switch (call->client_ending) {
	case END_KEY_TOKENS:
		result.limit = all->client_tokens_limit[place];
		break;
	case END_KEY_RATE:
		result.limit = shm_window_name(all->shm, SHM_WINDOW_CLIENT(place));
		break;
	default:
		gate_read(all->shm, SHM_GATE_CLIENT_REQUESTS(place), &line);
		result = (struct provider_result){ .ending = END_KEY_REQUESTS,
			.limit = shm_gate_name(all->shm, SHM_GATE_CLIENT_REQUESTS(place)),
			.retry_after_ms = line.interval_us * line.waiting / 1000 + 1 };
		break;
	}
	call_end(call, &result);
}

void client_turn(struct provider_call *call)
{
	if (call->client_ticket.state == TICKET_HELD)
		line_enter(call);
	else
		call_tell_queued(call);
}

static void granted(struct gate_ticket *ticket, void *arg)
{
	call_later(container_of(ticket, struct provider_call, client_ticket));
}

uint64_t client_position(const struct provider_call *call, uint64_t *expected_ms_r)
{
	struct gate_reading line;
	uint64_t position = gate_position(line_of(call), &call->client_ticket);

	gate_read(call->provider->all->shm, SHM_GATE_CLIENT_REQUESTS(call->client.place), &line);
	*expected_ms_r = line.interval_us * position / 1000;
	return position;
}

unsigned client_tally(const struct provider_call *call)
{
	return call->client.keyed ? call->provider->all->client_tallies[call->client.place] : SHM_NO_TALLY;
}

/* ---- lines ---- */

void clients_open(struct providers *all)
{
	const struct conf *conf = all->conf;

	for (unsigned i = 0; i < conf->nclients; i++)
		if (conf->clients[i].place >= all->nclient_lines)
			all->nclient_lines = conf->clients[i].place + 1;
	all->client_lines = xcalloc(all->nclient_lines + 1, sizeof(struct gate_line *));
	all->client_tallies = xcalloc(all->nclient_lines + 1, sizeof(unsigned));
	all->client_tokens_limit = xcalloc(all->nclient_lines + 1, sizeof(char *));
	for (unsigned i = 0; i < conf->nclients; i++) {
		unsigned place = conf->clients[i].place;

		all->client_lines[place] =
			gate_line_open(all->shm, SHM_GATE_CLIENT_REQUESTS(place), granted, all);
		all->client_tallies[place] =
			tally_find(all->shm, TALLY_CLIENT, "", conf->clients[i].name);
		all->client_tokens_limit[place] =
			xasprintf("clients.keys.%s.tokens_per_minute", conf->clients[i].name);
	}
}

void clients_close(struct providers *all)
{
	for (unsigned i = 0; i < all->nclient_lines; i++) {
		if (all->client_lines[i])
			gate_line_close(all->client_lines[i]);
		free(all->client_tokens_limit[i]);
	}
	free(all->client_tokens_limit);
	free(all->client_lines);
	free(all->client_tallies);
}

void clients_poll(struct providers *all)
{
	for (unsigned i = 0; i < all->nclient_lines; i++)
		if (all->client_lines[i])
			gate_poll(all->client_lines[i]);
}
