/* SPDX-License-Identifier: BSD-2-Clause */
/* The gate, step by step: several workers played by one process, so that the order is ours. */
#include "base/base.h"
#include "base/clock.h"
#include "shm/waiters.h"
#include "shm_unit.h"

static struct gate_ticket *served[64];
static unsigned nserved;

static void note(struct gate_ticket *ticket, void *arg)
{
	served[nserved++] = ticket;
}

static bool arrive(struct gate_line *line, struct gate_ticket *ticket)
{
	bool held = gate_arrive(line, ticket);

	ck_assert_int_eq(ticket->state, held ? TICKET_HELD : TICKET_WAITING);
	return held;
}

START_TEST(lines_keep_order_also_when_their_middle_leaves)
{
	static struct gate_ticket tickets[500];
	unsigned next[7] = { 0 };
	struct waiters_flow *best;
	struct waiters w;
	uint64_t last = 0;

	srand(1);
	waiters_open(&w, 7);
	for (unsigned i = 0; i < 500; i++)
		waiters_push(&w, i % 7, 1 + i + (unsigned)rand() % 1000, &tickets[i]);
	for (unsigned i = 0; i < 500; i += 3)
		waiters_remove(&w, &tickets[i]);
	ck_assert_uint_eq(w.count, 333);
	ck_assert_uint_eq(waiters_before(&w, UINT64_MAX), 333);
	while ((best = waiters_best(&w))) {
		uint64_t tag = waiters_first(best);
		struct gate_ticket *ticket = TAILQ_FIRST(&best->tickets);
		unsigned number = (unsigned)(ticket - tickets);

		ck_assert_uint_eq(waiters_before(&w, tag), 0);
		ck_assert_uint_eq(waiters_tag(ticket), tag);
		ck_assert_uint_ge(tag, last);
		ck_assert_uint_ne(number % 3, 0);
		ck_assert_uint_eq(number % 7, best->number);
		ck_assert_uint_ge(number, next[best->number]); /* as they came */
		next[best->number] = number + 1;
		last = tag;
		ck_assert_ptr_eq(waiters_pop(&w, best), ticket);
	}
	ck_assert_uint_eq(w.count, 0);
	waiters_release(&w);
}
END_TEST

START_TEST(permits_are_given_at_once_while_there_are_any)
{
	struct shm *shm = unit_segment(2, 0, 60000);
	struct gate_line *line = unit_line(shm, 0, note, NULL);
	struct gate_ticket t[3] = { 0 };
	struct gate_reading r;

	ck_assert(arrive(line, &t[0]));
	ck_assert(arrive(line, &t[1]));
	ck_assert(!arrive(line, &t[2]));
	gate_read(shm, 0, &r);
	ck_assert_uint_eq(r.used, 2);
	ck_assert_uint_eq(r.limit, 2);
	ck_assert_uint_eq(r.waiting, 1);
	ck_assert_uint_eq(r.grants, 2);
	gate_leave(line, &t[0]);
	ck_assert_int_eq(t[0].state, TICKET_IDLE);
	ck_assert(gate_pending(line));
	ck_assert_uint_eq(nserved, 0);
	gate_poll(line);
	ck_assert(!gate_pending(line));
	ck_assert_uint_eq(nserved, 1);
	ck_assert_ptr_eq(served[0], &t[2]);
	ck_assert_int_eq(t[2].state, TICKET_HELD);
	ck_assert_uint_eq(unit_wakes(0), 0); /* our own grant needs no wake */
	gate_read(shm, 0, &r);
	ck_assert_uint_gt(r.interval_us, 0);
	gate_leave(line, &t[1]);
	gate_leave(line, &t[2]);
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}
END_TEST

