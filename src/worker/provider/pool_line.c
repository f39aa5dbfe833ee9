/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_line.c - who waits for a place in a pool: see pool.h.
 *
 * A worker asks the gate for as many tickets as its waiters need: one each for HTTP/1.1; with
 * HTTP/2, one for as many as a connection takes, and none for those who will find room in
 * connections that are being made. So a burst makes one connection, not one for each request.
 */
#include "base/base.h"
#include "worker/provider/pool_inside.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <stdatomic.h>

/*
 * Waiters of our own take over a socket that comes free, or join one, even where others came
 * first, since it is warm; but only so often in a row, then the line decides.
 */
#define OVERTAKE_MAX 8
/* Nobody waits for a connection to stand that takes longer than this, if there is a ticket. */
#define DIAL_PATIENCE_US 1000000

static void let_in(struct pool *pool, struct pool_user *user, bool dial)
{
	user->dial = dial && pool->most > 1;
	pool_user_to(pool, user, POOL_USER_IN);
}

/* Whoever waits longest has a place: a ticket (dial), or in a socket that is open. */
static void let_first_in(struct pool *pool, bool dial)
{
	struct pool_user *user = TAILQ_FIRST(&pool->waiting);

	TAILQ_REMOVE(&pool->waiting, user, entry);
	pool->nwaiting--;
	let_in(pool, user, dial);
	if (!user->since_us)
		return; /* pool_enter() will say so */
	pstat_observe(pool->provider, PSTAT_POOL_WAIT, clock_us() - user->since_us);
	pool->granted(user);
}

/* ---- tickets ------------------------------------------------------------------------ */

/* May those who wait count on the connections that are being made? */
static bool is_hopeful(const struct pool *pool)
{
	const struct pool_user *first = TAILQ_FIRST(&pool->dialers);

	return !pool->serial && !pool->mixed &&
		(!first || clock_us() - first->since_us < DIAL_PATIENCE_US);
}

/* Would so many tickets do for all who wait? */
static bool enough(const struct pool *pool, unsigned tickets)
{
	if (!is_hopeful(pool))
		return tickets >= pool->nwaiting;
	return pool->later + tickets * pool->most + pool->ndialers * (pool->most - 1) >=
		pool->nwaiting;
}

static void ask(struct pool *pool)
{
	struct pool_socket *s = xcalloc(1, sizeof(*s));

	s->fd = -1;
	if (gate_arrive(pool->line, &s->ticket)) {
		pool_become_spare(pool, s);
		let_first_in(pool, true);
		return;
	}
	s->state = SOCKET_ASKED;
	TAILQ_INSERT_TAIL(&pool->asked, s, entry);
	pool->nasked++;
}

static void withdraw(struct pool *pool, struct pool_socket *asked)
{
	TAILQ_REMOVE(&pool->asked, asked, entry);
	pool->nasked--;
	gate_leave(pool->line, &asked->ticket);
	free(asked);
}

void pool_line_settle(struct pool *pool)
{
	while (!enough(pool, pool->nasked))
		ask(pool);
	while (pool->nasked && enough(pool, pool->nasked - 1))
		withdraw(pool, TAILQ_LAST(&pool->asked, pool_sockets));
}

void pool_line_granted(struct gate_ticket *ticket, void *arg)
{
	struct pool_socket *s = container_of(ticket, struct pool_socket, ticket);
	struct pool *pool = arg;

	TAILQ_REMOVE(&pool->asked, s, entry);
	pool->nasked--;
	pool_become_spare(pool, s);
	if (pool->nwaiting)
		let_first_in(pool, true);
	pool_balance(pool);
}

/* ---- sockets that are open -------------------------------------------------------------- */

static bool may_overtake(const struct pool *pool, unsigned *overtakes)
{
	if (gate_next(pool->line) != GATE_NEXT_OTHERS)
		*overtakes = 0;
	else if (*overtakes >= OVERTAKE_MAX)
		return false;
	else
		++*overtakes;
	return true;
}

/* Those who were let in without a ticket for a new one take up room in open ones. */
static bool has_room(const struct pool *pool, unsigned room)
{
	return room > pool->in - pool->in_dial;
}

/* The first waiter has a place that is not the ticket's for which the line stands longest. */
static void let_first_join(struct pool *pool)
{
	let_first_in(pool, false);
	if (pool->nasked && enough(pool, pool->nasked - 1))
		withdraw(pool, TAILQ_FIRST(&pool->asked));
}

bool pool_line_hand_over(struct pool *pool, const struct pool_socket *s, unsigned *overtakes)
{
	bool taken = false;

	for (unsigned n = 0; n < s->offer && pool->nwaiting && pool_has_free(pool, 1); n++) {
		if (!may_overtake(pool, overtakes))
			break;
		let_first_join(pool);
		taken = true;
	}
	return taken;
}

void pool_line_serve(struct pool *pool)
{
	while (pool->nwaiting && has_room(pool, pool->room) &&
		may_overtake(pool, &pool->overtakes))
		let_first_join(pool);
}

/* ---- pool.h ---------------------------------------------------------------------------- */

/* Never past somebody who waits: he is given what is idle in pool_poll(). */
static bool may_join(struct pool *pool)
{
	if (pool->nwaiting)
		return false;
	if (pool_has_free(pool, 1) && gate_next(pool->line) == GATE_NEXT_NOBODY &&
		(pool->most == 1 || has_room(pool, pool->room + pool->idle_room)))
		return true;
	return has_room(pool, pool->room) && may_overtake(pool, &pool->overtakes);
}

/* Whoever holds idle ones gives one up. */
static void wake_others(struct pool *pool)
{
	struct gate_reading idle;

	/* A socket that becomes idle after this reading is counted first, and then finds us in line. */
	atomic_thread_fence(memory_order_seq_cst);
	gate_read(pool->shm, SHM_GATE_IDLE(pool->provider), &idle);
	if (idle.used)
		shm_wake_all(pool->shm);
}

bool pool_enter(struct pool *pool, struct pool_user *user)
{
	unsigned asked = pool->nasked;

	BUG_ON(user->state != POOL_USER_OUT);
	TAILQ_INIT(&user->dialed);
	user->since_us = 0;
	if (may_join(pool)) {
		let_in(pool, user, false);
		return true;
	}
	pool_user_to(pool, user, POOL_USER_WAITING);
	TAILQ_INSERT_TAIL(&pool->waiting, user, entry);
	pool->nwaiting++;
	pool_line_settle(pool);
	if (user->state == POOL_USER_IN)
		return true;
	user->since_us = clock_us();
	pstat_add(pool->provider, PSTAT_POOL_WAITS, 1);
	if (pool->nasked > asked)
		wake_others(pool);
	return false;
}

void pool_line_leave(struct pool *pool, struct pool_user *user)
{
	TAILQ_REMOVE(&pool->waiting, user, entry);
	pool->nwaiting--;
}
