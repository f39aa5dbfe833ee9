/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * line.c - the way into a provider: who may stand in its line, and what becomes of them there.
 *
 * A provider whose circuit is open is not waited for: who comes is told so at once, and who stands
 * in line is, too (line_poll(); whoever opened the circuit wakes the other workers). The circuit's one probe
 * is chosen among those who got a permit, so that it goes out at once.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/circuit.h"
#include "shm/segment.h"
#include "shm/stats.h"

#define PROBE_MS 2000

bool line_is_shut(const struct provider *provider, uint64_t at_ms, uint64_t *retry_at_ms_r)
{
	struct circuit_reading circuit;

	*retry_at_ms_r = 0;
	if (!provider->conf->circuit_breaker)
		return false;
	circuit_read(provider->all->shm, provider->index, at_ms, &circuit);
	/* A probe is answered long before its lease ends, as a rule. */
	*retry_at_ms_r = circuit.state == CIRCUIT_HALF_OPEN && circuit.retry_at_ms > at_ms + PROBE_MS
		? at_ms + PROBE_MS
		: circuit.retry_at_ms;
	return circuit.state != CIRCUIT_CLOSED && at_ms < circuit.retry_at_ms;
}

static uint64_t until(uint64_t then, uint64_t now)
{
	return then > now ? then - now : 0;
}

static void shut_out(struct provider_call *call, uint64_t now, uint64_t retry_at_ms)
{
	call_refuse(call, END_CIRCUIT_OPEN, LIMIT_CIRCUIT, until(retry_at_ms, now));
}

static void keys_are_parked(struct provider_call *call, uint64_t now)
{
	struct provider_result result = { .ending = END_KEYS_PARKED,
		.retry_after_ms = target_key_free_ms(call->provider, now) - now };

	call_end(call, &result);
}

static uint64_t wait_of_line_ms(const struct provider *provider)
{
	struct gate_reading line;

	gate_read(provider->all->shm, SHM_GATE_PROVIDER(provider->index), &line);
	return line.interval_us * line.waiting / 1000;
}

/* More than queue_size wait. This one is counted already: of two that are one too many, none slips through. */
static bool is_full(const struct provider_call *call)
{
	const struct provider *provider = call->provider;
	struct gate_reading line;

	gate_read(provider->all->shm, SHM_GATE_PROVIDER(provider->index), &line);
	return line.waiting > provider->conf->queue_size;
}

/* What keeps a call out, END_COMPLETE: nothing, it stands in line. */
static enum ending try(struct provider_call *call, uint64_t now)
{
	struct provider *provider = call->provider;
	uint64_t retry_at_ms;

	if (line_is_shut(provider, now, &retry_at_ms))
		return END_CIRCUIT_OPEN;
	if (target_key_free_ms(provider, now) > now)
		return END_KEYS_PARKED;
	/* Who was let in before and tries again is not turned away. */
	if (!gate_arrive_as(provider->line, &call->ticket, call->client.flow) && !call->went_out) {
		if (is_full(call)) {
			gate_leave(provider->line, &call->ticket);
			return END_QUEUE_FULL;
		}
		pstat_add(provider->index, PSTAT_QUEUED, 1);
	}
	call_to(call, CALL_IN_LINE);
	TAILQ_INSERT_TAIL(&provider->waiting, call, entry);
	call_arm(call);
	call_later(call);
	return END_COMPLETE;
}

bool line_try(struct provider_call *call)
{
	return try(call, clock_ms()) == END_COMPLETE;
}

void line_enter(struct provider_call *call)
{
	uint64_t now = clock_ms(), retry_at_ms;

	switch (try(call, now)) {
	case END_COMPLETE:
		break;
	case END_QUEUE_FULL:
		call_refuse(call, END_QUEUE_FULL, LIMIT_QUEUE, wait_of_line_ms(call->provider));
		break;
	case END_KEYS_PARKED:
		keys_are_parked(call, now);
		break;
	default:
		line_is_shut(call->provider, now, &retry_at_ms);
		shut_out(call, now, retry_at_ms);
		break;
	}
}

void line_leave(struct provider_call *call)
{
	if (call->state == CALL_IN_LINE)
		TAILQ_REMOVE(&call->provider->waiting, call, entry);
}

/* It has its permit. */
static void go_on(struct provider_call *call)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms(), retry_at_ms = 0;
	enum circuit_verdict verdict = CIRCUIT_PASS;

	call->granted_us = clock_us();
	event_del(&call->timer);
	if (target_key_free_ms(provider, now) > now) {
		keys_are_parked(call, now);
		return;
	}
	if (provider->conf->circuit_breaker)
		verdict = circuit_ask(provider->all->shm, provider->index, now, &retry_at_ms);
	if (verdict == CIRCUIT_REFUSED) {
		shut_out(call, now, retry_at_ms);
		return;
	}
	call->probe = verdict == CIRCUIT_PROBE;
	if (!target_take_key(call, now)) {
		keys_are_parked(call, now);
		return;
	}
	line_leave(call);
	call_to(call, CALL_APPOINTED);
	appoint(call);
}

void line_turn(struct provider_call *call)
{
	uint64_t now = clock_ms(), retry_at_ms;

	if (call->ticket.state == TICKET_HELD)
		go_on(call);
	else if (line_is_shut(call->provider, now, &retry_at_ms))
		shut_out(call, now, retry_at_ms);
	else
		call_tell_queued(call);
}

void line_timed_out(struct provider_call *call)
{
	if (call->ticket.state == TICKET_WAITING) /* else its turn comes in this turn of the loop */
		call_refuse(call, END_QUEUE_TIMEOUT, LIMIT_PERMITS, wait_of_line_ms(call->provider));
}

void line_poll(struct provider *provider)
{
	struct provider_call *call;
	uint64_t retry_at_ms;

	gate_poll(provider->line);
	if (TAILQ_EMPTY(&provider->waiting) || !line_is_shut(provider, clock_ms(), &retry_at_ms))
		return;
	TAILQ_FOREACH(call, &provider->waiting, entry)
		call_later(call);
}

void line_granted(struct gate_ticket *ticket, void *arg)
{
	call_later(container_of(ticket, struct provider_call, ticket));
}

uint64_t call_position(const struct provider_call *call, uint64_t *expected_ms_r)
{
	const struct provider *provider = call->provider;
	struct gate_reading line;
	uint64_t position, now;

	*expected_ms_r = 0;
	if (call->state == CALL_APPOINTED) {
		now = clock_ms();
		*expected_ms_r = until(call->due_ms, now);
		return 1;
	}
	if (call->state == CALL_CLIENT && call->client_ticket.state == TICKET_WAITING)
		return client_position(call, expected_ms_r);
	if (call->ticket.state != TICKET_WAITING)
		return 0;
	position = gate_position(provider->line, &call->ticket);
	gate_read(provider->all->shm, SHM_GATE_PROVIDER(provider->index), &line);
	*expected_ms_r = line.interval_us * position / 1000;
	return position;
}
