/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases: gates, windows and tokens under a schedule, on their own and while it changes; and that neither a writer that
 * dies nor a fall in between lets anybody past.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/clock.h"
#include "shm_unit.h"
#include "shm/lease.h"
#include "shm/tokens.h"

#include <signal.h>
#include <sys/wait.h>

#define HOUR 3600000u
#define W 60000u /* the window, and how late a request may be */
#define LATE 600u

static const struct lease_subject the_gate = { .kind = LEASE_GATE, .number = 0, .configured = 10 };
static const struct lease_subject the_window = { .kind = LEASE_WINDOW, .number = 0, .configured = 40, .memory_ms = W };
static const struct lease_subject the_tokens = { .kind = LEASE_TOKENS, .number = 0, .configured = 1000, .memory_ms = W };

static struct shm *clustered(void)
{
	struct shm *shm = unit_clustered(10, 10, 40);

	tokens_set_limit(shm, 0, 1000, W);
	return shm;
}

/* So much, for long; of a window, by the test's own clock. */
static void lease_at(struct shm *shm, const struct lease_subject *s, uint64_t limit, uint64_t now_ms)
{
	lease_write(shm, s, &(struct lease_schedule){ .limit = limit, .until_ms = clock_boot_ms() + HOUR, .after = 1,
		.rise_ms = clock_boot_ms() + 2 * HOUR, .rise_to = 3, .keep = limit, .keep_until_ms = clock_boot_ms() + HOUR,
		.granted = limit }, now_ms);
}

static void lease(struct shm *shm, const struct lease_subject *s, uint64_t limit)
{
	lease_at(shm, s, limit, clock_ms());
}

/* One that lapsed a while ago. */
static void lapsed(struct shm *shm, const struct lease_subject *s, uint64_t after, bool risen)
{
	uint64_t now = clock_boot_ms();

	lease_write(shm, s, &(struct lease_schedule){ .limit = 9, .until_ms = now - 2, .after = after,
		.rise_ms = risen ? now - 1 : now + HOUR, .rise_to = 3, .keep = 9, .keep_until_ms = now - 2 }, clock_ms());
}

static unsigned take_all(struct gate_line *line, struct gate_ticket *tickets, unsigned n)
{
	unsigned taken = 0;

	while (taken < n && gate_try(line, &tickets[taken]))
		taken++;
	return taken;
}

static void nobody_waits(struct gate_ticket *ticket, void *arg)
{
	(*(unsigned *)arg)++;
}

START_TEST(nothing_may_be_used_before_there_is_a_lease)
{
	struct shm *shm = clustered();
	struct gate_ticket ticket = { 0 };
	struct tokens_promise promise;
	struct lease_reading r;
	struct appointment a;
	unsigned granted = 0;
	struct gate_line *line = unit_line(shm, 0, nobody_waits, &granted);

	ck_assert(!gate_try(line, &ticket));
	ck_assert(!window_take(shm, 0, 1000, UINT64_MAX, &a));
	ck_assert(!tokens_take(shm, 0, 1000, UINT64_MAX, 5, &promise));
	lease_read(shm, &the_gate, &r);
	ck_assert_uint_eq(r.refused, 1); /* and it is seen that somebody wants it */
	lease_read(shm, &the_window, &r);
	ck_assert_uint_eq(r.refused, 1);
	lease_read(shm, &the_tokens, &r);
	ck_assert_uint_eq(r.refused, 5);
}
END_TEST

START_TEST(a_gate_follows_its_schedule)
{
	struct shm *shm = clustered();
	struct gate_ticket tickets[12] = { 0 };
	struct gate_reading r;
	unsigned granted = 0;
	struct gate_line *line = unit_line(shm, 0, nobody_waits, &granted);

	lease(shm, &the_gate, 4);
	ck_assert_uint_eq(take_all(line, tickets, 12), 4);
	lease(shm, &the_gate, 20); /* never more than is configured */
	ck_assert_uint_eq(take_all(line, tickets + 4, 8), 6);
	gate_read(shm, 0, &r);
	ck_assert_uint_eq(r.limit, 10);
	for (unsigned i = 0; i < 10; i++)
		gate_leave(line, &tickets[i]);
	lapsed(shm, &the_gate, 1, false);
	gate_read(shm, 0, &r);
	ck_assert_uint_eq(r.in_force, 1);
	ck_assert_uint_eq(take_all(line, tickets, 12), 1);
	lapsed(shm, &the_gate, 1, true);
	ck_assert_uint_eq(take_all(line, tickets + 1, 11), 2);
	unit_books_balance(shm);
	for (unsigned i = 0; i < 3; i++)
		gate_leave(line, &tickets[i]);
}
END_TEST

