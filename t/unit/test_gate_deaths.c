/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate among processes that are killed: eight workers arrive, cancel, hold and release as
 * chance has it, while the parent, their master, kills them at any instruction, stops them,
 * changes the limit, reclaims and starts successors. Then the same with a death at each named
 * crash point. What must hold: never more holders than permits (counted outside the gate), books
 * that balance, and everybody who waits is served in the end.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/clock.h"
#include "shm/gate_turn.c" /* for one of its steps: see miss() */
#include "shm_unit.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define TICKETS 5
#define LIMIT_LOW 2
#define LIMIT_HIGH 4
#define STUCK_MS 20000 /* far beyond anything but a waiter that was forgotten */

/*
 * Who holds, apart from the gate: a byte of one word per worker, so that each addition returns an
 * exact picture of all. A worker counts after it was granted and uncounts before it leaves.
 */
struct stage {
	_Atomic uint64_t holders;
	_Atomic uint64_t most;	 /* that held at once */
	_Atomic uint64_t served; /* tickets that had a permit */
	_Atomic uint64_t cancelled;
	_Atomic uint64_t stuck;
	_Atomic bool stop;
	bool calm;   /* one ticket a worker: there is not always a line */
	bool misses; /* claims are lost all the time */
};
static struct stage *stage;

/* What one worker plays with. */
struct player {
	struct shm *shm;
	struct gate_line *line;
	unsigned slot, seed, ntickets;
	struct gate_ticket ticket[TICKETS];
};

static void hold(struct player *p)
{
	uint64_t all = atomic_fetch_add(&stage->holders, 1ull << (8 * p->slot)) + (1ull << (8 * p->slot));
	uint64_t sum = 0, most = atomic_load(&stage->most);

	for (; all; all >>= 8)
		sum += all & 0xff;
	while (sum > most && !atomic_compare_exchange_weak(&stage->most, &most, sum))
		;
	atomic_fetch_add(&stage->served, 1);
}

static void granted(struct gate_ticket *ticket, void *arg)
{
	hold(arg);
}

static void let_go(struct player *p, struct gate_ticket *ticket)
{
	atomic_fetch_sub(&stage->holders, 1ull << (8 * p->slot));
	gate_leave(p->line, ticket);
}

/* One of three, of different weights. */
static struct flow some_flow(struct player *p)
{
	unsigned n = (unsigned)rand_r(&p->seed) % 3;

	return (struct flow){ .number = n, .weight = 1 + n };
}

/* One move with one ticket. */
static void play(struct player *p, struct gate_ticket *ticket)
{
	unsigned dice = (unsigned)rand_r(&p->seed);

	switch (ticket->state) {
	case TICKET_IDLE:
		if (dice % (stage->calm ? 2 : 8) == 0 ? gate_try(p->line, ticket) : gate_arrive_as(p->line, ticket, some_flow(p)))
			hold(p);
		break;
	case TICKET_HELD:
		if (dice % 2)
			let_go(p, ticket);
		break;
	case TICKET_WAITING:
		if (dice % 4 == 0) {
			gate_leave(p->line, ticket);
			atomic_fetch_add(&stage->cancelled, 1);
		}
		break;
	}
}

/*
 * A claim that comes too late, because its head was withdrawn meanwhile. Between two processes
 * that is a matter of nanoseconds; here it is one with a head that nobody has.
 */
static void miss(struct player *p)
{
	struct shm_gate *gate = shm_gate_at(p->shm, 0);
	struct gate_cell *cell = &gate->cell[p->slot];
	uint64_t used = atomic_load(&gate->used);

	if (used < atomic_load(&gate->limit))
		BUG_ON(hand_over(p->shm, gate, cell, used, p->slot, GATE_WAITING | GATE_TAG));
	gate_dispatch(p->shm, gate, cell);
}

static unsigned count(const struct player *p, enum ticket_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->ntickets; i++)
		n += p->ticket[i].state == state;
	return n;
}

