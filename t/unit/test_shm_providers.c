/* SPDX-License-Identifier: BSD-2-Clause */
/* shm: places of providers that a reload fills, and what is told of reloads. */
#include "base/base.h"
#include "base/clock.h"
#include "shm/stats.h"
#include "shm/tokens.h"
#include "shm_unit.h"

/* One provider, room for two more. */
static struct shm *house(void)
{
	const struct shm_gate_spec gates[SHM_GATES(1)] = { { "places", 9 }, { "a", 1 }, { "a.pool", 2 },
		{ "a.idle", 3 } };
	const struct shm_window_spec window = { "a.rpm", 10, 60000 };
	const char *const names[] = { "a" };
	const struct shm_spec spec = { .nslots = UNIT_SLOTS, .ngates = ARRAY_SIZE(gates), .gates = gates,
		.nwindows = 1, .windows = &window, .nproviders = 1, .providers = names,
		.spare_providers = 2, .spare_window = { NULL, 500, 60000 } };
	char error[256];

	unit_place();
	unit_shm = shm_create(unit_path, &spec, error);
	ck_assert_msg(unit_shm != NULL, "%s", error);
	for (unsigned i = 0; i < UNIT_SLOTS; i++)
		unit_wake[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	shm_bind(unit_shm, SHM_MASTER, unit_wake);
	return unit_shm;
}

static struct shm_provider_spec provider(const char *name, uint32_t rpm)
{
	return (struct shm_provider_spec){ name, { { "g1", 11 }, { "g2", 12 }, { "g3", 13 } },
		{ "rpm", rpm, 60000 } };
}

START_TEST(spare_places_are_not_seen_before_they_are_filled)
{
	struct shm *shm = house();
	struct shm_provider_spec b = provider("b", 100);
	struct gate_reading gate;
	struct shm *tool;
	char error[256];

	ck_assert_uint_eq(shm_nproviders(shm), 1);
	ck_assert_uint_eq(shm_ngates(shm), SHM_GATES(1));
	ck_assert_uint_eq(shm_nwindows(shm), 1);
	ck_assert_uint_eq(shm_provider_room(shm), 3);
	ck_assert(shm_provider_install(shm, 1, &b));
	ck_assert_uint_eq(shm_nproviders(shm), 2);
	ck_assert_uint_eq(shm_ngates(shm), SHM_GATES(2));
	ck_assert_uint_eq(shm_nwindows(shm), 2);
	tool = shm_attach(unit_path, error);
	ck_assert_msg(tool != NULL, "%s", error);
	ck_assert_str_eq(shm_provider_name(tool, 1), "b");
	gate_read(tool, SHM_GATE_POOL(1), &gate);
	ck_assert_uint_eq(gate.limit, 12);
	shm_close(tool, false);
	unit_books_balance(shm);
	unit_close();
}
END_TEST

START_TEST(a_place_has_its_bounds)
{
	struct shm *shm = house();
	struct shm_provider_spec b = provider("b", 100), fast = provider("fast", 5000);

	ck_assert(!shm_provider_install(shm, 2, &b)); /* 1 is next */
	ck_assert(!shm_provider_install(shm, 3, &b));
	ck_assert_uint_eq(shm_window_room(shm, 1), 2048);
	ck_assert(!shm_provider_install(shm, 1, &fast));
	ck_assert_uint_eq(shm_nproviders(shm), 1);
	unit_close();
}
END_TEST

START_TEST(a_place_that_was_used_begins_anew)
{
	struct shm *shm = house();
	struct shm_provider_spec b = provider("b", 2), c = provider("c", 2);
	struct appointment a;
	struct window_reading window;
	struct tokens_reading tokens;

	ck_assert(shm_provider_install(shm, 1, &b));
	tokens_set_limit(shm, 1, 1000, 60000);
	ck_assert(window_take(shm, 1, clock_ms(), clock_ms(), &a));
	ck_assert(window_take(shm, 1, clock_ms(), clock_ms(), &a));
	ck_assert(!window_take(shm, 1, clock_ms(), clock_ms(), &a));
	pstat_add(1, PSTAT_CALLS, 5);
	pstat_add(0, PSTAT_CALLS, 7);
	pstat_observe(1, PSTAT_DURATION, 1000);
	ck_assert_uint_eq(pstat_sum(shm, 1, PSTAT_CALLS), 5);
	ck_assert(shm_provider_install(shm, 1, &c));
	ck_assert_str_eq(shm_provider_name(shm, 1), "c");
	ck_assert_uint_eq(pstat_sum(shm, 1, PSTAT_CALLS), 0);
	ck_assert_uint_eq(pstat_sum(shm, 1, PSTAT_DURATION), 0);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_CALLS), 7);
	window_read(shm, 1, clock_ms(), &window);
	ck_assert_uint_eq(window.used, 0);
	ck_assert(window_take(shm, 1, clock_ms(), clock_ms(), &a));
	tokens_read(shm, 1, clock_ms(), &tokens);
	ck_assert_uint_eq(tokens.limit, 0);
	unit_close();
}
END_TEST

START_TEST(the_last_reload_is_told)
{
	struct shm *shm = house();
	struct reload_reading r;
	char longer[400];

	shm_reload_read(shm, &r);
	ck_assert_int_eq(r.result, RELOAD_NEVER);
	shm_reload_note(shm, true, "limits changed");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	shm_reload_note(shm, false, longer);
	shm_reload_read(shm, &r);
	ck_assert_int_eq(r.result, RELOAD_FAILED);
	ck_assert_uint_eq(r.good, 1);
	ck_assert_uint_eq(r.failed, 1);
	ck_assert_uint_eq(strlen(r.text), sizeof(r.text) - 1);
	unit_close();
}
END_TEST

int main(void)
{
	UNIT_RUN("shm_providers", spare_places_are_not_seen_before_they_are_filled, a_place_has_its_bounds,
		a_place_that_was_used_begins_anew, the_last_reload_is_told);
}