START_TEST(who_waits_is_served_when_the_lease_grows_and_when_it_rises_by_itself)
{
	struct shm *shm = clustered();
	struct gate_ticket tickets[3] = { 0 };
	uint64_t now = clock_boot_ms();
	unsigned granted = 0;
	struct gate_line *line = unit_line(shm, 0, nobody_waits, &granted);

	for (unsigned i = 0; i < 3; i++)
		ck_assert(!gate_arrive(line, &tickets[i]));
	gate_poll(line);
	ck_assert_uint_eq(granted, 0);
	lease(shm, &the_gate, 1);
	gate_poll(line);
	ck_assert_uint_eq(granted, 1);
	lease_write(shm, &the_gate, &(struct lease_schedule){ .limit = 1, .until_ms = now + 1, .after = 1,
		.rise_ms = now + 40, .rise_to = 3 }, clock_ms());
	gate_poll(line);
	ck_assert(granted == 1 || clock_boot_ms() >= now + 40);
	while (clock_boot_ms() < now + 40)
		usleep(1000);
	gate_look(line);
	gate_poll(line);
	ck_assert_uint_eq(granted, 3);
	for (unsigned i = 0; i < 3; i++)
		gate_leave(line, &tickets[i]);
	unit_books_balance(shm);
}
END_TEST

START_TEST(no_more_are_ended_than_are_too_many)
{
	struct shm *shm = clustered();
	struct gate_ticket tickets[2][5] = { 0 };
	unsigned granted = 0, left = 0;
	struct gate_line *lines[2] = { unit_line(shm, 0, nobody_waits, &granted), unit_line(shm, 1, nobody_waits, &granted) };

	lease(shm, &the_gate, 10);
	for (unsigned k = 0; k < 2; k++)
		ck_assert_uint_eq(take_all(lines[k], tickets[k], 5), 5);
	ck_assert(!gate_leave_over(lines[0], &tickets[0][0]));
	/* Less may be used from now on; what runs is within the larger lease of before. */
	lease_write(shm, &the_gate, &(struct lease_schedule){ .limit = 2, .until_ms = clock_boot_ms() + HOUR, .keep = 8,
		.keep_until_ms = clock_boot_ms() + HOUR }, clock_ms());
	ck_assert_uint_eq(lease_may_run(shm, 0), 8);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 2; k++)
			left += gate_leave_over(lines[k], &tickets[k][i]);
	ck_assert_uint_eq(left, 2);
	lapsed(shm, &the_gate, 3, false);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 2; k++)
			if (tickets[k][i].state == TICKET_HELD)
				left += gate_leave_over(lines[k], &tickets[k][i]);
	ck_assert_uint_eq(left, 7);
	ck_assert_uint_eq(unit_used(shm), 3);
	unit_books_balance(shm);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < 2; k++)
			if (tickets[k][i].state == TICKET_HELD)
				gate_leave(lines[k], &tickets[k][i]);
}
END_TEST

/* ---- windows ---- */

#define SENDS 20000u
#define STEPS 12000u

/* What was in force, and what was sent, by a clock of the test's own. */
static uint64_t sent[SENDS];
static unsigned nsent;
static struct in_force {
	uint64_t at, limit;
} changes[STEPS];
static unsigned nchanges;

static unsigned sent_within(uint64_t from, uint64_t to)
{
	unsigned n = 0;

	for (unsigned i = nsent; i-- && sent[i] > from;)
		n += sent[i] <= to;
	return n;
}

/* The most that was in force at some time within (from, to]. */
static uint64_t most_within(uint64_t from, uint64_t to)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < nchanges; i++)
		if (changes[i].at <= to && (i + 1 == nchanges || changes[i + 1].at > from) && changes[i].limit > most)
			most = changes[i].limit;
	return most;
}

static unsigned below(unsigned n)
{
	return (unsigned)random() % n;
}

static uint64_t limit_of_window(struct shm *shm)
{
	struct lease_reading r;

	lease_read(shm, &the_window, &r);
	return r.limit;
}

static uint64_t hold_of_window(struct shm *shm, uint64_t now)
{
	struct window_demand demand;

	window_read_demand(shm, 0, now, &demand);
	return limit_of_window(shm) + demand.beyond;
}

