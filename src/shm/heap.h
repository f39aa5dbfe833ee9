/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heap.h - a worker's own waiters at one gate: a binary heap by order tag. A ticket
 * knows its place (heap_at), so that leaving from the middle is cheap.
 */
#ifndef SHM_HEAP_H
#define SHM_HEAP_H

#include "base/base.h"
#include "shm/gate.h"

struct gate_heap {
	struct gate_ticket **at;
	size_t n;
	size_t size;
};

void heap_push(struct gate_heap *heap, struct gate_ticket *ticket);
void heap_remove(struct gate_heap *heap, struct gate_ticket *ticket);
/* The one with the smallest tag; NULL if there is none. */
static inline struct gate_ticket *heap_best(const struct gate_heap *heap)
{
	return heap->n ? heap->at[0] : NULL;
}
void heap_release(struct gate_heap *heap);

#endif
