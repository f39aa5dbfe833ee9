/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all workers know about a provider: retry budget, parked keys, circuit and tokens, with a
 * clock of our own. What several processes do to it is in test_standing_deaths.c.
 */
#include "base/base.h"
#include "base/bug.h"
#include "standing_unit.h"

#define T0 1000000u
#define P 1u /* the provider; number 0 must stay untouched */

/* ---- retries ---- */

static unsigned retries(struct shm *shm, uint64_t now)
{
	unsigned n = 0;

	while (budget_retry(shm, P, now))
		n++;
	return n;
}

START_TEST(retries_stay_at_a_fifth_of_the_requests)
{
	struct shm *shm = standing_segment(10);

	ck_assert_uint_eq(budget_read(shm, P, T0), 10000);
	ck_assert_uint_eq(retries(shm, T0), 10);
	for (unsigned i = 0; i < 100; i++)
		budget_request(shm, P, T0);
	ck_assert_uint_eq(retries(shm, T0), 20);
	for (unsigned i = 0; i < 4; i++)
		budget_request(shm, P, T0);
	ck_assert_uint_eq(retries(shm, T0), 0);
	for (unsigned i = 0; i < 1000; i++)
		budget_request(shm, P, T0);
	ck_assert_uint_eq(retries(shm, T0), 50); /* no more are saved up */
	ck_assert_uint_eq(budget_read(shm, 0, T0), 10000);
}
END_TEST

START_TEST(a_quiet_provider_gets_retries_back_with_time)
{
	struct shm *shm = standing_segment(10);

	ck_assert_uint_eq(retries(shm, T0), 10);
	ck_assert_uint_eq(retries(shm, T0 + 9999), 0);
	ck_assert_uint_eq(retries(shm, T0 + 10000), 1);
	for (unsigned i = 1; i <= 3333; i++) /* often asked, and nothing is rounded away */
		ck_assert(!budget_retry(shm, P, T0 + 10000 + 3 * i));
	ck_assert_uint_eq(retries(shm, T0 + 20000), 1);
	ck_assert_uint_eq(retries(shm, T0 + 19000), 0); /* another worker's clock reading */
	ck_assert_uint_eq(retries(shm, T0 + 9000000), 10);
}
END_TEST

/* ---- keys ---- */

START_TEST(a_parked_key_is_parked_until_the_latest_time_said)
{
	struct shm *shm = standing_segment(10);

	for (unsigned key = 0; key < SHM_KEYS; key++)
		ck_assert_uint_eq(key_parked_until(shm, P, key), 0);
	key_park(shm, P, 15, T0 + 500);
	key_park(shm, P, 15, T0 + 100);
	ck_assert_uint_eq(key_parked_until(shm, P, 15), T0 + 500);
	ck_assert_uint_eq(key_parked_until(shm, P, 14), 0);
	ck_assert_uint_eq(key_parked_until(shm, 0, 15), 0);
	key_unpark(shm, P, 15);
	ck_assert_uint_eq(key_parked_until(shm, P, 15), 0);
}
END_TEST

/* ---- circuit ---- */

static enum circuit_verdict ask(struct shm *shm, uint64_t now)
{
	uint64_t at;

	return circuit_ask(shm, P, now, &at);
}

static uint64_t refused_until(struct shm *shm, uint64_t now)
{
	uint64_t at;

	ck_assert_int_eq(circuit_ask(shm, P, now, &at), CIRCUIT_REFUSED);
	return at;
}

static struct circuit_reading reading(struct shm *shm, uint64_t now)
{
	struct circuit_reading r;

	circuit_read(shm, P, now, &r);
	return r;
}

static void failures(struct shm *shm, unsigned n, uint64_t now)
{
	while (n--)
		circuit_report(shm, P, false, false, now);
}

