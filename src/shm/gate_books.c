/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_books.c - a gate's limits and books: what is set, what is read, and how it is put right after deaths.
 */
#include "base/base.h"
#include "shm/gate.h"

#include "base/bug.h"
#include "base/log.h"
#include "shm/gate_turn.h"
#include "shm/house.h"

#define AUDIT_TRIES 64

void gate_read(const struct shm *shm, unsigned number, struct gate_reading *r)
{
	struct shm_gate *gate = shm_gate_at(shm, number);

	r->limit = atomic_load(&gate->limit);
	r->in_force = lease_limit(&gate->lease, r->limit);
	r->learnt = atomic_load(&gate->learnt);
	r->used = atomic_load(&gate->used);
	r->waiting = 0;
	r->grants = atomic_load(&gate->retired_grants);
	for (unsigned i = 0; i < shm->header->nslots; i++) {
		r->waiting += atomic_load_explicit(&gate->cell[i].waiting, memory_order_relaxed);
		r->grants += atomic_load_explicit(&gate->cell[i].grants, memory_order_relaxed);
	}
	r->interval_us = atomic_load_explicit(&gate->interval_us, memory_order_relaxed);
}

void gate_set_learnt(struct shm *shm, unsigned number, uint64_t learnt)
{
	struct shm_gate *gate = shm_gate_at(shm, number);
	unsigned slot = shm->slot == SHM_MASTER ? shm->header->nslots : shm->slot;
	uint64_t before = atomic_exchange(&gate->learnt, learnt);

	CRASH_POINT("learn.gate.stored");
	if (before && (!learnt || learnt > before))
		gate_dispatch(shm, gate, &gate->cell[slot]);
}

static struct gate_cell *master_cell(struct shm *shm, struct shm_gate *gate)
{
	return &gate->cell[shm->header->nslots];
}

void gate_set_limit(struct shm *shm, unsigned number, uint64_t limit)
{
	struct shm_gate *gate = shm_gate_at(shm, number);

	if (atomic_load(&gate->limit) >= SHM_NO_LIMIT && limit < SHM_NO_LIMIT)
		lease_forget(shm, LEASE_GATE, number); /* of when it was a limit before: others may have it now */
	atomic_store(&gate->limit, limit);
	gate_dispatch(shm, gate, master_cell(shm, gate));
}

/* What the waiters of the dead cost their flows: others of these come to their turn as if they had not been. */
static void give_back_places(struct shm *shm, unsigned number, unsigned slot)
{
	_Atomic uint64_t *ends = house_ends(shm, number), *places = house_places(shm, number, slot);

	for (unsigned i = 0; ends && i < shm->header->nflows; i++) {
		uint64_t cost = atomic_exchange(&places[i], 0);

		if (cost)
			atomic_fetch_sub(&ends[i], cost);
	}
}

void gate_mend(struct shm *shm, unsigned number)
{
	struct gate_cell *cell = master_cell(shm, shm_gate_at(shm, number));
	uint64_t version = atomic_load(&cell->version);

	atomic_store(&cell->version, version + (version & 1));
}

void gate_reap(struct shm *shm, unsigned number, unsigned slot)
{
	struct shm_gate *gate = shm_gate_at(shm, number);
	struct gate_cell *cell = &gate->cell[slot];
	uint64_t version = atomic_load(&cell->version);

	BUG_ON(slot >= shm->header->nslots);
	give_back_places(shm, number, slot);
	atomic_store(&cell->head, GATE_NONE); /* from now on nobody can claim it */
	atomic_store(&cell->held, 0);
	atomic_store(&cell->waiting, 0);
	atomic_store(&cell->version, version + (version & 1));
	atomic_fetch_add(&gate->retired_grants, atomic_exchange(&cell->grants, 0));
}

/* Add up the books between two equal, even sets of versions. False: somebody is in a step. */
static bool read_books(const struct shm *shm, struct shm_gate *gate, struct gate_books *books)
{
	uint64_t versions[SHM_MAX_SLOTS + 1];
	unsigned ncells = shm->header->nslots + 1;

	for (unsigned i = 0; i < ncells; i++) {
		versions[i] = atomic_load(&gate->cell[i].version);
		if (versions[i] & 1)
			return false;
	}
	*books = (struct gate_books){ .limit = atomic_load(&gate->limit) };
	for (unsigned i = 0; i < ncells; i++) {
		books->held += atomic_load(&gate->cell[i].held);
		books->granted += (atomic_load(&gate->cell[i].head) & GATE_STATE) == GATE_GRANTED;
	}
	books->used = atomic_load(&gate->used);
	for (unsigned i = 0; i < ncells; i++)
		if (atomic_load(&gate->cell[i].version) != versions[i])
			return false;
	return true;
}

bool gate_read_books(const struct shm *shm, unsigned number, unsigned tries, struct gate_books *books)
{
	struct shm_gate *gate = shm_gate_at(shm, number);

	while (tries--)
		if (read_books(shm, gate, books))
			return true;
	return false;
}

bool gate_audit(struct shm *shm, unsigned number, uint64_t *lost_r)
{
	struct shm_gate *gate = shm_gate_at(shm, number);
	struct gate_books books;
	int64_t lost;

	*lost_r = 0;
	if (!gate_read_books(shm, number, AUDIT_TRIES, &books))
		return false;
	/* The cells are the truth. One subtraction: the living may go on meanwhile. */
	lost = (int64_t)(books.used - books.held - books.granted);
	atomic_fetch_sub(&gate->used, (uint64_t)lost);
	if (lost < 0)
		log_error("shm", "gate '%s' had counted %" PRId64 " permits too few", gate->name, -lost);
	else
		*lost_r = (uint64_t)lost;
	gate_dispatch(shm, gate, master_cell(shm, gate));
	return true;
}
