/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fair lines: whose turn it is, over several workers played by one process. Whoever holds a
 * permit longest gives it back, so each step of a test is one grant.
 */
#include "base/base.h"
#include "base/bug.h"
#include "shm/house.h"
#include "shm_unit.h"

#include <signal.h>
#include <sys/wait.h>

#define WORKERS 4
#define LIMIT 8

/* A request. */
struct asker {
	struct gate_ticket ticket;
	unsigned worker, client, number;
};

static struct asker pool[16384];
static unsigned npool;

static struct shm *shm;
static struct gate_line *lines[WORKERS];
static struct asker *holder[LIMIT + 1];
static unsigned nholders, asked[64], served[64], last_number[64];
static bool in_order; /* each client's requests were granted as they came */

static void hold(struct asker *a)
{
	ck_assert_uint_le(nholders, LIMIT);
	holder[nholders++] = a;
	if (served[a->client]++ && a->number <= last_number[a->client])
		in_order = false;
	last_number[a->client] = a->number;
}

static void granted(struct gate_ticket *ticket, void *arg)
{
	hold(container_of(ticket, struct asker, ticket));
}

static void open_gate(uint64_t limit)
{
	shm = unit_segment(limit, 0, 60000);
	for (unsigned i = 0; i < WORKERS; i++)
		lines[i] = unit_line(shm, i, granted, NULL);
	in_order = true;
}

/* A request of this client (a key's number) at this worker. */
static struct asker *ask(unsigned worker, unsigned client, unsigned weight)
{
	struct asker *a = &pool[npool++];

	ck_assert_uint_lt(npool, ARRAY_SIZE(pool));
	*a = (struct asker){ .worker = worker, .client = client, .number = asked[client]++ };
	if (gate_arrive_as(lines[worker], &a->ticket, (struct flow){ client, weight }))
		hold(a);
	return a;
}

static void poll_all(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		gate_poll(lines[i]);
}

/* The one who holds longest is done; whose it was. */
static unsigned finish_one(void)
{
	struct asker *a = holder[0];
	unsigned client = a->client;

	ck_assert_uint_gt(nholders, 0);
	memmove(holder, holder + 1, --nholders * sizeof(holder[0]));
	gate_leave(lines[a->worker], &a->ticket);
	poll_all();
	return client;
}

static void finish_all(void)
{
	while (nholders)
		finish_one();
	ck_assert_uint_eq(unit_used(shm), 0);
	unit_books_balance(shm);
}

static void share_is(unsigned n, double want, unsigned of)
{
	double share = (double)served[n] / of;

	ck_assert_msg(share > want * 0.99 - 0.002 && share < want * 1.01 + 0.002, "client %u: %u of %u", n,
		served[n], of);
}

START_TEST(weights_are_shares)
{
	unsigned seed = 3;

	open_gate(LIMIT);
	/* both always have 40 in line, spread over the workers as chance has it */
	for (unsigned i = 0; i < 40; i++) {
		ask((unsigned)rand_r(&seed) % WORKERS, 1, 3);
		ask((unsigned)rand_r(&seed) % WORKERS, 2, 1);
	}
	for (unsigned i = 0; i < 200; i++) { /* a beginning that does not count */
		unsigned who = finish_one();

		ask((unsigned)rand_r(&seed) % WORKERS, who, who == 1 ? 3 : 1);
	}
	served[1] = served[2] = 0;
	for (unsigned i = 0; i < 2000; i++) {
		unsigned who = finish_one();

		ask((unsigned)rand_r(&seed) % WORKERS, who, who == 1 ? 3 : 1);
	}
	share_is(1, 0.75, 2000);
	share_is(2, 0.25, 2000);
	ck_assert(in_order);
	finish_all();
}
END_TEST

/* One script with 1,000 requests in line: another client's single one is next. */
START_TEST(a_single_request_is_next)
{
	open_gate(LIMIT);
	for (unsigned i = 0; i < 1000; i++)
		ask(i % WORKERS, 1, 1);
	for (unsigned i = 0; i < 50; i++)
		finish_one();
	for (unsigned n = 2; n < 5; n++) {
		ask(n % WORKERS, n, 1);
		finish_one();
		ck_assert_uint_eq(served[n], 1);
		finish_one();
	}
	/* two floods and a third who asks once: within a round of both */
	for (unsigned i = 0; i < 500; i++)
		ask((i + 1) % WORKERS, 6, 1);
	for (unsigned i = 0; i < 20; i++)
		finish_one();
	ask(3, 7, 1);
	finish_one();
	finish_one();
	ck_assert_uint_eq(served[7], 1);
	finish_all();
	ck_assert(in_order);
}
END_TEST

START_TEST(who_was_idle_has_saved_nothing_up)
{
	open_gate(1);
	for (unsigned i = 0; i < 200; i++)
		ask(i % WORKERS, 1, 1);
	for (unsigned i = 0; i < 100; i++)
		finish_one();
	for (unsigned i = 0; i < 50; i++)
		ask(i % WORKERS, 2, 1);
	served[1] = served[2] = 0;
	for (unsigned i = 0; i < 40; i++)
		finish_one();
	share_is(1, 0.5, 40);
	share_is(2, 0.5, 40);
	finish_all();
}
END_TEST

