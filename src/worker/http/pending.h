/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pending.h - the bound of connections that are not admitted (connection_queue_size).
 *
 * A connection holds a permit of the gate of pending ones from its acceptance on, but for the time in
 * which an exchange of it has one of max_connections. When there is no permit, the oldest idle connection is
 * closed to make room: one of this worker, else one of another. When none is idle the connection is over
 * the bound: it may still ask for what is always answered (/health); any other request gets 503, and the
 * connection is closed. Of those over the bound a worker keeps few; the oldest goes for the next.
 */
#ifndef WORKER_HTTP_PENDING_H
#define WORKER_HTTP_PENDING_H

#include "base/base.h"
#include "shm/gate.h"

struct conn;
struct exchange;
struct http;

/* A connection's part in it; see conn.h. */
struct pending {
	struct gate_ticket ticket; /* HELD: it is one of the pending, WAITING: another worker may make room */
	unsigned admitted;	   /* exchanges of it with one of max_connections */
	bool over;		   /* beyond the bound, and not admitted */
	bool evicted;		   /* has to go, at the end of this turn */
	bool idle;		   /* in http->idle */
	TAILQ_ENTRY(conn) entry;   /* of http->idle or http->overs */
};

/* It was accepted, or its last admitted exchange ended: count it, make room, or put it over the bound. */
void pending_begin(struct conn *c);
/* It goes. */
void pending_end(struct conn *c);
/* Nothing of it is under way, and it has been of use; or no longer. */
void pending_idle(struct conn *c, bool idle);
/* True: nothing of it may be looked at yet, as another worker may be making room. */
bool pending_wait(struct conn *c);
/* A whole head is here, of a request with a body. True: it must be refused, END_PENDING_FULL. */
bool pending_no_body(struct conn *c);
/* x was routed. True: it was refused, and its app is not to be started. */
bool pending_refuse(struct conn *c, struct exchange *x);
/* It was evicted: say so if there is anybody to say it to. Its phase is CONN_DEAD then. */
void pending_carry_out(struct conn *c);
/* exchange_port's admitted(), of an exchange of this connection. */
void pending_admitted(struct conn *c, bool yes);
/* A permit was granted to a ticket that waited. */
void pending_granted(struct gate_ticket *ticket);
/* At the end of each turn: another worker may need an idle one of ours. */
void pending_poll(struct http *http);

#endif
