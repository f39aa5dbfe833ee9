/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * circuit.h - a circuit breaker per provider, the same one for all workers.
 *
 * Closed: everything passes; 5 failures in a row, or half of at least 20 answers within the last
 * 10 s (two buckets of 5 s, so 5 to 10 s), open it. Open: everything is refused for 2 s. Then, half
 * open, exactly one request of all workers is the probe: if it goes well the circuit closes, if
 * not it is open again for twice as long, 60 s at most. A probe is a lease of 30 s: one whose worker
 * died is replaced by the next who asks. All of this is one word that changes by compare-and-swap.
 */
#ifndef SHM_CIRCUIT_H
#define SHM_CIRCUIT_H

#include "base/base.h"

struct shm;

enum circuit_state { CIRCUIT_CLOSED, CIRCUIT_OPEN, CIRCUIT_HALF_OPEN };
enum circuit_verdict { CIRCUIT_PASS, CIRCUIT_PROBE, CIRCUIT_REFUSED };

/*
 * May a request go out? PROBE: it may, and its end must be told with circuit_report(probe = true) or
 * circuit_forget_probe(). REFUSED: *retry_at_ms_r says when to ask again (else 0).
 */
enum circuit_verdict circuit_ask(struct shm *shm, unsigned provider, uint64_t now_ms,
	uint64_t *retry_at_ms_r) MUST_CHECK;

/*
 * How an attempt ended. Unless closed, the circuit heeds probes only: others began before it
 * opened. A probe that outlived its lease counts like one that did not. True: this opened the circuit,
 * or closed it; circuit_read() tells which.
 */
bool circuit_report(struct shm *shm, unsigned provider, bool probe, bool ok, uint64_t now_ms);

/* The probe was cancelled and says nothing about the provider: the next who asks is the probe. */
void circuit_forget_probe(struct shm *shm, unsigned provider, uint64_t now_ms);

struct circuit_reading {
	enum circuit_state state;
	unsigned failures;	  /* in a row, 255 at most */
	uint64_t since_ms;	  /* when it came into this state; 0: always was */
	uint64_t retry_at_ms;	  /* open: when a probe may go; half open: when its lease ends; else 0 */
	uint64_t opened;	  /* how often it opened, failed probes included */
	uint64_t recent;	  /* answers within the last 5 to 10 s, */
	uint64_t recent_failures; /* and how many of them were failures */
};
void circuit_read(const struct shm *shm, unsigned provider, uint64_t now_ms, struct circuit_reading *r);

#endif
