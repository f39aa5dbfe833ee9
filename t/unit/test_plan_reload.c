/* SPDX-License-Identifier: BSD-2-Clause */
/* master: reloads, and the other master of an upgrade, without a fork. */
#include "plan_unit.h"

START_TEST(a_reload_starts_all_before_it_lets_any_go)
{
	struct world w;

	serve_with_room(&w, 2, 6);
	reload(&w);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 4);
	ck_assert_uint_eq(w.door[2], 0);
	ck_assert_uint_eq(w.door[3], 1);
	w.procs[3].ready = true;
	pass(&w, 100);
	ck_assert_uint_eq(w.done[PLAN_TOOK_OVER], 0);
	ck_assert_int_eq(w.last_signal[0], 0);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_TOOK_OVER], 1);
	ck_assert_int_eq(w.last_signal[0], SIGQUIT);
	ck_assert_int_eq(w.last_signal[1], SIGQUIT);
	ck_assert_int_eq(w.last_signal[2], 0);
	ck_assert_uint_eq(w.in.memory.serving, 2);
	/* the old ones leave and are not replaced, a new one that dies is */
	die(&w, 0, false);
	die(&w, 1, false);
	die(&w, 2, false);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 5);
	ck_assert_int_ne(w.procs[2].pid, 0);
	ck_assert_uint_eq(w.door[2], 0);
}
END_TEST

/* Slots of a generation that have a process. */
static unsigned running(const struct world *w, unsigned generation)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->in.nslots; i++)
		n += w->in.memory.slot[i].generation == generation && w->procs[i].pid;
	return n;
}

START_TEST(a_reload_may_want_more_workers_or_fewer)
{
	struct world w;

	serve_with_room(&w, 2, 10);
	w.in.ndoors = 5;
	reload(&w);
	ck_assert_uint_eq(running(&w, 2), 5);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.in.memory.serving, 2);
	ck_assert_uint_eq(running(&w, 1), 2); /* they drain */
	w.in.ndoors = 1;
	reload(&w);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.in.memory.serving, 3);
	ck_assert_uint_eq(running(&w, 3), 1);
	/* a worker that falls is replaced at its own door, and no other comes */
	for (unsigned i = 0; i < w.in.nslots; i++) {
		if (w.in.memory.slot[i].generation == 3) {
			ck_assert_uint_eq(w.in.memory.slot[i].door, 0);
			die(&w, i, false);
		}
	}
	pass(&w, PLAN_BACKOFF_MIN_MS);
	ck_assert_uint_eq(running(&w, 3), 1);
}
END_TEST

START_TEST(reloads_that_come_quickly_become_one)
{
	struct world w;

	serve_with_room(&w, 1, 4);
	reload(&w);
	reload(&w);
	reload(&w);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 1);
	get_ready(&w);
	pass(&w, 1); /* the first one is done, the second begins for the latest file */
	ck_assert_uint_eq(w.done[PLAN_TOOK_OVER], 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 2);
	get_ready(&w);
	pass(&w, 1);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_TOOK_OVER], 2);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 2);
}
END_TEST

START_TEST(a_reload_waits_while_too_many_generations_drain)
{
	struct world w;

	serve_with_room(&w, 1, 4); /* max_generations is 2 */
	for (int i = 0; i < 2; i++) {
		reload(&w);
		get_ready(&w);
		pass(&w, 1);
	}
	ck_assert_uint_eq(w.done[PLAN_TOOK_OVER], 2);
	ck_assert_uint_eq(plan_draining(&w.in.memory, w.procs, 4), 2);
	reload(&w);
	pass(&w, 100);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 2);
	ck_assert_uint_eq(w.done[PLAN_WAIT], 1);
	die(&w, 0, false);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 3);
	ck_assert_int_ne(w.procs[0].pid, 0);
}
END_TEST

START_TEST(slots_of_another_master_are_left_alone)
{
	struct world w;

	prepare(&w, 2);
	w.in.nslots = 5;
	w.procs[0].foreign = w.procs[2].foreign = true;
	step(&w);
	ck_assert_int_ne(w.procs[1].pid, 0);
	ck_assert_int_ne(w.procs[3].pid, 0);
	ck_assert_int_eq(w.procs[0].pid, 0);
	ck_assert_int_eq(w.procs[2].pid, 0);
	serve_on(&w);
	reload(&w); /* one slot is not enough for two workers */
	ck_assert_uint_eq(w.done[PLAN_WAIT], 1);
	w.procs[0].foreign = false;
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 1);
}
END_TEST

