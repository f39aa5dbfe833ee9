/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * window.c - requests per minute, exactly, in one compare-and-swap.
 *
 * A window of limit N has N slots, each one word: when it was last promised to
 * somebody. Two sends by one slot are at least W ms apart, so N slots never send
 * more than N times within W ms, whatever else happens: that is the whole proof,
 * and every change of a word below keeps to it.
 *
 * Nobody is punctual to the millisecond (timers, a connection to open first), and the
 * slot's next time may be promised already when it is used. So promises of one slot are
 * W + S apart, and one may be kept up to S late (S is W / 100, bounded): still at least W lies
 * between two sends. Only who comes later than that has to ask whether the slot is still his.
 *
 * All the rest is order and economy:
 *
 * - The cursor goes round the slots, so whoever asks gets the one that is free
 *   first. It is a hint: a slot whose round is the cursor's was taken already, and
 *   anybody may push the cursor past it.
 * - A returned appointment marks its slot FREE and leaves a hint to it in a queue.
 *   Who would have to wait looks there first. Hints may be stale, doubled, or lost with a
 *   worker; then the cursor finds the slot when it comes round.
 * - A slot that was used much later than the ring's order has it (a late send, or a
 *   returned appointment that nobody wanted for a while) is MOVED. When the cursor
 *   meets such a slot it must not stop there while the next ones are ready: it treats
 *   it as taken and returned at once, so that it waits as a hint for its time.
 */
#include "base/base.h"
#include "shm/window.h"

#include "base/bug.h"
#include "shm/layout.h"

/* A slot's word: round (22 bits) | FREE | MOVED | time (40 bits of CLOCK_MONOTONIC ms). */
#define WINDOW_TIME ((1ull << 40) - 1)
#define WINDOW_MOVED (1ull << 40)
#define WINDOW_FREE (1ull << 41)
#define WINDOW_ROUND_SHIFT 42
#define WINDOW_ROUND ((1ull << 22) - 1)

#define HINT_TRIES 32	 /* how many hints one who has to wait looks at */
#define LATE_SHARE 100	 /* S = W / this, */
#define LATE_MIN_MS 100	 /* but at least this much, */
#define LATE_MOST 10	 /* and at most W / this */

struct ring {
	struct shm_window *shared;
	_Atomic uint64_t *word;
	_Atomic uint32_t *hint;
	uint32_t limit; /* in force */
	uint64_t window_ms;
	uint64_t late_ms; /* how late an appointment may be kept: S above */
};

/* False: this window is no limit. */
static bool ring_of(const struct shm *shm, unsigned window, struct ring *r)
{
	struct shm_window *shared = shm_window_at(shm, window);
	uint32_t configured = atomic_load(&shared->limit);

	r->shared = shared;
	r->word = shm_at(shm, shared->ring_at);
	r->hint = shm_at(shm, shared->hints_at);
	r->limit = (uint32_t)lease_limit(&shared->lease, configured);
	r->window_ms = shared->window_ms;
	r->late_ms = r->window_ms / LATE_SHARE > LATE_MIN_MS ? r->window_ms / LATE_SHARE : LATE_MIN_MS;
	if (r->late_ms > r->window_ms / LATE_MOST)
		r->late_ms = r->window_ms / LATE_MOST;
	return configured != 0;
}

static uint64_t word_of(uint64_t round, uint64_t flags, uint64_t time_ms)
{
	return (round & WINDOW_ROUND) << WINDOW_ROUND_SHIFT | flags | (time_ms & WINDOW_TIME);
}

static uint64_t round_of(uint64_t word)
{
	return word >> WINDOW_ROUND_SHIFT;
}

/* Rounds wrap; all slots in use are within one round of the cursor. */
static bool taken_in(uint64_t word, uint64_t round)
{
	return ((round_of(word) - round) & WINDOW_ROUND) <= WINDOW_ROUND / 2;
}

/* When the slot may send next; a word of 0 never did. */
static uint64_t ready_ms(const struct ring *r, uint64_t word)
{
	if (!word || (word & WINDOW_FREE))
		return word & WINDOW_TIME;
	return (word & WINDOW_TIME) + r->window_ms + r->late_ms;
}

static uint64_t moved_flag(const struct ring *r, uint64_t due_ms, uint64_t at_ms)
{
	return at_ms > due_ms + r->late_ms ? WINDOW_MOVED : 0;
}

static void hint_push(const struct ring *r, uint32_t slot)
{
	uint64_t at = atomic_fetch_add(&r->shared->hint_tail, 1);

	CRASH_POINT("window.hint.counted");
	atomic_store(&r->hint[at & (r->shared->capacity - 1)], slot + 1);
}

/* False: there is none. UINT32_MAX: its writer has not filled the place yet, or died. */
static bool hint_pop(const struct ring *r, uint32_t *slot_r)
{
	uint64_t head = atomic_load(&r->shared->hint_head), at;
	uint32_t found;

	do {
		uint64_t tail = atomic_load(&r->shared->hint_tail);

		if (head >= tail)
			return false;
		/* Too many were pushed: the oldest are overwritten. */
		at = tail - head > r->shared->capacity ? tail - r->shared->capacity : head;
	} while (!atomic_compare_exchange_strong(&r->shared->hint_head, &head, at + 1));
	found = atomic_exchange(&r->hint[at & (r->shared->capacity - 1)], 0);
	CRASH_POINT("window.hint.popped");
	*slot_r = found ? found - 1 : UINT32_MAX;
	return true;
}

