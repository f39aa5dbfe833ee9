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

/* Workers of these generations are replaced. */
static bool is_wanted(const struct plan_memory *m, unsigned generation)
{
	return generation && (generation == m->serving || generation == m->coming);
}

/* Take note of a death: when may the successor start? Who was to leave has none. */
static void note_death(const struct plan_proc *proc, struct plan_memory *m, struct plan_slot *slot)
{
	uint64_t lived_ms = proc->ended_ms - proc->spawned_ms;

	if (slot->deaths == proc->deaths)
		return;
	slot->deaths = proc->deaths;
	slot->killed = false;
	slot->silent_ms = 0;
	if (!is_wanted(m, slot->generation)) {
		*slot = (struct plan_slot){ .deaths = proc->deaths };
		return;
	}
	if (!proc->ready || lived_ms < PLAN_QUICK_DEATH_MS)
		slot->quick_deaths++;
	else if (lived_ms >= PLAN_HEALTHY_MS)
		slot->quick_deaths = 0;
	slot->spawn_ms = proc->ended_ms + backoff_ms(slot->quick_deaths);
}

/* Nobody is replaced once we want to leave. */
static void fill_the_doors(const struct plan_in *in, struct plan_out *out)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		struct plan_slot *slot = &out->memory.slot[i];

		if (in->procs[i].pid || !is_wanted(&out->memory, slot->generation))
			continue;
		if (slot->spawn_ms <= in->now_ms)
			act(out, PLAN_SPAWN, i, (int)slot->door);
		else
			wake_by(out, slot->spawn_ms);
	}
}

/*
 * A worker whose heart stands still is killed, once; the reaper does the rest. Not at first sight: after a
 * machine was paused or suspended everybody's last beat is old, and who lives beats again at once.
 */
static void watch_hearts(const struct plan_in *in, struct plan_out *out)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		const struct plan_proc *proc = &in->procs[i];
		struct plan_slot *slot = &out->memory.slot[i];
		uint64_t beat_ms = proc->heartbeat_ms > proc->spawned_ms ? proc->heartbeat_ms :
									   proc->spawned_ms;

		if (!proc->pid || slot->killed)
			continue;
		if (beat_ms + in->worker_timeout_ms >= in->now_ms) {
			slot->silent_ms = 0;
			wake_by(out, beat_ms + in->worker_timeout_ms + 1);
			continue;
		}
		if (!slot->silent_ms)
			slot->silent_ms = in->now_ms;
		if (in->now_ms >= slot->silent_ms + PLAN_SECOND_LOOK_MS) {
			act(out, PLAN_KILL, i, SIGKILL);
			slot->killed = true;
		} else {
			wake_by(out, slot->silent_ms + PLAN_SECOND_LOOK_MS);
		}
	}
}

/* ---- generations ---- */

static bool is_free(const struct plan_in *in, const struct plan_memory *m, unsigned slot)
{
	return !m->slot[slot].generation && !in->procs[slot].pid && !in->procs[slot].foreign;
}

/* A slot for each door, the lowest ones: false if there are not enough. */
static bool take_slots(const struct plan_in *in, struct plan_memory *m, unsigned generation)
{
	unsigned free = 0, door = 0;

	for (unsigned i = 0; i < in->nslots; i++)
		free += is_free(in, m, i);
	if (free < in->ndoors)
		return false;
	for (unsigned i = 0; i < in->nslots && door < in->ndoors; i++) {
		if (is_free(in, m, i))
			m->slot[i] = (struct plan_slot){ .generation = generation, .door = door++,
				.deaths = in->procs[i].deaths };
	}
	return true;
}

/* Is every door of this generation manned by a worker that is ready? */
static bool is_ready(const struct plan_in *in, const struct plan_memory *m, unsigned generation)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (m->slot[i].generation == generation && (!in->procs[i].pid || !in->procs[i].ready))
			return false;
	}
	return true;
}

/* A worker of it cannot be set up (its successor could not either), or falls again and again. */
static bool is_hopeless(const struct plan_in *in, const struct plan_memory *m, unsigned generation,
	unsigned deaths_allowed)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		if (m->slot[i].generation == generation && in->procs[i].deaths &&
			((in->procs[i].setup_failed && !in->procs[i].pid) ||
				m->slot[i].quick_deaths > deaths_allowed))
			return true;
	}
	return false;
}

/* Workers of this generation are not replaced any more; what runs of it hears the signal. */
static void dismiss(const struct plan_in *in, struct plan_out *out, unsigned generation, int signo)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		struct plan_slot *slot = &out->memory.slot[i];

		if (slot->generation != generation)
			continue;
		if (!in->procs[i].pid) {
			*slot = (struct plan_slot){ .deaths = slot->deaths };
			continue;
		}
		act(out, PLAN_SIGNAL, i, signo);
		slot->leave_ms = in->now_ms + PLAN_DRAIN_GRACE_MS;
		if (signo == SIGQUIT)
			slot->leave_ms += in->drain_timeout_ms;
		slot->stopped = signo == SIGTERM;
	}
}

/* Who was told to leave and did not is told to stop, and then killed. */
static void hurry_the_leaving(const struct plan_in *in, struct plan_out *out)
{
	for (unsigned i = 0; i < in->nslots; i++) {
		struct plan_slot *slot = &out->memory.slot[i];

		if (!slot->leave_ms || !in->procs[i].pid || slot->killed)
			continue;
		if (in->now_ms >= slot->leave_ms) {
			act(out, PLAN_SIGNAL, i, slot->stopped ? SIGKILL : SIGTERM);
			slot->killed = slot->stopped;
			slot->stopped = true;
			slot->leave_ms = in->now_ms + in->shutdown_timeout_ms;
		}
		if (!slot->killed)
			wake_by(out, slot->leave_ms);
	}
}

