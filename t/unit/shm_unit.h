/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shm_unit.h - a segment in a directory of its own, for the tests of src/shm. A test may
 * play several workers in one process: unit_line() binds it to a slot and opens a line.
 */
#ifndef SHM_UNIT_H
#define SHM_UNIT_H

#include "shm/gate.h"
#include "shm/layout.h"
#include "shm/lease.h"
#include "shm/reclaim.h"
#include "shm/segment.h"
#include "shm/window.h"
#include "unit.h"

#include <sys/eventfd.h>
#include <sys/stat.h>

#define UNIT_SLOTS 8

static char unit_dir[128], unit_path[160];
static int unit_wake[UNIT_SLOTS];

static struct shm *unit_shm;
static struct gate_line *unit_lines[UNIT_SLOTS];

static inline void unit_line_close(unsigned slot)
{
	gate_line_close(unit_lines[slot]);
	unit_lines[slot] = NULL;
}

/* Close what the test opened, before its tickets are gone, and remove it. */
static inline void unit_close(void)
{
	for (unsigned i = 0; i < UNIT_SLOTS; i++)
		if (unit_lines[i])
			unit_line_close(i);
	if (unit_shm)
		shm_close(unit_shm, true);
	unit_shm = NULL;
	rmdir(unit_dir);
}

/* At the end of the test's process, however it came. */
static inline void unit_remove(void)
{
	if (unit_shm)
		shm_close(unit_shm, true); /* not the lines: their tickets are gone */
	unlink(unit_path);
	rmdir(unit_dir);
}

/* Names in the temporary directory, which the end of this process removes. */
static inline void unit_place(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(unit_dir, sizeof(unit_dir), "%.90s/headgate-unit-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(unit_dir));
	snprintf(unit_path, sizeof(unit_path), "%s/segment", unit_dir);
	atexit(unit_remove);
}

static inline struct shm *unit_segment_of(const struct shm_gate_spec *gates, uint32_t ngates, uint32_t window_limit, uint32_t window_ms)
{
	const struct shm_window_spec window = { "test.window", window_limit, window_ms };
	const char *const providers[] = { "sim" };
	const struct shm_spec spec = { .nslots = UNIT_SLOTS, .ngates = ngates, .gates = gates, .nwindows = 1,
		.windows = &window, .nproviders = 1, .providers = providers };
	char error[256];
	struct shm *shm;

	unit_place();
	shm = shm_create(unit_path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	for (unsigned i = 0; i < UNIT_SLOTS; i++)
		unit_wake[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	shm_bind(shm, SHM_MASTER, unit_wake);
	return unit_shm = shm;
}

/* One gate, one window, one provider. */
static inline struct shm *unit_segment(uint64_t gate_limit, uint32_t window_limit, uint32_t window_ms)
{
	const struct shm_gate_spec gate = { "test.gate", gate_limit };

	return unit_segment_of(&gate, 1, window_limit, window_ms);
}

/* The gates of a house with one provider, its window of a minute, and nothing leased so far. */
static inline struct shm *unit_clustered(uint64_t places, uint64_t permits, uint32_t window_limit)
{
	const struct shm_gate_spec gates[] = { { "places", places }, { "permits", permits }, { "pool", 10 }, { "idle", 10 } };
	struct shm *shm = unit_segment_of(gates, ARRAY_SIZE(gates), window_limit, 60000);

	cluster_begin(shm, "here");
	return shm;
}

static inline struct gate_line *unit_line(struct shm *shm, unsigned slot, gate_granted_fn granted, void *arg)
{
	shm_bind(shm, slot, unit_wake);
	return unit_lines[slot] = gate_line_open(shm, 0, granted, arg);
}

/* How often the wake descriptor of this slot was written since the last call. */
static inline uint64_t unit_wakes(unsigned slot)
{
	uint64_t n = 0;

	return read(unit_wake[slot], &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static inline void unit_books_balance(const struct shm *shm)
{
	char text[512] = "no quiet moment";

	ck_assert_msg(shm_check(shm, 1000, text) == 0, "%s", text);
}

static inline uint64_t unit_used(const struct shm *shm)
{
	struct gate_reading r;

	gate_read(shm, 0, &r);
	return r.used;
}

#endif
