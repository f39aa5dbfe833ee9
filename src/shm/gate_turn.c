/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_turn.c - permits go to who is first in line.
 */
#include "base/base.h"
#include "shm/gate_turn.h"

#include "base/bug.h"
#include "shm/house.h"

void gate_advance(struct shm *shm, struct shm_gate *gate, uint64_t tag)
{
	unsigned used = atomic_load_explicit(&shm->header->slots_used, memory_order_relaxed);
	uint64_t now;

	for (unsigned i = 0; i < used; i++) {
		uint64_t head = atomic_load_explicit(&gate->cell[i].head, memory_order_relaxed);

		if (head != GATE_NONE && (head & GATE_TAG) < tag)
			tag = head & GATE_TAG;
	}
	now = atomic_load_explicit(&gate->line, memory_order_relaxed);
	while (now < tag && !atomic_compare_exchange_weak_explicit(&gate->line, &now, tag,
				    memory_order_relaxed, memory_order_relaxed))
		;
}

/*
 * Of the heads of this flow, all before those of others, the one whose ticket came first. (Places of a flow
 * that were given up at one worker would let its other tickets there overtake those elsewhere. But no
 * head may pass those of other flows: its flow would have two turns, as the lower place is still there. Nor
 * may it be far behind the first: that worker may have others in line, which its head hides.)
 */
static void first_of_flow(struct shm_gate *gate, unsigned used, unsigned *slot_r, uint64_t *head_r)
{
	uint64_t flow = atomic_load_explicit(&gate->cell[*slot_r].flow, memory_order_relaxed);
	uint64_t others = *head_r + (uint64_t)used * GATE_COST, first = UINT64_MAX;

	for (unsigned i = 0; i < used; i++) {
		uint64_t head = atomic_load(&gate->cell[i].head);

		if ((head & GATE_STATE) == GATE_WAITING && head < others &&
			atomic_load_explicit(&gate->cell[i].flow, memory_order_relaxed) != flow)
			others = head;
	}
	for (unsigned i = 0; i < used; i++) {
		struct gate_cell *cell = &gate->cell[i];
		uint64_t head = atomic_load(&cell->head);
		uint64_t came = atomic_load_explicit(&cell->came, memory_order_relaxed);

		if ((head & GATE_STATE) != GATE_WAITING || head >= others || came >= first ||
			atomic_load_explicit(&cell->flow, memory_order_relaxed) != flow)
			continue;
		first = came;
		*slot_r = i;
		*head_r = head;
	}
}

bool gate_first_in_line(struct shm *shm, struct shm_gate *gate, unsigned *slot_r, uint64_t *head_r)
{
	/* Raised by shm_bind(), so before anybody of a new slot can wait: nobody is passed over. */
	unsigned used = atomic_load(&shm->header->slots_used), found = 0;

	for (unsigned i = 0; i < used; i++) {
		uint64_t head = atomic_load(&gate->cell[i].head);

		if ((head & GATE_STATE) != GATE_WAITING)
			continue;
		/* All have the same state bits, so the words compare as their tags do. */
		if (!found++ || head < *head_r) {
			*slot_r = i;
			*head_r = head;
		}
	}
	if (found > 1)
		first_of_flow(gate, used, slot_r, head_r);
	return found;
}

uint64_t gate_limit_of(struct shm_gate *gate)
{
	uint64_t limit = lease_limit(&gate->lease, atomic_load(&gate->limit));
	uint64_t learnt = atomic_load(&gate->learnt);

	return learnt && learnt < limit ? learnt : limit;
}

bool gate_is_too_late(struct shm_gate *gate, uint64_t used)
{
	return atomic_load_explicit(&gate->lease.current, memory_order_relaxed) && used > gate_limit_of(gate);
}

/* Take a permit and give it to the head of `slot` if it still waits. False: `used` had moved. */
static bool hand_over(struct shm *shm, struct shm_gate *gate, struct gate_cell *me, uint64_t seen, unsigned slot,
	uint64_t head)
{
	bool granted = false;

	gate_step_begin(me);
	CRASH_POINT("gate.dispatch.begun");
	if (atomic_compare_exchange_strong(&gate->used, &seen, seen + 1)) {
		CRASH_POINT("gate.dispatch.taken");
		granted = !gate_is_too_late(gate, seen + 1) &&
			atomic_compare_exchange_strong(&gate->cell[slot].head, &head,
				GATE_GRANTED | (head & GATE_TAG));
		if (granted) {
			CRASH_POINT("gate.dispatch.claimed");
			gate_advance(shm, gate, head & GATE_TAG);
		} else {
			CRASH_POINT("gate.dispatch.lost");
			atomic_fetch_sub(&gate->used, 1);
			CRASH_POINT("gate.dispatch.given_back");
		}
	}
	gate_step_end(me);
	return granted;
}

void gate_dispatch(struct shm *shm, struct shm_gate *gate, struct gate_cell *me)
{
	unsigned slot = 0;
	uint64_t head = 0;

	while (gate_first_in_line(shm, gate, &slot, &head)) {
		uint64_t limit = gate_limit_of(gate);
		uint64_t seen = atomic_load(&gate->used);

		if (seen >= limit)
			return;
		if (!hand_over(shm, gate, me, seen, slot, head))
			continue;
		CRASH_POINT("gate.dispatch.before_wake");
		if (&gate->cell[slot] != me) /* our own we find in gate_poll() */
			shm_wake(shm, slot);
		CRASH_POINT("gate.dispatch.woken");
	}
}