START_TEST(five_failures_in_a_row_open_it)
{
	struct shm *shm = standing_segment(10);

	ck_assert_int_eq(ask(shm, T0), CIRCUIT_PASS);
	failures(shm, 4, T0);
	circuit_report(shm, P, false, true, T0);
	failures(shm, 4, T0);
	ck_assert_int_eq(ask(shm, T0), CIRCUIT_PASS);
	ck_assert_uint_eq(reading(shm, T0).failures, 4);
	failures(shm, 1, T0);
	ck_assert_uint_eq(refused_until(shm, T0), T0 + 2000);
	ck_assert_uint_eq(refused_until(shm, T0 + 1999), T0 + 2000);
	ck_assert_int_eq(reading(shm, T0).state, CIRCUIT_OPEN);
	ck_assert_uint_eq(reading(shm, T0).since_ms, T0);
	ck_assert_uint_eq(reading(shm, T0).opened, 1);
	/* what began before does not matter any more */
	circuit_report(shm, P, false, true, T0 + 10);
	failures(shm, 9, T0 + 20);
	ck_assert_uint_eq(refused_until(shm, T0 + 30), T0 + 2000);
	ck_assert_uint_eq(reading(shm, T0).opened, 1);
}
END_TEST

START_TEST(half_of_twenty_lately_open_it)
{
	struct shm *shm = standing_segment(10);
	uint64_t at = T0;

	/* 2 good, 2 bad: never 5 in a row; long ago each time */
	for (unsigned i = 0; i < 30; i++, at += 3000)
		circuit_report(shm, P, false, i % 4 < 2, at);
	ck_assert_int_eq(ask(shm, at), CIRCUIT_PASS);
	at += 20000;
	for (unsigned i = 0; i < 30; i++) /* a third is not half */
		circuit_report(shm, P, false, i % 3 != 0, at);
	ck_assert_int_eq(ask(shm, at), CIRCUIT_PASS);
	at += 20000;
	for (unsigned i = 0; i < 19; i++)
		circuit_report(shm, P, false, i % 2 != 0, at + i);
	ck_assert_int_eq(ask(shm, at + 19), CIRCUIT_PASS);
	ck_assert_uint_eq(reading(shm, at + 19).recent, 19);
	failures(shm, 1, at + 19);
	ck_assert_int_eq(ask(shm, at + 19), CIRCUIT_REFUSED);
	/* a good probe forgets them all */
	ck_assert_int_eq(ask(shm, at + 2019), CIRCUIT_PROBE);
	circuit_report(shm, P, true, true, at + 2020);
	failures(shm, 4, at + 2021);
	ck_assert_int_eq(ask(shm, at + 2022), CIRCUIT_PASS);
}
END_TEST

START_TEST(failed_probes_double_the_time_up_to_a_minute)
{
	static const unsigned lasts[] = { 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000 };
	struct shm *shm = standing_segment(10);
	uint64_t at = T0;

	failures(shm, 5, at);
	for (unsigned i = 0; i < ARRAY_SIZE(lasts); i++) {
		ck_assert_uint_eq(refused_until(shm, at), at + lasts[i]);
		ck_assert_uint_eq(refused_until(shm, at + lasts[i] - 1), at + lasts[i]);
		at += lasts[i];
		ck_assert_int_eq(ask(shm, at), CIRCUIT_PROBE);
		circuit_report(shm, P, true, false, at);
	}
	ck_assert_uint_eq(reading(shm, at).opened, 1 + ARRAY_SIZE(lasts));
	at += 60000;
	ck_assert_int_eq(ask(shm, at), CIRCUIT_PROBE);
	circuit_report(shm, P, true, true, at);
	ck_assert_int_eq(ask(shm, at), CIRCUIT_PASS);
	failures(shm, 5, at);
	ck_assert_uint_eq(refused_until(shm, at), at + 2000); /* it begins anew */
}
END_TEST

START_TEST(one_probe_at_a_time_and_not_for_ever)
{
	struct shm *shm = standing_segment(10);
	uint64_t at = T0 + 2000;

	failures(shm, 5, T0);
	ck_assert_int_eq(ask(shm, at), CIRCUIT_PROBE);
	ck_assert_int_eq(reading(shm, at).state, CIRCUIT_HALF_OPEN);
	ck_assert_uint_eq(refused_until(shm, at), at + 2000);
	ck_assert_uint_eq(refused_until(shm, at + 29500), at + 30000);
	ck_assert_int_eq(ask(shm, at + 30000), CIRCUIT_PROBE); /* whoever had it is gone */
	ck_assert_int_eq(ask(shm, at + 30000), CIRCUIT_REFUSED);
	circuit_forget_probe(shm, P, at + 30001);
	ck_assert_int_eq(ask(shm, at + 30001), CIRCUIT_PROBE);
	ck_assert_int_eq(ask(shm, at + 30001), CIRCUIT_REFUSED);
	circuit_report(shm, P, false, true, at + 30002); /* not the probe */
	ck_assert_int_eq(ask(shm, at + 30002), CIRCUIT_REFUSED);
	circuit_report(shm, P, true, true, at + 30002);
	ck_assert_int_eq(ask(shm, at + 30002), CIRCUIT_PASS);
	circuit_forget_probe(shm, P, at + 30003); /* harmless */
	ck_assert_int_eq(ask(shm, at + 30003), CIRCUIT_PASS);
	ck_assert_uint_eq(reading(shm, at).opened, 1);
}
END_TEST

