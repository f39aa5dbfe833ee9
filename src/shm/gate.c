/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.c - the permit gate, step by step as t/model/gate.pml has it: a worker's line. How permits go to
 * the first in line is in gate_turn.c, the master's part in gate_books.c.
 *
 * What makes it right, in three rules that the model checks:
 *
 * 1. Whoever waits publishes its head, then looks at `used`; whoever gives back
 *    lowers `used`, then looks at the heads. Both are seq_cst, so at least one of
 *    two that meet sees the other: nobody is forgotten.
 * 2. `used` is raised before a head becomes GRANTED and lowered after `held` or
 *    the head was: a permit is in `used` as long as anybody owns it.
 * 3. Whatever changes the books (used, held, GRANTED heads) lies between
 *    gate_step_begin() and gate_step_end(). So when all versions are even and stay what they
 *    were, used - sum(held + granted) is what dead workers had in their hands.
 *
 * A worker may die at any instruction, the crash points (crash_points.def) are the
 * places that differ. It never waits for another process; each retry of a loop
 * means that somebody else got on.
 */
#include "base/base.h"
#include "shm/gate.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/gate_turn.h"
#include "shm/house.h"
#include "shm/waiters.h"

struct gate_line {
	struct shm *shm;
	unsigned number;
	struct shm_gate *gate;
	struct gate_cell *cell;
	uint64_t lease; /* the one that gate_poll() saw */
	struct waiters waiters;
	struct waiters_flow *published; /* whose first place is in the head, waiting or granted */
	uint64_t published_tag;
	_Atomic uint64_t *ends;	  /* of all flows; NULL: this gate is not fair */
	_Atomic uint64_t *places; /* what our waiters cost their flows, for the master */
	gate_granted_fn granted;
	void *arg;
};

/* For words that only their owner writes. */
static void owner_add(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
		memory_order_release);
}

/*
 * A request of this flow comes: the tag of its place. Virtual time goes on by one with each, a trifle, so
 * that among flows that ask for the first time the one that came first is first.
 */
static uint64_t charge(struct gate_line *line, uint32_t flow, uint32_t cost)
{
	uint64_t now = atomic_fetch_add_explicit(&line->gate->line, 1, memory_order_relaxed) + 1;
	uint64_t end, start;

	if (!line->ends)
		return now & GATE_TAG;
	end = atomic_load_explicit(&line->ends[flow], memory_order_relaxed);
	do
		start = end > now ? end : now;
	while (!atomic_compare_exchange_weak_explicit(&line->ends[flow], &end, start + cost,
		memory_order_relaxed, memory_order_relaxed));
	return start & GATE_TAG;
}

/* A ticket of ours does not wait any more; what its flow gets back is the last place. */
static void leave_place(struct gate_line *line, uint32_t flow, uint32_t cost, bool unused)
{
	if (!line->ends)
		return;
	owner_add(&line->places[flow], -(uint64_t)cost);
	if (!unused)
		return;
	CRASH_POINT("gate.cancel.uncharged");
	atomic_fetch_sub_explicit(&line->ends[flow], cost, memory_order_relaxed);
}

/* The line of a flow that is published, as a head: waiting. */
static uint64_t waiting_head(const struct waiters_flow *flow)
{
	return flow ? GATE_WAITING | waiters_first(flow) : GATE_NONE;
}

/* Tell the others who stands there. */
static void describe(struct gate_line *line, const struct waiters_flow *flow)
{
	atomic_store_explicit(&line->cell->flow, flow->number, memory_order_relaxed);
	atomic_store_explicit(
		&line->cell->came, TAILQ_FIRST(&flow->tickets)->came, memory_order_relaxed);
}

/* This line stands for us from now on: before its head is stored. */
static void note_published(struct gate_line *line, struct waiters_flow *flow)
{
	line->published = flow;
	line->published_tag = flow ? waiters_first(flow) : 0;
	if (flow)
		describe(line, flow);
}

