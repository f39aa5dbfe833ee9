/* SPDX-License-Identifier: BSD-2-Clause */
/* master: whole lives of a daemon, without a fork: boot, deaths, stop, drain. */
#include "plan_unit.h"

START_TEST(boot_is_over_when_all_are_ready)
{
	struct world w;

	begin(&w, 3);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 3);
	w.procs[0].ready = w.procs[2].ready = true;
	pass(&w, 100);
	ck_assert_uint_eq(w.done[PLAN_READY], 0);
	w.procs[1].ready = true;
	pass(&w, 100);
	ck_assert_uint_eq(w.done[PLAN_READY], 1);
	pass(&w, 100);
	ck_assert_uint_eq(w.done[PLAN_READY], 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 3);
	ck_assert_int_eq(w.in.memory.stage, PLAN_SERVING);
}
END_TEST

START_TEST(a_worker_that_cannot_be_set_up_ends_the_boot)
{
	struct world w;

	begin(&w, 2);
	w.procs[0].ready = true;
	die(&w, 1, true);
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[0], SIGTERM);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 2);
	die(&w, 0, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 1);
	ck_assert_uint_eq(w.done[PLAN_READY], 0);
}
END_TEST

START_TEST(after_the_boot_a_failed_setup_is_tried_again)
{
	struct world w;

	serve(&w, 1);
	pass(&w, 5000);
	die(&w, 0, false);
	pass(&w, 0);
	die(&w, 0, true);
	pass(&w, PLAN_BACKOFF_MAX_MS);
	ck_assert_int_eq(w.exit_code, -1);
	ck_assert_int_ne(w.procs[0].pid, 0);
}
END_TEST

/* How long after its death at this moment is a worker replaced? The plan's own wake time is all that drives it. */
static uint64_t replaced_after(struct world *w, unsigned slot)
{
	uint64_t died_ms = w->in.now_ms;

	die(w, slot, false);
	step(w);
	for (int i = 0; i < 10 && !w->procs[slot].pid; i++) {
		ck_assert_uint_gt(w->out.wake_ms, w->in.now_ms);
		ck_assert_uint_ne(w->out.wake_ms, PLAN_NEVER);
		w->in.now_ms = w->out.wake_ms;
		step(w);
	}
	ck_assert_int_ne(w->procs[slot].pid, 0);
	return w->in.now_ms - died_ms;
}

