/* SPDX-License-Identifier: BSD-2-Clause */
/* wheel.c - see wheel.h. */
#include "base/base.h"
#include "tools/llmsim/wheel.h"
#include "base/bug.h"
#include "base/clock.h"

#include <event2/event.h>

static void wheel_wake_at(struct wheel *w, uint64_t ms)
{
	uint64_t now_us = clock_us();
	uint64_t wait_us = ms * 1000 > now_us ? ms * 1000 - now_us : 0;
	struct timeval tv = {
	        .tv_sec = (time_t)(wait_us / 1000000),
	        .tv_usec = (suseconds_t)(wait_us % 1000000),
	};

	w->wake_ms = ms;
	event_add(w->tick, &tv);
}

/* Look for the next slot in use; the wheel has 64 words of 64 slots. */
static void wheel_wake_next(struct wheel *w)
{
	uint64_t ms = w->now_ms + 1;
	uint64_t end = w->now_ms + WHEEL_SLOTS;

	while (ms <= end) {
		uint64_t word = w->used[ms % WHEEL_SLOTS / 64] >> (ms % 64);

		if (word) {
			wheel_wake_at(w, ms + (uint64_t)__builtin_ctzll(word));
			return;
		}
		ms += 64 - ms % 64;
	}
	w->wake_ms = UINT64_MAX;
}

/* Moves what is due in this slot over to `due`; the rest waits for another round. */
static void wheel_collect(struct wheel *w, unsigned slot, struct wheel_slot *due)
{
	struct wheel_timer *t, *next;

	for (t = LIST_FIRST(&w->slots[slot]); t; t = next) {
		next = LIST_NEXT(t, entry);
		if (t->due_ms <= w->now_ms) {
			LIST_REMOVE(t, entry);
			LIST_INSERT_HEAD(due, t, entry);
		}
	}
	if (LIST_EMPTY(&w->slots[slot]))
		w->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

static void wheel_tick(evutil_socket_t fd, short what, void *arg)
{
	struct wheel *w = arg;
	uint64_t now = clock_ms();
	uint64_t from = w->now_ms + 1;
	struct wheel_slot due = LIST_HEAD_INITIALIZER(due);
	struct wheel_timer *t;

	if (now >= from + WHEEL_SLOTS)
		from = now - WHEEL_SLOTS + 1;
	w->now_ms = now;
	for (; from <= now; from++)
		wheel_collect(w, (unsigned)(from % WHEEL_SLOTS), &due);
	/* A callback may disarm any timer, also one that is on this list. */
	while ((t = LIST_FIRST(&due))) {
		wheel_fn fn = t->fn;

		wheel_disarm(t);
		fn(t->arg);
	}
	wheel_wake_next(w);
}

void wheel_init(struct wheel *w, struct event_base *base)
{
	memset(w, 0, sizeof(*w));
	w->now_ms = clock_ms();
	w->wake_ms = UINT64_MAX;
	w->tick = evtimer_new(base, wheel_tick, w);
	BUG_ON(!w->tick);
}

void wheel_release(struct wheel *w)
{
	event_free(w->tick);
}

void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t due_us, wheel_fn fn, void *arg)
{
	unsigned slot;

	wheel_disarm(t);
	t->due_ms = (due_us + 999) / 1000;
	if (t->due_ms <= w->now_ms)
		t->due_ms = w->now_ms + 1;
	t->fn = fn;
	t->arg = arg;
	slot = (unsigned)(t->due_ms % WHEEL_SLOTS);
	LIST_INSERT_HEAD(&w->slots[slot], t, entry);
	w->used[slot / 64] |= UINT64_C(1) << (slot % 64);
	if (t->due_ms < w->wake_ms)
		wheel_wake_at(w, t->due_ms);
}

void wheel_disarm(struct wheel_timer *t)
{
	if (!t->fn)
		return;
	LIST_REMOVE(t, entry);
	t->fn = NULL;
}
