/* SPDX-License-Identifier: BSD-2-Clause */
/* Who used how much: names get numbers, which outlive those who wrote them. */
#include "base/base.h"
#include "shm/reclaim.h"
#include "shm/tally.h"
#include "standing_unit.h"

static uint64_t value_of(struct shm *shm, unsigned tally, enum tally_count count)
{
	struct tally_reading r;

	ck_assert(tally_read(shm, tally, &r));
	return r.value[count];
}

START_TEST(a_name_has_one_number)
{
	struct shm *shm = standing_segment(10);
	struct tally_reading r;
	unsigned a = tally_install(shm, TALLY_MODEL, "openai", "gpt-4o");
	unsigned b = tally_install(shm, TALLY_MODEL, "groq", "gpt-4o");
	unsigned c = tally_install(shm, TALLY_API_KEY, "openai", "gpt-4o");

	ck_assert(a != b && b != c && a != c);
	ck_assert_uint_eq(tally_install(shm, TALLY_MODEL, "openai", "gpt-4o"), a);
	ck_assert_uint_eq(tally_find(shm, TALLY_API_KEY, "openai", "gpt-4o"), c);
	ck_assert_uint_eq(tally_find(shm, TALLY_CLIENT, "", "gpt-4o"), SHM_NO_TALLY);
	ck_assert(tally_read(shm, b, &r));
	ck_assert_int_eq(r.kind, TALLY_MODEL);
	ck_assert_str_eq(r.group, "groq");
	ck_assert_str_eq(r.name, "gpt-4o");
	ck_assert(!tally_read(shm, 2, &r));
	unit_close();
}
END_TEST

START_TEST(a_dead_worker_leaves_its_counts)
{
	struct shm *shm = standing_segment(10);
	unsigned a = tally_install(shm, TALLY_CLIENT, "", "team"), b = tally_install(shm, TALLY_CLIENT, "", "b");
	unsigned m = tally_install(shm, TALLY_MODEL, "p", "m");
	struct tally_usage_histogram usage;
	struct stats_histogram h;

	tally_add(a, true, 100, 20);
	shm_bind(shm, 1, unit_wake);
	tally_add(a, true, 11, 3);
	tally_add(b, false, 5, 1);
	tally_add(SHM_NO_TALLY, true, 1, 1);
	tally_add(m, true, 16, 17);
	tally_add(m, true, 0, 0); /* nothing was told */
	tally_add(m, true, 1, UINT64_MAX / 2);
	tally_observe(m, TALLY_DURATION, 5000);
	tally_observe(SHM_NO_TALLY, TALLY_DURATION, 5000);
	shm_bind(shm, SHM_MASTER, unit_wake);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(value_of(shm, a, TALLY_REQUESTS), 2);
		ck_assert_uint_eq(value_of(shm, a, TALLY_TOKENS_IN), 111);
		ck_assert_uint_eq(value_of(shm, a, TALLY_TOKENS_OUT), 23);
		ck_assert_uint_eq(value_of(shm, b, TALLY_REQUESTS), 0);
		ck_assert_uint_eq(value_of(shm, b, TALLY_TOKENS_OUT), 1);
		tally_histogram(shm, m, TALLY_DURATION, &h);
		ck_assert_uint_eq(h.count, 1);
		ck_assert_uint_eq(h.sum_us, 5000);
		tally_usage_histogram(shm, m, TALLY_INPUT, &usage);
		ck_assert_uint_eq(usage.count, 2);
		ck_assert_uint_eq(usage.sum, 17);
		ck_assert_uint_eq(usage.bucket[0], 1);
		ck_assert_uint_eq(usage.bucket[2], 1); /* a bound is within */
		tally_usage_histogram(shm, m, TALLY_OUTPUT, &usage);
		ck_assert_uint_eq(usage.bucket[3], 1);
		ck_assert_uint_eq(usage.bucket[TALLY_USAGE_BUCKETS - 1], 1);
		stats_retire(shm, 1);
	}
	unit_close();
}
END_TEST

START_TEST(there_is_room_for_so_many)
{
	struct shm *shm = standing_segment(10);
	char name[16];

	for (unsigned i = 0; i < SHM_MODEL_TALLIES; i++) {
		snprintf(name, sizeof(name), "m%u", i);
		ck_assert_uint_eq(tally_install(shm, TALLY_MODEL, "p", name), i);
	}
	ck_assert_uint_eq(tally_install(shm, TALLY_MODEL, "p", "one more"), SHM_NO_TALLY);
	ck_assert_uint_eq(tally_find(shm, TALLY_MODEL, "p", "one more"), SHM_NO_TALLY);
	ck_assert_uint_eq(tally_install(shm, TALLY_MODEL, "p", "m63"), 63);
	ck_assert_uint_eq(tally_install(shm, TALLY_CLIENT, "", "m63"), SHM_MODEL_TALLIES);
	unit_close();
}
END_TEST

int main(void)
{
	UNIT_RUN("tally", a_name_has_one_number, a_dead_worker_leaves_its_counts, there_is_room_for_so_many);
}