/*
 * What is granted changes oftener than the window is long, and is never more than 40. In no window more is sent than was
 * granted at some time within it. What is said as held covers each window that is to come, until more is granted; and a grant is never
 * exceeded by it, unless what was used before is more already: then nothing may be used.
 */
START_TEST(a_window_is_exact_while_its_lease_changes)
{
	struct shm *shm = clustered();
	struct appointment waiting[64];
	uint64_t now = 1000000, granted = 0, hold = 0;
	unsigned nwaiting = 0, tight = 0;

	srandom(4711);
	for (unsigned step = 0; step < STEPS; step++) {
		now += below(2) ? below(100) : below(1500);
		if (!below(step / 3000 % 2 ? 8 : 200)) { /* oftener than the window is long, or not */
			granted = below(3) ? below(41) : 0;
			lease_at(shm, &the_window, granted, now);
			hold = hold_of_window(shm, now);
			if (hold > granted)
				ck_assert_uint_eq(limit_of_window(shm), 0);
		}
		changes[nchanges++] = (struct in_force){ now, granted };
		for (unsigned i = 0; i < 6 && nwaiting < ARRAY_SIZE(waiting); i++)
			if (window_take(shm, 0, now, now + 2 * W, &waiting[nwaiting]))
				nwaiting++;
		for (unsigned i = 0; i < nwaiting; i++) {
			struct appointment *a = &waiting[i];

			if (a->at_ms > now && below(50))
				continue;
			if (a->at_ms > now || !below(10) || !window_keep(shm, 0, a, now))
				window_return(shm, 0, a);
			else
				sent[nsent++] = now;
			waiting[i--] = waiting[--nwaiting];
		}
		ck_assert_uint_lt(nsent, SENDS - 64);
		ck_assert_msg(sent_within(now - W, now) <= most_within(now - W, now),
			"%u sent within a window, and at most %" PRIu64 " were granted", sent_within(now - W, now),
			most_within(now - W, now));
		tight += sent_within(now - W, now) && sent_within(now - W, now) == most_within(now - W, now);
		ck_assert_uint_le(sent_within(now - W, now), hold);
	}
	ck_assert_uint_gt(nsent, 500);
	ck_assert_uint_gt(tight, 50);
}
END_TEST

/* Slots behind the limit that were used count for what is granted: it does not grow past them to slots that were not. */
START_TEST(what_was_used_behind_the_limit_is_part_of_a_grant)
{
	struct shm *shm = clustered();
	struct appointment a;

	lease_at(shm, &the_window, 10, 1000);
	for (unsigned i = 0; i < 10; i++)
		ck_assert(window_take(shm, 0, i < 5 ? 1000 : 40000, 40000, &a)); /* the first five are ready again before the others */
	lease_at(shm, &the_window, 5, 2000 + W);
	ck_assert_uint_eq(limit_of_window(shm), 0);
	lease_at(shm, &the_window, 7, 2000 + W);
	ck_assert_uint_eq(limit_of_window(shm), 2);
	ck_assert_uint_eq(hold_of_window(shm, 2000 + W), 7);
	lease_at(shm, &the_window, 10, 2000 + W);
	ck_assert_uint_eq(limit_of_window(shm), 10);
	lease_at(shm, &the_window, 7, 41000 + W);
	ck_assert_uint_eq(limit_of_window(shm), 7);
}
END_TEST

START_TEST(slots_that_come_back_are_found_at_once)
{
	struct shm *shm = clustered();
	struct appointment a;

	lease_at(shm, &the_window, 3, 1000);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(window_take(shm, 0, 1000, 1000, &a));
	ck_assert(!window_take(shm, 0, 1000, 1000, &a));
	lease_at(shm, &the_window, 5, 1001);
	for (unsigned i = 0; i < 2; i++)
		ck_assert(window_take(shm, 0, 1001, 1001, &a));
	ck_assert(!window_take(shm, 0, 1001, 1001, &a));
	lease_at(shm, &the_window, 1, 2000);
	ck_assert(!window_take(shm, 0, 2000, 2000, &a));
	lease_at(shm, &the_window, 5, 3000); /* used is used */
	ck_assert(!window_take(shm, 0, 3000, 3000, &a));
	ck_assert(window_take(shm, 0, 1001 + W + LATE, 1001 + W + LATE, &a));
}
END_TEST

