/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c - headgatestat --check: every permit in use is held by, or on its way to, somebody. */
#include "base/base.h"
#include "tools/headgatestat/stat.h"

#include "base/buf.h"
#include "shm/gate.h"
#include "shm/reclaim.h"

#define READINGS 2000 /* for one quiet moment */
#define ROUNDS 20
#define PAUSE_US 50000

/*
 * Books that do not balance must stay so: for a moment after a worker's death they do not,
 * until the master has found out what it held.
 */
static int check_patiently(const struct shm *shm, char *text)
{
	int result = shm_check(shm, READINGS, text);

	for (unsigned i = 1; result && i < ROUNDS; i++) {
		usleep(PAUSE_US);
		result = shm_check(shm, READINGS, text);
	}
	return result;
}

bool stat_check(const struct shm *shm)
{
	char text[512] = "";
	int result = check_patiently(shm, text);
	struct buf line = BUF_INIT;

	if (result == -EAGAIN) {
		printf("books cannot be read: a worker is stopped in the middle of a step, or dead\n");
		return false;
	}
	if (result) {
		printf("books do not balance: %s\n", text);
		return false;
	}
	for (unsigned i = 0; i < shm_ngates(shm); i++) {
		struct gate_books books = { 0 };

		buf_adds(&line, i ? ", " : "");
		if (gate_read_books(shm, i, READINGS, &books))
			buf_addf(&line, "'%s' %" PRIu64 " of %" PRIu64 " (%" PRIu64 " held, %" PRIu64 " granted)",
				shm_gate_name(shm, i), books.used, books.limit, books.held, books.granted);
		else
			buf_addf(&line, "'%s' busy", shm_gate_name(shm, i));
	}
	printf("books balance: %s\n", line.data ? line.data : "there are no gates");
	buf_release(&line);
	return true;
}