START_TEST(a_generation_that_cannot_start_is_given_up)
{
	struct world w;

	serve_with_room(&w, 2, 6);
	reload(&w);
	w.procs[2].ready = true;
	die(&w, 3, true);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL_BACK], 1);
	ck_assert_int_eq(w.last_signal[2], SIGTERM);
	ck_assert_int_eq(w.last_signal[0], 0);
	ck_assert_uint_eq(w.in.memory.serving, 1);
	die(&w, 2, false);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_SPAWN], 4);
	/* and the next file has its chance, with a number of its own */
	reload(&w);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.in.memory.serving, 3);
}
END_TEST

START_TEST(a_generation_that_keeps_falling_is_given_up)
{
	struct world w;

	serve_with_room(&w, 1, 3);
	reload(&w);
	for (int i = 0; i < PLAN_ROLL_DEATHS; i++) {
		ck_assert_uint_eq(w.done[PLAN_ROLL_BACK], 0);
		die(&w, 1, false);
		pass(&w, PLAN_BACKOFF_MAX_MS / 10);
	}
	ck_assert_uint_eq(w.done[PLAN_ROLL_BACK], 1);
	ck_assert_uint_eq(w.in.memory.serving, 1);
}
END_TEST

START_TEST(who_does_not_leave_is_told_again_and_then_killed)
{
	struct world w;

	serve_with_room(&w, 1, 3);
	reload(&w);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[0], SIGQUIT);
	pass(&w, 30000);
	ck_assert_int_eq(w.last_signal[0], SIGQUIT); /* it cuts its clients by itself */
	pass(&w, PLAN_DRAIN_GRACE_MS);
	ck_assert_int_eq(w.last_signal[0], SIGTERM);
	pass(&w, 5000);
	ck_assert_int_eq(w.last_signal[0], SIGKILL);
	ck_assert_int_eq(w.last_signal[1], 0);
}
END_TEST

START_TEST(a_stop_in_the_middle_of_a_reload_stops_all)
{
	struct world w;

	serve_with_room(&w, 1, 3);
	reload(&w);
	w.in.stop = true;
	pass(&w, 1);
	ck_assert_int_eq(w.last_signal[0], SIGTERM);
	ck_assert_int_eq(w.last_signal[1], SIGTERM);
	die(&w, 0, false);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
}
END_TEST

START_TEST(a_reload_during_the_boot_comes_after_it)
{
	struct world w;

	prepare(&w, 1);
	w.in.nslots = 3;
	w.in.reload = true;
	step(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 0);
	get_ready(&w);
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_ROLL], 1);
}
END_TEST

START_TEST(a_master_that_was_replaced_drains_but_says_so_to_nobody)
{
	struct world w;

	serve_with_room(&w, 2, 6);
	w.in.handed_over = true;
	pass(&w, 1);
	ck_assert_uint_eq(w.done[PLAN_LEAVE_DOORS], 1);
	ck_assert_uint_eq(w.done[PLAN_CLOSE_DOORS], 0);
	ck_assert_int_eq(w.last_signal[1], SIGQUIT);
	die(&w, 0, false);
	die(&w, 1, false);
	pass(&w, 1);
	ck_assert_int_eq(w.exit_code, 0);
}
END_TEST

int main(void)
{
	UNIT_RUN("plan_reload", a_reload_starts_all_before_it_lets_any_go,
		a_reload_may_want_more_workers_or_fewer, reloads_that_come_quickly_become_one,
		a_reload_waits_while_too_many_generations_drain, slots_of_another_master_are_left_alone,
		a_generation_that_cannot_start_is_given_up, a_generation_that_keeps_falling_is_given_up,
		who_does_not_leave_is_told_again_and_then_killed,
		a_stop_in_the_middle_of_a_reload_stops_all, a_reload_during_the_boot_comes_after_it,
		a_master_that_was_replaced_drains_but_says_so_to_nobody);
}
