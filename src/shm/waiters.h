/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waiters.h - a worker's own waiters at one gate: a line for each flow, and a heap of these lines
 * by the tag of their first place.
 *
 * Places and tickets are kept apart: the first ticket of a flow stands at its first place, the second
 * at its second. A ticket that leaves lets those behind it move up, and its flow loses the last place.
 */
#ifndef SHM_WAITERS_H
#define SHM_WAITERS_H

#include "base/base.h"
#include "shm/gate.h"

/* The line of one flow. */
struct waiters_flow {
	uint32_t number;
	TAILQ_HEAD(, gate_ticket) tickets; /* as they came */
	size_t n;
	uint64_t *tag; /* of n places from `first` on, ascending */
	size_t first, room;
	size_t heap_at;
};

struct waiters {
	struct waiters_flow **flow; /* by number; NULL: had no ticket yet */
	unsigned nflows;
	struct waiters_flow **heap; /* those with tickets */
	size_t nheap, heap_room;
	size_t count; /* of all tickets */
};

void waiters_open(struct waiters *w, unsigned nflows);
void waiters_release(struct waiters *w);

/* At the end of its flow's line, at a place with this tag, or the least one behind the flow's last. */
void waiters_push(struct waiters *w, uint32_t flow, uint64_t tag, struct gate_ticket *ticket);
/* The line whose first place has the smallest tag; NULL: nobody waits. */
static inline struct waiters_flow *waiters_best(const struct waiters *w)
{
	return w->nheap ? w->heap[0] : NULL;
}
/* The tag of a line's first place; it has one. */
static inline uint64_t waiters_first(const struct waiters_flow *flow)
{
	return flow->tag[flow->first];
}
/* The first ticket of a line leaves it, with the first place. */
struct gate_ticket *waiters_pop(struct waiters *w, struct waiters_flow *flow);
/* A ticket leaves, wherever it stands. */
void waiters_remove(struct waiters *w, struct gate_ticket *ticket);
/* The tag of the place that a ticket stands at. */
uint64_t waiters_tag(const struct gate_ticket *ticket);
/* How many places have a smaller tag. */
uint64_t waiters_before(const struct waiters *w, uint64_t tag);

#endif
