/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c - see pool.h. A socket's record lives from the wait for its ticket to the close of its
 * descriptor:
 *
 *	WAITING	 a ticket is asked for, for a user
 *	SPARE	 has a ticket, no descriptor
 *	BUSY	 open, of a user
 *	IDLE	 open, of nobody; has a ticket of the idle ones, too, unless a user is IN who is about
 *		 to take it
 *	SHUT	 shut down: the provider has seen the end, the tickets are given back, and only libcurl
 *		 does not know yet. It finds out, and closes, when a later transfer looks for a socket.
 *
 * Rule: users that are IN are no more than IDLE and SPARE records. What would break it does not
 * happen (can_spare), and a record that loses its descriptor becomes SPARE; balance() then gives
 * back what is more than needed. So a ticket passes from a dead socket to the one that replaces it.
 */
#include "base/base.h"
#include "worker/provider/pool.h"

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/gate.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdatomic.h>
#include <sys/socket.h>

/*
 * Waiters of our own take over a socket that comes free even where others came first, since it is
 * warm; but only so often in a row, then the line decides.
 */
#define OVERTAKE_MAX 8

enum socket_state { SOCKET_WAITING, SOCKET_SPARE, SOCKET_BUSY, SOCKET_IDLE, SOCKET_SHUT };

struct pool_socket {
	enum socket_state state;
	int fd;
	struct pool_user *user; /* WAITING, BUSY */
	struct gate_ticket ticket, idle_ticket;
	uint64_t idle_since_ms;
	unsigned overtakes;
	bool ready; /* a request went out on it */
	char local_ip[INET6_ADDRSTRLEN]; /* known once it has been idle */
	int local_port;
	TAILQ_ENTRY(pool_socket) entry; /* in its user's, in spare, or in idle */
};

struct pool {
	struct shm *shm;
	unsigned provider;
	uint64_t expiry_ms;
	pool_granted_fn granted;
	struct gate_line *line, *idle_line;
	struct event timer; /* the oldest idle socket expires */
	unsigned in;	    /* users that are IN */
	unsigned nspare, nidle, nshut;
	unsigned nuncounted;		 /* idle without a ticket of the idle ones */
	struct pool_sockets spare, idle; /* idle: the oldest first */
	TAILQ_HEAD(, pool_user) waiting; /* the first came first */
	struct pool_socket **by_fd;
	size_t nfds;
};

static bool can_spare(const struct pool *pool)
{
	return pool->nidle + pool->nspare > pool->in;
}

/* ---- records --------------------------------------------------------------------- */

static void remember_fd(struct pool *pool, int fd, struct pool_socket *s)
{
	size_t n = pool->nfds ? pool->nfds : 64;

	while (n <= (size_t)fd)
		n *= 2;
	if (n > pool->nfds) {
		pool->by_fd = xrealloc(pool->by_fd, n * sizeof(*pool->by_fd));
		memset(pool->by_fd + pool->nfds, 0, (n - pool->nfds) * sizeof(*pool->by_fd));
		pool->nfds = n;
	}
	pool->by_fd[fd] = s;
}

static void become_spare(struct pool *pool, struct pool_socket *s)
{
	s->state = SOCKET_SPARE;
	s->fd = -1;
	s->user = NULL;
	s->ready = false;
	s->local_port = 0; /* the next socket has another one */
	TAILQ_INSERT_TAIL(&pool->spare, s, entry);
	pool->nspare++;
}

/* It is no longer idle; what it is now is the caller's to say. */
static void leave_idle(struct pool *pool, struct pool_socket *s)
{
	TAILQ_REMOVE(&pool->idle, s, entry);
	pool->nidle--;
	pstat_add(pool->provider, PSTAT_SOCKETS_IDLE, -1);
	if (s->idle_ticket.state == TICKET_HELD)
		gate_leave(pool->idle_line, &s->idle_ticket);
	else
		pool->nuncounted--;
}

static void count_open(struct pool *pool, int by)
{
	pstat_add(pool->provider, PSTAT_SOCKETS_OPEN, by);
}

/* The provider sees the end at once; libcurl closes the descriptor later. The ticket stays held. */
static void shut(struct pool *pool, struct pool_socket *s)
{
	(void)shutdown(s->fd, SHUT_RDWR); /* it may be dead already */
	s->state = SOCKET_SHUT;
	s->user = NULL;
	pool->nshut++;
	count_open(pool, -1);
}

/* Give up a socket that can be spared. */
static void give_up(struct pool *pool, struct pool_socket *idle)
{
	leave_idle(pool, idle);
	shut(pool, idle);
	gate_leave(pool->line, &idle->ticket);
}

