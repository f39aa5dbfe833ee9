/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The window: order and appointments with a clock of our own; then many processes on a
 * simulated clock that take, return, are late and are killed, and one record of all sends.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/clock.h"
#include "shm_unit.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define WINDOW 60000u
#define LATE 600u /* how late an appointment may be kept */
#define W (WINDOW + LATE)
#define T0 1000000u

static uint64_t take(struct shm *shm, uint64_t now, struct appointment *a)
{
	struct appointment own;

	ck_assert(window_take(shm, 0, now, UINT64_MAX, a ? a : &own));
	return (a ? a : &own)->at_ms;
}

static uint64_t used(struct shm *shm, uint64_t now)
{
	struct window_reading r;

	window_read(shm, 0, now, &r);
	ck_assert_uint_eq(r.window_ms, WINDOW);
	return r.used;
}

START_TEST(no_limit_is_no_limit)
{
	struct shm *shm = unit_segment(1, 0, WINDOW);
	struct appointment a;

	for (unsigned i = 0; i < 5000; i++)
		ck_assert_uint_eq(take(shm, T0, &a), T0);
	ck_assert(window_keep(shm, 0, &a, T0 + 5));
	window_return(shm, 0, &a);
	ck_assert_uint_eq(used(shm, T0), 0);
}
END_TEST

START_TEST(the_one_over_the_limit_waits_for_the_first_to_leave_the_window)
{
	struct shm *shm = unit_segment(1, 3, WINDOW);
	struct appointment a;

	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(take(shm, T0 + i * 10, NULL), T0 + i * 10);
	ck_assert_uint_eq(used(shm, T0 + 30), 3);
	ck_assert(!window_take(shm, 0, T0 + 30, T0 + W - 1, &a));
	ck_assert_uint_eq(a.at_ms, T0 + W);
	for (unsigned i = 0; i < 7; i++)
		ck_assert_uint_eq(take(shm, T0 + 30, NULL), T0 + (1 + i / 3) * W + i % 3 * 10);
	ck_assert_uint_eq(used(shm, T0 + 30), 3);
	ck_assert_uint_eq(used(shm, T0 + 5 * W), 0);
	ck_assert_uint_eq(take(shm, T0 + 9 * W, NULL), T0 + 9 * W);
	ck_assert_uint_eq(used(shm, T0 + 9 * W), 1);
}
END_TEST

START_TEST(a_returned_appointment_goes_to_the_next_who_asks)
{
	struct shm *shm = unit_segment(1, 2, WINDOW);
	struct appointment a, b, c;

	take(shm, T0, NULL);
	take(shm, T0 + 1, NULL);
	ck_assert_uint_eq(take(shm, T0 + 2, &a), T0 + W);
	ck_assert_uint_eq(take(shm, T0 + 2, &b), T0 + W + 1);
	window_return(shm, 0, &a);
	window_return(shm, 0, &a); /* harmless */
	ck_assert(!window_take(shm, 0, T0 + 3, T0 + W - 1, &c)); /* still not before its time */
	ck_assert_uint_eq(take(shm, T0 + 3, &c), T0 + W);
	ck_assert_uint_eq(take(shm, T0 + 3, NULL), T0 + 2 * W);
	/* It was late when it came back: its time is now. */
	window_return(shm, 0, &b);
	ck_assert_uint_eq(take(shm, T0 + W + 500, NULL), T0 + W + 500);
}
END_TEST