/* Nothing but waiting is left to do; false: nobody ever came. */
static bool sleep_until_woken(struct player *p)
{
	struct pollfd wake = { .fd = unit_wake[p->slot], .events = POLLIN };

	while (!gate_pending(p->line)) {
		int n = poll(&wake, 1, STUCK_MS);

		if (n == 0) {
			atomic_fetch_add(&stage->stuck, 1);
			return false;
		}
		unit_wakes(p->slot);
	}
	gate_poll(p->line);
	return true;
}

static void NORETURN work(struct shm *shm, unsigned slot, unsigned life, const char *crash)
{
	struct player p = { .shm = shm, .slot = slot, .seed = slot + 100 * life,
		.ntickets = stage->calm ? 1 : TICKETS };

	p.line = unit_line(shm, slot, granted, &p);
#ifdef HEADGATE_DEVELOPER
	if (crash) {
		setenv("HEADGATE_CRASH", crash, 1);
		crash_point_arm(slot, life);
	}
#endif
	while (!atomic_load(&stage->stop)) {
		for (unsigned n = (unsigned)rand_r(&p.seed) % 8; n; n--)
			play(&p, &p.ticket[(unsigned)rand_r(&p.seed) % p.ntickets]);
		gate_poll(p.line);
		if (stage->misses)
			miss(&p);
		if (count(&p, TICKET_WAITING) == p.ntickets && !sleep_until_woken(&p))
			_exit(1);
		if (rand_r(&p.seed) % 16 == 0)
			usleep(50); /* else somebody is always in the middle of a step */
	}
	/* Everybody who waits must be served. */
	for (;;) {
		for (unsigned i = 0; i < p.ntickets; i++)
			if (p.ticket[i].state == TICKET_HELD)
				let_go(&p, &p.ticket[i]);
		gate_poll(p.line);
		if (count(&p, TICKET_IDLE) == p.ntickets)
			_exit(0);
		if (!count(&p, TICKET_HELD) && !sleep_until_woken(&p))
			_exit(1);
	}
}

/* ---- their master ---- */

struct troupe {
	struct shm *shm;
	unsigned n;
	pid_t pid[UNIT_SLOTS];
	unsigned life[UNIT_SLOTS];
	const char *crash; /* for the first life of slot 0 */
	unsigned deaths;
	uint64_t recovered;
	bool audited;
	unsigned late_audits;
	bool killed[UNIT_SLOTS]; /* and not found dead yet */
};

static void enlist(struct troupe *t, unsigned slot)
{
	t->life[slot] = shm_slot_claim(t->shm, slot, clock_ms());
	fflush(stdout);
	t->pid[slot] = fork();
	if (t->pid[slot] == 0)
		work(t->shm, slot, t->life[slot], slot == 0 ? t->crash : NULL);
}

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void troupe_start(struct troupe *t, unsigned n, const char *crash)
{
	*t = (struct troupe){ .shm = unit_segment(LIMIT_LOW, 0, 60000), .n = n, .crash = crash, .audited = true };
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stage, MAP_FAILED);
	stage->misses = crash && (starts(crash, "gate.dispatch.lost,") || starts(crash, "gate.dispatch.given_back,"));
	stage->calm = stage->misses || (crash && starts(crash, "gate.try."));
	for (unsigned i = 0; i < n; i++)
		enlist(t, i);
}

/* The master's tick: reap, reclaim, audit, replace. True: it found somebody dead. */
static bool tick(struct troupe *t)
{
	bool dead[UNIT_SLOTS] = { false }, any = false;
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < t->n; i++)
			if (t->pid[i] == pid) {
				ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
				t->pid[i] = 0;
				t->killed[i] = false;
				dead[i] = any = true;
				t->deaths++;
			}
	for (unsigned i = 0; i < t->n; i++)
		if (dead[i]) {
			atomic_fetch_and(&stage->holders, ~(0xffull << (8 * i)));
			shm_reclaim(t->shm, i);
			t->audited = false;
		}
	if (!t->audited) {
		t->audited = shm_reclaim_audit(t->shm, &t->recovered);
		t->late_audits += !t->audited;
	}
	for (unsigned i = 0; i < t->n; i++)
		if (dead[i])
			enlist(t, i);
	return any;
}

static void troupe_kill(struct troupe *t, unsigned slot)
{
	t->killed[slot] = true;
	ck_assert_int_eq(kill(t->pid[slot], SIGKILL), 0);
}

