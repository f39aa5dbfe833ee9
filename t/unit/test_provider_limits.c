/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: the line for permits, requests per minute, and who leaves them early. */
#include "test_provider.h"

#include "shm/tokens.h"

#define CALLS 20

START_TEST(never_more_than_the_permits)
{
	struct asked a[CALLS] = { 0 };
	struct rig rig;
	unsigned queued = 0;

	rig_open(&rig, &(struct rig_options){ .permits = 2 });
	atomic_store(&rig.fake->gather, 2);
	for (int i = 0; i < CALLS; i++)
		ask(&a[i], &rig, "/gather");
	ck_assert_uint_eq(rig_permits_used(&rig), 2);
	RUN_UNTIL(&rig, asked_ends == CALLS);
	ck_assert_uint_eq(rig.fake->peak, 2);
	ck_assert_uint_eq(rig.fake->requests, CALLS);
	for (int i = 0; i < CALLS; i++) {
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		ck_assert_uint_le(a[i].queued, 1);
		queued += a[i].queued;
		/* First come, first served: two run at a time, so an end is off by one at most. */
		ck_assert_int_le(abs((int)a[i].order - 1 - i), 1);
		asked_release(&a[i]);
	}
	ck_assert_uint_eq(queued, CALLS - 2);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_QUEUED), CALLS - 2);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_COMPLETED), CALLS);
	ck_assert_uint_le(rig.fake->connections, 2);
	rig_close(&rig);
}
END_TEST

START_TEST(position_counts_down)
{
	struct asked a[4] = { 0 };
	uint64_t expected;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1 });
	for (int i = 0; i < 4; i++)
		ask(&a[i], &rig, "/stalls");
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(call_position(a[i].call, &expected), i);
	call_cancel(a[0].call);
	RUN_UNTIL(&rig, a[1].events);
	ck_assert_uint_eq(call_position(a[1].call, &expected), 0);
	ck_assert_uint_eq(call_position(a[2].call, &expected), 1);
	ck_assert_uint_eq(call_position(a[3].call, &expected), 2);
	ck_assert_uint_eq(a[0].queued, 0);
	ck_assert_uint_eq(a[3].queued, 1);
	for (int i = 1; i < 4; i++) {
		call_cancel(a[i].call);
		asked_release(&a[i]);
	}
	rig_close(&rig);
}
END_TEST

/* A permit is free in the turn in which its holder is cancelled, also in a storm of cancels. */
START_TEST(cancel_gives_back_at_once)
{
	struct asked running = { 0 }, queued[50] = { 0 }, last = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1 });
	ask(&running, &rig, "/stalls");
	RUN_UNTIL(&rig, running.events);
	for (int i = 0; i < 50; i++)
		ask(&queued[i], &rig, "/stream");
	ask(&last, &rig, "/stream");
	queued[0].cancel_when = ON_QUEUED;
	RUN_UNTIL(&rig, last.queued);
	ck_assert_ptr_null(queued[0].call);
	for (int i = 1; i < 50; i++)
		call_cancel(queued[i].call);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_CANCELLED_QUEUED), 50);
	ck_assert_uint_eq(rig_permits_used(&rig), 1);
	ck_assert_uint_eq(providers_running(rig.providers), 2);
	call_cancel(running.call);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_CANCELLED_RUNNING), 1);
	RUN_UNTIL(&rig, last.ends);
	ck_assert_int_eq(last.result.ending, END_COMPLETE);
	ck_assert_uint_eq(asked_ends, 1);
	ck_assert_uint_eq(rig.fake->requests, 2);
	asked_release(&running);
	asked_release(&last);
	rig_close(&rig);
}
END_TEST

/* The grant is on its way when its taker goes: it passes to the next. */
START_TEST(cancel_of_the_granted_one_serves_the_next)
{
	struct asked first = { 0 }, second = { 0 }, third = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1 });
	ask(&first, &rig, "/stalls");
	ask(&second, &rig, "/stream");
	ask(&third, &rig, "/stream");
	RUN_UNTIL(&rig, first.events && second.queued && third.queued);
	call_cancel(first.call);
	call_cancel(second.call);
	RUN_UNTIL(&rig, third.ends);
	ck_assert_int_eq(third.result.ending, END_COMPLETE);
	ck_assert_uint_eq(second.ends, 0);
	ck_assert_uint_eq(rig.fake->requests, 2);
	asked_release(&first);
	asked_release(&third);
	rig_close(&rig);
}
END_TEST

