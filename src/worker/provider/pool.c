/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.c - the sockets of a pool and their users: see pool.h. A socket's record lives from the wait
 * for its ticket to the close of its descriptor:
 *
 *	ASKED	 a ticket is asked for (pool_line.c)
 *	SPARE	 has a ticket, no descriptor
 *	DIALED	 open, does not stand yet; of the user who makes the connection
 *	BUSY	 open, of one user; of several if it is shared (HTTP/2)
 *	IDLE	 open, of nobody; has a ticket of the idle ones, too, unless a user is IN who is about
 *		 to take it
 *	SHUT	 shut down: the provider has seen the end, the tickets are given back, and only libcurl
 *		 does not know yet. It finds out, and closes, when a later transfer looks for a socket.
 *
 * Rule: users that are IN are no more than there are places: one for each SPARE record, what IDLE
 * ones take, and room in BUSY ones. What would break it does not happen (pool_has_free), and a record
 * that loses its descriptor becomes SPARE; pool_balance() then gives back what is more than needed.
 * So a ticket passes from a dead socket to the one that replaces it. Only a shared socket that dies
 * leaves more users than places: they are STRAY, and nothing is promised to them.
 */
#include "base/base.h"
#include "worker/provider/pool_inside.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <event2/event.h>
#include <sys/socket.h>

bool pool_must_dial(const struct pool_user *user)
{
	return user->dial;
}

struct pool_user *pool_companion(const struct pool_user *user, const struct pool_user *after)
{
	struct pool_user *next;

	if (user->state != POOL_USER_SEATED)
		return NULL;
	next = after ? TAILQ_NEXT(after, entry) : TAILQ_FIRST(&user->socket->users);
	return next == user ? TAILQ_NEXT(next, entry) : next;
}

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

/* ---- who has which socket ------------------------------------------------------------ */

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

static bool has_address(struct pool_socket *s, const char *local_ip, int local_port)
{
	note_address(s);
	return s->local_port == local_port && !strcmp(s->local_ip, local_ip);
}

/* If libcurl sends that request once more, it makes a connection for it (transfer.c). */
static void seat(struct pool *pool, struct pool_user *user, struct pool_socket *s)
{
	if (s->state != SOCKET_BUSY) {
		s->state = SOCKET_BUSY;
		s->dialer = NULL;
		TAILQ_INSERT_TAIL(&pool->busy, s, entry);
	}
	pool_user_to(pool, user, POOL_USER_SEATED);
	user->dial = pool->most > 1;
	TAILQ_INSERT_TAIL(&s->users, user, entry);
	s->nusers++;
	user->socket = s;
	pool_refresh_offer(pool, s);
}

/* What the user is now is the caller's to say; the socket may be left without any. */
static void unseat(struct pool *pool, struct pool_user *user)
{
	struct pool_socket *s = user->socket;

	TAILQ_REMOVE(&s->users, user, entry);
	s->nusers--;
	user->socket = NULL;
	pool_refresh_offer(pool, s);
}

static void leave_socket(struct pool *pool, struct pool_user *user)
{
	struct pool_socket *s = user->socket;

	unseat(pool, user);
	if (!s->nusers)
		pool_become_idle(pool, s);
}

/* A sole user may have another socket, libcurl decides; else pool_leave() comes. */
static void lose_users(struct pool *pool, struct pool_socket *s)
{
	struct pool_user *user;
	bool sole = s->nusers == 1;

	while ((user = TAILQ_FIRST(&s->users))) {
		unseat(pool, user);
		pool_user_to(pool, user, sole ? POOL_USER_IN : POOL_USER_STRAY);
	}
}

/*
 * It is closed. libcurl closes a socket whose connection never stood without asking us (a race of
 * addresses that was lost, a cancelled or late connect), so we also come here when we notice.
 */
static void closed(struct pool *pool, struct pool_socket *s)
{
	struct pool_user *dialer = s->dialer;

	if (pool->by_fd[s->fd] == s)
		pool->by_fd[s->fd] = NULL;
	pool_count_gone(pool, s);
	if (s->state == SOCKET_DIALED) {
		TAILQ_REMOVE(&dialer->dialed, s, entry);
		if (TAILQ_EMPTY(&dialer->dialed))
			pool_user_to(pool, dialer, POOL_USER_IN);
	} else if (s->state == SOCKET_BUSY) {
		lose_users(pool, s);
		pool_leave_busy(pool, s);
	} else {
		pool_leave_idle(pool, s);
	}
	pool_become_spare(pool, s);
}

