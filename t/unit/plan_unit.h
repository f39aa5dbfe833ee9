/* SPDX-License-Identifier: BSD-2-Clause */
/* plan_unit.h - a world for tests of the master's plan, without a fork. */
#ifndef PLAN_UNIT_H
#define PLAN_UNIT_H

#include "base/base.h"
#include "master/plan.h"
#include "unit.h"

#include <signal.h>

/*
 * A world in which workers do what the test says. step() asks the plan and carries its
 * actions out; done[verb] counts them, said_at[] keeps what came for each slot.
 */
struct world {
	struct plan_in in;
	struct plan_out out;
	struct plan_proc procs[PLAN_SLOTS_MAX];
	unsigned done[PLAN_EXIT + 1];
	int last_signal[PLAN_SLOTS_MAX];
	unsigned door[PLAN_SLOTS_MAX];
	int exit_code; /* -1: has not left */
	int next_pid;
};

static inline void step(struct world *w)
{
	w->in.procs = w->procs;
	plan_step(&w->in, &w->out);
	w->in.memory = w->out.memory;
	w->in.stop = w->in.drain = w->in.reload = w->in.handed_over = false;
	for (unsigned i = 0; i < w->out.nactions; i++) {
		const struct plan_action *a = &w->out.action[i];

		ck_assert_int_eq(w->exit_code, -1);
		w->done[a->verb]++;
		if (a->verb == PLAN_SPAWN) {
			ck_assert_int_eq(w->procs[a->slot].pid, 0);
			w->procs[a->slot].pid = w->next_pid++;
			w->door[a->slot] = (unsigned)a->value;
			w->procs[a->slot].ready = w->procs[a->slot].setup_failed = false;
			w->procs[a->slot].spawned_ms = w->in.now_ms;
			w->procs[a->slot].heartbeat_ms = 0;
			w->last_signal[a->slot] = 0;
		} else if (a->verb == PLAN_SIGNAL || a->verb == PLAN_KILL) {
			ck_assert_int_ne(w->procs[a->slot].pid, 0);
			w->last_signal[a->slot] = a->value;
		} else if (a->verb == PLAN_EXIT) {
			w->exit_code = a->value;
		}
	}
}

/* Every heart beats, and time passes. */
static inline void pass(struct world *w, uint64_t ms)
{
	w->in.now_ms += ms;
	for (unsigned i = 0; i < w->in.nslots; i++) {
		if (w->procs[i].pid)
			w->procs[i].heartbeat_ms = w->in.now_ms;
	}
	step(w);
}

static inline void die(struct world *w, unsigned slot, bool setup_failed)
{
	w->procs[slot].pid = 0;
	w->procs[slot].deaths++;
	w->procs[slot].ended_ms = w->in.now_ms;
	w->procs[slot].setup_failed = setup_failed;
}

static inline void get_ready(struct world *w)
{
	for (unsigned i = 0; i < w->in.nslots; i++)
		w->procs[i].ready = true;
}

static inline void prepare(struct world *w, unsigned nslots)
{
	memset(w, 0, sizeof(*w));
	w->in.nslots = w->in.ndoors = nslots;
	w->in.max_generations = 2;
	w->in.now_ms = 1000000;
	w->in.worker_timeout_ms = 10000;
	w->in.shutdown_timeout_ms = 5000;
	w->in.drain_timeout_ms = 30000;
	w->exit_code = -1;
	w->next_pid = 100;
}

static inline void begin(struct world *w, unsigned nslots)
{
	prepare(w, nslots);
	step(w);
}

static inline void serve_on(struct world *w)
{
	get_ready(w);
	pass(w, 1);
	ck_assert_uint_eq(w->done[PLAN_READY], 1);
}

static inline void serve(struct world *w, unsigned nslots)
{
	begin(w, nslots);
	serve_on(w);
}

/* With room for generations beside the one that serves. */
static inline void serve_with_room(struct world *w, unsigned ndoors, unsigned nslots)
{
	prepare(w, ndoors);
	w->in.nslots = nslots;
	step(w);
	serve_on(w);
}

static inline void reload(struct world *w)
{
	w->in.reload = true;
	pass(w, 1);
}

#endif