/* Let the best of our waiters stand for us. */
static void publish(struct gate_line *line)
{
	struct waiters_flow *best = waiters_best(&line->waiters);
	uint64_t head;

	if (!line->published) {
		note_published(line, best);
		atomic_store(&line->cell->head, waiting_head(best));
		return;
	}
	if (waiters_first(best) >= line->published_tag)
		return;
	/* A better one than the present head; if that was granted meanwhile, its turn is next. */
	head = GATE_WAITING | line->published_tag;
	if (atomic_compare_exchange_strong(&line->cell->head, &head, waiting_head(best)))
		note_published(line, best);
}

static void count_waiting(struct gate_line *line)
{
	atomic_store_explicit(&line->cell->waiting, line->waiters.count, memory_order_relaxed);
}

bool gate_pending(const struct gate_line *line)
{
	return (atomic_load(&line->cell->head) & GATE_STATE) == GATE_GRANTED;
}

/* Our head is GRANTED: write the permit into the books as held, let the next one stand for us. */
static struct gate_ticket *collect(struct gate_line *line)
{
	struct gate_ticket *ticket = waiters_pop(&line->waiters, line->published);
	struct waiters_flow *next = waiters_best(&line->waiters);

	leave_place(line, line->published->number, ticket->cost, false);
	count_waiting(line);
	ticket->state = TICKET_HELD;
	note_published(line, next);
	gate_step_begin(line->cell);
	CRASH_POINT("gate.collect.begun");
	owner_add(&line->cell->held, 1);
	CRASH_POINT("gate.collect.counted");
	atomic_store(&line->cell->head, waiting_head(next));
	CRASH_POINT("gate.collect.published");
	gate_step_end(line->cell);
	CRASH_POINT("gate.collect.done");
	owner_add(&line->cell->grants, 1);
	if (next)
		gate_dispatch(line->shm, line->gate, line->cell);
	return ticket;
}

/*
 * Mean time between two grants to people in line. The line may have been empty in between, so
 * the time that counts begins when this one came. Unguarded: an estimate for waiting people.
 */
static void note_pace(struct gate_line *line, const struct gate_ticket *ticket)
{
	struct shm_gate *gate = line->gate;
	uint64_t now = clock_us();
	uint64_t last = atomic_exchange_explicit(&gate->last_grant_us, now, memory_order_relaxed);
	uint64_t mean = atomic_load_explicit(&gate->interval_us, memory_order_relaxed);
	uint64_t from = last > ticket->since_us ? last : ticket->since_us;
	uint64_t took = now > from ? now - from : 0;

	mean = mean ? (7 * mean + took) / 8 : took;
	atomic_store_explicit(&gate->interval_us, mean ? mean : 1, memory_order_relaxed);
}

struct gate_line *gate_line_open(struct shm *shm, unsigned gate, gate_granted_fn granted, void *arg)
{
	struct gate_line *line = xcalloc(1, sizeof(*line));

	BUG_ON(!shm->writable || shm->slot >= shm->header->nslots);
	line->shm = shm;
	line->number = gate;
	line->gate = shm_gate_at(shm, gate);
	line->cell = &line->gate->cell[shm->slot];
	line->ends = house_ends(shm, gate);
	line->places = house_places(shm, gate, shm->slot);
	waiters_open(&line->waiters, line->ends ? shm->header->nflows : 1);
	line->granted = granted;
	line->arg = arg;
	BUG_ON(atomic_load(&line->cell->head) != GATE_NONE); /* the master reaps before it forks */
	return line;
}

void gate_line_close(struct gate_line *line)
{
	struct waiters_flow *flow;

	while ((flow = waiters_best(&line->waiters)))
		gate_leave(line, TAILQ_FIRST(&flow->tickets));
	waiters_release(&line->waiters);
	free(line);
}

bool gate_arrive(struct gate_line *line, struct gate_ticket *ticket)
{
	return gate_arrive_as(line, ticket, FLOW_COMMON);
}

