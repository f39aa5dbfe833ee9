/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * learn.h - how many requests at once a provider really bears (adaptive: true).
 *
 * Additive increase, multiplicative decrease, with a memory. While nothing was throttled the
 * configured limit holds. A 429 cuts the learnt limit by a tenth (by a quarter when the last cut
 * did not help), at most once per second or Retry-After, and the limit at which it came is
 * remembered as the ceiling. Answers that come while the limit is used up raise it by 1 per round (a
 * round: as many answers as the limit) up to just below the ceiling, and from there by 1 per 64
 * rounds: so the price of asking again is bounded as a share of all requests. Who
 * comes past the ceiling without a 429 forgets it. Cf. CUBIC (RFC 9438), which waits near its W_max.
 *
 * The learnt limit is one of SHM_GATE_PROVIDER(p), besides the configured one; the lower one holds.
 */
#ifndef SHM_LEARN_H
#define SHM_LEARN_H

#include "base/base.h"

struct shm;

/* An attempt was answered (not throttled); in_flight: the gate's permits in use, its own included. */
void learn_ok(struct shm *shm, unsigned provider, uint64_t now_ms, uint64_t in_flight);
/* An attempt was throttled (429); to be called while it holds its permit. retry_after_ms: 0 if not said. */
void learn_throttled(struct shm *shm, unsigned provider, uint64_t now_ms, uint64_t retry_after_ms);
/* Back to the configured limit (adaptive was turned off). Dispatches. */
void learn_forget(struct shm *shm, unsigned provider);

struct learn_reading {
	uint64_t limit;	  /* the one that holds now: between 1 and concurrent_requests */
	uint64_t ceiling; /* where the last 429 came; 0: not known */
	uint64_t cuts;	  /* how often it was lowered */
	bool learnt;	  /* false: nothing was ever throttled */
};
void learn_read(const struct shm *shm, unsigned provider, struct learn_reading *r);

#endif