START_TEST(more_is_in_sight_while_a_lease_says_so)
{
	struct shm *shm = clustered();
	uint64_t now = clock_boot_ms();
	struct lease_schedule s = { .limit = 3, .until_ms = now + HOUR, .rise_ms = UINT64_MAX, .target = 3, .granted = 3 };

	ck_assert(!window_grows(shm, 0)); /* there is none yet */
	lease_write(shm, &the_window, &s, clock_ms());
	ck_assert(window_is_short(shm, 0) && !window_grows(shm, 0)); /* this is its share */
	s.target = 4;
	lease_write(shm, &the_window, &s, clock_ms());
	ck_assert(window_grows(shm, 0));
	s.until_ms = now - 1; /* nobody answers any more */
	lease_write(shm, &the_window, &s, clock_ms());
	ck_assert(!window_grows(shm, 0));
	s = (struct lease_schedule){ .limit = 40, .until_ms = now + HOUR, .target = 50, .granted = 40 };
	lease_write(shm, &the_window, &s, clock_ms());
	ck_assert(!window_grows(shm, 0)); /* more than is configured nobody has */
}
END_TEST

/* Promises may be for two windows, of which each is within the lease. */
START_TEST(tokens_that_wait_for_the_next_window_are_not_held_twice)
{
	struct shm *shm = clustered();
	uint64_t now = clock_ms();
	struct tokens_promise a;
	struct lease_reading r;

	lease(shm, &the_tokens, 500);
	ck_assert(tokens_take(shm, 0, now, now, 400, &a));
	ck_assert(tokens_take(shm, 0, now, UINT64_MAX, 450, &a));
	lease_read(shm, &the_tokens, &r);
	ck_assert_uint_eq(r.wanted, 850);
	ck_assert_uint_eq(r.hold, 500);
	lease(shm, &the_tokens, 100);
	lease_read(shm, &the_tokens, &r);
	ck_assert_uint_eq(r.hold, 450);
}
END_TEST

START_TEST(tokens_that_are_not_ours_any_more_do_not_go_out)
{
	struct shm *shm = clustered();
	struct tokens_promise first, second;

	lease(shm, &the_tokens, 500);
	ck_assert(tokens_take(shm, 0, 1000000, 1000000, 300, &first));
	ck_assert(tokens_take(shm, 0, 1000000, 1000000, 200, &second));
	ck_assert(tokens_hold(shm, 0, &first));
	lease(shm, &the_tokens, 400);
	ck_assert(!tokens_hold(shm, 0, &second));
	tokens_return(shm, 0, &second);
	ck_assert(tokens_hold(shm, 0, &first));
	ck_assert(!tokens_take(shm, 0, 1000000, 1000000, 450, &second)); /* more than is leased, less than there is */
}
END_TEST

START_TEST(a_limit_that_was_none_begins_with_nothing)
{
	struct shm *shm = clustered();
	struct lease_reading r;

	lease(shm, &the_gate, 5);
	lease(shm, &the_window, 5);
	lease(shm, &the_tokens, 5);
	gate_set_limit(shm, 0, SHM_NO_LIMIT);
	ck_assert_int_eq(window_set_limit(shm, 0, 0), 0);
	tokens_set_limit(shm, 0, 0, W);
	gate_set_limit(shm, 0, 10);
	ck_assert_int_eq(window_set_limit(shm, 0, 40), 0);
	tokens_set_limit(shm, 0, 1000, W);
	lease_read(shm, &the_gate, &r);
	ck_assert_uint_eq(r.limit, 0);
	lease_read(shm, &the_window, &r);
	ck_assert_uint_eq(r.limit, 0);
	lease_read(shm, &the_tokens, &r);
	ck_assert_uint_eq(r.limit, 0);
	/* another number is no reason */
	lease(shm, &the_gate, 5);
	gate_set_limit(shm, 0, 12);
	lease_read(shm, &the_gate, &r);
	ck_assert_uint_eq(r.limit, 5);
}
END_TEST

/* ---- a writer that dies ---- */

static void NORETURN write_for_ever(struct shm *shm)
{
	for (uint64_t n = 1;; n++)
		lease_write(shm, &the_gate, &(struct lease_schedule){ .limit = n, .until_ms = n, .after = n, .rise_ms = n,
			.rise_to = n, .keep = n, .keep_until_ms = n, .total = n }, clock_ms());
}