/* A permit for one who need not wait: there is one, and nobody is in line. */
static bool take_free(struct gate_line *line)
{
	uint64_t seen, head = 0;
	unsigned slot = 0;
	bool taken = false;

	if (line->waiters.count || gate_first_in_line(line->shm, line->gate, &slot, &head))
		return false;
	gate_step_begin(line->cell);
	CRASH_POINT("gate.try.begun");
	seen = atomic_load(&line->gate->used);
	while (!taken && seen < gate_limit_of(line->gate))
		taken = atomic_compare_exchange_strong(&line->gate->used, &seen, seen + 1);
	if (taken && gate_is_too_late(line->gate, seen + 1)) {
		atomic_fetch_sub(&line->gate->used, 1);
		taken = false;
	}
	if (taken) {
		CRASH_POINT("gate.try.taken");
		owner_add(&line->cell->held, 1);
		CRASH_POINT("gate.try.counted");
	}
	gate_step_end(line->cell);
	if (taken)
		owner_add(&line->cell->grants, 1);
	return taken;
}

bool gate_arrive_as(struct gate_line *line, struct gate_ticket *ticket, struct flow flow)
{
	uint32_t number = line->ends ? flow.number : 0;
	uint64_t tag;

	BUG_ON(ticket->state != TICKET_IDLE);
	ticket->since_us = clock_us();
	ticket->cost = GATE_COST / (flow.weight ? flow.weight : 1);
	if (take_free(line)) {
		gate_advance(line->shm, line->gate, charge(line, number, ticket->cost));
		ticket->state = TICKET_HELD;
		return true;
	}
	ticket->came = tag = charge(line, number, ticket->cost);
	CRASH_POINT("gate.arrive.charged");
	if (line->ends)
		owner_add(&line->places[number], ticket->cost);
	ticket->state = TICKET_WAITING;
	waiters_push(&line->waiters, number, tag, ticket);
	count_waiting(line);
	CRASH_POINT("gate.arrive.begun");
	publish(line);
	CRASH_POINT("gate.arrive.published");
	gate_dispatch(line->shm, line->gate, line->cell);
	CRASH_POINT("gate.arrive.dispatched");
	if (line->published != ticket->flow || TAILQ_FIRST(&ticket->flow->tickets) != ticket ||
		!gate_pending(line))
		return false;
	collect(line);
	return true;
}

bool gate_try(struct gate_line *line, struct gate_ticket *ticket)
{
	BUG_ON(ticket->state != TICKET_IDLE);
	if (!take_free(line)) {
		if (atomic_load_explicit(&line->gate->lease.current, memory_order_relaxed))
			atomic_fetch_add_explicit(&line->gate->refused, 1, memory_order_relaxed);
		return false;
	}
	ticket->since_us = clock_us();
	ticket->state = TICKET_HELD;
	return true;
}

static void give_back(struct gate_line *line)
{
	BUG_ON(atomic_load_explicit(&line->cell->held, memory_order_relaxed) == 0);
	gate_step_begin(line->cell);
	CRASH_POINT("gate.release.begun");
	owner_add(&line->cell->held, (uint64_t)-1);
	CRASH_POINT("gate.release.uncounted");
	atomic_fetch_sub(&line->gate->used, 1);
	CRASH_POINT("gate.release.freed");
	gate_step_end(line->cell);
	CRASH_POINT("gate.release.done");
	gate_dispatch(line->shm, line->gate, line->cell);
}

/* The ticket at the published place goes: the next best stands for us, a grant that was on its way goes on. */
static void withdraw(struct gate_line *line)
{
	uint64_t head = GATE_WAITING | line->published_tag;
	struct waiters_flow *next = waiters_best(&line->waiters);

	note_published(line, next);
	CRASH_POINT("gate.cancel.begun");
	if (atomic_compare_exchange_strong(&line->cell->head, &head, waiting_head(next))) {
		CRASH_POINT("gate.cancel.withdrawn");
		return;
	}
	gate_step_begin(line->cell);
	CRASH_POINT("gate.cancel.late");
	atomic_store(&line->cell->head, waiting_head(next));
	CRASH_POINT("gate.cancel.uncounted");
	atomic_fetch_sub(&line->gate->used, 1);
	CRASH_POINT("gate.cancel.freed");
	gate_step_end(line->cell);
	gate_dispatch(line->shm, line->gate, line->cell);
}

