/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: attempts that fail, and those that follow them. */
#include "test_provider.h"

#define RETRIES 3

/* One call with RETRIES retries ends so, after so many requests. */
static void expect(const char *path, enum ending ending, unsigned requests, bool give_up)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .retries = RETRIES, .backoff_s = 0.001 });
	ask_and_wait(&a, &rig, path);
	ck_assert_int_eq(a.result.ending, ending);
	ck_assert_uint_eq(rig.fake->requests, requests);
	ck_assert_uint_eq(a.result.attempts, requests);
	ck_assert_int_eq(a.result.give_up, give_up);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_RETRIES), requests - 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), requests);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_CALLS), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_COMPLETED) + rig_stat(&rig, PSTAT_FAILED), 1);
	asked_release(&a);
	rig_close(&rig);
}

START_TEST(some_failures_are_tried_again)
{
	expect("/529", END_PROVIDER_STATUS, 1 + RETRIES, true);
	expect("/400-again", END_PROVIDER_STATUS, 1 + RETRIES, true);
	expect("/third", END_COMPLETE, 3, false);
}
END_TEST

START_TEST(others_are_not)
{
	expect("/404", END_PROVIDER_STATUS, 1, true);
	expect("/401", END_PROVIDER_AUTH, 1, true);
	expect("/quota", END_PROVIDER_STATUS, 1, true);
	expect("/503-final", END_PROVIDER_STATUS, 1, true);
	expect("/429-long", END_PROVIDER_STATUS, 1, false);
}
END_TEST

START_TEST(nothing_is_tried_again_once_the_asker_heard_of_an_answer)
{
	expect("/cut", END_PROVIDER_RESET, 1, false);
	expect("/early", END_PROVIDER_RESET, 1, false);
	expect("/stream-error", END_STREAM_ERROR, 1, false);
}
END_TEST

/* Retry-After goes before the backoff: each further request comes that much later at least. */
START_TEST(retry_after_is_waited_for)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .retries = 2, .backoff_s = 0 });
	ask_and_wait(&a, &rig, "/429ms");
	ck_assert_uint_eq(rig.fake->requests, 3);
	ck_assert_uint_ge(rig.fake->at_ms[1] - rig.fake->at_ms[0], 250);
	ck_assert_uint_ge(rig.fake->at_ms[2] - rig.fake->at_ms[1], 250);
	ck_assert_uint_eq(a.result.retry_after_ms, 251);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(no_wait_beyond_queue_timeout)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .retries = 2, .queue_ms = 5000 });
	ask_and_wait(&a, &rig, "/429"); /* it says 7 s */
	ck_assert_uint_eq(rig.fake->requests, 1);
	ck_assert_uint_eq(a.result.retry_after_ms, 7000);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(connections_that_fail_are_tried_again)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig,
		&(struct rig_options){ .retries = 2, .base_url = "http://127.0.0.1:1/v1" });
	ask_and_wait(&a, &rig, "/stream");
	ck_assert_int_eq(a.result.ending, END_CONNECT_FAILED);
	ck_assert_uint_eq(a.result.attempts, 3);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), 0);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

/* Who backs off has no permit, and can be cancelled. */
START_TEST(others_run_during_the_backoff)
{
	struct asked a = { 0 }, b = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1, .retries = 1 });
	ask(&a, &rig, "/429"); /* 7 s */
	RUN_UNTIL(&rig, rig_stat(&rig, PSTAT_RETRIES) == 1);
	ck_assert_uint_eq(rig_permits_used(&rig), 0);
	ask_and_wait(&b, &rig, "/stream");
	ck_assert_int_eq(b.result.ending, END_COMPLETE);
	ck_assert_uint_eq(a.ends, 0);
	call_cancel(a.call);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_CANCELLED_QUEUED), 1);
	asked_release(&a);
	asked_release(&b);
	rig_close(&rig);
}
END_TEST

/* 10 retries are in a fresh budget, and each call adds a fifth of one. */
START_TEST(the_budget_stops_retries)
{
	enum { CALLS = 20 };
	struct asked a[CALLS] = { 0 };
	struct rig rig;
	uint64_t retries;

	rig_open(&rig, &(struct rig_options){ .retries = RETRIES, .backoff_s = 0.001 });
	for (int i = 0; i < CALLS; i++) {
		ask_and_wait(&a[i], &rig, "/529");
		asked_release(&a[i]);
	}
	retries = rig_stat(&rig, PSTAT_RETRIES);
	ck_assert_uint_ge(retries, 10);
	ck_assert_uint_le(retries, 10 + CALLS / 5 + 1);
	ck_assert_uint_gt(rig_stat(&rig, PSTAT_RETRIES_DENIED), 0);
	ck_assert(a[CALLS - 1].result.give_up);
	ck_assert_uint_eq(rig.fake->requests, CALLS + retries);
	rig_close(&rig);
}
END_TEST

int main(void)
{
	UNIT_RUN("provider_retry", some_failures_are_tried_again, others_are_not,
		nothing_is_tried_again_once_the_asker_heard_of_an_answer, retry_after_is_waited_for,
		no_wait_beyond_queue_timeout, connections_that_fail_are_tried_again,
		others_run_during_the_backoff, the_budget_stops_retries);
}