void pool_leave(struct pool *pool, struct pool_user *user)
{
	struct pool_socket *s;

	switch (user->state) {
	case POOL_USER_OUT:
		return;
	case POOL_USER_WAITING:
		pool_line_leave(pool, user);
		break;
	case POOL_USER_DIALING:
		while ((s = TAILQ_FIRST(&user->dialed)))
			closed(pool, s);
		break;
	case POOL_USER_SEATED:
		s = user->socket;
		unseat(pool, user);
		pool_user_to(pool, user, POOL_USER_OUT);
		if (!s->nusers)
			pool_become_idle(pool, s);
		break;
	case POOL_USER_IN:
	case POOL_USER_STRAY:
		break;
	}
	pool_user_to(pool, user, POOL_USER_OUT);
	user->dial = false;
	pool_balance(pool);
}

void pool_doom(struct pool *pool, struct pool_user *user)
{
	if (user->state != POOL_USER_SEATED)
		return;
	user->socket->most = 0;
	pool_refresh_offer(pool, user->socket);
}

bool pool_has_shut(const struct pool *pool)
{
	return pool->nshut > 0;
}

void pool_poll(struct pool *pool)
{
	pool_yield(pool);
	gate_poll(pool->line);
	pool_line_serve(pool);
	pool_line_settle(pool);
	pool->turn++;
}

/* ---- what libcurl does ------------------------------------------------------------- */

/* A ticket for a socket that libcurl opens for this user; NULL: there is none. */
static struct pool_socket *ticket_for(struct pool *pool, const struct pool_user *user)
{
	struct pool_socket *s = TAILQ_FIRST(&pool->spare), *idle = TAILQ_FIRST(&pool->idle);

	if (user->state == POOL_USER_IN && (user->dial ? s != NULL : pool->nspare > pool->in_dial)) {
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
	pool_leave_idle(pool, idle);
	pool_shut(pool, idle);
	s->ticket = idle->ticket;
	return s;
}

/* A user was to join a socket, but libcurl sees no room in any. */
static void learn_room(struct pool *pool)
{
	struct pool_socket *s;

	TAILQ_FOREACH(s, &pool->busy, entry) {
		if (s->most > s->nusers)
			s->most = s->nusers;
		pool_refresh_offer(pool, s);
	}
}

static void dialed(struct pool *pool, struct pool_user *user, struct pool_socket *s, int fd)
{
	s->state = SOCKET_DIALED;
	s->fd = fd;
	s->dialer = user;
	s->most = pool->most;
	s->overtakes = 0;
	TAILQ_INIT(&s->users);
	if ((size_t)fd < pool->nfds && pool->by_fd[fd])
		closed(pool, pool->by_fd[fd]);
	remember_fd(pool, fd, s);
	TAILQ_INSERT_TAIL(&user->dialed, s, entry);
	if (!pool_is_dialer(user)) {
		pool_user_to(pool, user, POOL_USER_STRAY);
		user->dial = pool->most > 1;
	}
	pool_user_to(pool, user, POOL_USER_DIALING);
	s->turn = user->turn;
	pstat_add(pool->provider, PSTAT_SOCKETS_OPENED, 1);
	pstat_add(pool->provider, PSTAT_SOCKETS_OPEN, 1);
}

int pool_socket_open(struct pool *pool, struct pool_user *user, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);
	struct pool_socket *s;

	BUG_ON(user->state == POOL_USER_OUT || user->state == POOL_USER_WAITING);
	if (fd < 0)
		return -1;
	if (user->state == POOL_USER_SEATED) {
		leave_socket(pool, user); /* it was shared, and no good any more */
		pool_user_to(pool, user, POOL_USER_STRAY);
	} else if (user->state == POOL_USER_IN && !user->dial && pool->most > 1) {
		learn_room(pool);
	}
	s = ticket_for(pool, user);
	if (s) {
		dialed(pool, user, s, fd);
	} else {
		close(fd);
		fd = -1;
	}
	pool_balance(pool);
	return fd;
}

int pool_socket_close(struct pool *pool, int fd)
{
	struct pool_socket *s = (size_t)fd < pool->nfds ? pool->by_fd[fd] : NULL;
	int result;

	BUG_ON(!s || s->fd != fd);
	result = close(fd); /* before its ticket goes on */
	if (s->state == SOCKET_SHUT) {
		pool->by_fd[fd] = NULL;
		pool->nshut--;
		free(s);
		return result;
	}
	closed(pool, s);
	pool_balance(pool);
	return result;
}

/* The race of addresses is decided. */
static void win(struct pool *pool, struct pool_user *user, struct pool_socket *s)
{
	struct pool_socket *other;

	TAILQ_REMOVE(&user->dialed, s, entry);
	while ((other = TAILQ_FIRST(&user->dialed)))
		closed(pool, other);
}

static struct pool_socket *winner(
	struct pool *pool, struct pool_user *user, const char *local_ip, int local_port)
{
	struct pool_socket *s = TAILQ_FIRST(&user->dialed);

