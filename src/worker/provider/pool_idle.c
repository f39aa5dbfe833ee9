/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_idle.c - the sockets and tickets of a pool that nobody uses, and how they are given back: see pool.h.
 */
#include "base/base.h"
#include "worker/provider/pool_inside.h"

#include "base/clock.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <event2/event.h>
#include <sys/socket.h>

/* Is that idle one more than what was promised? */
static bool can_spare(const struct pool *pool, const struct pool_socket *idle)
{
	return pool_has_free(pool, idle->offer);
}

void pool_become_spare(struct pool *pool, struct pool_socket *s)
{
	s->state = SOCKET_SPARE;
	s->fd = -1;
	s->dialer = NULL;
	s->shared = false;
	s->local_port = 0;
	TAILQ_INSERT_TAIL(&pool->spare, s, entry);
	pool->nspare++;
}

void pool_leave_idle(struct pool *pool, struct pool_socket *s)
{
	pool_withdraw_offer(pool, s); /* before its state changes */
	TAILQ_REMOVE(&pool->idle, s, entry);
	pool->nidle--;
	pstat_add(pool->provider, PSTAT_SOCKETS_IDLE, -1);
	if (s->idle_ticket.state == TICKET_HELD)
		gate_leave(pool->idle_line, &s->idle_ticket);
	else
		pool->nuncounted--;
}

void pool_shut(struct pool *pool, struct pool_socket *s)
{
	(void)shutdown(s->fd, SHUT_RDWR); /* it may be dead already */
	s->state = SOCKET_SHUT;
	pool->nshut++;
	pool_count_gone(pool, s);
}

static void give_up(struct pool *pool, struct pool_socket *idle)
{
	pool_leave_idle(pool, idle);
	pool_shut(pool, idle);
	gate_leave(pool->line, &idle->ticket);
	pool->overtakes = 0;
}

/* When the oldest that can be spared expires. */
static void arm(struct pool *pool)
{
	const struct pool_socket *oldest = TAILQ_FIRST(&pool->idle);
	uint64_t now = clock_ms(), due, wait;
	struct timeval in;

	if (!oldest || !can_spare(pool, oldest)) {
		event_del(&pool->timer);
		return;
	}
	due = oldest->idle_since_ms + pool->expiry_ms;
	wait = due > now ? due - now : 0;
	in = (struct timeval){ (time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000) };
	event_add(&pool->timer, &in);
}

void pool_expire(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	uint64_t now = clock_ms();
	struct pool_socket *s;

	while ((s = TAILQ_FIRST(&pool->idle)) && can_spare(pool, s) &&
		s->idle_since_ms + pool->expiry_ms <= now)
		give_up(pool, s);
	arm(pool);
}

/* Those who are to make a connection of HTTP/2 keep their tickets. */
static void trim_spare(struct pool *pool)
{
	while (pool->nspare > pool->in_dial && pool_has_free(pool, 1)) {
		struct pool_socket *s = TAILQ_FIRST(&pool->spare);

		TAILQ_REMOVE(&pool->spare, s, entry);
		pool->nspare--;
		gate_leave(pool->line, &s->ticket);
		free(s);
	}
}

/* Idle ones that no user is about to take are counted as such, or go. */
static void trim_idle(struct pool *pool)
{
	struct pool_socket *s = TAILQ_LAST(&pool->idle, pool_sockets), *before;

	for (; s && pool->nuncounted > pool->in - pool->in_dial; s = before) {
		before = TAILQ_PREV(s, pool_sockets, entry);
		if (s->idle_ticket.state == TICKET_HELD)
			continue;
		if (gate_try(pool->idle_line, &s->idle_ticket))
			pool->nuncounted--;
		else if (can_spare(pool, s))
			give_up(pool, s);
	}
}

void pool_leave_busy(struct pool *pool, struct pool_socket *s)
{
	pool_withdraw_offer(pool, s); /* before its state changes */
	TAILQ_REMOVE(&pool->busy, s, entry);
}

void pool_become_idle(struct pool *pool, struct pool_socket *s)
{
	pool_leave_busy(pool, s);
	if (!s->most) {
		pool_shut(pool, s);
		gate_leave(pool->line, &s->ticket);
		return;
	}
	s->state = SOCKET_IDLE;
	s->idle_since_ms = clock_ms();
	TAILQ_INSERT_TAIL(&pool->idle, s, entry);
	pool->nidle++;
	pool->nuncounted++;
	pstat_add(pool->provider, PSTAT_SOCKETS_IDLE, 1);
	pool_refresh_offer(pool, s);
	pool_line_hand_over(pool, s, s->shared ? &pool->overtakes : &s->overtakes);
}

void pool_yield(struct pool *pool)
{
	struct gate_reading all;
	struct pool_socket *oldest;

	while ((oldest = TAILQ_FIRST(&pool->idle)) && can_spare(pool, oldest)) {
		gate_read(pool->shm, SHM_GATE_POOL(pool->provider), &all);
		if (gate_next(pool->line) == GATE_NEXT_NOBODY && all.used <= all.limit)
			break;
		if (!pool_line_hand_over(pool, oldest,
			    oldest->shared ? &pool->overtakes : &oldest->overtakes))
			give_up(pool, oldest);
	}
}

void pool_balance(struct pool *pool)
{
	pool_line_serve(pool);
	trim_spare(pool);
	trim_idle(pool);
	pool_line_settle(pool);
	arm(pool);
}