START_TEST(queue_timeout_names_its_limit)
{
	struct asked running = { 0 }, waits = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1, .queue_ms = 100 });
	ask(&running, &rig, "/stalls");
	ask(&waits, &rig, "/stream");
	RUN_UNTIL(&rig, waits.ends);
	ck_assert_int_eq(waits.result.ending, END_QUEUE_TIMEOUT);
	ck_assert_str_eq(
		waits.result.limit, "llm.providers.fake.http_client.concurrent_requests");
	ck_assert_uint_ge(waits.result.retry_after_ms, 1000);
	ck_assert_uint_le(waits.result.retry_after_ms, 60000);
	ck_assert_uint_eq(waits.queued, 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_QUEUE_TIMEOUTS), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_FAILED), 0);
	ck_assert_uint_eq(rig_permits_used(&rig), 1);
	RUN_UNTIL(&rig, running.events);
	call_cancel(running.call);
	asked_release(&running);
	rig_close(&rig);
}
END_TEST

static uint64_t key_requests(struct rig *rig)
{
	struct gate_reading r;

	gate_read(rig->shm, SHM_GATE_CLIENT_REQUESTS(0), &r);
	return r.used;
}

/* A key's own concurrent_requests: its line comes before the provider's, others do not stand in it. */
START_TEST(a_key_waits_in_its_own_line)
{
	struct asked a[4] = { 0 }, other = { 0 };
	uint64_t expected;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .key = { "alice", 0, 2, 0 }, .queue_ms = 300 });
	for (int i = 0; i < 4; i++)
		ask(&a[i], &rig, "/stalls");
	ck_assert_uint_eq(call_position(a[2].call, &expected), 1);
	ck_assert_uint_eq(call_position(a[3].call, &expected), 2);
	ck_assert_uint_eq(rig_permits_used(&rig), 2);
	rig.client = (struct provider_client){ 0 };
	ask(&other, &rig, "/stream");
	RUN_UNTIL(&rig, other.ends);
	ck_assert_int_eq(other.result.ending, END_COMPLETE);
	RUN_UNTIL(&rig, a[1].events);
	call_cancel(a[0].call); /* its permit is the next one's at once */
	RUN_UNTIL(&rig, a[2].events);
	ck_assert_uint_eq(key_requests(&rig), 2);
	RUN_UNTIL(&rig, a[3].ends);
	ck_assert_int_eq(a[3].result.ending, END_KEY_REQUESTS);
	ck_assert_str_eq(a[3].result.limit, "clients.keys.alice.concurrent_requests");
	ck_assert_uint_gt(a[3].result.retry_after_ms, 0);
	ck_assert_uint_eq(a[3].queued, 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_FAILED), 0);
	for (int i = 1; i < 3; i++)
		call_cancel(a[i].call);
	for (int i = 0; i < 4; i++)
		asked_release(&a[i]);
	asked_release(&other);
	ck_assert_uint_eq(key_requests(&rig), 0);
	rig_close(&rig);
}
END_TEST

START_TEST(a_key_has_so_many_requests_a_minute)
{
	struct asked a[3] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .key = { "alice", 0, 0, 2 } });
	for (int i = 0; i < 3; i++)
		ask(&a[i], &rig, "/stream");
	for (int i = 0; i < 3; i++)
		RUN_UNTIL(&rig, a[i].ends);
	ck_assert_int_eq(a[1].result.ending, END_COMPLETE);
	ck_assert_int_eq(a[2].result.ending, END_KEY_RATE);
	ck_assert_str_eq(a[2].result.limit, "clients.keys.alice.requests_per_minute");
	ck_assert_uint_gt(a[2].result.retry_after_ms, 50000);
	ck_assert_uint_le(a[2].result.retry_after_ms, 61000);
	for (int i = 0; i < 3; i++)
		asked_release(&a[i]);
	rig_close(&rig);
}
END_TEST

