/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics: blocks that add up, and totals that survive their workers. */
#include "base/base.h"
#include "base/clock.h"
#include "shm/stats.h"
#include "shm_unit.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

START_TEST(before_binding_nothing_is_counted_anywhere)
{
	struct shm *shm = unit_segment(1, 0, 60000);

	stats_unbind(shm);
	stat_add(STAT_REQUESTS, 5);
	pstat_add(99, PSTAT_CALLS, 5);
	pstat_observe(99, PSTAT_QUEUE_WAIT, 5);
	ck_assert_uint_eq(stat_sum(shm, STAT_REQUESTS), 0);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_CALLS), 0);
}
END_TEST

START_TEST(blocks_add_up)
{
	struct shm *shm = unit_segment(1, 0, 60000);

	for (unsigned slot = 0; slot < 3; slot++) {
		stats_bind(shm, slot);
		stat_add(STAT_REQUESTS, 1 + slot);
		stat_add(STAT_SOCKETS, 10);
		stat_add(STAT_SOCKETS, -4);
		pstat_add(0, PSTAT_TOKENS_OUT, 100);
		stat_ending(END_HOUSE_FULL);
	}
	stats_bind(shm, SHM_MASTER);
	stat_add(STAT_REQUESTS, 100);
	ck_assert_uint_eq(stat_sum(shm, STAT_REQUESTS), 106);
	ck_assert_uint_eq(stat_of_slot(shm, 2, STAT_REQUESTS), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_SOCKETS), 18);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_TOKENS_OUT), 300);
	ck_assert_uint_eq(stat_sum(shm, STAT_ENDING_FIRST + END_HOUSE_FULL), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_ENDING_FIRST + END_COMPLETE), 0);
}
END_TEST

START_TEST(the_dead_keep_their_counters_and_lose_their_gauges)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct stats_histogram h;

	stats_bind(shm, 1);
	stat_add(STAT_REQUESTS, 7);
	stat_add(STAT_WEBSOCKETS, 3);
	pstat_add(0, PSTAT_CALLS, 2);
	pstat_add(0, PSTAT_SOCKETS_OPEN, 2);
	pstat_observe(0, PSTAT_QUEUE_WAIT, 5000);
	stats_bind(shm, 0);
	stat_add(STAT_WEBSOCKETS, 1);
	stats_retire(shm, 1);
	ck_assert_uint_eq(stat_sum(shm, STAT_REQUESTS), 7);
	ck_assert_uint_eq(stat_of_slot(shm, 1, STAT_REQUESTS), 0);
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 1);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_CALLS), 2);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_OPEN), 0);
	pstat_histogram(shm, 0, PSTAT_QUEUE_WAIT, &h);
	ck_assert_uint_eq(h.count, 1);
	ck_assert_uint_eq(h.sum_us, 5000);
	stats_retire(shm, 1);
	ck_assert_uint_eq(stat_sum(shm, STAT_REQUESTS), 7);
}
END_TEST

START_TEST(buckets_grow_and_hold_what_they_say)
{
	struct shm *shm = unit_segment(1, 0, 60000);

	for (unsigned i = 1; i < STATS_BUCKETS; i++)
		ck_assert_uint_gt(stats_bucket_us(i), stats_bucket_us(i - 1));
	ck_assert_uint_eq(stats_bucket_us(0), 100);
	ck_assert_uint_gt(stats_bucket_us(STATS_BUCKETS - 2), 600 * 1000000ull);
	ck_assert_uint_eq(stats_bucket_us(STATS_BUCKETS - 1), UINT64_MAX);
	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		struct stats_histogram h;
		uint64_t at = i == STATS_BUCKETS - 1 ? UINT64_MAX / 2 : stats_bucket_us(i);

		pstat_observe(0, PSTAT_DURATION, at);
		pstat_observe(0, PSTAT_DURATION, i ? stats_bucket_us(i - 1) + 1 : 0);
		pstat_histogram(shm, 0, PSTAT_DURATION, &h);
		ck_assert_uint_eq(h.bucket[i], 2);
		ck_assert_uint_eq(h.count, 2 * (i + 1));
	}
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_DURATION), 2 * STATS_BUCKETS);
}
END_TEST

