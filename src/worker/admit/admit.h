/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admit.h - who may come in: keys of clients (clients.keys), and places for long-lived
 * clients (max_connections).
 *
 * A place is a permit of gate SHM_GATE_PLACES; WebSockets and SSE streams share them.
 */
#ifndef WORKER_ADMIT_ADMIT_H
#define WORKER_ADMIT_ADMIT_H

#include "base/base.h"
#include "shm/endings.h"
#include "shm/gate.h"

struct admit;
struct conf;
struct exchange;
struct shm;

enum admit_kind { ADMIT_WEBSOCKET, ADMIT_STREAM };

/* Embedded in what holds it; zero it before first use. */
struct admit_place {
	struct gate_ticket ticket;
	enum admit_kind kind;
};

struct admit *admit_open(const struct conf *conf, struct shm *shm);
void admit_close(struct admit *admit);

/*
 * Find out who asks: sets x->client, and x->subprotocol where the key came as one. END_COMPLETE: he may
 * go on. END_NO_KEY or END_WRONG_KEY: refuse with that (logged, at most once a second).
 */
MUST_CHECK enum ending admit_identify(struct admit *admit, struct exchange *x);

/*
 * Take a place. False: the house is full (counted, and logged at most once a second with the number of
 * those passed over); answer END_HOUSE_FULL. Logs the seed's line "WebSocket connection established.
 * Active connections: 5/100" for WebSockets.
 */
bool admit_enter(struct admit *admit, struct admit_place *place, enum admit_kind kind) MUST_CHECK;
/* Give the place back; harmless if none is held. */
void admit_leave(struct admit *admit, struct admit_place *place);
/* Collects what the gate has for us; called at the end of each loop turn. */
void admit_poll(struct admit *admit);
/* Retry-After for who was turned away. */
uint64_t admit_retry_after_ms(const struct admit *admit);
/* Configuration path of the limit, for errors. */
const char *admit_limit_name(void);

#endif