START_TEST(who_came_first_is_served_first_over_all_workers)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct gate_line *line[4];
	struct gate_ticket holder = { 0 }, t[12] = { 0 };

	for (unsigned i = 0; i < 4; i++)
		line[i] = unit_line(shm, i, note, NULL);
	ck_assert(arrive(line[3], &holder));
	for (unsigned i = 0; i < 12; i++)
		ck_assert(!arrive(line[i * 7 % 3], &t[i])); /* workers 0 1 2 0 1 2 ... */
	gate_leave(line[3], &holder);
	for (unsigned i = 0; i < 12; i++) {
		unsigned at = i * 7 % 3;

		ck_assert_uint_eq(unit_wakes(at), 1);
		for (unsigned other = 0; other < 4; other++)
			gate_poll(line[other]);
		ck_assert_uint_eq(nserved, i + 1);
		ck_assert_ptr_eq(served[i], &t[i]);
		ck_assert_uint_eq(unit_used(shm), 1);
		gate_leave(line[at], &t[i]);
		/* The next in line sits at another worker: it must have been woken, and it alone. */
		ck_assert_uint_eq(unit_wakes(at), 0);
	}
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}
END_TEST

START_TEST(a_burst_of_permits_goes_to_several_waiters_of_one_worker)
{
	struct shm *shm = unit_segment(0, 0, 60000);
	struct gate_line *line = unit_line(shm, 0, note, NULL);
	struct gate_ticket t[5] = { 0 };

	for (unsigned i = 0; i < 5; i++)
		ck_assert(!arrive(line, &t[i]));
	gate_set_limit(shm, 0, 4);
	ck_assert_uint_eq(unit_wakes(0), 1);
	gate_poll(line);
	ck_assert_uint_eq(nserved, 4);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_ptr_eq(served[i], &t[i]);
	ck_assert_int_eq(t[4].state, TICKET_WAITING);
	unit_books_balance(shm);
}
END_TEST

START_TEST(who_leaves_the_line_costs_nothing)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct gate_line *a = unit_line(shm, 0, note, NULL), *b = unit_line(shm, 1, note, NULL);
	struct gate_ticket holder = { 0 }, t[6] = { 0 };

	ck_assert(arrive(a, &holder));
	for (unsigned i = 0; i < 6; i++)
		ck_assert(!arrive(i % 2 ? b : a, &t[i]));
	gate_leave(a, &t[4]); /* private: in the heap only */
	gate_leave(a, &t[0]); /* published: the next one stands in */
	gate_leave(a, &holder);
	gate_poll(a);
	ck_assert_uint_eq(nserved, 0);
	/* Granted to t[1], on its way; it goes, so the grant goes on to t[2] of the other worker. */
	ck_assert(gate_pending(b));
	gate_leave(b, &t[1]);
	ck_assert(!gate_pending(b));
	ck_assert_uint_eq(unit_wakes(0), 1);
	gate_poll(b);
	gate_poll(a);
	ck_assert_uint_eq(nserved, 1);
	ck_assert_ptr_eq(served[0], &t[2]);
	unit_books_balance(shm);
	gate_leave(a, &t[2]);
	gate_poll(b);
	ck_assert_ptr_eq(served[1], &t[3]);
	unit_line_close(1); /* takes t[5] out of line; t[3] is held until the worker is dead */
	ck_assert_int_eq(t[5].state, TICKET_IDLE);
	ck_assert_uint_eq(unit_used(shm), 1);
	unit_books_balance(shm);
}
END_TEST

START_TEST(try_takes_a_permit_only_if_nobody_waits)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct gate_line *a = unit_line(shm, 0, note, NULL), *b = unit_line(shm, 1, note, NULL);
	struct gate_ticket t[3] = { 0 };

	ck_assert(gate_try(a, &t[0]));
	ck_assert_int_eq(t[0].state, TICKET_HELD);
	ck_assert(!gate_try(b, &t[1]));
	ck_assert_int_eq(t[1].state, TICKET_IDLE);
	ck_assert(!arrive(b, &t[1]));
	/* Free permits and a line cannot be seen from outside; this is what a stopped worker leaves. */
	atomic_store(&shm_gate_at(shm, 0)->limit, 2);
	ck_assert(!gate_try(a, &t[2]));
	ck_assert(!gate_try(b, &t[2]));
	gate_set_limit(shm, 0, 2);
	gate_poll(b);
	ck_assert_ptr_eq(served[0], &t[1]);
	gate_leave(a, &t[0]);
	ck_assert(gate_try(a, &t[2]));
	unit_books_balance(shm);
}
END_TEST