unsigned plan_draining(const struct plan_memory *m, const struct plan_proc *procs, unsigned nslots)
{
	unsigned count = 0;

	for (unsigned i = 0; i < nslots; i++) {
		unsigned generation = m->slot[i].generation;
		bool first = generation && procs[i].pid && !is_wanted(m, generation);

		for (unsigned k = 0; k < i && first; k++)
			first = m->slot[k].generation != generation || !procs[k].pid;
		count += first;
	}
	return count;
}

/* Start the next generation, if there is room for it; else it waits until one that drains is gone. */
static void roll(const struct plan_in *in, struct plan_out *out)
{
	struct plan_memory *m = &out->memory;

	if (plan_draining(m, in->procs, in->nslots) >= in->max_generations ||
		!take_slots(in, m, m->newest + 1)) {
		if (!m->waiting_told)
			act(out, PLAN_WAIT, 0, 0);
		m->waiting_told = true;
		return;
	}
	m->reload_wanted = m->waiting_told = false;
	m->coming = ++m->newest;
	act(out, PLAN_ROLL, 0, (int)m->coming);
}

static void change_generation(const struct plan_in *in, struct plan_out *out)
{
	struct plan_memory *m = &out->memory;

	if (m->coming && is_hopeless(in, m, m->coming, PLAN_ROLL_DEATHS - 1)) {
		unsigned given_up = m->coming;

		m->coming = 0;
		dismiss(in, out, given_up, SIGTERM);
		act(out, PLAN_ROLL_BACK, 0, (int)given_up);
	} else if (m->coming && is_ready(in, m, m->coming)) {
		unsigned before = m->serving;

		m->serving = m->coming;
		m->coming = 0;
		act(out, PLAN_TOOK_OVER, 0, (int)m->serving);
		dismiss(in, out, before, SIGQUIT);
	}
	if (m->reload_wanted && !m->coming)
		roll(in, out);
	hurry_the_leaving(in, out);
}

/* ---- stages ---- */

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

static void drain(const struct plan_in *in, struct plan_out *out, enum plan_verb doors)
{
	if (doors == PLAN_CLOSE_DOORS)
		act(out, PLAN_SHUT_DOORS, 0, 0);
	act(out, doors, 0, 0);
	tell_all(in, out, SIGQUIT);
	enter(in, out, PLAN_DRAINING);
}

/* Said twice, it is meant at once. */
static void begin_drain(const struct plan_in *in, struct plan_out *out)
{
	if (!in->drain_delay_ms || out->memory.stage == PLAN_ANNOUNCING) {
		drain(in, out, PLAN_CLOSE_DOORS);
		return;
	}
	act(out, PLAN_ANNOUNCE, 0, 0);
	enter(in, out, PLAN_ANNOUNCING);
}

/* What signals ask for, and what must not take longer than it may. */
static void change_stage(const struct plan_in *in, struct plan_out *out)
{
	struct plan_memory *m = &out->memory;
	uint64_t spent_ms = in->now_ms - m->stage_ms;

	if (m->stage == PLAN_BOOTING && is_hopeless(in, m, m->serving, UINT32_MAX))
		stop(in, out, EXIT_FAILURE);
	else if (m->stage == PLAN_STOPPING && (in->stop || spent_ms >= in->shutdown_timeout_ms))
		kill_all(in, out);
	else if (m->stage < PLAN_STOPPING && in->stop)
		stop(in, out, EXIT_SUCCESS);
	else if (m->stage == PLAN_DRAINING && spent_ms >= in->drain_timeout_ms)
		stop(in, out, EXIT_SUCCESS);
	else if (m->stage < PLAN_DRAINING && in->handed_over)
		drain(in, out, PLAN_LEAVE_DOORS);
	else if ((m->stage < PLAN_DRAINING && in->drain) ||
		(m->stage == PLAN_ANNOUNCING && spent_ms >= in->drain_delay_ms))
		begin_drain(in, out);
	else if (m->stage == PLAN_BOOTING && is_ready(in, m, m->serving)) {
		act(out, PLAN_READY, 0, 0);
		enter(in, out, PLAN_SERVING);
	}
	if (m->stage == PLAN_ANNOUNCING)
		wake_by(out, m->stage_ms + in->drain_delay_ms);
	if (m->stage == PLAN_DRAINING)
		wake_by(out, m->stage_ms + in->drain_timeout_ms);
	if (m->stage == PLAN_STOPPING)
		wake_by(out, m->stage_ms + in->shutdown_timeout_ms);
}

void plan_step(const struct plan_in *in, struct plan_out *out)
{
	struct plan_memory *m = &out->memory;

	BUG_ON(in->ndoors == 0 || in->nslots < in->ndoors || in->nslots > PLAN_SLOTS_MAX);
	out->nactions = 0;
	out->wake_ms = PLAN_NEVER;
	*m = in->memory;

	if (in->audit_owed) {
		act(out, PLAN_RECLAIM_AUDIT, 0, 0);
		wake_by(out, in->now_ms + PLAN_AUDIT_MS);
	}
	if (!m->serving && m->stage == PLAN_BOOTING && take_slots(in, m, m->newest + 1))
		m->serving = ++m->newest;
	for (unsigned i = 0; i < in->nslots; i++)
		note_death(&in->procs[i], m, &m->slot[i]);
	m->reload_wanted |= in->reload;
	change_stage(in, out);
	if (m->stage == PLAN_SERVING)
		change_generation(in, out);
	if (m->stage < PLAN_DRAINING)
		fill_the_doors(in, out);
	else if (!anybody_runs(in))
		act(out, PLAN_EXIT, 0, m->exit_code);
	if (m->stage < PLAN_KILLING)
		watch_hearts(in, out);
}
