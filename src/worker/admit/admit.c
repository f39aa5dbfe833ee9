/* SPDX-License-Identifier: BSD-2-Clause */
/* admit.c - see admit.h. */
#include "base/base.h"
#include "worker/admit/admit.h"

#include "base/bug.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/admit/room.h"
#include "worker/exchange/exchange.h"

#include <event2/event.h>

#define RETRY_AFTER_MIN_MS 1000
#define RETRY_AFTER_MAX_MS 60000

static const enum stat_id gauge[] = {
	[ADMIT_WEBSOCKET] = STAT_WEBSOCKETS,
	[ADMIT_STREAM] = STAT_STREAMS,
};
static const char *const kind_name[] = {
	[ADMIT_WEBSOCKET] = "WebSocket connection",
	[ADMIT_STREAM] = "SSE stream",
};

/* ---- what is said and counted ---- */

static void log_rejection(const struct admit_place *place, struct log_rate *rate, unsigned gate, const char *whose)
{
	struct gate_reading r;
	char more[48] = "", part[64] = "";
	uint64_t missed;

	if (!log_rate_ok(rate, &missed))
		return;
	gate_read(place->admit->shm, gate, &r);
	if (missed)
		snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
	if (r.in_force < r.limit)
		snprintf(part, sizeof(part), ", of which this host has %" PRIu64 " now,", r.in_force);
	log_warning("admit", "%s rejected: %s%smax_connections=%" PRIu64 "%s reached%s", kind_name[place->kind],
		whose, *whose ? "'s " : "", r.limit, part, more);
}

static void count_in(struct admit_place *place)
{
	struct gate_reading house;

	place->ending = END_COMPLETE;
	TAILQ_INSERT_TAIL(&place->admit->held, place, in_held);
	stat_add(STAT_ADMITTED, 1);
	stat_add(gauge[place->kind], 1);
	exchange_admitted(place->x, true);
	if (place->kind == ADMIT_WEBSOCKET && log_wanted(LOG_INFO)) {
		gate_read(place->admit->shm, SHM_GATE_PLACES, &house);
		log_info("admit",
			"WebSocket connection established. Active connections: %" PRIu64 "/%" PRIu64,
			house.used, house.limit);
	}
}

/* ---- in and out ---- */

static void stop_waiting(struct admit_place *place)
{
	if (place->timer)
		event_free(place->timer);
	place->timer = NULL;
}

/* Give back what it holds. */
static void let_go(struct admit_place *place)
{
	struct admit *admit = place->admit;

	if (place->ticket.state != TICKET_IDLE)
		gate_leave(admit->places, &place->ticket);
	if (place->key_ticket.state != TICKET_IDLE)
		gate_leave(admit->key_places[place->x->client.place], &place->key_ticket);
	stop_waiting(place);
}

static enum admit_answer turn_away(struct admit_place *place, enum ending ending)
{
	struct admit *admit = place->admit;
	const char *key = place->x->client.name;

	let_go(place);
	place->ending = ending;
	if (ending == END_HOUSE_FULL) {
		stat_add(STAT_REJECTED_FULL, 1);
		log_rejection(place, &admit->full[place->kind], SHM_GATE_PLACES, "");
	} else {
		log_rejection(place, &admit->key_full, SHM_GATE_CLIENT_PLACES(place->x->client.place), key);
	}
	return ADMIT_NOT;
}

static void count_out(struct admit_place *place)
{
	TAILQ_REMOVE(&place->admit->held, place, in_held);
	stat_add(gauge[place->kind], -1);
	exchange_admitted(place->x, false);
}

/* ---- leases ---- */

/* The gate has its permit back. */
static void lose(struct admit_place *place)
{
	count_out(place);
	let_go(place);
	defer_cancel(&place->defer);
	place->ending = END_LEASE_LOST;
	stat_add(STAT_CLUSTER_ENDED, 1);
	place->decided(place);
}

static void lapse_key(struct admit *admit, unsigned key)
{
	struct admit_place *place;

	for (uint64_t n = gate_over(admit->key_places[key]); n; n--) {
		TAILQ_FOREACH_REVERSE(place, &admit->held, admit_held, in_held)
			if (place->key_ticket.state == TICKET_HELD && place->x->client.place == key)
				break;
		if (!place || !gate_leave_over(admit->key_places[key], &place->key_ticket))
			return;
		lose(place);
	}
}

void admit_lapse(struct admit *admit)
{
	struct admit_place *place;

	gate_look(admit->places);
	for (uint64_t n = gate_over(admit->places); n && (place = TAILQ_LAST(&admit->held, admit_held)); n--) {
		if (!gate_leave_over(admit->places, &place->ticket))
			break;
		lose(place);
	}
	for (unsigned i = 0; i < admit->nkeys; i++)
		if (admit->key_places[i])
			lapse_key(admit, i);
}

static void wait_is_over(void *arg)
{
	struct admit_place *place = arg;

	place->decided(place);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct admit_place *place = arg;

	turn_away(place, END_HOUSE_FULL);
	defer_call(&place->defer, wait_is_over, place);
}

static void on_granted(struct gate_ticket *ticket, void *arg)
{
	struct admit_place *place = container_of(ticket, struct admit_place, ticket);

	stop_waiting(place);
	count_in(place);
	defer_call(&place->defer, wait_is_over, place);
}