START_TEST(quantiles_lie_where_the_observations_do)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	struct stats_histogram h;

	pstat_histogram(shm, 0, PSTAT_FIRST_BYTE, &h);
	ck_assert_uint_eq(stats_quantile_us(&h, 0.5), 0);
	for (unsigned ms = 1; ms <= 1000; ms++)
		pstat_observe(0, PSTAT_FIRST_BYTE, ms * 1000);
	pstat_histogram(shm, 0, PSTAT_FIRST_BYTE, &h);
	/* within the bucket: a factor of the square root of two, less what interpolation knows */
	ck_assert_uint_ge(stats_quantile_us(&h, 0.5), 450000);
	ck_assert_uint_le(stats_quantile_us(&h, 0.5), 550000);
	ck_assert_uint_ge(stats_quantile_us(&h, 0.99), 900000);
	ck_assert_uint_le(stats_quantile_us(&h, 0.99), 1200000);
	ck_assert_uint_le(stats_quantile_us(&h, 0.1), stats_quantile_us(&h, 0.2));
}
END_TEST

/* A reader while the master folds: totals never run backwards, nor ahead. */
START_TEST(totals_never_run_backwards)
{
	struct shm *shm = unit_segment(1, 0, 60000);
	_Atomic bool *signs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	_Atomic bool *started = &signs[0], *stop = &signs[1];
	const unsigned rounds = 3000;
	pid_t reader;
	int status;

	ck_assert_ptr_ne(signs, MAP_FAILED);
	reader = fork();
	if (reader == 0) {
		uint64_t last = 0, now = 0;

		for (; !atomic_load(stop); last = now, atomic_store(started, true)) {
			now = stat_sum(shm, STAT_LOOP_TURNS);
			if (now < last || now > 1000 * rounds)
				_exit(1);
		}
		_exit(0);
	}
	while (!atomic_load(started))
		usleep(100);
	for (unsigned i = 0; i < rounds; i++) {
		stats_bind(shm, i % UNIT_SLOTS);
		stat_add(STAT_LOOP_TURNS, 1000);
		stats_retire(shm, i % UNIT_SLOTS);
		if (i % 64 == 0)
			usleep(100);
	}
	ck_assert_uint_eq(stat_sum(shm, STAT_LOOP_TURNS), 1000 * rounds);
	atomic_store(stop, true);
	ck_assert_int_eq(waitpid(reader, &status, 0), reader);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "reader: %x", status);
}
END_TEST

START_TEST(every_row_has_its_facts)
{
	for (unsigned i = 0; i < STAT_COUNT; i++) {
		ck_assert_ptr_nonnull(stat_facts[i].name);
		ck_assert_ptr_nonnull(stat_facts[i].help);
		/* as Prometheus wants it: counters end in _total, and only they */
		ck_assert_int_eq(stat_facts[i].type == STAT_COUNTER, strstr(stat_facts[i].name, "_total") != NULL);
	}
	for (unsigned i = 0; i < PSTAT_COUNT; i++) {
		ck_assert_int_eq(pstat_facts[i].type == STAT_COUNTER, strstr(pstat_facts[i].name, "_total") != NULL);
		ck_assert_int_eq(pstat_facts[i].type == STAT_HISTOGRAM, strstr(pstat_facts[i].name, "_seconds") != NULL);
	}
}
END_TEST

int main(void)
{
	UNIT_RUN("stats", before_binding_nothing_is_counted_anywhere, blocks_add_up,
		the_dead_keep_their_counters_and_lose_their_gauges, buckets_grow_and_hold_what_they_say,
		quantiles_lie_where_the_observations_do, totals_never_run_backwards,
		every_row_has_its_facts);
}