static uint64_t key_tokens(struct rig *rig)
{
	struct tokens_reading r;

	tokens_read(rig->shm, SHM_TOKENS_CLIENT(0), clock_ms(), &r);
	return r.used;
}

/* By estimate (15 bytes, and 256 tokens of an answer while none has been seen); then as reported. */
START_TEST(a_key_has_so_many_tokens_a_minute)
{
	struct asked a[3] = { 0 }, waits = { 0 }, cut = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .key = { "alice", 0, 1, 0, 500 } });
	for (int i = 0; i < 2; i++)
		ask(&a[i], &rig, "/stream");
	ck_assert_uint_eq(key_tokens(&rig), 3 + 256);
	for (int i = 0; i < 2; i++)
		RUN_UNTIL(&rig, a[i].ends);
	ck_assert_int_eq(a[0].result.ending, END_COMPLETE);
	ck_assert_int_eq(a[1].result.ending, END_KEY_TOKENS);
	ck_assert_str_eq(a[1].result.limit, "clients.keys.alice.tokens_per_minute");
	ck_assert_uint_gt(a[1].result.retry_after_ms, 50000);
	ck_assert_uint_le(a[1].result.retry_after_ms, 62000);
	ck_assert_uint_eq(a[1].result.attempts, 0);
	ck_assert_uint_eq(key_tokens(&rig), 11 + 3);
	/* The same as the second, which cost nothing, is let in now. */
	ask_and_wait(&a[2], &rig, "/stream");
	ck_assert_int_eq(a[2].result.ending, END_COMPLETE);
	ck_assert_uint_eq(key_tokens(&rig), 2 * (11 + 3));
	/* One that leaves the line pays nothing; one that is cut for what it had. */
	ask(&cut, &rig, "/stalls");
	RUN_UNTIL(&rig, cut.events);
	ask(&waits, &rig, "/stream");
	ck_assert_uint_gt(key_tokens(&rig), 400);
	call_cancel(waits.call);
	call_cancel(cut.call);
	ck_assert_uint_eq(key_tokens(&rig), 2 * (11 + 3) + 3 + cut.events);
	for (int i = 0; i < 3; i++)
		asked_release(&a[i]);
	asked_release(&waits);
	asked_release(&cut);
	rig_close(&rig);
}
END_TEST

/* In no window of W ms does the provider see more than N; the rest comes later, in order. */
START_TEST(window_is_kept_as_the_provider_sees_it)
{
	enum { N = 3, W = 1000, ALL = 8 };
	struct asked a[ALL] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .per_window = N, .window_ms = W });
	for (int i = 0; i < ALL; i++)
		ask(&a[i], &rig, "/json");
	RUN_UNTIL(&rig, asked_ends == ALL);
	ck_assert_uint_eq(rig.fake->requests, ALL);
	ck_assert_uint_ge(rig_stat(&rig, PSTAT_WINDOW_WAITS), ALL - N);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), ALL);
	for (int i = 0; i < ALL; i++) {
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		if (i >= N)
			ck_assert_uint_eq(a[i].queued, 1);
		asked_release(&a[i]);
	}
	/* Half of it is left to whoever was slow to write down when it saw a request. */
	for (int i = 0; i + N < ALL; i++)
		ck_assert_uint_ge(rig.fake->at_ms[i + N], rig.fake->at_ms[i] + W / 2);
	rig_close(&rig);
}
END_TEST