START_TEST(the_first_death_is_replaced_at_once_quick_ones_later_and_later)
{
	static const uint64_t expected[] = { 0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
	struct world w;

	serve(&w, 1);
	pass(&w, 5000);
	ck_assert_uint_eq(replaced_after(&w, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		ck_assert_uint_eq(replaced_after(&w, 0), expected[i]);
	/* neither short nor long: the memory of quick deaths stays */
	w.procs[0].ready = true;
	pass(&w, 5000);
	ck_assert_uint_eq(replaced_after(&w, 0), PLAN_BACKOFF_MAX_MS);
	/* a minute of health, and all is forgotten */
	w.procs[0].ready = true;
	pass(&w, PLAN_HEALTHY_MS);
	ck_assert_uint_eq(replaced_after(&w, 0), 0);
	ck_assert_uint_eq(replaced_after(&w, 0), 0);
	ck_assert_uint_eq(replaced_after(&w, 0), 100);
}
END_TEST

START_TEST(one_slot_that_keeps_dying_does_not_hold_up_another)
{
	struct world w;

	serve(&w, 2);
	for (int i = 0; i < 8; i++)
		replaced_after(&w, 0);
	ck_assert_uint_eq(replaced_after(&w, 1), 0);
}
END_TEST

START_TEST(a_heart_that_stands_still_is_killed_once)
{
	struct world w;

	serve(&w, 2);
	pass(&w, 1000);
	for (int i = 0; i < 20; i++) {
		w.in.now_ms += 600;
		w.procs[0].heartbeat_ms = w.in.now_ms;
		step(&w);
	}
	ck_assert_uint_eq(w.done[PLAN_KILL], 1);
	ck_assert_int_eq(w.last_signal[1], SIGKILL);
	ck_assert_int_eq(w.last_signal[0], 0);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 3);
	/* its successor is watched as well, from its first moment on */
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(w.done[PLAN_KILL], 1);
		w.in.now_ms += i ? PLAN_SECOND_LOOK_MS : 10001;
		w.procs[0].heartbeat_ms = w.in.now_ms;
		step(&w);
	}
	ck_assert_uint_eq(w.done[PLAN_KILL], 2);
}
END_TEST

/* A suspended machine: all hearts stood still, the master's as well. Who lives beats when he runs again. */
START_TEST(a_pause_of_the_machine_kills_nobody_who_lives)
{
	struct world w;

	serve(&w, 3);
	pass(&w, 1000);
	w.in.now_ms += 3600000;
	step(&w);
	ck_assert_uint_eq(w.done[PLAN_KILL], 0);
	ck_assert_uint_eq(w.out.wake_ms, w.in.now_ms + PLAN_SECOND_LOOK_MS);
	w.procs[0].heartbeat_ms = w.procs[2].heartbeat_ms = w.in.now_ms + 1;
	w.in.now_ms = w.out.wake_ms;
	step(&w);
	ck_assert_uint_eq(w.done[PLAN_KILL], 1);
	ck_assert_int_eq(w.last_signal[1], SIGKILL);
	/* its neighbours begin anew: a later silence is a silence of its own */
	w.in.now_ms += 10000;
	step(&w);
	ck_assert_uint_eq(w.done[PLAN_KILL], 1);
}
END_TEST

START_TEST(the_wake_time_is_when_the_first_heart_could_be_late)
{
	struct world w;

	serve(&w, 2);
	w.procs[0].heartbeat_ms = w.in.now_ms + 500;
	w.procs[1].heartbeat_ms = w.in.now_ms + 900;
	w.in.now_ms += 1000;
	step(&w);
	ck_assert_uint_eq(w.out.wake_ms, w.procs[0].heartbeat_ms + 10000 + 1);
}
END_TEST

START_TEST(stop_waits_then_kills)
{
	struct world w;

	serve(&w, 2);
	w.in.stop = true;
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_CLOSE_DOORS], 1);
	ck_assert_int_eq(w.last_signal[0], SIGTERM);
	ck_assert_int_eq(w.last_signal[1], SIGTERM);
	die(&w, 0, false);
	pass(&w, 4999);
	ck_assert_int_eq(w.last_signal[1], SIGTERM);
	ck_assert_uint_eq(w.out.wake_ms, w.in.now_ms + 1);
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[1], SIGKILL);
	ck_assert_int_eq(w.exit_code, -1);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 2);
}
END_TEST

START_TEST(a_second_stop_kills_now)
{
	struct world w;

	serve(&w, 2);
	w.in.stop = true;
	pass(&w, 1);
	w.in.stop = true;
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[0], SIGKILL);
	ck_assert_int_eq(w.last_signal[1], SIGKILL);
	ck_assert_uint_eq(w.done[PLAN_CLOSE_DOORS], 1);
}
END_TEST

START_TEST(drain_then_stop_then_kill)
{
	struct world w;

	serve(&w, 2);
	w.in.drain = true;
	pass(&w, 1);
	ck_assert_int_eq(w.in.memory.stage, PLAN_DRAINING);
	ck_assert_int_eq(w.last_signal[0], SIGQUIT);
	die(&w, 0, false);
	w.in.drain = true; /* a second QUIT changes nothing */
	pass(&w, 29999);
	ck_assert_int_eq(w.last_signal[1], SIGQUIT);
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[1], SIGTERM);
	pass(&w, 5000);
	ck_assert_int_eq(w.last_signal[1], SIGKILL);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
	ck_assert_uint_eq(w.done[PLAN_CLOSE_DOORS], 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 2);
}
END_TEST

