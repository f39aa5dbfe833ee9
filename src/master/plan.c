/* SPDX-License-Identifier: BSD-2-Clause */
/* plan.c - the master's decisions; see plan.h. No system call, no clock, no log in this file. */
#include "base/base.h"
#include "master/plan.h"

#include "base/bug.h"

#include <signal.h>

static void act(struct plan_out *out, enum plan_verb verb, unsigned slot, int value)
{
	BUG_ON(out->nactions == PLAN_ACTIONS_MAX);
	out->action[out->nactions++] = (struct plan_action){ verb, slot, value };
}

static void wake_by(struct plan_out *out, uint64_t at_ms)
{
	if (at_ms < out->wake_ms)
		out->wake_ms = at_ms;
}

static void enter(const struct plan_in *in, struct plan_out *out, enum plan_stage stage)
{
	out->memory.stage = stage;
	out->memory.stage_ms = in->now_ms;
}

/* To every worker that runs. */
static void tell_all(const struct plan_in *in, struct plan_out *out, int signo)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (in->procs[i].pid)
			act(out, PLAN_SIGNAL, i, signo);
	}
}

static bool anybody_runs(const struct plan_in *in)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (in->procs[i].pid)
			return true;
	}
	return false;
}

static uint64_t backoff_ms(unsigned quick_deaths)
{
	uint64_t wait = PLAN_BACKOFF_MIN_MS;

	if (quick_deaths < 2)
		return 0;
	for (unsigned i = 2; i < quick_deaths && wait < PLAN_BACKOFF_MAX_MS; i++)
		wait *= 2;
	return wait < PLAN_BACKOFF_MAX_MS ? wait : PLAN_BACKOFF_MAX_MS;
}

/* Take note of a death: when may the successor start? */
static void note_death(const struct plan_proc *proc, struct plan_slot *slot)
{
	uint64_t lived_ms = proc->ended_ms - proc->spawned_ms;

	if (slot->deaths == proc->deaths)
		return;
	slot->deaths = proc->deaths;
	slot->killed = false;
	if (!proc->ready || lived_ms < PLAN_QUICK_DEATH_MS)
		slot->quick_deaths++;
	else if (lived_ms >= PLAN_HEALTHY_MS)
		slot->quick_deaths = 0;
	slot->spawn_ms = proc->ended_ms + backoff_ms(slot->quick_deaths);
}

/* Nobody is replaced once we want to leave. */
static void replace_the_dead(const struct plan_in *in, struct plan_out *out)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (in->procs[i].pid)
			continue;
		if (out->memory.slot[i].spawn_ms <= in->now_ms)
			act(out, PLAN_SPAWN, i, 0);
		else
			wake_by(out, out->memory.slot[i].spawn_ms);
	}
}

/* A worker whose heart stands still is killed, once; the reaper does the rest. */
static void watch_hearts(const struct plan_in *in, struct plan_out *out)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		const struct plan_proc *proc = &in->procs[i];
		uint64_t beat_ms = proc->heartbeat_ms > proc->spawned_ms ? proc->heartbeat_ms :
									   proc->spawned_ms;

		if (!proc->pid || out->memory.slot[i].killed)
			continue;
		if (beat_ms + in->worker_timeout_ms < in->now_ms) {
			act(out, PLAN_KILL, i, SIGKILL);
			out->memory.slot[i].killed = true;
		} else {
			wake_by(out, beat_ms + in->worker_timeout_ms + 1);
		}
	}
}

/* A worker that cannot be set up ends the boot: its successor could not either. */
static bool boot_failed(const struct plan_in *in)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (in->procs[i].deaths && in->procs[i].setup_failed)
			return true;
	}
	return false;
}

static bool all_ready(const struct plan_in *in)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (!in->procs[i].pid || !in->procs[i].ready)
			return false;
	}
	return true;
}

static void stop(const struct plan_in *in, struct plan_out *out, int exit_code)
{
	if (out->memory.stage < PLAN_DRAINING)
		act(out, PLAN_CLOSE_DOORS, 0, 0);
	tell_all(in, out, SIGTERM);
	enter(in, out, PLAN_STOPPING);
	out->memory.exit_code = exit_code;
}

static void kill_all(const struct plan_in *in, struct plan_out *out)
{
	tell_all(in, out, SIGKILL);
	enter(in, out, PLAN_KILLING);
}

/* What signals ask for, and what must not take longer than it may. */
static void change_stage(const struct plan_in *in, struct plan_out *out)
{
	struct plan_memory *m = &out->memory;
	uint64_t spent_ms = in->now_ms - m->stage_ms;

	if (m->stage == PLAN_BOOTING && boot_failed(in))
		stop(in, out, EXIT_FAILURE);
	else if (m->stage == PLAN_STOPPING && (in->stop || spent_ms >= in->shutdown_timeout_ms))
		kill_all(in, out);
	else if (m->stage < PLAN_STOPPING && in->stop)
		stop(in, out, EXIT_SUCCESS);
	else if (m->stage == PLAN_DRAINING && spent_ms >= in->drain_timeout_ms)
		stop(in, out, EXIT_SUCCESS);
	else if (m->stage < PLAN_DRAINING && in->drain) {
		act(out, PLAN_CLOSE_DOORS, 0, 0);
		tell_all(in, out, SIGQUIT);
		enter(in, out, PLAN_DRAINING);
	} else if (m->stage == PLAN_BOOTING && all_ready(in)) {
		act(out, PLAN_READY, 0, 0);
		enter(in, out, PLAN_SERVING);
	}
	if (m->stage == PLAN_DRAINING)
		wake_by(out, m->stage_ms + in->drain_timeout_ms);
	if (m->stage == PLAN_STOPPING)
		wake_by(out, m->stage_ms + in->shutdown_timeout_ms);
}

void plan_step(const struct plan_in *in, struct plan_out *out)
{
	BUG_ON(in->nslots == 0 || in->nslots > PLAN_SLOTS_MAX);
	out->nactions = 0;
	out->wake_ms = PLAN_NEVER;
	out->memory = in->memory;

	if (in->audit_owed) {
		act(out, PLAN_RECLAIM_AUDIT, 0, 0);
		wake_by(out, in->now_ms + PLAN_AUDIT_MS);
	}
	for (unsigned i = 0; i < in->nslots; i++)
		note_death(&in->procs[i], &out->memory.slot[i]);
	change_stage(in, out);
	if (out->memory.stage < PLAN_DRAINING)
		replace_the_dead(in, out);
	else if (!anybody_runs(in))
		act(out, PLAN_EXIT, 0, out->memory.exit_code);
	if (out->memory.stage < PLAN_KILLING)
		watch_hearts(in, out);
}