START_TEST(window_too_late_is_refused_and_costs_nothing)
{
	struct asked first = { 0 }, refused = { 0 }, cancelled = { 0 }, heir = { 0 };
	struct window_reading r;
	uint64_t expected;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .per_window = 1, .window_ms = 600, .queue_ms = 1000 });
	ask(&first, &rig, "/json");
	RUN_UNTIL(&rig, first.ends);
	ask(&cancelled, &rig, "/json");
	RUN_UNTIL(&rig, cancelled.queued);
	ck_assert_uint_eq(call_position(cancelled.call, &expected), 1);
	ck_assert_uint_gt(expected, 0);
	/* The next appointment is more than 1200 ms away. */
	ask(&refused, &rig, "/json");
	RUN_UNTIL(&rig, refused.ends);
	ck_assert_int_eq(refused.result.ending, END_RATE_LIMITED);
	ck_assert_str_eq(
		refused.result.limit, "llm.providers.fake.http_client.requests_per_minute");
	ck_assert_uint_ge(refused.result.retry_after_ms, 1000);
	ck_assert_uint_eq(refused.queued, 0);
	/* Whoever comes now inherits what was given back, and so is served in time. */
	call_cancel(cancelled.call);
	ck_assert_uint_eq(rig_permits_used(&rig), 0);
	ask(&heir, &rig, "/json");
	RUN_UNTIL(&rig, heir.ends);
	ck_assert_int_eq(heir.result.ending, END_COMPLETE);
	ck_assert_uint_eq(rig.fake->requests, 2);
	window_read(rig.shm, SHM_WINDOW_PROVIDER(0), clock_ms(), &r);
	ck_assert_uint_eq(r.limit, 1);
	asked_release(&first);
	asked_release(&heir);
	rig_close(&rig);
}
END_TEST

/* The slots of those who are about to be sent are promised to others: they go out all the same. */
START_TEST(window_promised_ahead_loses_nothing)
{
	enum { N = 2, ALL = 6 };
	struct asked a[ALL] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .per_window = N, .queue_ms = 70000 });
	for (int i = 0; i < ALL; i++)
		ask(&a[i], &rig, "/json");
	RUN_UNTIL(&rig, asked_ends == ALL - N);
	for (int i = 0; i < ALL; i++) {
		ck_assert_uint_eq(a[i].queued, i / N == 1);
		ck_assert_uint_eq(a[i].ends, i / N != 1);
	}
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		ck_assert_int_eq(a[2 * N + i].result.ending, END_RATE_LIMITED);
		call_cancel(a[N + i].call);
		asked_release(&a[i]);
	}
	ck_assert_uint_eq(rig.fake->requests, N);
	rig_close(&rig);
}
END_TEST

/* So late that its slot was promised to somebody else: it does not go out, but waits once more. */
START_TEST(window_missed_takes_another_appointment)
{
	struct appointment other;
	struct asked a = { 0 };
	struct rig rig;
	uint64_t now;

	rig_open(&rig, &(struct rig_options){ .per_window = 1, .window_ms = 300 });
	ask(&a, &rig, "/json");
	defer_run(); /* on its way */
	ck_assert_uint_eq(a.queued, 0);
	now = clock_ms();
	ck_assert(window_take(rig.shm, SHM_WINDOW_PROVIDER(0), now, now + 10000, &other));
	while (clock_ms() < now + 40) /* a tenth of the window is forgiven */
		poll(NULL, 0, 1);
	RUN_UNTIL(&rig, a.queued);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), 0);
	ck_assert_uint_eq(rig_permits_used(&rig), 1);
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert_uint_ge(clock_ms(), other.at_ms);
	ck_assert_uint_eq(rig.fake->requests, 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_WINDOW_WAITS), 1);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

/* A request that never went out (nobody listens) leaves the minute as it was. */
START_TEST(failed_connect_costs_no_request)
{
	struct asked a[3] = { 0 };
	struct window_reading r;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .per_window = 1, .base_url = "http://127.0.0.1:1/v1" });
	for (int i = 0; i < 3; i++) {
		ask_and_wait(&a[i], &rig, "/json");
		ck_assert_int_eq(a[i].result.ending, END_CONNECT_FAILED);
	}
	window_read(rig.shm, SHM_WINDOW_PROVIDER(0), clock_ms(), &r);
	ck_assert_uint_eq(r.used, 0);
	rig_close(&rig);
}
END_TEST

int main(void)
{
	UNIT_RUN("provider_limits", never_more_than_the_permits, position_counts_down,
		cancel_gives_back_at_once, cancel_of_the_granted_one_serves_the_next,
		queue_timeout_names_its_limit, a_key_waits_in_its_own_line,
		a_key_has_so_many_requests_a_minute,
		a_key_has_so_many_tokens_a_minute, window_is_kept_as_the_provider_sees_it,
		window_too_late_is_refused_and_costs_nothing,
		window_promised_ahead_loses_nothing, window_missed_takes_another_appointment,
		failed_connect_costs_no_request);
}
