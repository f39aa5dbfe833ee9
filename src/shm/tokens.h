/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tokens.h - no more than N tokens in any window of W ms (tokens_per_minute), over all workers.
 * `which`: SHM_TOKENS_PROVIDER or SHM_TOKENS_CLIENT (segment.h).
 *
 * Time is cut into pieces of W / 60; the segment counts what was promised for each piece, the last
 * 61 and the next 64 of them. (61 pieces cover each W ms, wherever they begin.) A request goes to the
 * first piece where no 61 pieces in a row hold more than N with it. It is written there first,
 * then checked, and taken back if somebody else was faster: of two that do not fit together at
 * least one sees the other. What a dead worker promised itself is lost for one window.
 *
 * Estimates are too high as a rule, so tokens come free while requests wait: those move forward
 * (tokens_advance()), and who comes later does not pass them.
 */
#ifndef SHM_TOKENS_H
#define SHM_TOKENS_H

#include "base/base.h"

struct shm;

struct tokens_promise {
	uint64_t at_ms;	   /* clock_ms(); the request may go out from then on, */
	uint64_t until_ms; /* and before this; who is later returns it and takes another */
	uint64_t tokens; /* what is written for it; 0: nothing */
	uint32_t piece;
};

/*
 * Promise `tokens` (an estimate). False: it would be later than latest_ms, or than 64 pieces from
 * now; nothing was taken, and at_ms says when it would have been (or when to ask again).
 * A request of more than N is let through when the window is empty otherwise; one of more than what is leased of N
 * is not. No limit: at_ms = now_ms.
 */
bool tokens_take(struct shm *shm, unsigned which, uint64_t now_ms, uint64_t latest_ms,
	uint64_t tokens, struct tokens_promise *promise) MUST_CHECK;

/*
 * It goes out now. False: a lease (shm/lease.h) has fallen meanwhile, and it is too much: return it and take
 * another.
 */
bool tokens_hold(struct shm *shm, unsigned which, const struct tokens_promise *promise) MUST_CHECK;

/*
 * It waits for at_ms: is there an earlier time by now? True: at_ms and until_ms are earlier. To be
 * asked a few times a second.
 */
bool tokens_advance(struct shm *shm, unsigned which, uint64_t now_ms, struct tokens_promise *promise);

/* It went out, and these were the tokens it really took. May be called again; the last call counts. */
void tokens_settle(struct shm *shm, unsigned which, struct tokens_promise *promise, uint64_t actual);

/* It will not go out. Harmless when there is nothing to return. */
void tokens_return(struct shm *shm, unsigned which, struct tokens_promise *promise);

/*
 * A new limit (0: none, at most 2^32 - 1), in force at once for all workers. A window other than the
 * last one begins empty. Master only.
 */
void tokens_set_limit(struct shm *shm, unsigned which, uint64_t limit, uint32_t window_ms);

struct tokens_reading {
	uint64_t limit;
	uint64_t window_ms;
	uint64_t used; /* within the window that ends now, or promised */
	uint64_t fullest; /* the most of these that one window holds: that which ends now, or one to come */
};
void tokens_read(const struct shm *shm, unsigned which, uint64_t now_ms, struct tokens_reading *r);

#endif
