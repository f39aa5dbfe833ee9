/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admit.h - who may come in: keys of clients (clients.keys), places for long-lived clients
 * (max_connections), and the bound of connections that have none (connection_queue_size).
 *
 * A place is a permit of gate SHM_GATE_PLACES; WebSockets and SSE streams share them. Who has a key
 * holds a permit of that key's own gate as well.
 */
#ifndef WORKER_ADMIT_ADMIT_H
#define WORKER_ADMIT_ADMIT_H

#include "base/base.h"
#include "base/defer.h"
#include "shm/endings.h"
#include "shm/gate.h"

struct admit;
struct conf;
struct event;
struct event_base;
struct exchange;
struct exchange_error;
struct shm;

enum admit_kind { ADMIT_WEBSOCKET, ADMIT_STREAM };

struct admit_place;
/*
 * The wait is over: place->ending is END_COMPLETE (the place is taken), or why not. Or END_LEASE_LOST: it was taken, and is
 * gone; end what it was for. Never inside another call.
 */
typedef void (*admit_decided_fn)(struct admit_place *place);

/* Embedded in what holds it; zero it before first use. */
struct admit_place {
	struct gate_ticket ticket;
	struct gate_ticket key_ticket; /* of the key's own limit */
	struct admit *admit;	       /* while it is held or waited for */
	struct exchange *x;
	enum admit_kind kind;
	enum ending ending;
	admit_decided_fn decided;
	struct event *timer; /* of the wait; NULL: none */
	TAILQ_ENTRY(admit_place) in_held;
	struct defer defer;
};

struct admit *admit_open(struct event_base *base, const struct conf *conf, struct shm *shm);
void admit_close(struct admit *admit);

/*
 * Find out who asks: sets x->client, and x->subprotocol where the key came as one. END_COMPLETE: he may
 * go on. END_NO_KEY or END_WRONG_KEY: refuse with that (logged, at most once a second).
 */
MUST_CHECK enum ending admit_identify(struct admit *admit, struct exchange *x);

/*
 * Take a place for x. ADMIT_IN: it is taken. ADMIT_LATER: the house is full, and
 * connection_queue_timeout says to wait: decided() will be called. ADMIT_NOT: place->ending says why
 * (counted, and logged at most once a second with the number of those passed over). Logs the seed's line
 * "WebSocket connection established. Active connections: 5/100" for WebSockets.
 */
enum admit_answer { ADMIT_IN, ADMIT_LATER, ADMIT_NOT };
MUST_CHECK enum admit_answer admit_enter(struct admit *admit, struct admit_place *place, struct exchange *x,
	enum admit_kind kind, admit_decided_fn decided);
/* Give the place back, or wait no longer; harmless if neither is the case. */
void admit_leave(struct admit_place *place);
/* How to tell a client that got none: fills in ending, limit and Retry-After. */
void admit_refusal(struct admit *admit, const struct admit_place *place, struct exchange_error *error);

/*
 * A connection was accepted, or one that was admitted is not any more. False: connection_queue_size of them
 * are pending. admit_settled(): it is admitted, or closed; harmless if the ticket is not held.
 */
bool admit_pending(struct admit *admit, struct gate_ticket *ticket) MUST_CHECK;
/*
 * The same, when there is none: stand in line for one, and wake the other workers, if any of them has an idle
 * connection. True: it waits, admit_pending_granted() may follow; admit_settled() ends the wait.
 */
bool admit_pending_wait(struct admit *admit, struct gate_ticket *ticket);
/* Called by admit_poll() for who waited; set once. */
void admit_on_pending(struct admit *admit, void (*granted)(struct gate_ticket *ticket));
/* True: another worker waits for a connection of ours to go. */
bool admit_pending_wanted(const struct admit *admit);
const char *admit_pending_limit(void);
void admit_settled(struct admit *admit, struct gate_ticket *ticket);

/*
 * Where a cluster leases places: hand out what has come free by itself, and take back what is too much, of those who came
 * last. To be called a few times in a tenth of a second.
 */
void admit_lapse(struct admit *admit);

/* Collects what the gates have for us; called at the end of each loop turn. */
void admit_poll(struct admit *admit);

#endif
