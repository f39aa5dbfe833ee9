/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The learnt limit: its steps, and a simulation on a clock of our own: four workers with demand
 * without end before a provider that bears 12 requests at once, and does not say so.
 */
#include "base/base.h"
#include "standing_unit.h"

#define P 1u
#define T0 1000000u
#define GATE SHM_GATE_PROVIDER(P)

static struct learn_reading learnt(struct shm *shm)
{
	struct learn_reading r;

	learn_read(shm, P, &r);
	return r;
}

START_TEST(nothing_is_learnt_before_the_first_429)
{
	struct shm *shm = standing_segment(20);
	struct gate_reading gate;

	for (unsigned i = 0; i < 1000; i++)
		learn_ok(shm, P, T0 + i, 20);
	ck_assert(!learnt(shm).learnt);
	ck_assert_uint_eq(learnt(shm).limit, 20);
	gate_read(shm, GATE, &gate);
	ck_assert_uint_eq(gate.learnt, 0);
}
END_TEST

START_TEST(one_cut_per_interval_and_never_below_one)
{
	struct shm *shm = standing_segment(20);
	struct gate_reading gate;

	atomic_store(&shm_gate_at(shm, GATE)->used, 20);
	for (unsigned i = 0; i < 50; i++)
		learn_throttled(shm, P, T0 + i, 0);
	ck_assert_uint_eq(learnt(shm).limit, 18);
	ck_assert_uint_eq(learnt(shm).ceiling, 20);
	ck_assert_uint_eq(learnt(shm).cuts, 1);
	learn_throttled(shm, P, T0 + 1000, 5000); /* at once again: by a quarter */
	ck_assert_uint_eq(learnt(shm).limit, 13);
	learn_throttled(shm, P, T0 + 5999, 0); /* Retry-After is longer than the interval */
	ck_assert_uint_eq(learnt(shm).cuts, 2);
	learn_throttled(shm, P, T0 + 60000, 0);
	ck_assert_uint_eq(learnt(shm).limit, 12);
	for (unsigned i = 1; i < 40; i++)
		learn_throttled(shm, P, T0 + 60000 + i * 1000, 0);
	ck_assert_uint_eq(learnt(shm).limit, 1);
	gate_read(shm, GATE, &gate);
	ck_assert_uint_eq(gate.learnt, 1);
	ck_assert_uint_eq(gate.limit, 20);
	atomic_store(&shm_gate_at(shm, GATE)->used, 0);
	learn_forget(shm, P);
	ck_assert_uint_eq(learnt(shm).limit, 20);
}
END_TEST

START_TEST(it_grows_where_it_is_used_and_not_beyond_the_configured_limit)
{
	struct shm *shm = standing_segment(20);

	for (unsigned i = 0; i < 10; i++)
		learn_throttled(shm, P, T0 + i * 1000, 0);
	ck_assert_uint_eq(learnt(shm).limit, 1);
	for (unsigned i = 0; i < 10000; i++)
		learn_ok(shm, P, T0, 0);
	ck_assert_uint_eq(learnt(shm).limit, 1);
	for (unsigned i = 0; i < 10000; i++)
		learn_ok(shm, P, T0, 20);
	ck_assert_uint_eq(learnt(shm).limit, 20);
	ck_assert_uint_eq(learnt(shm).ceiling, 0);
	gate_set_limit(shm, GATE, 5); /* a reload */
	ck_assert_uint_eq(learnt(shm).limit, 5);
	learn_ok(shm, P, T0, 5);
	gate_set_limit(shm, GATE, 20);
	ck_assert_uint_le(learnt(shm).limit, 6);
}
END_TEST

/* ---- the simulation ---- */

#define WORKERS 4u
#define TICKETS 40u
#define CONFIGURED 50u
#define HIDDEN 12u
#define SERVICE_MS 200u
#define REFUSAL_MS 10u /* how long a 429 is under way */
#define SECOND 1000u

struct sim_request {
	struct gate_ticket ticket;
	uint64_t ends_ms; /* 0: none is under way */
	bool throttled;
};
struct sim {
	struct shm *shm;
	uint64_t now;
	unsigned hidden, serving;
	uint64_t ok, throttled;
	struct gate_line *line[WORKERS];
	struct sim_request request[WORKERS][TICKETS];
};
static struct sim sim;