static bool made(struct appointment *a, uint32_t slot, uint64_t word)
{
	*a = (struct appointment){ .at_ms = word & WINDOW_TIME, .word = word, .slot = slot };
	return true;
}

/* Take over a returned appointment that is before `before_ms` and not after latest_ms. */
static bool take_returned(const struct ring *r, uint64_t now_ms, uint64_t latest_ms,
	uint64_t before_ms, struct appointment *a)
{
	uint32_t slot;

	for (unsigned tries = 0; tries < HINT_TRIES && hint_pop(r, &slot); tries++) {
		uint64_t word, due, at, taken;

		if (slot >= r->limit)
			continue;
		word = atomic_load(&r->word[slot]);
		if (!(word & WINDOW_FREE))
			continue;
		due = word & WINDOW_TIME;
		at = due > now_ms ? due : now_ms;
		if (at >= before_ms || at > latest_ms) {
			hint_push(r, slot); /* somebody else's time will come */
			continue;
		}
		taken = word_of(round_of(word), (word & WINDOW_MOVED) | moved_flag(r, due, at), at);
		if (atomic_compare_exchange_strong(&r->word[slot], &word, taken)) {
			CRASH_POINT("window.take.reused");
			return made(a, slot, taken);
		}
	}
	return false;
}

/* Push the cursor past its slot, unless somebody did. */
static void advance(const struct ring *r, uint64_t cursor)
{
	uint64_t next = (uint32_t)cursor + 1 < r->limit ? cursor + 1 : ((cursor >> 32) + 1) << 32;

	atomic_compare_exchange_strong(&r->shared->cursor, &cursor, next);
}

/* As if somebody took this slot at the time it is ready, and returned it. */
static void set_aside(const struct ring *r, uint64_t cursor, uint64_t word)
{
	uint64_t aside = word_of(cursor >> 32, WINDOW_FREE | WINDOW_MOVED, ready_ms(r, word));

	if (atomic_compare_exchange_strong(&r->word[(uint32_t)cursor], &word, aside)) {
		CRASH_POINT("window.take.set_aside");
		hint_push(r, (uint32_t)cursor);
	}
}

/* Who shares the limit with others shall be seen to want more of it. */
static bool refused(const struct ring *r, uint64_t at_ms, struct appointment *a)
{
	if (atomic_load_explicit(&r->shared->lease.current, memory_order_relaxed))
		atomic_fetch_add_explicit(&r->shared->refused, 1, memory_order_relaxed);
	a->at_ms = at_ms;
	return false;
}

bool window_take(struct shm *shm, unsigned window, uint64_t now_ms, uint64_t latest_ms,
	struct appointment *a)
{
	struct ring r;

	*a = (struct appointment){ .at_ms = now_ms, .slot = UINT32_MAX };
	if (!ring_of(shm, window, &r))
		return true;
	if (!r.limit)
		return refused(&r, now_ms + 1, a);
	for (;;) {
		uint64_t cursor = atomic_load(&r.shared->cursor);
		uint32_t slot = (uint32_t)cursor;
		uint64_t word = slot < r.limit ? atomic_load(&r.word[slot]) : 0, at, taken;
		bool reused;

		if (slot >= r.limit || taken_in(word, cursor >> 32)) {
			advance(&r, cursor);
			continue;
		}
		at = ready_ms(&r, word);
		if (at > now_ms) {
			if (take_returned(&r, now_ms, latest_ms, at, a))
				return true;
			if ((word & WINDOW_MOVED) && !(word & WINDOW_FREE)) {
				set_aside(&r, cursor, word);
				continue;
			}
			if (at > latest_ms)
				return refused(&r, at, a);
		}
		/* A returned promise whose time has yet to come leaves this round's to somebody else. */
		reused = (word & WINDOW_FREE) && at > now_ms;
		taken = reused ? word & ~WINDOW_FREE : word_of(cursor >> 32, 0, at > now_ms ? at : now_ms);
		if (atomic_compare_exchange_strong(&r.word[slot], &word, taken)) {
			CRASH_POINT("window.take.taken");
			if (!reused)
				advance(&r, cursor);
			return made(a, slot, taken);
		}
	}
}

void window_return(struct shm *shm, unsigned window, struct appointment *a)
{
	uint64_t word = a->word;
	struct ring r;

	if (a->slot == UINT32_MAX)
		return;
	ring_of(shm, window, &r);
	/* When the slot has been promised for its next round already, there is nothing to give. */
	if (atomic_compare_exchange_strong(&r.word[a->slot], &word, word | WINDOW_FREE)) {
		CRASH_POINT("window.return.freed");
		hint_push(&r, a->slot);
	}
	a->slot = UINT32_MAX;
}

