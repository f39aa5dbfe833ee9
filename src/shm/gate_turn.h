/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate_turn.h - whose turn it is at a gate, and how a permit gets there: the steps that workers (gate.c) and
 * the master (gate_books.c) have in common. For these two only.
 */
#ifndef SHM_GATE_TURN_H
#define SHM_GATE_TURN_H

#include "base/base.h"
#include "shm/house.h"

/*
 * What a request costs a flow of weight 1 in virtual time: divisible by most small weights. Tags
 * have 62 bits, so at 100,000 requests a second they last for 26 years.
 */
#define GATE_COST 55440u

/* The books are being changed: a version that is odd, or another than before, tells readers. */
static inline void gate_step_begin(struct gate_cell *me)
{
	uint64_t version = atomic_load_explicit(&me->version, memory_order_relaxed);

	atomic_store_explicit(&me->version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* before anything that the step stores */
}

static inline void gate_step_end(struct gate_cell *me)
{
	uint64_t version = atomic_load_explicit(&me->version, memory_order_relaxed);

	atomic_store_explicit(&me->version, version + 1, memory_order_release);
}

/*
 * A permit was granted to this tag: virtual time goes on to there, but not beyond any head, granted or not.
 * (While a worker has not collected its grant, those behind it are not seen and permits go to later
 * ones elsewhere; a newcomer must not be put behind these.)
 */
void gate_advance(struct shm *shm, struct shm_gate *gate, uint64_t tag);

/* The worker whose published head is the first in line; false: nobody waits. */
bool gate_first_in_line(struct shm *shm, struct shm_gate *gate, unsigned *slot_r, uint64_t *head_r);

/* The lowest of what is configured, what is leased, and what was learnt. */
uint64_t gate_limit_of(struct shm_gate *gate);

/*
 * A permit was taken under a limit that was looked at before. A lease may have fallen in between, however long
 * that took: who took first and looks then cannot be wrong.
 */
bool gate_is_too_late(struct shm_gate *gate, uint64_t used);

/*
 * Hand free permits to the first in line until there is none of either. A claim that was lost
 * (its head was cancelled) means another round: who asked meanwhile saw no permit and relies on us.
 * `me` is the caller's own cell.
 */
void gate_dispatch(struct shm *shm, struct shm_gate *gate, struct gate_cell *me);

#endif