START_TEST(a_drain_is_announced_before_anybody_is_turned_away)
{
	struct world w;

	serve(&w, 2);
	w.in.drain_delay_ms = 3000;
	w.in.drain = true;
	pass(&w, 1);
	ck_assert_int_eq(w.in.memory.stage, PLAN_ANNOUNCING);
	ck_assert_uint_eq(w.done[PLAN_ANNOUNCE], 1);
	ck_assert_uint_eq(w.out.wake_ms, w.in.now_ms + 3000);
	die(&w, 0, false); /* who falls meanwhile is replaced */
	pass(&w, PLAN_BACKOFF_MIN_MS);
	ck_assert_int_ne(w.procs[0].pid, 0);
	pass(&w, 2000);
	ck_assert_uint_eq(w.done[PLAN_SHUT_DOORS], 0);
	pass(&w, 1000);
	ck_assert_int_eq(w.in.memory.stage, PLAN_DRAINING);
	ck_assert_uint_eq(w.done[PLAN_SHUT_DOORS], 1);
	ck_assert_uint_eq(w.done[PLAN_CLOSE_DOORS], 1);
	/* said twice, it is meant at once */
	serve(&w, 2);
	w.in.drain_delay_ms = 3000;
	w.in.drain = true;
	pass(&w, 1);
	w.in.drain = true;
	pass(&w, 1);
	ck_assert_int_eq(w.in.memory.stage, PLAN_DRAINING);
}
END_TEST

START_TEST(a_drain_without_work_ends_at_once)
{
	struct world w;

	serve(&w, 2);
	w.in.drain = true;
	pass(&w, 1);
	die(&w, 0, false);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
}
END_TEST

START_TEST(stop_during_the_boot)
{
	struct world w;

	begin(&w, 2);
	w.procs[0].ready = true;
	w.in.stop = true;
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[0], SIGTERM);
	ck_assert_int_eq(w.last_signal[1], SIGTERM);
	die(&w, 0, false);
	die(&w, 1, true);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
	ck_assert_uint_eq(w.done[PLAN_READY], 0);
}
END_TEST

START_TEST(a_hung_worker_is_killed_also_in_a_drain)
{
	struct world w;

	serve(&w, 1);
	w.in.drain = true;
	pass(&w, 1);
	w.in.now_ms += 10001;
	step(&w);
	w.in.now_ms += PLAN_SECOND_LOOK_MS;
	step(&w);
	ck_assert_uint_eq(w.done[PLAN_KILL], 1);
	die(&w, 0, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
}
END_TEST

START_TEST(an_audit_that_is_owed_comes_first_and_never_spins)
{
	struct world w;

	serve(&w, 2);
	die(&w, 0, false);
	w.in.audit_owed = true;
	pass(&w, 1);
	ck_assert_int_eq(w.out.action[0].verb, PLAN_RECLAIM_AUDIT);
	ck_assert_int_eq(w.out.action[1].verb, PLAN_SPAWN);
	ck_assert_uint_eq(w.out.wake_ms, w.in.now_ms + PLAN_AUDIT_MS);
	pass(&w, 10);
	ck_assert_uint_eq(w.done[PLAN_RECLAIM_AUDIT], 2);
	w.in.audit_owed = false;
	pass(&w, 10);
	ck_assert_uint_eq(w.done[PLAN_RECLAIM_AUDIT], 2);
}
END_TEST

/* The longest list of actions there can be still fits: all slots, every stage, everything at once. */
START_TEST(the_list_of_actions_has_room_for_all)
{
	struct world w;

	begin(&w, PLAN_SLOTS_MAX);
	w.in.now_ms += 100000;
	step(&w);
	w.in.now_ms += PLAN_SECOND_LOOK_MS;
	w.in.stop = w.in.drain = w.in.audit_owed = true;
	step(&w);
	ck_assert_uint_eq(w.out.nactions, 2 * PLAN_SLOTS_MAX + 2);
	for (unsigned i = 0; i < PLAN_SLOTS_MAX; i++)
		ck_assert_int_eq(w.last_signal[i], SIGKILL);
}
END_TEST

int main(void)
{
	UNIT_RUN("plan", boot_is_over_when_all_are_ready, a_worker_that_cannot_be_set_up_ends_the_boot,
		after_the_boot_a_failed_setup_is_tried_again,
		the_first_death_is_replaced_at_once_quick_ones_later_and_later,
		one_slot_that_keeps_dying_does_not_hold_up_another,
		a_heart_that_stands_still_is_killed_once, a_pause_of_the_machine_kills_nobody_who_lives,
		the_wake_time_is_when_the_first_heart_could_be_late, stop_waits_then_kills,
		a_second_stop_kills_now, drain_then_stop_then_kill,
		a_drain_is_announced_before_anybody_is_turned_away, a_drain_without_work_ends_at_once,
		stop_during_the_boot, a_hung_worker_is_killed_also_in_a_drain,
		an_audit_that_is_owed_comes_first_and_never_spins, the_list_of_actions_has_room_for_all);
}