bool window_keep(struct shm *shm, unsigned window, struct appointment *a, uint64_t now_ms)
{
	uint64_t word = a->word, kept;
	struct ring r;

	if (a->slot == UINT32_MAX)
		return true;
	ring_of(shm, window, &r);
	/* Without a cluster what was promised stays promised; a lease that is gone was given to others. */
	if (a->slot >= r.limit && atomic_load(&r.shared->lease.current))
		return false;
	if (now_ms <= a->at_ms + r.late_ms)
		return true;
	kept = word_of(round_of(word), (word & WINDOW_MOVED) | moved_flag(&r, a->at_ms, now_ms), now_ms);
	if (!atomic_compare_exchange_strong(&r.word[a->slot], &word, kept))
		return false;
	CRASH_POINT("window.keep.kept");
	a->at_ms = now_ms;
	a->word = kept;
	return true;
}

/* Slots that come (back) into use are as good as returned: ready when their last use allows. */
static void come_back(const struct ring *r, const struct window_change *change)
{
	for (uint32_t i = change->from; i < change->to; i++) {
		uint64_t word = atomic_load(&r->word[i]);
		uint64_t round = (atomic_load(&r->shared->cursor) >> 32) - 1;

		while (!atomic_compare_exchange_strong(&r->word[i], &word,
			word_of(round, WINDOW_FREE | WINDOW_MOVED, ready_ms(r, word))))
			; /* somebody kept or returned a late appointment there */
	}
}

static void are_known(const struct ring *r, const struct window_change *change)
{
	for (uint32_t i = change->from; i < change->to; i++)
		hint_push(r, i);
}

int window_set_limit(struct shm *shm, unsigned window, uint32_t limit)
{
	struct window_change change;
	struct ring r;

	ring_of(shm, window, &r);
	if (limit > r.shared->capacity)
		return -ERANGE;
	if (limit && !atomic_load(&r.shared->limit))
		lease_forget(shm, LEASE_WINDOW, window); /* of when it was a limit before: others may have it now */
	change = (struct window_change){ r.limit, (uint32_t)lease_limit(&r.shared->lease, limit) };
	come_back(&r, &change);
	atomic_store(&r.shared->limit, limit);
	are_known(&r, &change);
	return 0;
}

bool window_is_short(const struct shm *shm, unsigned window)
{
	struct ring r;

	ring_of(shm, window, &r);
	return r.limit < atomic_load(&r.shared->limit);
}

bool window_grows(const struct shm *shm, unsigned window)
{
	struct ring r;

	ring_of(shm, window, &r);
	return lease_grows(&r.shared->lease, r.limit, atomic_load(&r.shared->limit));
}

void window_change_begin(struct shm *shm, unsigned window, uint64_t limit, struct window_change *change)
{
	struct ring r;
	uint32_t configured;

	ring_of(shm, window, &r);
	configured = atomic_load(&r.shared->limit);
	*change = (struct window_change){ r.limit, (uint32_t)(limit < configured ? limit : configured) };
	come_back(&r, change);
}

void window_change_end(struct shm *shm, unsigned window, const struct window_change *change)
{
	struct ring r;

	ring_of(shm, window, &r);
	are_known(&r, change);
}

void window_read_demand(const struct shm *shm, unsigned window, uint64_t now_ms, struct window_demand *demand)
{
	struct ring r;

	ring_of(shm, window, &r);
	*demand = (struct window_demand){ 0 };
	for (uint32_t i = 0; i < r.shared->capacity; i++) {
		uint64_t word = atomic_load(&r.word[i]);

		if (!word || ready_ms(&r, word) <= now_ms)
			continue;
		if (i >= r.limit) {
			demand->beyond++;
			continue;
		}
		demand->used++;
		demand->promised += !(word & WINDOW_FREE) && (word & WINDOW_TIME) > now_ms;
	}
}

uint64_t window_room(const struct shm *shm, unsigned window, uint64_t now_ms, uint64_t granted)
{
	uint64_t together = 0;
	struct ring r;
	uint32_t limit;

	ring_of(shm, window, &r);
	for (uint32_t i = 0; i < r.shared->capacity; i++)
		together += ready_ms(&r, atomic_load(&r.word[i])) > now_ms;
	for (limit = 0; limit < r.shared->capacity; limit++) {
		together += ready_ms(&r, atomic_load(&r.word[limit])) <= now_ms; /* else it counts anyway */
		if (together > granted)
			break;
	}
	return limit;
}

/* Sent within the window that ends now, or promised. */
static bool is_used(const struct ring *r, uint64_t word, uint64_t now_ms)
{
	return word && !(word & WINDOW_FREE) && (word & WINDOW_TIME) + r->window_ms > now_ms;
}

void window_read(const struct shm *shm, unsigned window, uint64_t now_ms, struct window_reading *reading)
{
	struct ring r;

	ring_of(shm, window, &r);
	*reading = (struct window_reading){ .limit = atomic_load(&r.shared->limit), .window_ms = r.window_ms };
	for (uint32_t i = 0; i < reading->limit; i++)
		reading->used += is_used(&r, atomic_load(&r.word[i]), now_ms);
}