START_TEST(a_lower_limit_lets_nobody_in_until_enough_have_left)
{
	struct shm *shm = unit_segment(3, 0, 60000);
	struct gate_line *line = unit_line(shm, 0, note, NULL);
	struct gate_ticket t[4] = { 0 };

	for (unsigned i = 0; i < 3; i++)
		ck_assert(arrive(line, &t[i]));
	ck_assert(!arrive(line, &t[3]));
	gate_set_limit(shm, 0, 1);
	gate_leave(line, &t[0]);
	gate_leave(line, &t[1]);
	gate_poll(line);
	ck_assert_uint_eq(nserved, 0);
	ck_assert_uint_eq(unit_used(shm), 1);
	gate_leave(line, &t[2]);
	gate_poll(line);
	ck_assert_uint_eq(nserved, 1);
	unit_books_balance(shm);
}
END_TEST

START_TEST(what_a_dead_worker_held_comes_back)
{
	struct shm *shm = unit_segment(4, 0, 60000);
	struct gate_line *a = unit_line(shm, 0, note, NULL), *b = unit_line(shm, 1, note, NULL);
	struct gate_cell *cell = shm_gate_at(shm, 0)->cell;
	struct gate_ticket mine[3] = { 0 }, his[4] = { 0 };
	struct gate_reading r;
	uint64_t back = 0;

	ck_assert(arrive(a, &mine[0]));
	for (unsigned i = 0; i < 3; i++)
		ck_assert(arrive(b, &his[i]));
	ck_assert(!arrive(b, &his[3]));
	ck_assert(!arrive(a, &mine[1]));
	ck_assert(!arrive(a, &mine[2]));
	/* b dies in the middle of a step, one permit in its hands */
	atomic_fetch_sub(&cell[1].held, 1);
	atomic_fetch_add(&cell[1].version, 1);
	ck_assert(!shm_reclaim_audit(shm, &back));
	ck_assert_uint_eq(back, 0);
	shm_reclaim(shm, 1);
	unit_wakes(0);
	ck_assert(shm_reclaim_audit(shm, &back));
	ck_assert_uint_eq(back, 3);
	ck_assert_uint_ge(unit_wakes(0), 1);
	gate_poll(a);
	ck_assert_uint_eq(nserved, 2);
	ck_assert_uint_eq(unit_used(shm), 3);
	gate_read(shm, 0, &r);
	ck_assert_uint_eq(r.grants, 6); /* those of the dead count on */
	ck_assert_uint_eq(r.waiting, 0);
	ck_assert(shm_reclaim_audit(shm, &back));
	ck_assert_uint_eq(back, 3); /* nothing is found twice */
	unit_books_balance(shm);
}
END_TEST

START_TEST(an_audit_does_not_wait_for_a_worker_that_stopped_in_a_step)
{
	struct shm *shm = unit_segment(2, 0, 60000);
	struct gate_cell *cell = shm_gate_at(shm, 0)->cell;
	uint64_t back = 0;
	char text[512];

	atomic_fetch_add(&cell[5].version, 1);
	ck_assert(!shm_reclaim_audit(shm, &back));
	ck_assert_int_eq(shm_check(shm, 10, text), -EAGAIN);
	atomic_fetch_add(&cell[5].version, 1);
	ck_assert(shm_reclaim_audit(shm, &back));
	ck_assert_uint_eq(back, 0);
	ck_assert_int_eq(shm_check(shm, 10, text), 0);
}
END_TEST

