/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * defer.h - what must not happen now happens at the end of the loop turn.
 *
 * Nothing is freed, and no object answers another, inside the callback of a
 * library. A struct that may need it embeds a struct defer; the worker's loop
 * calls defer_run() after each turn. One process, one list, no locks.
 */
#ifndef BASE_DEFER_H
#define BASE_DEFER_H

#include "base/base.h"

typedef void (*defer_fn)(void *arg);

struct defer {
	TAILQ_ENTRY(defer) entry;
	defer_fn fn; /* NULL while not queued */
	void *arg;
};

/* Call fn(arg) at the end of this turn. A second call before that is ignored (BUG if fn differs). */
void defer_call(struct defer *d, defer_fn fn, void *arg);
/* Forget it; harmless if it is not queued. */
void defer_cancel(struct defer *d);
/* Run all that is queued, also what is queued meanwhile. */
void defer_run(void);
/* True while something is queued: the loop must not sleep. */
bool defer_pending(void);

#endif