START_TEST(a_returned_appointment_that_nobody_wants_is_not_counted)
{
	struct shm *shm = unit_segment(1, 2, WINDOW);
	struct appointment a, b;

	take(shm, T0, &a);
	take(shm, T0, &b);
	window_return(shm, 0, &a);
	window_return(shm, 0, &b);
	ck_assert_uint_eq(used(shm, T0), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(take(shm, T0 + 1, NULL), T0 + 1);
	ck_assert_uint_eq(take(shm, T0 + 1, NULL), T0 + 1 + W);
}
END_TEST

START_TEST(a_late_send_moves_what_comes_after_it)
{
	struct shm *shm = unit_segment(1, 1, WINDOW);
	struct appointment a, b, c;

	take(shm, T0, &a);
	ck_assert(window_keep(shm, 0, &a, T0 + 700));
	ck_assert_uint_eq(a.at_ms, T0 + 700);
	ck_assert_uint_eq(take(shm, T0 + 800, &b), T0 + 700 + W);
	ck_assert(window_keep(shm, 0, &b, T0 + 700 + W)); /* in time */
	/* Promised to somebody else already: b may still go in time, but not late. */
	ck_assert_uint_eq(take(shm, T0 + 800, &c), T0 + 700 + 2 * W);
	ck_assert(window_keep(shm, 0, &b, T0 + 700 + W + LATE));
	ck_assert(!window_keep(shm, 0, &b, T0 + 700 + W + LATE + 1));
	window_return(shm, 0, &b); /* nothing is left to give */
	ck_assert_uint_eq(take(shm, T0 + 800, NULL), T0 + 700 + 3 * W);
}
END_TEST

/* Somebody uses a returned appointment long after its time; the ring must not stop at that slot. */
START_TEST(a_slot_out_of_order_does_not_hold_up_the_others)
{
	struct shm *shm = unit_segment(1, 10, WINDOW);
	struct appointment a[10], b;

	for (unsigned i = 0; i < 10; i++)
		take(shm, T0, &a[i]);
	window_return(shm, 0, &a[2]);
	window_return(shm, 0, &a[3]);
	ck_assert(window_keep(shm, 0, &a[5], T0 + W / 4)); /* a send may be late as well */
	ck_assert_uint_eq(take(shm, T0 + W / 2, NULL), T0 + W / 2);
	ck_assert_uint_eq(take(shm, T0 + W / 2, NULL), T0 + W / 2);
	/* 10 within W; as T0 leaves the window, 7 are free at once, 3 later */
	for (unsigned i = 0; i < 7; i++) {
		ck_assert(window_take(shm, 0, T0 + W, T0 + W, &b));
		ck_assert_uint_eq(b.at_ms, T0 + W);
	}
	ck_assert(!window_take(shm, 0, T0 + W, T0 + W, &b));
	ck_assert_uint_eq(take(shm, T0 + W, NULL), T0 + W + W / 4);
	ck_assert_uint_eq(take(shm, T0 + W, NULL), T0 + W + W / 2);
	ck_assert_uint_eq(take(shm, T0 + W, NULL), T0 + W + W / 2);
	ck_assert_uint_eq(take(shm, T0 + W, NULL), T0 + 2 * W);
}
END_TEST

START_TEST(the_limit_can_change)
{
	struct shm *shm = unit_segment(1, 2, WINDOW);
	struct appointment a;

	take(shm, T0, NULL);
	take(shm, T0, NULL);
	ck_assert_int_eq(window_set_limit(shm, 0, 4), 0);
	ck_assert_uint_eq(take(shm, T0 + 1, NULL), T0 + 1);
	ck_assert_uint_eq(take(shm, T0 + 1, NULL), T0 + 1);
	ck_assert_uint_eq(take(shm, T0 + 1, NULL), T0 + W);
	ck_assert_int_eq(window_set_limit(shm, 0, 1), 0);
	ck_assert(!window_take(shm, 0, T0 + 2 * W - 1, T0 + 2 * W - 1, &a));
	for (unsigned i = 2; i < 50; i++)
		ck_assert_uint_eq(take(shm, T0 + 2 * W, NULL), T0 + i * W);
	/* The second slot is 48 rounds behind, and may come back. */
	ck_assert_int_eq(window_set_limit(shm, 0, 2), 0);
	for (unsigned i = 50; i < 52; i++)
		take(shm, T0 + 50 * W, NULL);
	ck_assert_uint_eq(used(shm, T0 + 50 * W), 2);
	ck_assert_int_eq(window_set_limit(shm, 0, 0), 0);
	ck_assert_uint_eq(take(shm, T0, NULL), T0);
	ck_assert_int_eq(window_set_limit(shm, 0, 5000000), -ERANGE);
}
END_TEST

START_TEST(rounds_may_wrap)
{
	struct shm *shm = unit_segment(1, 3, WINDOW);
	struct shm_window *window = shm_window_at(shm, 0);
	_Atomic uint64_t *word = shm_at(shm, window->ring_at);
	uint64_t now = T0;

	/* two rounds before the 22 bits end */
	atomic_store(&window->cursor, ((1ull << 22) - 2) << 32);
	for (unsigned i = 0; i < 3; i++)
		atomic_store(&word[i], ((1ull << 22) - 3) << 42 | (T0 - W));
	for (unsigned i = 0; i < 30; i++) {
		if (i && i % 3 == 0)
			now += W;
		ck_assert_uint_eq(take(shm, now, NULL), now);
	}
	ck_assert_uint_eq(take(shm, now, NULL), now + W);
}
END_TEST

/* ---- many processes ---- */

#define LIMIT 40
#define STEP_W 1000u /* ms of the simulated clock */
#define RECORDS 400000
#define PROCESSES 4

/* What the processes share besides the segment. */
struct stage {
	_Atomic uint64_t now;
	_Atomic uint64_t n; /* records */
	_Atomic uint64_t returned, lost, late;
	_Atomic bool stop;
	_Atomic uint64_t looks[PROCESSES]; /* how often each has looked at the clock */
	_Atomic uint32_t sent[RECORDS];
};
static struct stage *stage;
static unsigned me;

static uint64_t simulated_ms(void)
{
	atomic_fetch_add(&stage->looks[me], 1);
	return atomic_load(&stage->now);
}

/* One request: take, perhaps return, wait, perhaps dawdle, keep, and write down when. */
static void request(struct shm *shm, unsigned *seed, unsigned returns_percent,
	unsigned late_percent)
{
	uint64_t now = simulated_ms();
	struct appointment a;

	if (!window_take(shm, 0, now, now + STEP_W / 2, &a)) {
		sched_yield();
		return;
	}
	if ((unsigned)rand_r(seed) % 100 < returns_percent) {
		if (rand_r(seed) % 2)
			while (!atomic_load(&stage->stop) && simulated_ms() < a.at_ms)
				sched_yield();
		window_return(shm, 0, &a);
		atomic_fetch_add(&stage->returned, 1);
		return;
	}
	while (simulated_ms() < a.at_ms) {
		if (atomic_load(&stage->stop))
			return;
		sched_yield();
	}
	if ((unsigned)rand_r(seed) % 100 < late_percent)
		now = a.at_ms + 1 + (unsigned)rand_r(seed) % (STEP_W / 2);
	while (simulated_ms() < now && !atomic_load(&stage->stop))
		sched_yield();
	now = simulated_ms();
	if (now > a.at_ms)
		atomic_fetch_add(&stage->late, 1);
	if (!window_keep(shm, 0, &a, now)) {
		atomic_fetch_add(&stage->lost, 1);
		return;
	}
	if (atomic_load(&stage->n) < RECORDS)
		atomic_store(&stage->sent[atomic_fetch_add(&stage->n, 1)], (uint32_t)now);
}

static pid_t start(struct shm *shm, unsigned slot, unsigned life, unsigned returns_percent,
	unsigned late_percent)
{
	unsigned seed = slot * 1000 + life;
	pid_t pid = fork();

	if (pid)
		return pid;
	me = slot;
	shm_bind(shm, slot, unit_wake);
	crash_point_arm(slot, life + 1);
	while (!atomic_load(&stage->stop))
		request(shm, &seed, returns_percent, late_percent);
	_exit(0);
}

static int by_time(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* One ms passes once everybody who lives has had a look, so that a busy machine changes nothing. */
static void tick(void)
{
	uint64_t looks[PROCESSES], from = clock_ms();

	for (unsigned i = 0; i < PROCESSES; i++)
		looks[i] = atomic_load(&stage->looks[i]);
	for (unsigned i = 0; i < PROCESSES; i++)
		while (atomic_load(&stage->looks[i]) == looks[i] && clock_ms() - from < 5)
			sched_yield();
	atomic_fetch_add(&stage->now, 1);
}

/* The clock runs for `for_ms` while processes work (and die); returns the sends within its middle. */
static unsigned run(unsigned for_ms, unsigned returns_percent, unsigned late_percent, bool kill_some,
	unsigned *deaths_r)
{
	struct shm *shm = unit_segment(1, LIMIT, STEP_W);
	pid_t pid[PROCESSES];
	unsigned life[PROCESSES] = { 0 }, in_middle = 0;
	uint64_t n;

	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stage, MAP_FAILED);
	atomic_store(&stage->now, T0);
	for (unsigned i = 0; i < PROCESSES; i++)
		pid[i] = start(shm, i, 0, returns_percent, late_percent);
	for (unsigned t = 0; t < for_ms; t++) {
		int status;
		pid_t dead;

		tick();
		if (kill_some && t % 100 == 0)
			kill(pid[t / 100 % PROCESSES], SIGKILL);
		while ((dead = waitpid(-1, &status, WNOHANG)) > 0)
			for (unsigned i = 0; i < PROCESSES; i++)
				if (pid[i] == dead) {
					ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
					++*deaths_r;
					pid[i] = start(shm, i, ++life[i], returns_percent,
						late_percent);
				}
	}
	atomic_store(&stage->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	n = atomic_load(&stage->n);
	ck_assert_uint_lt(n, RECORDS);
	qsort((void *)stage->sent, n, sizeof(uint32_t), by_time);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t at = stage->sent[i];

		/* A death between the reservation of a record and its time leaves a 0: not a send. */
		if (i + LIMIT < n && at)
			ck_assert_uint_ge(stage->sent[i + LIMIT] - at, STEP_W);
		in_middle += at >= T0 + STEP_W && at < T0 + for_ms / STEP_W * STEP_W;
	}
	unit_close();
	return in_middle;
}

START_TEST(no_window_holds_more_than_the_limit_and_cancelling_costs_nothing)
{
	unsigned deaths = 0, plain = run(6000, 0, 0, false, &deaths), returned;

	ck_assert_uint_eq(deaths, 0);
	returned = run(6000, 50, 0, false, &deaths);
	printf("# sends in 5 windows of %d: %u; with %" PRIu64 " returned and %" PRIu64 " late: %u\n",
		LIMIT, plain, atomic_load(&stage->returned), atomic_load(&stage->late), returned);
	fflush(stdout);
	ck_assert_uint_gt(plain, 3 * LIMIT);
	ck_assert_uint_gt(atomic_load(&stage->returned), 100);
	/* All processes are equally busy; a twentieth is what chance moves across the ends. */
	ck_assert_uint_ge(returned, plain - plain / 20);
}
END_TEST

START_TEST(a_death_costs_no_more_than_its_own_appointment)
{
	unsigned deaths = 0, sends = run(10000, 30, 5, true, &deaths);

	printf("# sends in 9 windows of %d with %u deaths: %u\n", LIMIT, deaths, sends);
	fflush(stdout);
	ck_assert_uint_ge(deaths, 60);
	ck_assert_uint_ge(sends + deaths, 9 * LIMIT * 8 / 10);
}
END_TEST

/* The clock stands still, and all take and return as fast as they can: each promise is made once. */
START_TEST(no_promise_is_made_twice)
{
	enum { EACH = 30000, FEW = 2 }; /* so that they often mean the same slot */
	struct shm *shm = unit_segment(1, FEW, STEP_W);
	size_t bytes = sizeof(uint32_t) * PROCESSES * EACH;
	uint32_t *kept = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[PROCESSES];

	ck_assert_ptr_ne(kept, MAP_FAILED);
	for (unsigned i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			unsigned seed = i;

			for (unsigned n = 0; n < EACH;) {
				struct appointment a;

				if (!window_take(shm, 0, T0, UINT64_MAX, &a))
					_exit(1);
				if (rand_r(&seed) % 3 == 0)
					window_return(shm, 0, &a);
				else
					kept[i * EACH + n++] = (uint32_t)a.at_ms;
			}
			_exit(0);
		}
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_int_eq(status, 0);
	}
	qsort(kept, PROCESSES * EACH, sizeof(uint32_t), by_time);
	for (unsigned i = 0; i + FEW < PROCESSES * EACH; i++)
		if (kept[i + FEW] - kept[i] < STEP_W)
			ck_abort_msg("%u and the %uth after it are %u ms apart", kept[i], FEW,
				kept[i + FEW] - kept[i]);
	munmap(kept, bytes);
	unit_close();
}
END_TEST