/* Those that leave the line cost their client nothing, wherever they stood. */
START_TEST(places_that_are_not_used_come_back)
{
	struct asker *mine[600];

	open_gate(1);
	ask(0, 3, 1);
	for (unsigned i = 0; i < 600; i++)
		mine[i] = ask(i % WORKERS, 1, 1);
	for (unsigned i = 0; i < 100; i++)
		ask(i % WORKERS, 2, 1);
	for (unsigned i = 0; i < 600; i++)
		if (i % 7)
			gate_leave(lines[mine[i]->worker], &mine[i]->ticket);
	for (unsigned i = 0; i < 100; i++) /* and comes again */
		ask(i % WORKERS, 1, 1);
	served[1] = served[2] = 0;
	for (unsigned i = 0; i < 100; i++)
		finish_one();
	ck_assert_uint_ge(served[1], 45);
	ck_assert_uint_ge(served[2], 45);
	finish_all();
}
END_TEST

/* Nor do those that left make their client pass a newcomer of another one. */
START_TEST(places_given_up_are_no_turns_for_others_of_the_flow)
{
	struct asker *mine[400];

	open_gate(1);
	ask(0, 3, 1);
	for (unsigned i = 0; i < 400; i++)
		mine[i] = ask(i % WORKERS, 1, 1);
	for (unsigned i = 0; i < 400; i += WORKERS) /* most of one worker's */
		if (i / WORKERS % 10)
			gate_leave(lines[0], &mine[i]->ticket);
	for (unsigned n = 0; n < 20; n++) {
		finish_one();
		ask(n % WORKERS, 10 + n, 1);
		for (unsigned i = 0; i < WORKERS + 1; i++)
			finish_one();
		ck_assert_msg(served[10 + n] == 1, "newcomer %u", n);
	}
	finish_all();
}
END_TEST

/* A worker that does not collect its grants hides those behind: others' later places do not put a newcomer back. */
START_TEST(a_worker_that_lags_puts_nobody_back)
{
	open_gate(4);
	for (unsigned i = 0; i < 4; i++)
		ask(0, 3, 1);
	for (unsigned w = 0; w < WORKERS; w++) /* one after the other, so that their places are far apart */
		for (unsigned i = 0; i < 100; i++)
			ask(w, 1, 1);
	for (unsigned i = 0; i < 4; i++) { /* four permits at once: one for each head */
		struct asker *a = holder[--nholders];

		gate_leave(lines[a->worker], &a->ticket);
	}
	poll_all();
	for (unsigned n = 0; n < 10; n++) {
		ask(n % WORKERS, 10 + n, 1);
		finish_one();
		finish_one();
		ck_assert_msg(served[10 + n] == 1, "newcomer %u", n);
	}
	finish_all();
}
END_TEST

/* A client that floods at five times its share, and whose oldest give up all the time, has its share still. */
START_TEST(time_outs_do_not_starve_a_flood)
{
	unsigned from, oldest;

	open_gate(1);
	ask(0, 3, 1);
	for (unsigned i = 0; i < 50; i++)
		ask(i % WORKERS, 2, 1);
	from = oldest = npool;
	for (unsigned turn = 0; turn < 2000; turn++) {
		for (unsigned i = 0; i < 5; i++)
			ask((turn + i) % WORKERS, 1, 1);
		for (; npool - oldest > 300; oldest++)
			if (pool[oldest].client == 1 && pool[oldest].ticket.state == TICKET_WAITING)
				gate_leave(lines[pool[oldest].worker], &pool[oldest].ticket);
		if (finish_one() == 2)
			ask(turn % WORKERS, 2, 1);
		if (turn == 500)
			served[1] = served[2] = 0;
	}
	share_is(1, 0.5, 1499);
	for (; from < npool; from++)
		if (pool[from].ticket.state == TICKET_WAITING)
			gate_leave(lines[pool[from].worker], &pool[from].ticket);
	finish_all();
}
END_TEST

/* The only worker where a client had requests in line dies with 1,000 of them: its next one waits for none. */
START_TEST(what_the_dead_had_in_line_costs_nobody_anything)
{
	uint64_t back = 0;
	static struct gate_line *volatile dead;
	_Atomic uint64_t *ends;

	open_gate(2);
	ask(0, 3, 1);
	ask(0, 3, 1);
	for (unsigned i = 0; i < 100; i++)
		ask(i % 3, 2, 1);
	for (unsigned i = 0; i < 1000; i++)
		ask(3, 1, 1);
	ends = house_ends(shm, 0);
	ck_assert_uint_gt(atomic_load(&ends[1]), atomic_load(&ends[2]));
	shm_reclaim(shm, 3);
	ck_assert(shm_reclaim_audit(shm, &back));
	dead = lines[3]; /* with all in it */
	ck_assert_ptr_nonnull(dead);
	unit_lines[3] = NULL;
	lines[3] = lines[0];
	ck_assert_uint_lt(atomic_load(&ends[1]), atomic_load(&ends[2]));
	finish_one();
	served[1] = 0;
	ask(1, 1, 1);
	finish_one();
	finish_one();
	ck_assert_uint_eq(served[1], 1);
	finish_all();
}
END_TEST