/* On a busy machine who was killed may be dying still. */
static bool is_quiet(const struct troupe *t)
{
	bool quiet = t->audited;

	for (unsigned i = 0; i < t->n; i++)
		quiet &= !t->killed[i];
	return quiet;
}

/* All end of their own will, and nothing is left over. */
static void troupe_end(struct troupe *t)
{
	uint64_t from = clock_ms();

	while (!is_quiet(t) && clock_ms() - from < STUCK_MS) {
		usleep(500);
		tick(t);
	}
	ck_assert_msg(t->audited, "the audit never found a quiet moment");
	atomic_store(&stage->stop, true);
	for (unsigned i = 0; i < t->n; i++)
		shm_wake(t->shm, i);
	for (unsigned i = 0; i < t->n; i++) {
		int status;

		ck_assert_int_eq(waitpid(t->pid[i], &status, 0), t->pid[i]);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker %u was forgotten (%#x)", i, (unsigned)status);
	}
	ck_assert_uint_eq(atomic_load(&stage->stuck), 0);
	ck_assert_uint_eq(atomic_load(&stage->holders), 0);
	ck_assert_uint_eq(unit_used(t->shm), 0);
	unit_books_balance(t->shm);
	unit_close();
	munmap(stage, sizeof(*stage));
}

START_TEST(hundreds_of_deaths_lose_and_invent_nothing)
{
	unsigned seed = 7, kills = 0, target = 400;
	struct troupe t;
	uint64_t until;

	troupe_start(&t, UNIT_SLOTS, NULL);
	until = clock_ms() + 4000;
	while (kills < target && (t.deaths < 100 || clock_ms() < until)) {
		unsigned victim = (unsigned)rand_r(&seed) % t.n;

		usleep((unsigned)rand_r(&seed) % 8000);
		if (rand_r(&seed) % 8 == 0) { /* it may be in the middle of a step meanwhile */
			kill(t.pid[victim], SIGSTOP);
			usleep((unsigned)rand_r(&seed) % 3000);
			tick(&t);
			kill(t.pid[victim], SIGCONT);
		}
		/* several at once, at times: all cells must be cleared before the audit */
		for (unsigned n = rand_r(&seed) % 4 ? 1 : 3; n; n--, kills++)
			troupe_kill(&t, (victim + n) % t.n);
		do
			usleep(100);
		while (!tick(&t));
	}
	printf("# %u deaths, %" PRIu64 " permits recovered, %u audits put off, %" PRIu64 " served, %" PRIu64
		" cancelled\n", t.deaths, t.recovered, t.late_audits, atomic_load(&stage->served),
		atomic_load(&stage->cancelled));
	fflush(stdout);
	ck_assert_uint_ge(t.deaths, 100);
	ck_assert_uint_gt(t.recovered, 0);
	ck_assert_uint_gt(atomic_load(&stage->cancelled), 0);
	ck_assert_uint_le(atomic_load(&stage->most), LIMIT_LOW);
	troupe_end(&t);
}
END_TEST

START_TEST(the_limit_changes_under_way)
{
	unsigned seed = 11;
	struct troupe t;
	uint64_t served, from;

	troupe_start(&t, 4, NULL);
	for (unsigned i = 0; i < 60; i++) {
		gate_set_limit(t.shm, 0, i % 2 ? LIMIT_LOW : LIMIT_HIGH);
		usleep((unsigned)rand_r(&seed) % 10000);
		if (i % 4 == 0)
			troupe_kill(&t, (unsigned)rand_r(&seed) % t.n);
		tick(&t);
	}
	ck_assert_uint_le(atomic_load(&stage->most), LIMIT_HIGH);
	ck_assert_uint_gt(atomic_load(&stage->most), LIMIT_LOW);
	/* a limit of nothing stops everybody, and then lets all in again */
	gate_set_limit(t.shm, 0, 0);
	usleep(20000);
	gate_set_limit(t.shm, 0, LIMIT_LOW);
	served = atomic_load(&stage->served);
	for (from = clock_ms(); atomic_load(&stage->served) < served + 100 && clock_ms() - from < STUCK_MS; usleep(1000))
		tick(&t);
	ck_assert_uint_ge(atomic_load(&stage->served), served + 100);
	troupe_end(&t);
}
END_TEST

/* Nobody ever stands in line here: all race for the same word. */
START_TEST(who_only_tries_never_gets_beyond_the_limit)
{
	struct shm *shm = unit_segment(LIMIT_LOW, 0, 60000);
	pid_t pid[4];

	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stage, MAP_FAILED);
	for (unsigned i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			struct player p = { .slot = i };

			p.line = unit_line(shm, i, granted, &p);
			for (uint64_t until = clock_ms() + 400; clock_ms() < until;)
				for (unsigned n = 0; n < 1000; n++)
					if (gate_try(p.line, &p.ticket[n % 2])) {
						hold(&p);
						let_go(&p, &p.ticket[n % 2]);
					}
			_exit(0);
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(pid); i++) {
		int status;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_gt(atomic_load(&stage->served), 10000);
	ck_assert_uint_le(atomic_load(&stage->most), LIMIT_LOW);
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
	unit_close();
}
END_TEST

#ifdef HEADGATE_DEVELOPER

static const char *const crash_points[] = {
#define X(name) name,
#include "shm/crash_points.def"
#undef X
};

static void die_at(const char *name)
{
	struct troupe t;
	char crash[96];
	uint64_t from, served;

	snprintf(crash, sizeof(crash), "%s,slot=0,count=2", name);
	troupe_start(&t, 3, crash);
	for (from = clock_ms(); !t.deaths && clock_ms() - from < STUCK_MS; usleep(200))
		tick(&t);
	ck_assert_msg(t.deaths == 1, "%s: never reached", name);
	served = atomic_load(&stage->served);
	for (from = clock_ms(); atomic_load(&stage->served) < served + 200 && clock_ms() - from < STUCK_MS; usleep(200))
		tick(&t);
	ck_assert_msg(atomic_load(&stage->served) >= served + 200, "%s: a standstill after it", name);
	ck_assert_msg(atomic_load(&stage->most) <= LIMIT_LOW, "%s: over the limit", name);
	troupe_end(&t);
}

START_TEST(a_worker_may_die_at_every_crash_point)
{
	for (unsigned i = 0; i < ARRAY_SIZE(crash_points); i++)
		if (starts(crash_points[i], "gate."))
			die_at(crash_points[i]);
}
END_TEST

static bool named_in(const char *path, const char *name)
{
	char line[512], want[128];
	FILE *file = fopen(path, "r");
	bool found = false;

	ck_assert_msg(file != NULL, "%s", path);
	snprintf(want, sizeof(want), "CRASH_POINT(\"%s\")", name);
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, want) != NULL;
	fclose(file);
	return found;
}

