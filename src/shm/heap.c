/* SPDX-License-Identifier: BSD-2-Clause */
/* heap.c - see heap.h. */
#include "base/base.h"
#include "shm/heap.h"

#include "base/bug.h"

static void put(struct gate_heap *heap, size_t i, struct gate_ticket *ticket)
{
	heap->at[i] = ticket;
	ticket->heap_at = i;
}

static void sift_up(struct gate_heap *heap, size_t i, struct gate_ticket *ticket)
{
	while (i && heap->at[(i - 1) / 2]->tag > ticket->tag) {
		put(heap, i, heap->at[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(heap, i, ticket);
}

static void sift_down(struct gate_heap *heap, size_t i, struct gate_ticket *ticket)
{
	for (size_t child; (child = 2 * i + 1) < heap->n; i = child) {
		if (child + 1 < heap->n && heap->at[child + 1]->tag < heap->at[child]->tag)
			child++;
		if (heap->at[child]->tag >= ticket->tag)
			break;
		put(heap, i, heap->at[child]);
	}
	put(heap, i, ticket);
}

void heap_push(struct gate_heap *heap, struct gate_ticket *ticket)
{
	if (heap->n == heap->size) {
		heap->size = heap->size ? heap->size * 2 : 16;
		heap->at = xrealloc(heap->at, heap->size * sizeof(struct gate_ticket *));
	}
	heap->n++;
	sift_up(heap, heap->n - 1, ticket);
}

void heap_remove(struct gate_heap *heap, struct gate_ticket *ticket)
{
	size_t i = ticket->heap_at;
	struct gate_ticket *last;

	BUG_ON(i >= heap->n || heap->at[i] != ticket);
	last = heap->at[--heap->n];
	if (last == ticket)
		return;
	if (last->tag < ticket->tag)
		sift_up(heap, i, last);
	else
		sift_down(heap, i, last);
}

void heap_release(struct gate_heap *heap)
{
	free(heap->at);
	*heap = (struct gate_heap){ 0 };
}