/* When the oldest that can be spared expires. */
static void arm(struct pool *pool)
{
	const struct pool_socket *oldest = TAILQ_FIRST(&pool->idle);
	uint64_t now = clock_ms(), due, wait;
	struct timeval in;

	if (!oldest || !can_spare(pool)) {
		event_del(&pool->timer);
		return;
	}
	due = oldest->idle_since_ms + pool->expiry_ms;
	wait = due > now ? due - now : 0;
	in = (struct timeval){ (time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000) };
	event_add(&pool->timer, &in);
}

static void trim_spare(struct pool *pool)
{
	while (pool->nspare && can_spare(pool)) {
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

	for (; s && pool->nuncounted > pool->in; s = before) {
		before = TAILQ_PREV(s, pool_sockets, entry);
		if (s->idle_ticket.state == TICKET_HELD)
			continue;
		if (gate_try(pool->idle_line, &s->idle_ticket))
			pool->nuncounted--;
		else
			give_up(pool, s);
	}
}

/* After each change: give back what nobody needs. */
static void balance(struct pool *pool)
{
	trim_spare(pool);
	trim_idle(pool);
	arm(pool);
}

static void seat(struct pool *pool, struct pool_user *user, struct pool_socket *s)
{
	s->state = SOCKET_BUSY;
	s->user = user;
	TAILQ_INSERT_TAIL(&user->sockets, s, entry);
	if (user->state == POOL_USER_IN)
		pool->in--;
	user->state = POOL_USER_SEATED;
}

static void let_in(struct pool *pool, struct pool_user *user)
{
	user->state = POOL_USER_IN;
	pool->in++;
}

/* Its user may have another one, so libcurl decides; else pool_leave() comes. */
static void lose_socket(struct pool *pool, struct pool_socket *s)
{
	TAILQ_REMOVE(&s->user->sockets, s, entry);
	if (TAILQ_EMPTY(&s->user->sockets))
		let_in(pool, s->user);
	s->user = NULL;
}

/*
 * It is closed. libcurl closes a socket whose connection never stood without asking us (a race of
 * addresses that was lost, a cancelled or late connect), so we also come here when we notice.
 */
static void closed(struct pool *pool, struct pool_socket *s)
{
	if (pool->by_fd[s->fd] == s)
		pool->by_fd[s->fd] = NULL;
	lose_socket(pool, s);
	pstat_add(pool->provider, PSTAT_SOCKETS_OPEN, -1);
	become_spare(pool, s);
}

/* ---- who waits --------------------------------------------------------------------- */

/* A waiter's turn has come; its ticket is dealt with. */
static void end_wait(struct pool *pool, struct pool_user *user)
{
	TAILQ_REMOVE(&pool->waiting, user, entry);
	user->waiting = NULL;
	pstat_observe(pool->provider, PSTAT_POOL_WAIT, clock_us() - user->since_us);
	let_in(pool, user);
	pool->granted(user);
}

/* gate_granted_fn */
static void on_granted(struct gate_ticket *ticket, void *arg)
{
	struct pool_socket *s = container_of(ticket, struct pool_socket, ticket);
	struct pool_user *user = s->user;

	become_spare(arg, s);
	end_wait(arg, user);
}

/* gate_granted_fn: nobody waits in the line of idle ones. */
static void no_wait(struct gate_ticket *ticket, void *arg)
{
	BUG_ON("no socket waits for being idle");
}

bool pool_enter(struct pool *pool, struct pool_user *user)
{
	struct pool_socket *s;
	struct gate_reading idle;

	BUG_ON(user->state != POOL_USER_OUT);
	TAILQ_INIT(&user->sockets);
	/* Never past somebody who waits: he is given what is idle in pool_poll(). */
	if (can_spare(pool) && gate_next(pool->line) == GATE_NEXT_NOBODY) {
		let_in(pool, user);
		return true;
	}
	s = xcalloc(1, sizeof(*s));
	s->fd = -1;
	s->user = user;
	if (gate_arrive(pool->line, &s->ticket)) {
		become_spare(pool, s);
		let_in(pool, user);
		return true;
	}
	user->waiting = s;
	user->state = POOL_USER_WAITING;
	user->since_us = clock_us();
	TAILQ_INSERT_TAIL(&pool->waiting, user, entry);
	pstat_add(pool->provider, PSTAT_POOL_WAITS, 1);
	/*
	 * Whoever holds idle ones gives one up. A socket that becomes idle after this reading
	 * is counted first, and then finds us in line.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	gate_read(pool->shm, SHM_GATE_IDLE(pool->provider), &idle);
	if (idle.used)
		shm_wake_all(pool->shm);
	return false;
}

/* ---- what is idle ------------------------------------------------------------------ */

static void on_expiry(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	uint64_t now = clock_ms();
	struct pool_socket *s;

	while ((s = TAILQ_FIRST(&pool->idle)) && can_spare(pool) &&
		s->idle_since_ms + pool->expiry_ms <= now)
		give_up(pool, s);
	arm(pool);
}

/* The first of our own waiters has this socket instead of the ticket it waits for. */
static bool hand_over(struct pool *pool, struct pool_socket *s)
{
	struct pool_user *first = TAILQ_FIRST(&pool->waiting);
	struct pool_socket *instead;

	if (!first)
		return false;
	if (gate_next(pool->line) != GATE_NEXT_OTHERS)
		s->overtakes = 0;
	else if (s->overtakes++ >= OVERTAKE_MAX)
		return false;
	instead = first->waiting;
	gate_leave(pool->line, &instead->ticket);
	free(instead);
	end_wait(pool, first);
	return true;
}

static void note_address(struct pool_socket *s)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = sizeof(address);
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;

	if (s->local_port || getsockname(s->fd, (struct sockaddr *)&address, &len) < 0)
		return;
	if (address.ss_family == AF_INET) {
		s->local_port = ntohs(v4->sin_port);
		inet_ntop(AF_INET, &v4->sin_addr, s->local_ip, sizeof(s->local_ip));
	} else if (address.ss_family == AF_INET6) {
		s->local_port = ntohs(v6->sin6_port);
		inet_ntop(AF_INET6, &v6->sin6_addr, s->local_ip, sizeof(s->local_ip));
	}
}

/* Its user has left. */
static void become_idle(struct pool *pool, struct pool_socket *s)
{
	note_address(s);
	s->state = SOCKET_IDLE;
	s->user = NULL;
	s->idle_since_ms = clock_ms();
	TAILQ_INSERT_TAIL(&pool->idle, s, entry);
	pool->nidle++;
	pool->nuncounted++;
	pstat_add(pool->provider, PSTAT_SOCKETS_IDLE, 1);
	hand_over(pool, s);
}

void pool_leave(struct pool *pool, struct pool_user *user)
{
	enum pool_user_state state = user->state;
	struct pool_socket *s;

	user->state = POOL_USER_OUT;
	switch (state) {
	case POOL_USER_OUT:
		return;
	case POOL_USER_WAITING:
		TAILQ_REMOVE(&pool->waiting, user, entry);
		gate_leave(pool->line, &user->waiting->ticket);
		free(user->waiting);
		user->waiting = NULL;
		break;
	case POOL_USER_IN:
		pool->in--;
		break;
	case POOL_USER_SEATED:
		while ((s = TAILQ_FIRST(&user->sockets)) && !s->ready)
			closed(pool, s);
		if (s) {
			TAILQ_REMOVE(&user->sockets, s, entry);
			become_idle(pool, s);
		} else {
			pool->in--; /* closed() let it in once more */
		}
		user->state = POOL_USER_OUT;
		break;
	}
	balance(pool);
}

bool pool_has_shut(const struct pool *pool)
{
	return pool->nshut > 0;
}

void pool_poll(struct pool *pool)
{
	struct gate_reading all;

	while (pool->nidle && can_spare(pool)) {
		struct pool_socket *oldest = TAILQ_FIRST(&pool->idle);

		gate_read(pool->shm, SHM_GATE_POOL(pool->provider), &all);
		if (gate_next(pool->line) == GATE_NEXT_NOBODY && all.used <= all.limit)
			break;
		if (!hand_over(pool, oldest))
			give_up(pool, oldest);
	}
	gate_poll(pool->line);
}

/* ---- what libcurl does ------------------------------------------------------------- */

/* A ticket for a socket that libcurl opens for this user; NULL: there is none. */
static struct pool_socket *ticket_for(struct pool *pool, const struct pool_user *user)
{
	struct pool_socket *s = TAILQ_FIRST(&pool->spare), *idle = TAILQ_FIRST(&pool->idle);

	if (user->state == POOL_USER_IN && s) {
		TAILQ_REMOVE(&pool->spare, s, entry);
		pool->nspare--;
		return s;
	}
	s = xcalloc(1, sizeof(*s));
	if (gate_try(pool->line, &s->ticket))
		return s;
	if (user->state != POOL_USER_IN || !idle) {
		free(s); /* a second address is not worth a second ticket */
		return NULL;
	}
	/* libcurl does not want the idle one that was meant for it. */
	leave_idle(pool, idle);
	shut(pool, idle);
	s->ticket = idle->ticket;
	return s;
}

int pool_socket_open(struct pool *pool, struct pool_user *user, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	struct pool_socket *s;

	BUG_ON(user->state != POOL_USER_IN && user->state != POOL_USER_SEATED);
	if (fd < 0)
		return -1;
	s = ticket_for(pool, user);
	if (!s) {
		close(fd);
		return -1;
	}
	s->fd = fd;
	if ((size_t)fd < pool->nfds && pool->by_fd[fd])
		closed(pool, pool->by_fd[fd]);
	remember_fd(pool, fd, s);
	seat(pool, user, s);
	pstat_add(pool->provider, PSTAT_SOCKETS_OPENED, 1);
	count_open(pool, 1);
	balance(pool);
	return fd;
}

int pool_socket_close(struct pool *pool, int fd)
{
	struct pool_socket *s = (size_t)fd < pool->nfds ? pool->by_fd[fd] : NULL;
	int result;

	BUG_ON(!s || s->fd != fd);
	pool->by_fd[fd] = NULL;
	result = close(fd); /* before its ticket goes on */
	if (s->state == SOCKET_SHUT) {
		pool->nshut--;
		free(s);
		return result;
	}
	if (s->state == SOCKET_IDLE) {
		leave_idle(pool, s);
		count_open(pool, -1);
		become_spare(pool, s);
	} else {
		closed(pool, s);
	}
	balance(pool);
	return result;
}

static bool has_address(const struct pool_socket *s, const char *local_ip, int local_port)
{
	return s->local_port == local_port && !strcmp(s->local_ip, local_ip);
}

/*
 * libcurl may reuse the socket of a transfer that has ended before it tells us of that end; to us
 * it is still BUSY.
 */
static struct pool_socket *busy_with_address(struct pool *pool, const char *local_ip, int local_port)
{
	for (size_t i = 0; i < pool->nfds; i++) {
		struct pool_socket *s = pool->by_fd[i];

		if (!s || s->state != SOCKET_BUSY)
			continue;
		note_address(s);
		if (has_address(s, local_ip, local_port))
			return s;
	}
	return NULL;
}

/* The race of addresses is decided. */
static bool keep_winner(
	struct pool *pool, struct pool_user *user, const char *local_ip, int local_port)
{
	struct pool_socket *s = TAILQ_FIRST(&user->sockets), *next, *winner = NULL;

	if (!TAILQ_NEXT(s, entry)) {
		s->ready = true;
		return true;
	}
	TAILQ_FOREACH(s, &user->sockets, entry) {
		note_address(s);
		if (has_address(s, local_ip, local_port))
			winner = s;
	}
	if (!winner)
		return false;
	winner->ready = true;
	TAILQ_FOREACH_SAFE(s, &user->sockets, entry, next)
		if (s != winner)
			closed(pool, s);
	balance(pool);
	return true;
}

bool pool_seat(struct pool *pool, struct pool_user *user, const char *local_ip, int local_port)
{
	struct pool_socket *s;

	if (user->state == POOL_USER_SEATED)
		return keep_winner(pool, user, local_ip, local_port);
	TAILQ_FOREACH(s, &pool->idle, entry)
		if (has_address(s, local_ip, local_port))
			break;
	if (s) {
		leave_idle(pool, s);
	} else {
		s = busy_with_address(pool, local_ip, local_port);
		if (!s)
			return false;
		lose_socket(pool, s);
	}
	seat(pool, user, s);
	pstat_add(pool->provider, PSTAT_SOCKETS_REUSED, 1);
	balance(pool);
	return true;
}

/* ---- open and close ---------------------------------------------------------------- */

struct pool *pool_open(struct event_base *base, struct shm *shm, unsigned provider,
	uint64_t keepalive_expiry_ms, pool_granted_fn granted)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));

	pool->shm = shm;
	pool->provider = provider;
	pool->expiry_ms = keepalive_expiry_ms;
	pool->granted = granted;
	pool->line = gate_line_open(shm, SHM_GATE_POOL(provider), on_granted, pool);
	pool->idle_line = gate_line_open(shm, SHM_GATE_IDLE(provider), no_wait, pool);
	evtimer_assign(&pool->timer, base, on_expiry, pool);
	TAILQ_INIT(&pool->spare);
	TAILQ_INIT(&pool->idle);
	TAILQ_INIT(&pool->waiting);
	return pool;
}

void pool_close(struct pool *pool)
{
	BUG_ON(!TAILQ_EMPTY(&pool->waiting));
	BUG_ON(pool->in);
	BUG_ON(pool->nidle);
	BUG_ON(pool->nspare);
	event_del(&pool->timer);
	gate_line_close(pool->line);
	gate_line_close(pool->idle_line);
	free(pool->by_fd);
	free(pool);
}