static unsigned points_in(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned n = 0;
	char line[512];

	ck_assert_msg(file != NULL, "%s", path);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, "CRASH_POINT(\"") != NULL;
	fclose(file);
	return n;
}

START_TEST(the_table_names_every_crash_point_once)
{
	static const char *const sources[] = { "src/shm/gate.c", "src/shm/gate_turn.c", "src/shm/gate_books.c", "src/shm/window.c", "src/shm/circuit.c",
		"src/shm/tokens.c", "src/shm/learn.c" };
	unsigned points = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(crash_points); i++) {
		unsigned places = 0;

		for (unsigned k = 0; k < ARRAY_SIZE(sources); k++)
			places += named_in(sources[k], crash_points[i]);
		ck_assert_msg(places == 1, "%s is in %u files", crash_points[i], places);
	}
	for (unsigned k = 0; k < ARRAY_SIZE(sources); k++)
		points += points_in(sources[k]);
	ck_assert_uint_eq(points, ARRAY_SIZE(crash_points));
}
END_TEST

#endif

int main(void)
{
	UNIT_RUN("gate_deaths", hundreds_of_deaths_lose_and_invent_nothing, the_limit_changes_under_way,
		who_only_tries_never_gets_beyond_the_limit,
#ifdef HEADGATE_DEVELOPER
		a_worker_may_die_at_every_crash_point, the_table_names_every_crash_point_once
#endif
	);
}
