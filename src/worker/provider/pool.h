/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h - the sockets to one provider: at most max_connections over all workers, counted
 * from open to close, and at most max_keepalive of them idle.
 *
 * Each socket has a ticket of the gate SHM_GATE_POOL; each idle one has a ticket of
 * SHM_GATE_IDLE as well. libcurl opens, reuses and closes as it likes, but only for a user that
 * was let in here before: a user is whoever wants to send one request, a transfer. With HTTP/1.1
 * it has a socket of its own, and there always is a ticket for what libcurl does: the pool keeps at
 * least as many idle sockets and spare tickets (held, without a socket) as there are users who were
 * let in and have no socket yet. With HTTP/2 several users share a socket, as many as the pool
 * says (most_streams), and a user is let in to make a connection, or to join one that has room.
 * When libcurl finds that room gone (GOAWAY, or the provider takes fewer streams) it needs a
 * ticket like anybody else; where there is none, the user leaves and enters again.
 *
 * A worker that is short of a socket stands in the gate's line and wakes the others; who holds
 * idle sockets that nobody of its own waits for gives them up in pool_poll().
 */
#ifndef WORKER_PROVIDER_POOL_H
#define WORKER_PROVIDER_POOL_H

#include "base/base.h"

struct event_base;
struct pool;
struct pool_socket;
struct shm;

enum pool_user_state {
	POOL_USER_OUT,	   /* neither waits nor was let in */
	POOL_USER_WAITING, /* for a ticket, or for room in a socket of ours */
	POOL_USER_IN,	   /* may open or join a socket; has none yet, or none any more */
	POOL_USER_DIALING, /* connects; has two sockets while libcurl tries two addresses */
	POOL_USER_SEATED,  /* its request is on a socket */
	POOL_USER_STRAY	   /* the socket that it shared is gone, and no other is promised */
};

TAILQ_HEAD(pool_sockets, pool_socket);

/* Embedded in a call; zero it before first use. */
struct pool_user {
	enum pool_user_state state;
	bool dial;		    /* IN: to make a connection of HTTP/2; later: it made one */
	struct pool_sockets dialed; /* DIALING */
	struct pool_socket *socket; /* SEATED */
	uint64_t since_us;	    /* it waits, or connects: since when */
	uint64_t turn;		    /* of the loop, in which it began to connect */
	TAILQ_ENTRY(pool_user) entry; /* in the line, among those who connect, or the users of its socket */
};

/* A user that waited was let in. Called by any function below: defer what follows. */
typedef void (*pool_granted_fn)(struct pool_user *user);

/*
 * keepalive_expiry_ms is how long a socket stays idle; 0: it does not. most_streams is how many
 * users may share a socket of HTTP/2; 1: there is HTTP/1.1 only.
 */
struct pool *pool_open(struct event_base *base, struct shm *shm, unsigned provider,
	uint64_t keepalive_expiry_ms, unsigned most_streams, pool_granted_fn granted);
/* No user may be left, and libcurl has closed all its sockets. */
void pool_close(struct pool *pool);

/* True: it is in, start the transfer. False: it waits for granted(). */
bool pool_enter(struct pool *pool, struct pool_user *user) MUST_CHECK;
/*
 * It gave up waiting, or its transfer has left libcurl: a socket that is still open then is idle.
 * Harmless for one that is out.
 */
void pool_leave(struct pool *pool, struct pool_user *user);

/* The connection that it shares is no good: nobody else joins it, and it goes with its last user. */
void pool_doom(struct pool *pool, struct pool_user *user);

/* libcurl opens a socket for this user; -1: it must not, or cannot. */
int pool_socket_open(struct pool *pool, struct pool_user *user, int family, int type, int protocol);
/* libcurl closes this socket; 0 or -1 with errno, as close(). */
int pool_socket_close(struct pool *pool, int fd);
/*
 * The user's request is about to go out on the socket with this local address, which speaks HTTP/2
 * (shared) or not. False: it must not, for the pool knows none such that could take it.
 */
bool pool_seat(struct pool *pool, struct pool_user *user, const char *local_ip, int local_port,
	bool shared) MUST_CHECK;
/*
 * For who reads and writes the sockets himself (wire.h), libcurl or not: a user that was let in is seated on the
 * socket that it has opened, for holder; or on an idle one, whose holder is returned (NULL: there is none).
 */
void pool_seat_on(struct pool *pool, struct pool_user *user, int fd, void *holder);
void *pool_take_idle(struct pool *pool, struct pool_user *user) MUST_CHECK;
/* Transfers that have to connect do so even where libcurl sees room in a connection. */
bool pool_must_dial(const struct pool_user *user);
/* The next of those who share the user's socket with it, after that one (NULL: the first); or NULL. */
struct pool_user *pool_companion(const struct pool_user *user, const struct pool_user *after);

/* True while libcurl has sockets open that were shut down: it should look at them. */
bool pool_has_shut(const struct pool *pool);

/* At the end of each turn of the loop: let in who was granted a ticket, give up what others need. */
void pool_poll(struct pool *pool);

#endif
