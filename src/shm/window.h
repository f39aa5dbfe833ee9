/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * window.h - at most N requests in any window of W ms (requests_per_minute).
 *
 * A ring of the last N send times in the segment. Whoever wants to send takes the
 * ring's next slot: his appointment is max(now, that slot's time + W + S), and it may
 * be kept up to S late (S: W / 100, at least 100 ms but no more than W / 10). So no W ms
 * ever hold more than N; the order is that of asking; it costs O(1), and it is one
 * compare-and-swap on one word, so a dead worker leaves nothing half done: an
 * appointment that it did not keep is lost for one window and heals by itself.
 */
#ifndef SHM_WINDOW_H
#define SHM_WINDOW_H

#include "base/base.h"

struct shm;

struct appointment {
	uint64_t at_ms; /* CLOCK_MONOTONIC; not before this the request may go out */
	uint64_t word;	/* what the ring says of it */
	uint32_t slot;
};

/*
 * Take the next appointment. False: it would be later than latest_ms, and nothing
 * was taken (a->at_ms says when it would have been, for Retry-After).
 * A window of limit 0 is no limit: at_ms = now_ms.
 */
bool window_take(struct shm *shm, unsigned window, uint64_t now_ms, uint64_t latest_ms,
	struct appointment *a) MUST_CHECK;

/* It will not be kept: the next who asks gets it, so it costs nothing. */
void window_return(struct shm *shm, unsigned window, struct appointment *a);

/*
 * The request goes out now; if that is more than S late, the true time is recorded. False: it is
 * that late, and the slot is promised to somebody else already, or a lease has fallen and the slot is not
 * ours any more: the request must not go out, take another appointment.
 */
bool window_keep(struct shm *shm, unsigned window, struct appointment *a, uint64_t now_ms) MUST_CHECK;

/*
 * A new limit, in force at once for all workers; what was promised stays promised. Master only.
 * 0, or -ERANGE when the segment has no room for it (four times the first limit fit, 1024 at least).
 */
int window_set_limit(struct shm *shm, unsigned window, uint32_t limit) MUST_CHECK;

/* Less is leased than there is: others have the rest now, and that may change within moments. */
bool window_is_short(const struct shm *shm, unsigned window);
/* And more of it is on its way here: others hand it back, or what was used before a lease shrank is about to count no more. */
bool window_grows(const struct shm *shm, unsigned window);

/*
 * Where a lease (shm/lease.h) changes the limit in force: begin, store the schedule, end. Slots that come back
 * into use are found. (When nobody does this, since a schedule went on by itself, they are found when the cursor comes round.)
 */
struct window_change {
	uint32_t from, to;
};
void window_change_begin(struct shm *shm, unsigned window, uint64_t limit, struct window_change *change);
void window_change_end(struct shm *shm, unsigned window, const struct window_change *change);

/* What a lease needs to know. */
struct window_demand {
	uint64_t used;	   /* slots of the limit in force that are not ready for another request */
	uint64_t promised; /* of these, for a time to come: demand beyond the present window */
	uint64_t beyond;   /* slots behind that limit that are not ready: they count still */
};
void window_read_demand(const struct shm *shm, unsigned window, uint64_t now_ms, struct window_demand *demand);
/* The largest limit with which that, and what is beyond it, are no more than `granted` together; 0: even without it, they are. */
uint64_t window_room(const struct shm *shm, unsigned window, uint64_t now_ms, uint64_t granted);

/* How many of the limit were used within the window that ends now, or are promised. */
struct window_reading {
	uint64_t limit; /* as configured */
	uint64_t window_ms;
	uint64_t used;
};
void window_read(const struct shm *shm, unsigned window, uint64_t now_ms, struct window_reading *r);

#endif
