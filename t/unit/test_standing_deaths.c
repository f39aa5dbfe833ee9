/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Circuit, tokens and learnt limit among processes that are killed: exactly one probe whoever dies
 * with it, never more tokens in a window than the limit, everything free again a window after the
 * last death; then a death at each of their crash points.
 */
#include "base/base.h"
#include "base/bug.h"
#include "shm/tokens.c" /* for one of its steps: see provoke() */
#include "standing_unit.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define P 1u
#define T0 1000000u
#define PROCESSES 4u

/* ---- the one probe ---- */

struct round {
	_Atomic unsigned ready, probes, refused;
	_Atomic bool go;
};

static void NORETURN asks_and_dies_with_the_probe(struct shm *shm, struct round *round, uint64_t now)
{
	atomic_fetch_add(&round->ready, 1);
	while (!atomic_load(&round->go))
		sched_yield();
	for (unsigned i = 0; i < 200; i++) {
		uint64_t at;

		if (circuit_ask(shm, P, now, &at) == CIRCUIT_PROBE) {
			atomic_fetch_add(&round->probes, 1);
			kill(getpid(), SIGKILL);
		}
		atomic_fetch_add(&round->refused, 1);
	}
	_exit(0);
}

START_TEST(a_dead_prober_blocks_nobody_for_longer_than_its_lease)
{
	struct shm *shm = standing_segment(10);
	struct round *round = mmap(NULL, sizeof(*round), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t now = T0 + 2000, at;

	ck_assert_ptr_ne(round, MAP_FAILED);
	for (unsigned i = 0; i < 5; i++)
		circuit_report(shm, P, false, false, T0);
	for (unsigned n = 0; n < 50; n++, now += 30000) {
		pid_t pid[PROCESSES];
		unsigned killed = 0;

		memset(round, 0, sizeof(*round));
		for (unsigned i = 0; i < PROCESSES; i++)
			if ((pid[i] = fork()) == 0)
				asks_and_dies_with_the_probe(shm, round, now);
		while (atomic_load(&round->ready) < PROCESSES)
			sched_yield();
		atomic_store(&round->go, true);
		for (unsigned i = 0; i < PROCESSES; i++) {
			int status;

			ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
			killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		}
		ck_assert_uint_eq(atomic_load(&round->probes), 1);
		ck_assert_uint_eq(killed, 1);
		ck_assert_uint_ge(atomic_load(&round->refused), (PROCESSES - 1) * 200);
		ck_assert_int_eq(circuit_ask(shm, P, now + 29999, &at), CIRCUIT_REFUSED);
	}
	ck_assert_int_eq(circuit_ask(shm, P, now, &at), CIRCUIT_PROBE);
	circuit_report(shm, P, true, true, now);
	ck_assert_int_eq(circuit_ask(shm, P, now, &at), CIRCUIT_PASS);
	munmap(round, sizeof(*round));
}
END_TEST

/* ---- tokens ---- */

#define W 600u /* ms of the simulated clock */
#define PIECE (W / 60)
#define LIMIT 1000u
#define RUN_MS 6000u

/* What the processes share besides the segment: what was sent in each ms. */
struct stage {
	_Atomic uint64_t now;
	_Atomic uint64_t sent[RUN_MS + 4 * W];
	_Atomic bool stop;
};
static struct stage *stage;

static void NORETURN sends(struct shm *shm, unsigned slot, unsigned life)
{
	unsigned seed = slot + 100 * life;

	while (!atomic_load(&stage->stop)) {
		uint64_t now = atomic_load(&stage->now), tokens = 1 + (unsigned)rand_r(&seed) % 20;
		struct tokens_promise a;

		if (!tokens_take(shm, P, now, now + W / 4, tokens, &a)) {
			sched_yield();
			continue;
		}
		if (rand_r(&seed) % 8 == 0) {
			tokens_return(shm, P, &a);
			continue;
		}
		tokens_advance(shm, P, now, &a);
		atomic_fetch_add(&stage->sent[a.at_ms - T0], tokens);
		if (rand_r(&seed) % 8 == 0) /* it took less than was thought; what counts here is the promise */
			tokens_settle(shm, P, &a, tokens);
	}
	_exit(0);
}

/* RUN_MS of the clock, with a death each `kill_ms` (0: none). Returns what was sent. */
static uint64_t run(unsigned kill_ms)
{
	struct shm *shm = standing_segment(10);
	uint64_t sum = 0, all = 0, end;
	pid_t pid[PROCESSES];
	struct tokens_promise a;

	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(stage, MAP_FAILED);
	tokens_set_limit(shm, P, LIMIT, W);
	atomic_store(&stage->now, T0);
	for (unsigned i = 0; i < PROCESSES; i++)
		if ((pid[i] = fork()) == 0)
			sends(shm, i, 0);
	for (unsigned ms = 1; ms <= RUN_MS; ms++) {
		unsigned victim = ms % PROCESSES;
		int status;

		usleep(100);
		atomic_fetch_add(&stage->now, 1);
		if (!kill_ms || ms % kill_ms)
			continue;
		kill(pid[victim], SIGKILL);
		ck_assert_int_eq(waitpid(pid[victim], &status, 0), pid[victim]);
		ck_assert(WIFSIGNALED(status));
		if ((pid[victim] = fork()) == 0)
			sends(shm, victim, ms);
	}
	atomic_store(&stage->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++)
		waitpid(pid[i], NULL, 0);
	for (unsigned i = 0; i < RUN_MS + 4 * W; i++) {
		sum += atomic_load(&stage->sent[i]);
		if (i >= W)
			sum -= atomic_load(&stage->sent[i - W]);
		ck_assert_msg(sum <= LIMIT, "%" PRIu64 " in the window that ends at %u", sum, i);
		all += atomic_load(&stage->sent[i]);
	}
	/* All that the dead had promised themselves is free again. */
	end = atomic_load(&stage->now) + W / 4 + W + 2 * PIECE;
	ck_assert(tokens_take(shm, P, end, end, LIMIT, &a));
	munmap(stage, sizeof(*stage));
	unit_close();
	return all;
}

START_TEST(many_processes_never_send_more_than_the_limit)
{
	uint64_t all = run(0);

	printf("# %" PRIu64 " tokens sent of %u\n", all, LIMIT * RUN_MS / W);
	fflush(stdout);
	ck_assert_uint_ge(all, LIMIT * (RUN_MS / W) * 3 / 4);
}
END_TEST

START_TEST(what_the_dead_promised_themselves_heals_by_itself)
{
	uint64_t all = run(25);

	printf("# %" PRIu64 " tokens sent of %u, with 240 deaths\n", all, LIMIT * RUN_MS / W);
	fflush(stdout);
	ck_assert_uint_ge(all, LIMIT * (RUN_MS / W) / 2);
}
END_TEST

/* ---- crash points ---- */

#ifdef HEADGATE_DEVELOPER

static const char *const crash_points[] = {
#define X(name) name,
#include "shm/crash_points.def"
#undef X
};

/* Everything that passes a crash point of ours, once at least. */
static void NORETURN provoke(struct shm *shm, const char *crash)
{
	struct tokens_promise a;
	struct pieces p;
	uint64_t at;

	setenv("HEADGATE_CRASH", crash, 1);
	shm_bind(shm, 0, unit_wake);
	crash_point_arm(0, 1);
	for (unsigned i = 0; i < 5; i++)
		circuit_report(shm, P, false, false, T0);
	if (circuit_ask(shm, P, T0 + 2000, &at) != CIRCUIT_PROBE)
		_exit(1);
	if (!tokens_take(shm, P, T0, T0, LIMIT / 2, &a) || !pieces_of(shm, P, &p))
		_exit(2);
	if (claim(&p, (uint32_t)(T0 / p.piece_ms), LIMIT)) /* as if another had been faster */
		_exit(3);
	learn_throttled(shm, P, T0, 0);
	_exit(0);
}

static void lives_on_after(struct shm *shm, const char *name)
{
	uint64_t now = T0 + 2000 + 30000, at;
	struct tokens_promise a;
	struct learn_reading learn;
	struct gate_reading gate;

	for (unsigned i = 0; i < 5; i++) /* where it died before it could do so */
		circuit_report(shm, P, false, false, T0);
	ck_assert_msg(circuit_ask(shm, P, now, &at) == CIRCUIT_PROBE, "%s: no probe", name);
	ck_assert_msg(circuit_ask(shm, P, now, &at) == CIRCUIT_REFUSED, "%s: two probes", name);
	circuit_report(shm, P, true, true, now);
	ck_assert_msg(circuit_ask(shm, P, now, &at) == CIRCUIT_PASS, "%s: not closed", name);
	ck_assert_msg(tokens_take(shm, P, T0 + W + PIECE, T0 + W + PIECE, LIMIT, &a), "%s: tokens lost", name);
	learn_throttled(shm, P, T0 + 10000, 0);
	learn_ok(shm, P, T0 + 10001, 0);
	learn_read(shm, P, &learn);
	gate_read(shm, SHM_GATE_PROVIDER(P), &gate);
	ck_assert_msg(learn.learnt && learn.limit == gate.learnt, "%s: the gate has not learnt", name);
}

START_TEST(they_may_die_at_every_crash_point)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(crash_points); i++) {
		const char *name = crash_points[i];
		char armed[96];
		struct shm *shm;
		pid_t pid;
		int status;

		if (strncmp(name, "gate.", 5) == 0 || strncmp(name, "window.", 7) == 0 ||
			strncmp(name, "lease.", 6) == 0)
			continue;
		shm = standing_segment(10);
		tokens_set_limit(shm, P, LIMIT, W);
		snprintf(armed, sizeof(armed), "%s,slot=0,count=1", name);
		if ((pid = fork()) == 0)
			provoke(shm, armed);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s: never reached", name);
		lives_on_after(shm, name);
		unit_close();
		n++;
	}
	ck_assert_uint_ge(n, 8);
}
END_TEST

#endif

int main(void)
{
	UNIT_RUN("standing_deaths", a_dead_prober_blocks_nobody_for_longer_than_its_lease,
		many_processes_never_send_more_than_the_limit,
		what_the_dead_promised_themselves_heals_by_itself,
#ifdef HEADGATE_DEVELOPER
		they_may_die_at_every_crash_point
#endif
	);
}
