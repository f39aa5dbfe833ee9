/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_inside.h - what the files of a pool share: pool.c (the sockets and who uses them), pool_sharing.c (how
 * many more they have room for), pool_idle.c (those that nobody uses), pool_line.c (who waits).
 */
#ifndef WORKER_PROVIDER_POOL_INSIDE_H
#define WORKER_PROVIDER_POOL_INSIDE_H

#include "base/base.h"
#include "shm/gate.h"
#include "worker/provider/pool.h"

#include <arpa/inet.h>
#include <event2/event_struct.h>

enum socket_state { SOCKET_ASKED, SOCKET_SPARE, SOCKET_DIALED, SOCKET_BUSY, SOCKET_IDLE, SOCKET_SHUT };

struct pool_socket {
	enum socket_state state;
	int fd;
	void *holder; /* of pool_seat_on() */
	struct pool_user *dialer;	       /* DIALED */
	TAILQ_HEAD(pool_users, pool_user) users; /* BUSY */
	unsigned nusers;
	uint64_t turn; /* in which its user began to connect */
	bool shared;	/* HTTP/2 */
	bool serial;	/* HTTP/1.1, where there may be HTTP/2 */
	unsigned most;	/* users at once */
	unsigned offer; /* how many could join now: part of its pool's room or idle_room */
	unsigned later; /* how many will, when those who connect are done */
	struct gate_ticket ticket, idle_ticket;
	uint64_t idle_since_ms;
	unsigned overtakes;
	char local_ip[INET6_ADDRSTRLEN];
	int local_port;			 /* 0: not known yet */
	TAILQ_ENTRY(pool_socket) entry;	 /* in asked, spare, its dialer's, busy or idle */
};

struct pool {
	struct shm *shm;
	unsigned provider;
	unsigned most; /* users of a socket of HTTP/2; 1: there are none such */
	/*
	 * What libcurl thinks of sharing holds for all connections alike, and changes with each that is made
	 * and each answer. After HTTP/1.1 it shares none; after HTTP/2 also those of HTTP/1.1 that are in
	 * use. So where there are both (mixed), nothing is joined, also no idle one.
	 */
	bool serial; /* the last connection that was made speaks HTTP/1.1 */
	bool mixed;
	bool seen_http2;	   /* since there was HTTP/1.1 only */
	unsigned nserial, nhttp2; /* sockets that are open, where there may be HTTP/2 */
	uint64_t expiry_ms;
	pool_granted_fn granted;
	struct gate_line *line, *idle_line;
	struct event timer;   /* the oldest idle socket expires */
	unsigned in, in_dial; /* users that are IN; and of these those who make a connection */
	unsigned ndialers;    /* users that make a connection of HTTP/2, it is hoped */
	uint64_t turn;	      /* counts turns of the loop */
	/*
	 * When the first of these began; ~0: there are none. libcurl takes the oldest connection for one
	 * that can be shared, even if it does not stand yet; so no younger one is joined.
	 */
	uint64_t dialing_since_turn;
	unsigned room;	      /* in BUSY sockets */
	unsigned idle_room;   /* in IDLE ones */
	unsigned later;	      /* in both, soon */
	unsigned nasked, nspare, nidle, nshut, nwaiting;
	unsigned nuncounted; /* idle without a ticket of the idle ones */
	unsigned overtakes;  /* by users who joined a BUSY socket */
	struct pool_sockets asked, spare, busy, idle; /* idle: the oldest first */
	struct pool_users waiting, dialers;	      /* the first came first */
	struct pool_socket **by_fd;
	size_t nfds;
};

/* ---- pool_sharing.c ---- */

/* It makes a connection of HTTP/2, it is hoped. */
bool pool_is_dialer(const struct pool_user *user);
void pool_user_to(struct pool *pool, struct pool_user *user, enum pool_user_state state);
/* Free places: more than users who were let in. */
bool pool_has_free(const struct pool *pool, unsigned places);
/* What the socket offers has changed with its state or its users. */
void pool_refresh_offer(struct pool *pool, struct pool_socket *s);
/* It offers nothing any more; before its state changes. */
void pool_withdraw_offer(struct pool *pool, struct pool_socket *s);
/* A connection stands, and speaks HTTP/2 (shared) or not. */
void pool_learn_manners(struct pool *pool, struct pool_socket *s, bool shared);
/* It is open no more. */
void pool_count_gone(struct pool *pool, struct pool_socket *s);

/* ---- pool_idle.c ---- */

/* It has its ticket, and no descriptor (any more). */
void pool_become_spare(struct pool *pool, struct pool_socket *s);
/* Its last user has left. */
void pool_become_idle(struct pool *pool, struct pool_socket *s);
/* It is no longer idle, or busy; what it is now is the caller's to say. */
void pool_leave_idle(struct pool *pool, struct pool_socket *s);
void pool_leave_busy(struct pool *pool, struct pool_socket *s);
/* The provider sees the end at once; libcurl closes the descriptor later. The ticket stays held. */
void pool_shut(struct pool *pool, struct pool_socket *s);
/* Idle ones go to whoever waits, of our own or at other workers, or beyond a limit that was lowered. */
void pool_yield(struct pool *pool);
/* The oldest idle one has expired (event_callback_fn; arg: the pool). */
void pool_expire(evutil_socket_t fd, short what, void *arg);
/* After each change: give back what nobody needs, let in who may. */
void pool_balance(struct pool *pool);

/* ---- pool_line.c ---- */

/* gate_granted_fn */
void pool_line_granted(struct gate_ticket *ticket, void *arg);
/* Our own waiters take what s, an idle one, offers; false: nobody did. */
bool pool_line_hand_over(struct pool *pool, const struct pool_socket *s, unsigned *overtakes);
/* Our own waiters take what there is room for in BUSY sockets. */
void pool_line_serve(struct pool *pool);
/* Ask for as many tickets as our own waiters need, and no more. */
void pool_line_settle(struct pool *pool);
/* It does not wait any more. */
void pool_line_leave(struct pool *pool, struct pool_user *user);

#endif
