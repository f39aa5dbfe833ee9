/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wheel.h - timers for thousands of streams: a hashed wheel of one-millisecond
 * slots (Varghese and Lauck, scheme 6) behind a single timer of libevent.
 * Arming and disarming cost O(1); nothing ticks while nothing is armed.
 */
#ifndef TOOLS_LLMSIM_WHEEL_H
#define TOOLS_LLMSIM_WHEEL_H

#include "base/base.h"

struct event;
struct event_base;

#define WHEEL_SLOTS 4096

typedef void (*wheel_fn)(void *arg);

LIST_HEAD(wheel_slot, wheel_timer);

/* Embedded in what waits; zeroed memory is a timer that is not armed. */
struct wheel_timer {
	LIST_ENTRY(wheel_timer) entry;
	uint64_t due_ms;
	wheel_fn fn; /* NULL while not armed */
	void *arg;
};

struct wheel {
	struct event *tick;
	uint64_t now_ms;                 /* all that was due until here has been called */
	uint64_t wake_ms;                /* when tick fires; UINT64_MAX: not armed */
	uint64_t used[WHEEL_SLOTS / 64]; /* a bit for each slot that may hold timers */
	struct wheel_slot slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, struct event_base *base);
void wheel_release(struct wheel *w);

/*
 * Call fn(arg) once at due_us (clock_us) or up to 2 ms after, never from within
 * this call. A timer that is armed already is moved.
 */
void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t due_us, wheel_fn fn, void *arg);
/* Forget it; harmless if it is not armed. */
void wheel_disarm(struct wheel_timer *t);

#endif