#ifdef HEADGATE_DEVELOPER
static const char *const crash_points[] = {
#define X(name) name,
#include "shm/crash_points.def"
#undef X
};

START_TEST(it_may_die_at_every_crash_point)
{
	for (unsigned i = 0; i < ARRAY_SIZE(crash_points); i++) {
		unsigned deaths = 0, sends = 0;
		char armed[96];

		if (strncmp(crash_points[i], "window.", 7) != 0)
			continue;
		snprintf(armed, sizeof(armed), "%s,slot=0,count=2", crash_points[i]);
		setenv("HEADGATE_CRASH", armed, 1);
		/* Some are reached only when two are in each other's way. */
		for (unsigned tries = 0; !deaths && tries < 20; tries++)
			sends = run(3000, 30, 30, false, &deaths);
		ck_assert_msg(deaths == 1, "%s: %u deaths", crash_points[i], deaths);
		ck_assert_msg(sends >= LIMIT, "%s: %u sends", crash_points[i], sends);
	}
}
END_TEST
#endif

int main(void)
{
	UNIT_RUN("window", no_limit_is_no_limit,
		the_one_over_the_limit_waits_for_the_first_to_leave_the_window,
		a_returned_appointment_goes_to_the_next_who_asks,
		a_returned_appointment_that_nobody_wants_is_not_counted,
		a_late_send_moves_what_comes_after_it, a_slot_out_of_order_does_not_hold_up_the_others,
		the_limit_can_change, rounds_may_wrap, no_promise_is_made_twice,
#ifdef HEADGATE_DEVELOPER
		it_may_die_at_every_crash_point,
#endif
		no_window_holds_more_than_the_limit_and_cancelling_costs_nothing,
		a_death_costs_no_more_than_its_own_appointment);
}