	if (TAILQ_NEXT(s, entry))
		TAILQ_FOREACH(s, &user->dialed, entry)
			if (has_address(s, local_ip, local_port))
				break;
	if (s)
		win(pool, user, s);
	return s;
}

void pool_seat_on(struct pool *pool, struct pool_user *user, int fd, void *holder)
{
	struct pool_socket *s = pool->by_fd[fd];

	BUG_ON(user->state != POOL_USER_DIALING || !s || s->dialer != user);
	win(pool, user, s);
	s->holder = holder;
	seat(pool, user, s);
	pool_balance(pool);
}

void *pool_take_idle(struct pool *pool, struct pool_user *user)
{
	struct pool_socket *s = TAILQ_LAST(&pool->idle, pool_sockets); /* the warmest */

	BUG_ON(user->state != POOL_USER_IN);
	if (!s)
		return NULL;
	pool_leave_idle(pool, s);
	seat(pool, user, s);
	pstat_add(pool->provider, PSTAT_SOCKETS_REUSED, 1);
	pool_balance(pool);
	return s->holder;
}

static struct pool_socket *with_address(
	struct pool_sockets *list, const char *local_ip, int local_port)
{
	struct pool_socket *s;

	TAILQ_FOREACH(s, list, entry)
		if (has_address(s, local_ip, local_port))
			break;
	return s;
}

/* An open socket that this user may have; its state is ready for seat(). */
static struct pool_socket *open_one(struct pool *pool, const char *local_ip, int local_port)
{
	struct pool_socket *s = with_address(&pool->idle, local_ip, local_port);

	if (s) {
		pool_leave_idle(pool, s);
		return s;
	}
	s = with_address(&pool->busy, local_ip, local_port);
	/*
	 * libcurl may reuse the socket of a transfer that has ended before it tells us of that end. Where
	 * there may be HTTP/2 we cannot tell that from its other mistake: it takes a connection
	 * that does not stand yet for a shared one.
	 */
	if (s && pool->most == 1)
		lose_users(pool, s);
	return s && (s->shared || pool->most == 1) ? s : NULL;
}

bool pool_seat(struct pool *pool, struct pool_user *user, const char *local_ip, int local_port,
	bool shared)
{
	struct pool_socket *s;

	if (user->state == POOL_USER_DIALING) {
		s = winner(pool, user, local_ip, local_port);
		if (!s)
			return false;
		pool_learn_manners(pool, s, shared);
	} else {
		if (user->state == POOL_USER_SEATED) {
			leave_socket(pool, user);
			pool_user_to(pool, user, POOL_USER_STRAY);
		}
		s = open_one(pool, local_ip, local_port);
		if (!s) {
			learn_room(pool);
			return false;
		}
		pstat_add(pool->provider, PSTAT_SOCKETS_REUSED, 1);
	}
	seat(pool, user, s);
	pool_balance(pool);
	return true;
}

/* ---- open and close ---------------------------------------------------------------- */

/* gate_granted_fn: nobody waits in the line of idle ones. */
static void no_wait(struct gate_ticket *ticket, void *arg)
{
	BUG_ON("no socket waits for being idle");
}

struct pool *pool_open(struct event_base *base, struct shm *shm, unsigned provider,
	uint64_t keepalive_expiry_ms, unsigned most_streams, pool_granted_fn granted)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));

	pool->shm = shm;
	pool->provider = provider;
	pool->expiry_ms = keepalive_expiry_ms;
	pool->most = most_streams;
	pool->serial = most_streams == 1;
	pool->granted = granted;
	pool->line = gate_line_open(shm, SHM_GATE_POOL(provider), pool_line_granted, pool);
	pool->idle_line = gate_line_open(shm, SHM_GATE_IDLE(provider), no_wait, pool);
	evtimer_assign(&pool->timer, base, pool_expire, pool);
	TAILQ_INIT(&pool->asked);
	TAILQ_INIT(&pool->spare);
	TAILQ_INIT(&pool->busy);
	TAILQ_INIT(&pool->idle);
	TAILQ_INIT(&pool->waiting);
	TAILQ_INIT(&pool->dialers);
	pool->dialing_since_turn = ~0ull;
	return pool;
}

void pool_close(struct pool *pool)
{
	BUG_ON(!TAILQ_EMPTY(&pool->waiting));
	BUG_ON(pool->in);
	BUG_ON(pool->nidle);
	BUG_ON(pool->nspare);
	BUG_ON(!TAILQ_EMPTY(&pool->busy));
	event_del(&pool->timer);
	gate_line_close(pool->line);
	gate_line_close(pool->idle_line);
	free(pool->by_fd);
	free(pool);
}