START_TEST(whenever_the_writer_dies_there_is_a_whole_schedule)
{
	struct shm *shm = clustered();

	lease(shm, &the_gate, 5);
	for (unsigned i = 0; i < 30; i++) {
		struct lease_reading r;
		pid_t pid = fork();
		int status;

		if (pid == 0)
			write_for_ever(shm);
		for (unsigned k = 0; k < 2000; k++) {
			lease_read(shm, &the_gate, &r);
			if (r.schedule.limit == 5 && !r.schedule.total)
				continue; /* it has not begun */
			ck_assert_uint_eq(r.schedule.limit, r.schedule.total);
			ck_assert_uint_eq(r.schedule.keep, r.schedule.until_ms);
			ck_assert_uint_eq(r.schedule.rise_to, r.schedule.after);
			ck_assert_uint_eq(r.schedule.limit, r.schedule.rise_ms);
		}
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		lease_read(shm, &the_gate, &r);
		ck_assert(r.schedule.limit == r.schedule.total || (r.schedule.limit == 5 && !r.schedule.total));
	}
}
END_TEST

START_TEST(one_process_may_store_leases_and_its_right_dies_with_it)
{
	struct shm *shm = clustered();
	int claim = shm_claim_leases(shm), status;
	pid_t pid;

	ck_assert_int_ge(claim, 0);
	ck_assert_int_eq(shm_claim_leases(shm), -EWOULDBLOCK);
	pid = fork();
	if (pid == 0)
		for (;;)
			pause();
	close(claim); /* as the master does: the agent has the last copy */
	ck_assert_int_eq(shm_claim_leases(shm), -EWOULDBLOCK);
	kill(pid, SIGSTOP);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_int_eq(shm_claim_leases(shm), -EWOULDBLOCK);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	claim = shm_claim_leases(shm);
	ck_assert_int_ge(claim, 0);
	close(claim);
	unlink(unit_path);
	ck_assert_int_eq(shm_claim_leases(shm), -ENOENT);
}
END_TEST

START_TEST(the_agent_of_the_next_master_stays)
{
	struct shm *shm = clustered();
	struct cluster_reading r;

	cluster_set_agent(shm, 11);
	cluster_set_agent(shm, 12);
	cluster_unset_agent(shm, 11); /* its master hears of it late */
	cluster_read(shm, &r);
	ck_assert_int_eq(r.agent_pid, 12);
	cluster_unset_agent(shm, 12);
	cluster_read(shm, &r);
	ck_assert_int_eq(r.agent_pid, 0);
}
END_TEST

START_TEST(a_worker_may_die_while_it_ends_one_too_many)
{
	struct shm *shm = clustered();
	struct gate_ticket ticket = { 0 };
	unsigned granted = 0;
	uint64_t lost = 0;
	pid_t pid;
	int status;

	lease(shm, &the_gate, 10);
	pid = fork();
	if (pid == 0) {
		struct gate_line *line = unit_line(shm, 0, nobody_waits, &granted);

		setenv("HEADGATE_CRASH", "lease.over.uncounted,slot=0", 1);
		crash_point_arm(0, 1);
		lapsed(shm, &the_gate, 0, false);
		lease(shm, &the_gate, 1);
		if (!gate_try(line, &ticket))
			_exit(1);
		lapsed(shm, &the_gate, 0, false);
		_exit(gate_leave_over(line, &ticket) ? 2 : 3);
	}
	waitpid(pid, &status, 0);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with %x", status);
	shm_bind(shm, SHM_MASTER, unit_wake);
	shm_reclaim(shm, 0);
	ck_assert(shm_reclaim_audit(shm, &lost));
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}
END_TEST

int main(void)
{
	UNIT_RUN("lease", nothing_may_be_used_before_there_is_a_lease, a_gate_follows_its_schedule,
		who_waits_is_served_when_the_lease_grows_and_when_it_rises_by_itself,
		no_more_are_ended_than_are_too_many, a_window_is_exact_while_its_lease_changes,
		what_was_used_behind_the_limit_is_part_of_a_grant,
		a_limit_that_was_none_begins_with_nothing, slots_that_come_back_are_found_at_once,
		more_is_in_sight_while_a_lease_says_so, tokens_that_wait_for_the_next_window_are_not_held_twice, tokens_that_are_not_ours_any_more_do_not_go_out,
#ifdef HEADGATE_DEVELOPER
		a_worker_may_die_while_it_ends_one_too_many,
#endif
		one_process_may_store_leases_and_its_right_dies_with_it, the_agent_of_the_next_master_stays,
		whenever_the_writer_dies_there_is_a_whole_schedule);
}