static void goes_out(struct gate_ticket *ticket, void *arg)
{
	struct sim_request *r = container_of(ticket, struct sim_request, ticket);

	r->throttled = sim.serving >= sim.hidden;
	sim.serving += !r->throttled;
	r->ends_ms = sim.now + (r->throttled ? REFUSAL_MS : SERVICE_MS);
}

static void comes_back(struct sim_request *r, struct gate_line *line)
{
	struct gate_reading gate;

	r->ends_ms = 0;
	gate_read(sim.shm, GATE, &gate);
	if (r->throttled) {
		sim.throttled++;
		learn_throttled(sim.shm, P, sim.now, 0);
	} else {
		sim.ok++;
		sim.serving--;
		learn_ok(sim.shm, P, sim.now, gate.used);
	}
	gate_leave(line, &r->ticket);
}

static void sim_ms(void)
{
	for (unsigned w = 0; w < WORKERS; w++) {
		shm_bind(sim.shm, w, unit_wake);
		for (unsigned i = 0; i < TICKETS; i++) {
			struct sim_request *r = &sim.request[w][i];

			if (r->ends_ms && r->ends_ms <= sim.now)
				comes_back(r, sim.line[w]);
			if (r->ticket.state == TICKET_IDLE && gate_arrive(sim.line[w], &r->ticket))
				goes_out(&r->ticket, NULL);
		}
		gate_poll(sim.line[w]);
	}
	sim.now++;
}

static void sim_start(unsigned hidden)
{
	sim = (struct sim){ .shm = standing_segment(CONFIGURED), .now = T0, .hidden = hidden };
	for (unsigned w = 0; w < WORKERS; w++) {
		shm_bind(sim.shm, w, unit_wake);
		sim.line[w] = gate_line_open(sim.shm, GATE, goes_out, NULL);
	}
}

/* What seconds of it were like. */
struct sim_result {
	double limit, throttled_share, per_s;
	uint64_t lowest, highest;
};
static struct sim_result sim_run(unsigned seconds)
{
	uint64_t ok = sim.ok, throttled = sim.throttled, sum = 0;
	struct sim_result r = { .lowest = UINT64_MAX };

	for (unsigned ms = 0; ms < seconds * SECOND; ms++) {
		uint64_t limit;

		sim_ms();
		limit = learnt(sim.shm).limit;
		sum += limit;
		r.lowest = limit < r.lowest ? limit : r.lowest;
		r.highest = limit > r.highest ? limit : r.highest;
	}
	ok = sim.ok - ok;
	throttled = sim.throttled - throttled;
	r.limit = (double)sum / (seconds * SECOND);
	r.throttled_share = (double)throttled / (double)(ok + throttled);
	r.per_s = (double)ok / seconds;
	printf("# hidden %u: limit %.2f (%" PRIu64 " to %" PRIu64 "), %.2f %% throttled, %.1f requests/s\n",
		sim.hidden, r.limit, r.lowest, r.highest, 100 * r.throttled_share, r.per_s);
	fflush(stdout);
	return r;
}

static void settled(const struct sim_result *r)
{
	double best = sim.hidden * (double)SECOND / SERVICE_MS;

	ck_assert(r->limit >= sim.hidden - 2 && r->limit < sim.hidden + 0.1);
	ck_assert_uint_ge(r->lowest, sim.hidden - 2);
	ck_assert_uint_le(r->highest, sim.hidden + 1); /* it asks again now and then */
	ck_assert(r->throttled_share < 0.02);
	ck_assert(r->per_s >= 0.9 * best);
}

START_TEST(it_settles_below_a_hidden_limit_within_a_minute)
{
	struct sim_result r;

	sim_start(HIDDEN);
	sim_run(60);
	r = sim_run(240);
	settled(&r);
	ck_assert(r.limit <= HIDDEN);
	ck_assert(r.throttled_share > 0); /* else it would never learn that there is more */
}
END_TEST

START_TEST(it_follows_a_hidden_limit_that_moves)
{
	struct sim_result r;

	sim_start(HIDDEN);
	sim_run(60);
	sim.hidden = 24;
	sim_run(60);
	r = sim_run(60);
	settled(&r);
	sim.hidden = 8;
	sim_run(60);
	r = sim_run(60);
	settled(&r);
}
END_TEST

int main(void)
{
	UNIT_RUN("standing_learn", nothing_is_learnt_before_the_first_429,
		one_cut_per_interval_and_never_below_one,
		it_grows_where_it_is_used_and_not_beyond_the_configured_limit,
		it_settles_below_a_hidden_limit_within_a_minute, it_follows_a_hidden_limit_that_moves);
}