/* ---- tokens ---- */

#define W 60000u
#define PIECE 1000u

static uint64_t take(struct shm *shm, uint64_t now, uint64_t tokens, struct tokens_promise *promise)
{
	struct tokens_promise own;

	ck_assert(tokens_take(shm, P, now, UINT64_MAX, tokens, promise ? promise : &own));
	return (promise ? promise : &own)->at_ms;
}

static uint64_t used(struct shm *shm, uint64_t now)
{
	struct tokens_reading r;

	tokens_read(shm, P, now, &r);
	return r.used;
}

static uint64_t fullest(struct shm *shm, uint64_t now)
{
	struct tokens_reading r;

	tokens_read(shm, P, now, &r);
	return r.fullest;
}

START_TEST(tokens_wait_for_old_ones_to_leave_the_window)
{
	struct shm *shm = standing_segment(10);
	struct tokens_promise a, b, c, d;

	ck_assert_uint_eq(take(shm, T0, 1u << 30, &a), T0); /* no limit yet */
	tokens_return(shm, P, &a);
	tokens_set_limit(shm, P, 1000, W);
	ck_assert_uint_eq(take(shm, T0 + 10, 400, &a), T0 + 10);
	ck_assert_uint_eq(a.until_ms, T0 + PIECE);
	ck_assert_uint_eq(take(shm, T0 + 5000, 600, NULL), T0 + 5000);
	ck_assert_uint_eq(used(shm, T0 + 5000), 1000);
	ck_assert(!tokens_take(shm, P, T0 + 6000, T0 + 6000 + W / 2, 300, &b));
	ck_assert_uint_eq(b.at_ms, T0 + W + PIECE);
	ck_assert_uint_eq(take(shm, T0 + 6000, 300, &b), T0 + W + PIECE);
	ck_assert_uint_eq(take(shm, T0 + 6000, 300, &c), T0 + 5000 + W + PIECE); /* 100 are left before */
	ck_assert_uint_eq(take(shm, T0 + 6000, 100, &d), T0 + 5000 + W + PIECE); /* but nobody is overtaken */
	ck_assert_uint_eq(used(shm, T0 + 6000), 1700);
	ck_assert_uint_eq(fullest(shm, T0 + 6000), 1000);
	/* It took less than was thought: those who wait move forward. */
	tokens_settle(shm, P, &a, 50);
	ck_assert(tokens_advance(shm, P, T0 + 7000, &b));
	ck_assert_uint_eq(b.at_ms, T0 + 7000);
	ck_assert_uint_eq(b.until_ms, T0 + 7000 + PIECE);
	ck_assert(!tokens_advance(shm, P, T0 + 7000, &c));
	ck_assert_uint_eq(c.at_ms, T0 + 5000 + W + PIECE);
	ck_assert(tokens_advance(shm, P, T0 + 8000, &d));
	ck_assert_uint_eq(d.at_ms, T0 + W + PIECE);
	ck_assert(!tokens_advance(shm, P, T0 + 8000, &d));
	ck_assert_uint_eq(used(shm, T0 + 8000), 1350);
	ck_assert_uint_eq(fullest(shm, T0 + 8000), 1000); /* 600, 300 and 100 */
	ck_assert_uint_eq(fullest(shm, T0 + 6000 + W), 700); /* 300, 100 and 300 */
	ck_assert_uint_eq(used(shm, T0 + 5 * W), 0);
}
END_TEST