/* Nobody waits at these gates. */
static void not_granted(struct gate_ticket *ticket, void *arg)
{
	BUG_ON("a permit was granted to somebody who did not wait");
}

static void on_pending_granted(struct gate_ticket *ticket, void *arg)
{
	struct admit *admit = arg;

	admit->pending_granted(ticket);
}

static bool enter_key(struct admit_place *place)
{
	const struct exchange_client *client = &place->x->client;

	return !client->name || gate_try(place->admit->key_places[client->place], &place->key_ticket);
}

enum admit_answer admit_enter(struct admit *admit, struct admit_place *place, struct exchange *x,
	enum admit_kind kind, admit_decided_fn decided)
{
	uint64_t wait_ms = admit->conf->connection_queue_timeout_ms;
	const struct timeval tv = { (time_t)(wait_ms / 1000), (suseconds_t)(wait_ms % 1000) * 1000 };

	*place = (struct admit_place){ .admit = admit, .x = x, .kind = kind, .decided = decided };
	if (!enter_key(place))
		return turn_away(place, END_KEY_CONNECTIONS);
	if (wait_ms ? gate_arrive_as(admit->places, &place->ticket, x->client.flow)
		    : gate_try(admit->places, &place->ticket)) {
		count_in(place);
		return ADMIT_IN;
	}
	if (!wait_ms)
		return turn_away(place, END_HOUSE_FULL);
	place->timer = evtimer_new(admit->base, on_timeout, place);
	evtimer_add(place->timer, &tv);
	return ADMIT_LATER;
}

void admit_leave(struct admit_place *place)
{
	if (!place->admit)
		return;
	if (place->ticket.state == TICKET_HELD) {
		count_out(place);
	}
	defer_cancel(&place->defer);
	let_go(place);
	place->admit = NULL;
}

/* One place becomes free in about the time between two grants. */
static uint64_t retry_after_ms(const struct admit *admit, unsigned gate)
{
	struct gate_reading r;
	uint64_t ms;

	gate_read(admit->shm, gate, &r);
	ms = r.interval_us / 1000 * (r.waiting + 1);
	if (ms < RETRY_AFTER_MIN_MS)
		return RETRY_AFTER_MIN_MS;
	return ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

void admit_refusal(struct admit *admit, const struct admit_place *place, struct exchange_error *error)
{
	unsigned gate = place->ending == END_HOUSE_FULL
		? SHM_GATE_PLACES
		: SHM_GATE_CLIENT_PLACES(place->x->client.place);

	*error = (struct exchange_error){ .ending = place->ending,
		.limit = shm_gate_name(admit->shm, gate),
		.retry_after_ms = retry_after_ms(admit, gate) };
}

/* ---- connections that are not admitted ---- */

bool admit_pending(struct admit *admit, struct gate_ticket *ticket)
{
	return gate_try(admit->pending, ticket);
}

bool admit_pending_wait(struct admit *admit, struct gate_ticket *ticket)
{
	if (stat_sum(admit->shm, STAT_IDLE) == 0)
		return false;
	if (!gate_arrive(admit->pending, ticket))
		shm_wake_all(admit->shm);
	else
		admit->pending_granted(ticket); /* it came free just now */
	return ticket->state == TICKET_WAITING;
}

void admit_on_pending(struct admit *admit, void (*granted)(struct gate_ticket *ticket))
{
	admit->pending_granted = granted;
}

bool admit_pending_wanted(const struct admit *admit)
{
	return gate_next(admit->pending) == GATE_NEXT_OTHERS;
}

const char *admit_pending_limit(void)
{
	return "chat.websocket.concurrency.connection_queue_size";
}

void admit_settled(struct admit *admit, struct gate_ticket *ticket)
{
	if (ticket->state != TICKET_IDLE)
		gate_leave(admit->pending, ticket);
}

/* ---- open and close ---- */

static unsigned highest_place(const struct conf *conf)
{
	unsigned n = 0;

	for (unsigned i = 0; i < conf->nclients; i++)
		n = conf->clients[i].place >= n ? conf->clients[i].place + 1 : n;
	return n;
}

struct admit *admit_open(struct event_base *base, const struct conf *conf, struct shm *shm)
{
	struct admit *admit = xcalloc(1, sizeof(*admit));

	admit->base = base;
	admit->conf = conf;
	admit->shm = shm;
	TAILQ_INIT(&admit->held);
	admit->places = gate_line_open(shm, SHM_GATE_PLACES, on_granted, admit);
	admit->pending = gate_line_open(shm, SHM_GATE_PENDING, on_pending_granted, admit);
	admit->nkeys = highest_place(conf);
	admit->key_places = xcalloc(admit->nkeys + 1, sizeof(struct gate_line *));
	for (unsigned i = 0; i < conf->nclients; i++) {
		unsigned place = conf->clients[i].place;

		admit->key_places[place] =
			gate_line_open(shm, SHM_GATE_CLIENT_PLACES(place), not_granted, admit);
	}
	return admit;
}

void admit_close(struct admit *admit)
{
	for (unsigned i = 0; i < admit->nkeys; i++)
		if (admit->key_places[i])
			gate_line_close(admit->key_places[i]);
	free(admit->key_places);
	gate_line_close(admit->pending);
	gate_line_close(admit->places);
	free(admit);
}

void admit_poll(struct admit *admit)
{
	gate_poll(admit->places);
	gate_poll(admit->pending);
}
