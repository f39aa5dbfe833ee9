/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.c - what the dead held comes back: recomputed, not repaired. Called by the
 * master's loop only; never waits.
 */
#include "base/base.h"
#include "shm/reclaim.h"

#include "base/clock.h"
#include "shm/gate.h"
#include "shm/house.h"

#include <sched.h>

/* The other master of an upgrade is done with a dead worker sooner than this. */
#define LOCK_MS 100

/* Somebody has it who runs no more, perhaps in the middle of a step with the master's cell. */
static void mend_the_masters_cells(struct shm *shm)
{
	for (unsigned i = 0; i < house_gates(shm); i++)
		gate_mend(shm, house_gate(shm, i));
}

bool shm_master_lock(struct shm *shm, unsigned timeout_ms)
{
	_Atomic int32_t *writer = &shm->header->writer;
	uint64_t end_ms = clock_ms() + timeout_ms;

	for (;;) {
		int32_t holder = 0, self = (int32_t)getpid();

		if (atomic_compare_exchange_strong(writer, &holder, self) || holder == self)
			return true;
		if (!shm_process_start(holder) &&
			atomic_compare_exchange_strong(writer, &holder, self)) {
			mend_the_masters_cells(shm);
			return true;
		}
		if (clock_ms() >= end_ms)
			return false;
		sched_yield();
	}
}

void shm_master_unlock(struct shm *shm)
{
	atomic_store(&shm->header->writer, 0);
}

void shm_reclaim(struct shm *shm, unsigned slot)
{
	struct shm_slot *s = shm_slot_at(shm, slot);
	bool locked = shm_master_lock(shm, LOCK_MS); /* a stopped one does not keep us: the cells are the dead one's */

	for (unsigned i = 0; i < house_gates(shm); i++)
		gate_reap(shm, house_gate(shm, i), slot);
	stats_retire(shm, slot);
	atomic_store(&s->pid, 0);
	atomic_store(&s->state, SLOT_EMPTY);
	if (locked)
		shm_master_unlock(shm);
}

bool shm_reclaim_audit(struct shm *shm, uint64_t *recovered_r)
{
	bool quiet = true;

	if (!shm_master_lock(shm, 0))
		return false;
	for (unsigned i = 0; i < house_gates(shm); i++) {
		uint64_t lost;

		if (gate_audit(shm, house_gate(shm, i), &lost))
			*recovered_r += lost;
		else
			quiet = false;
	}
	/* The dead may have granted without having said so. */
	for (unsigned i = 0; i < shm_nslots(shm); i++)
		shm_wake(shm, i);
	shm_master_unlock(shm);
	return quiet;
}

int shm_check(const struct shm *shm, unsigned tries, char *text)
{
	for (unsigned i = 0; i < house_gates(shm); i++) {
		struct gate_books books;
		unsigned left = tries;

		while (left && !gate_read_books(shm, house_gate(shm, i), 1, &books)) {
			left--;
			sched_yield(); /* who is in the middle of a step may need our processor */
		}
		if (!left)
			return -EAGAIN;
		if (books.used == books.held + books.granted)
			continue;
		snprintf(text, 512,
			"gate '%s': %" PRIu64 " of %" PRIu64 " are in use, but %" PRIu64
			" are held and %" PRIu64 " granted",
			shm_gate_name(shm, house_gate(shm, i)), books.used, books.limit, books.held, books.granted);
		return 1;
	}
	return 0;
}