START_TEST(returned_and_settled_tokens_count_no_more)
{
	struct shm *shm = standing_segment(10);
	struct tokens_promise a, b;

	tokens_set_limit(shm, P, 1000, W);
	take(shm, T0, 600, &a);
	take(shm, T0, 400, &b);
	tokens_return(shm, P, &a);
	tokens_return(shm, P, &a);
	ck_assert_uint_eq(used(shm, T0), 400);
	tokens_settle(shm, P, &b, 150);
	tokens_settle(shm, P, &b, 100);
	ck_assert_uint_eq(used(shm, T0), 100);
	ck_assert_uint_eq(take(shm, T0, 900, &a), T0);
	tokens_settle(shm, P, &a, 1500); /* it took more than was thought */
	ck_assert_uint_eq(used(shm, T0), 1600);
	ck_assert_uint_eq(take(shm, T0, 1, NULL), T0 + W + PIECE);
	tokens_settle(shm, P, &b, 0);
	tokens_return(shm, P, &a);
	ck_assert_uint_le(used(shm, T0), 2);
}
END_TEST

START_TEST(more_than_the_limit_goes_alone)
{
	struct shm *shm = standing_segment(10);
	struct tokens_promise a;

	tokens_set_limit(shm, P, 1000, W);
	ck_assert_uint_eq(take(shm, T0, 1, NULL), T0);
	ck_assert_uint_eq(take(shm, T0, 5000, NULL), T0 + W + PIECE);
	ck_assert(!tokens_take(shm, P, T0, UINT64_MAX, 1, &a)); /* behind that one, in more than a minute */
	tokens_set_limit(shm, P, 0, W);
	ck_assert_uint_eq(take(shm, T0, 5000, NULL), T0);
}
END_TEST

/* Providers and keys of clients each have a count of their own. */
START_TEST(a_key_and_a_provider_do_not_share_tokens)
{
	static const unsigned all[] = { SHM_TOKENS_PROVIDER(0), SHM_TOKENS_PROVIDER(1), SHM_TOKENS_CLIENT(0),
		SHM_TOKENS_CLIENT(1), SHM_TOKENS_CLIENT(2) };
	struct shm *shm = standing_segment(10);
	struct tokens_promise a;
	struct tokens_reading r;

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		tokens_set_limit(shm, all[i], 1000 + i, W);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		ck_assert(tokens_take(shm, all[i], T0, T0, 1000 + i, &a));
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		ck_assert(!tokens_take(shm, all[i], T0, T0, 1, &a));
		ck_assert_uint_eq(a.at_ms, T0 + W + PIECE);
		tokens_read(shm, all[i], T0, &r);
		ck_assert_uint_eq(r.used, 1000 + i);
	}
}
END_TEST

/* Demand without end on one clock: the whole limit is used, and never more of it. */
START_TEST(no_window_holds_more_than_the_limit)
{
	enum { MINUTES = 10, LIMIT = 5000 };
	static uint32_t sent[(MINUTES + 3) * W / 100];
	struct shm *shm = standing_segment(10);
	uint64_t sum = 0, all = 0;
	unsigned seed = 3;

	tokens_set_limit(shm, P, LIMIT, W);
	for (uint64_t now = 0; now < MINUTES * W; now += 100) {
		unsigned tokens = 1 + (unsigned)rand_r(&seed) % 400;
		struct tokens_promise a;

		if (!tokens_take(shm, P, T0 + now, T0 + now + W / 2, tokens, &a))
			continue;
		if (rand_r(&seed) % 8 == 0)
			tokens_return(shm, P, &a);
		else
			sent[(a.at_ms - T0) / 100] += tokens;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(sent); i++) {
		all += sent[i];
		sum += sent[i];
		if (i >= W / 100)
			sum -= sent[i - W / 100];
		ck_assert_uint_le(sum, LIMIT);
	}
	ck_assert_uint_ge(all, MINUTES * LIMIT * 9 / 10);
}
END_TEST

int main(void)
{
	UNIT_RUN("standing", retries_stay_at_a_fifth_of_the_requests,
		a_quiet_provider_gets_retries_back_with_time,
		a_parked_key_is_parked_until_the_latest_time_said, five_failures_in_a_row_open_it,
		half_of_twenty_lately_open_it, failed_probes_double_the_time_up_to_a_minute,
		one_probe_at_a_time_and_not_for_ever, tokens_wait_for_old_ones_to_leave_the_window,
		returned_and_settled_tokens_count_no_more, more_than_the_limit_goes_alone,
		a_key_and_a_provider_do_not_share_tokens,
		no_window_holds_more_than_the_limit);
}