#ifdef HEADGATE_DEVELOPER

/* A death where a place is paid for and nobody stands there: one turn of its flow is lost, no more. */
START_TEST(a_death_costs_a_flow_one_place)
{
	static const char *const points[] = { "gate.arrive.charged,slot=5,count=1", "gate.cancel.uncharged,slot=5,count=1" };

	for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
		uint64_t back = 0;
		int status;
		pid_t pid;

		memset(served, 0, sizeof(served));
		nholders = 0;
		open_gate(1);
		ask(0, 3, 1);
		for (unsigned k = 0; k < 20; k++)
			ask(0, 2, 1);
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			struct gate_line *line = unit_line(shm, 5, granted, NULL);
			struct gate_ticket t = { 0 };

			setenv("HEADGATE_CRASH", points[i], 1);
			crash_point_arm(5, 1);
			if (!gate_arrive_as(line, &t, (struct flow){ 1, 1 }))
				gate_leave(line, &t);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFSIGNALED(status), "%s: not reached", points[i]);
		shm_reclaim(shm, 5);
		ck_assert(shm_reclaim_audit(shm, &back));
		ask(1, 1, 1);
		for (unsigned k = 0; k < 3; k++)
			finish_one();
		ck_assert_uint_eq(served[1], 1);
		finish_all();
		for (unsigned k = 0; k < WORKERS; k++)
			unit_line_close(k);
		unit_close();
	}
}
END_TEST

#endif

START_TEST(addresses_are_clients)
{
	uint8_t v4[16] = { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1 };
	uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [7] = 1, [15] = 1 };
	bool taken[1 + FLOW_ADDRESSES] = { false };
	unsigned others = 0;
	struct flow a, b;

	shm = unit_segment(1, 0, 60000);
	a = flow_of_address(shm, v4, 1000);
	ck_assert_uint_ge(a.number, 1);
	ck_assert_uint_le(a.number, FLOW_ADDRESSES);
	ck_assert_uint_eq(flow_of_address(shm, v4, 1000).number, a.number);
	b = flow_of_address(shm, v6, 1000);
	v6[15] = 77; /* in the same /64 */
	ck_assert_uint_eq(flow_of_address(shm, v6, 1000).number, b.number);
	for (unsigned i = 0; i < 200; i++) { /* each of these has a flow of its own: by one hash alone 20 would share one */
		v4[15] = (uint8_t)i;
		a = flow_of_address(shm, v4, 1000);
		others += !taken[a.number];
		taken[a.number] = true;
	}
	ck_assert_uint_ge(others, 198);
	a = flow_of_key(5, 7);
	ck_assert_uint_gt(a.number, FLOW_ADDRESSES);
	ck_assert_uint_eq(a.weight, 7);
	unit_close();
}
END_TEST

/* Thousands of addresses take all flows in turn, but not from one that goes on asking. */
START_TEST(a_flow_goes_to_another_when_its_owner_is_silent)
{
	uint8_t steady[16] = { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1 };
	uint8_t crowd[16] = { [10] = 0xff, [11] = 0xff, [12] = 10 };
	unsigned with_others = 0, when_silent = 0;
	uint32_t mine;

	shm = unit_segment(1, 0, 60000);
	mine = flow_of_address(shm, steady, 0).number;
	for (unsigned i = 0; i < 20000; i++) {
		crowd[13] = (uint8_t)(i >> 8);
		crowd[15] = (uint8_t)i;
		if (i < 10000) { /* ten a second, and as many of his */
			ck_assert_uint_eq(flow_of_address(shm, steady, i * 100).number, mine);
			with_others += flow_of_address(shm, crowd, i * 100).number == mine;
		} else {
			when_silent += flow_of_address(shm, crowd, i * 100).number == mine;
		}
	}
	ck_assert_uint_eq(with_others, 0);
	ck_assert_uint_ge(when_silent, 1);
	unit_close();
}
END_TEST

int main(void)
{
	UNIT_RUN("gate_flows", weights_are_shares, a_single_request_is_next, who_was_idle_has_saved_nothing_up,
		places_that_are_not_used_come_back, places_given_up_are_no_turns_for_others_of_the_flow, a_worker_that_lags_puts_nobody_back, time_outs_do_not_starve_a_flood,
		what_the_dead_had_in_line_costs_nobody_anything,
#ifdef HEADGATE_DEVELOPER
		a_death_costs_a_flow_one_place,
#endif
		addresses_are_clients, a_flow_goes_to_another_when_its_owner_is_silent);
}