START_TEST(books_that_do_not_balance_are_told)
{
	struct shm *shm = unit_segment(9, 0, 60000);
	struct gate_line *line = unit_line(shm, 0, note, NULL);
	struct gate_ticket t = { 0 };
	uint64_t back = 0;
	char text[512];

	ck_assert(arrive(line, &t));
	atomic_fetch_add(&shm_gate_at(shm, 0)->used, 2);
	ck_assert_int_eq(shm_check(shm, 10, text), 1);
	ck_assert_str_eq(text, "gate 'test.gate': 3 of 9 are in use, but 1 are held and 0 granted");
	ck_assert(shm_reclaim_audit(shm, &back));
	ck_assert_uint_eq(back, 2);
	unit_books_balance(shm);
}
END_TEST

START_TEST(position_counts_those_in_front)
{
	struct shm *shm = unit_segment(0, 0, 60000);
	struct gate_line *a = unit_line(shm, 0, note, NULL), *b = unit_line(shm, 1, note, NULL);
	struct gate_ticket t[40] = { 0 };

	for (unsigned i = 0; i < 40; i++)
		ck_assert(!arrive(i % 2 ? b : a, &t[i]));
	ck_assert_uint_eq(gate_position(a, &t[0]), 1);
	ck_assert_uint_eq(gate_position(b, &t[1]), 2);
	for (unsigned i = 0; i < 40; i++) {
		uint64_t position = gate_position(i % 2 ? b : a, &t[i]);

		ck_assert_uint_ge(position + 2, i + 1);
		ck_assert_uint_le(position, i + 3);
	}
}
END_TEST

/* Called from granted(): leaving and coming again must be safe there. */
static struct gate_line *churn_line;
static unsigned churns;
static void churn(struct gate_ticket *ticket, void *arg)
{
	gate_leave(churn_line, ticket);
	if (++churns < 10 && gate_arrive(churn_line, ticket))
		gate_leave(churn_line, ticket);
}

START_TEST(a_granted_callback_may_use_the_gate)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct gate_ticket holder = { 0 }, t[3] = { 0 };

	churn_line = unit_line(shm, 0, churn, NULL);
	ck_assert(arrive(churn_line, &holder));
	for (unsigned i = 0; i < 3; i++)
		ck_assert(!arrive(churn_line, &t[i]));
	gate_leave(churn_line, &holder);
	gate_poll(churn_line);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(t[i].state, TICKET_IDLE);
	ck_assert_uint_ge(churns, 3);
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}
END_TEST

START_TEST(an_empty_line_is_short)
{
	struct shm *shm = unit_segment(100, 0, 60000);
	struct gate_line *line = unit_line(shm, 0, note, NULL);
	const unsigned rounds = 50000;
	struct gate_ticket t = { 0 };
	uint64_t best_us = UINT64_MAX;

	/* the best of many: others use this machine, too */
	for (unsigned k = 0; k < 40; k++) {
		uint64_t from = clock_us(), took;
		unsigned held = 0;

		for (unsigned i = 0; i < rounds; i++) {
			held += gate_arrive(line, &t);
			gate_leave(line, &t);
		}
		took = clock_us() - from;
		best_us = took < best_us ? took : best_us;
		ck_assert_uint_eq(held, rounds);
	}
	printf("# uncontended gate_arrive + gate_leave with %d slots: %.0f ns\n", UNIT_SLOTS,
		(double)best_us * 1000 / rounds);
	fflush(stdout);
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}
END_TEST

int main(void)
{
	UNIT_RUN("gate", lines_keep_order_also_when_their_middle_leaves,
		permits_are_given_at_once_while_there_are_any,
		who_came_first_is_served_first_over_all_workers,
		a_burst_of_permits_goes_to_several_waiters_of_one_worker,
		who_leaves_the_line_costs_nothing, try_takes_a_permit_only_if_nobody_waits,
		a_lower_limit_lets_nobody_in_until_enough_have_left, what_a_dead_worker_held_comes_back,
		an_audit_does_not_wait_for_a_worker_that_stopped_in_a_step,
		books_that_do_not_balance_are_told, position_counts_those_in_front,
		a_granted_callback_may_use_the_gate, an_empty_line_is_short);
}
