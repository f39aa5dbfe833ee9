/* SPDX-License-Identifier: BSD-2-Clause */
/* waiters.c - see waiters.h. */
#include "base/base.h"
#include "shm/waiters.h"

#include "base/bug.h"

#define FLOW_ROOM 8 /* places that a line begins with */

/* ---- the heap of lines ---- */

static void put(struct waiters *w, size_t i, struct waiters_flow *flow)
{
	w->heap[i] = flow;
	flow->heap_at = i;
}

static void sift_up(struct waiters *w, size_t i, struct waiters_flow *flow)
{
	while (i && waiters_first(w->heap[(i - 1) / 2]) > waiters_first(flow)) {
		put(w, i, w->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(w, i, flow);
}

static void sift_down(struct waiters *w, size_t i, struct waiters_flow *flow)
{
	for (size_t child; (child = 2 * i + 1) < w->nheap; i = child) {
		if (child + 1 < w->nheap && waiters_first(w->heap[child + 1]) < waiters_first(w->heap[child]))
			child++;
		if (waiters_first(w->heap[child]) >= waiters_first(flow))
			break;
		put(w, i, w->heap[child]);
	}
	put(w, i, flow);
}

static void heap_add(struct waiters *w, struct waiters_flow *flow)
{
	if (w->nheap == w->heap_room) {
		w->heap_room = w->heap_room ? w->heap_room * 2 : 16;
		w->heap = xrealloc(w->heap, w->heap_room * sizeof(struct waiters_flow *));
	}
	w->nheap++;
	sift_up(w, w->nheap - 1, flow);
}

/* The line has no place any more: who is put where it was is compared with nothing of it. */
static void heap_drop(struct waiters *w, const struct waiters_flow *flow)
{
	struct waiters_flow *last = w->heap[--w->nheap];
	size_t i = flow->heap_at;

	BUG_ON(i > w->nheap || (i < w->nheap && w->heap[i] != flow));
	if (last == flow)
		return;
	if (i && waiters_first(w->heap[(i - 1) / 2]) > waiters_first(last))
		sift_up(w, i, last);
	else
		sift_down(w, i, last);
}

/* ---- lines ---- */

static struct waiters_flow *line_of(struct waiters *w, uint32_t number)
{
	struct waiters_flow *flow;

	BUG_ON(number >= w->nflows);
	if (w->flow[number])
		return w->flow[number];
	flow = xcalloc(1, sizeof(*flow));
	flow->number = number;
	TAILQ_INIT(&flow->tickets);
	flow->room = FLOW_ROOM;
	flow->tag = xmalloc(flow->room * sizeof(*flow->tag));
	return w->flow[number] = flow;
}

static void add_place(struct waiters_flow *flow, uint64_t tag)
{
	if (flow->n && tag <= flow->tag[flow->first + flow->n - 1])
		tag = flow->tag[flow->first + flow->n - 1] + 1;
	if (flow->first + flow->n == flow->room && flow->first >= flow->room / 2) {
		memmove(flow->tag, flow->tag + flow->first, flow->n * sizeof(*flow->tag));
		flow->first = 0;
	} else if (flow->first + flow->n == flow->room) {
		flow->room *= 2;
		flow->tag = xrealloc(flow->tag, flow->room * sizeof(*flow->tag));
	}
	flow->tag[flow->first + flow->n++] = tag;
}

void waiters_open(struct waiters *w, unsigned nflows)
{
	*w = (struct waiters){ .nflows = nflows, .flow = xcalloc(nflows, sizeof(*w->flow)) };
}

void waiters_release(struct waiters *w)
{
	for (unsigned i = 0; i < w->nflows; i++) {
		if (!w->flow[i])
			continue;
		free(w->flow[i]->tag);
		free(w->flow[i]);
	}
	free(w->flow);
	free(w->heap);
	*w = (struct waiters){ 0 };
}

void waiters_push(struct waiters *w, uint32_t number, uint64_t tag, struct gate_ticket *ticket)
{
	struct waiters_flow *flow = line_of(w, number);

	add_place(flow, tag);
	TAILQ_INSERT_TAIL(&flow->tickets, ticket, in_line);
	ticket->flow = flow;
	w->count++;
	if (flow->n == 1)
		heap_add(w, flow);
}

struct gate_ticket *waiters_pop(struct waiters *w, struct waiters_flow *flow)
{
	struct gate_ticket *ticket = TAILQ_FIRST(&flow->tickets);

	BUG_ON(!ticket);
	TAILQ_REMOVE(&flow->tickets, ticket, in_line);
	w->count--;
	flow->first++;
	if (--flow->n) {
		sift_down(w, flow->heap_at, flow);
	} else {
		flow->first = 0;
		heap_drop(w, flow);
	}
	return ticket;
}

void waiters_remove(struct waiters *w, struct gate_ticket *ticket)
{
	struct waiters_flow *flow = ticket->flow;

	BUG_ON(!flow->n);
	TAILQ_REMOVE(&flow->tickets, ticket, in_line);
	w->count--;
	if (--flow->n)
		return;
	flow->first = 0;
	heap_drop(w, flow);
}

uint64_t waiters_tag(const struct gate_ticket *ticket)
{
	const struct waiters_flow *flow = ticket->flow;
	const struct gate_ticket *t;
	size_t i = flow->first;

	TAILQ_FOREACH(t, &flow->tickets, in_line) {
		if (t == ticket)
			break;
		i++;
	}
	return flow->tag[i];
}

uint64_t waiters_before(const struct waiters *w, uint64_t tag)
{
	uint64_t before = 0;

	for (size_t i = 0; i < w->nheap; i++) {
		const struct waiters_flow *flow = w->heap[i];
		size_t low = flow->first, high = flow->first + flow->n;

		while (low < high) {
			size_t middle = (low + high) / 2;

			if (flow->tag[middle] < tag)
				low = middle + 1;
			else
				high = middle;
		}
		before += low - flow->first;
	}
	return before;
}