static void leave_line(struct gate_line *line, struct gate_ticket *ticket)
{
	struct waiters_flow *flow = ticket->flow;
	bool stands_for_us = flow == line->published && ticket == TAILQ_FIRST(&flow->tickets);

	waiters_remove(&line->waiters, ticket);
	count_waiting(line);
	leave_place(line, flow->number, ticket->cost, true);
	if (stands_for_us)
		withdraw(line);
}

void gate_leave(struct gate_line *line, struct gate_ticket *ticket)
{
	enum ticket_state state = ticket->state;

	BUG_ON(state == TICKET_IDLE);
	ticket->state = TICKET_IDLE;
	if (state == TICKET_HELD)
		give_back(line);
	else
		leave_line(line, ticket);
}

bool gate_leave_over(struct gate_line *line, struct gate_ticket *ticket)
{
	uint64_t seen, may_run = lease_may_run(line->shm, line->number);
	bool left = false;

	BUG_ON(ticket->state != TICKET_HELD);
	if (atomic_load(&line->gate->used) <= may_run)
		return false;
	gate_step_begin(line->cell);
	owner_add(&line->cell->held, (uint64_t)-1);
	CRASH_POINT("lease.over.uncounted");
	seen = atomic_load(&line->gate->used);
	while (!left && seen > may_run)
		left = atomic_compare_exchange_strong(&line->gate->used, &seen, seen - 1);
	if (!left)
		owner_add(&line->cell->held, 1);
	gate_step_end(line->cell);
	if (left)
		ticket->state = TICKET_IDLE;
	return left;
}

uint64_t gate_over(const struct gate_line *line)
{
	uint64_t may_run = lease_may_run(line->shm, line->number), used = atomic_load(&line->gate->used);
	uint64_t held = atomic_load_explicit(&line->cell->held, memory_order_relaxed);

	return used > may_run ? ((used - may_run) * held + used - 1) / used : 0;
}

void gate_look(struct gate_line *line)
{
	if (line->waiters.count)
		gate_dispatch(line->shm, line->gate, line->cell);
}

void gate_poll(struct gate_line *line)
{
	uint64_t lease = atomic_load_explicit(&line->gate->lease.current, memory_order_relaxed);

	if (lease != line->lease) {
		line->lease = lease;
		gate_look(line);
	}
	while (gate_pending(line)) {
		struct gate_ticket *ticket = collect(line);

		note_pace(line, ticket);
		line->granted(ticket, line->arg);
	}
}

enum gate_next gate_next(const struct gate_line *line)
{
	uint64_t head = 0;
	unsigned slot = 0;

	if (!gate_first_in_line(line->shm, line->gate, &slot, &head))
		return GATE_NEXT_NOBODY;
	return &line->gate->cell[slot] == line->cell ? GATE_NEXT_OURS : GATE_NEXT_OTHERS;
}

uint64_t gate_position(const struct gate_line *line, const struct gate_ticket *ticket)
{
	uint64_t now = atomic_load_explicit(&line->gate->line, memory_order_relaxed);
	uint64_t mine, end, before;

	BUG_ON(ticket->state != TICKET_WAITING);
	mine = waiters_tag(ticket);
	before = waiters_before(&line->waiters, mine);
	end = line->ends ? atomic_load_explicit(&line->ends[ticket->flow->number], memory_order_relaxed) -
				   ticket->cost
			 : now;
	/*
	 * Of others we see the head and the number: take theirs as spread evenly from there to the end
	 * of our flow, as if all were of it.
	 */
	for (unsigned i = 0; i < line->shm->header->nslots; i++) {
		struct gate_cell *cell = &line->gate->cell[i];
		uint64_t head = atomic_load_explicit(&cell->head, memory_order_relaxed);
		uint64_t n = atomic_load_explicit(&cell->waiting, memory_order_relaxed);
		uint64_t tag = head & GATE_TAG;

		if (cell == line->cell || (head & GATE_STATE) != GATE_WAITING || tag >= mine || !n)
			continue;
		before += 1 + (uint64_t)((double)(n - 1) * (double)(mine - tag) /
			(double)(end > mine ? end - tag : mine - tag));
	}
	return before + 1;
}
