/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.c - the permit gate, step by step as t/model/gate.pml has it.
 *
 * What makes it right, in three rules that the model checks:
 *
 * 1. Whoever waits publishes its head, then looks at `used`; whoever gives back
 *    lowers `used`, then looks at the heads. Both are seq_cst, so at least one of
 *    two that meet sees the other: nobody is forgotten.
 * 2. `used` is raised before a head becomes GRANTED and lowered after `held` or
 *    the head was: a permit is in `used` as long as anybody owns it.
 * 3. Whatever changes the books (used, held, GRANTED heads) lies between
 *    step_begin() and step_end(). So when all versions are even and stay what they
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
#include "base/log.h"
#include "shm/house.h"
#include "shm/waiters.h"

#define AUDIT_TRIES 64

/*
 * What a request costs a flow of weight 1 in virtual time: divisible by most small weights. Tags
 * have 62 bits, so at 100,000 requests a second they last for 26 years.
 */
#define COST 55440u

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

/* The books are being changed: a version that is odd, or another than before, tells readers. */
static void step_begin(struct gate_cell *me)
{
	uint64_t version = atomic_load_explicit(&me->version, memory_order_relaxed);

	atomic_store_explicit(&me->version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* before anything that the step stores */
}

static void step_end(struct gate_cell *me)
{
	uint64_t version = atomic_load_explicit(&me->version, memory_order_relaxed);

	atomic_store_explicit(&me->version, version + 1, memory_order_release);
}

/* For words that only their owner writes. */
static void owner_add(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
		memory_order_release);
}

/*
 * A permit was granted to this tag: virtual time goes on to there, but not beyond any head, granted or not.
 * (While a worker has not collected its grant, those behind it are not seen and permits go to later
 * ones elsewhere; a newcomer must not be put behind these.)
 */
static void advance(struct shm *shm, struct shm_gate *gate, uint64_t tag)
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

/*
 * Of the heads of this flow, all before those of others, the one whose ticket came first. (Places of a flow
 * that were given up at one worker would let its other tickets there overtake those elsewhere. But no
 * head may pass those of other flows: its flow would have two turns, as the lower place is still there. Nor
 * may it be far behind the first: that worker may have others in line, which its head hides.)
 */
static void first_of_flow(struct shm_gate *gate, unsigned used, unsigned *slot_r, uint64_t *head_r)
{
	uint64_t flow = atomic_load_explicit(&gate->cell[*slot_r].flow, memory_order_relaxed);
	uint64_t others = *head_r + (uint64_t)used * COST, first = UINT64_MAX;

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

/* The worker whose published head is the first in line; false: nobody waits. */
static bool first_in_line(struct shm *shm, struct shm_gate *gate, unsigned *slot_r, uint64_t *head_r)
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

/* The lowest of what is configured, what is leased, and what was learnt. */
static uint64_t limit_of(struct shm_gate *gate)
{
	uint64_t limit = lease_limit(&gate->lease, atomic_load(&gate->limit));
	uint64_t learnt = atomic_load(&gate->learnt);

	return learnt && learnt < limit ? learnt : limit;
}

/*
 * A permit was taken under a limit that was looked at before. A lease may have fallen in between, however long
 * that took: who took first and looks then cannot be wrong.
 */
static bool is_too_late(struct shm_gate *gate, uint64_t used)
{
	return atomic_load_explicit(&gate->lease.current, memory_order_relaxed) && used > limit_of(gate);
}

/* Take a permit and give it to the head of `slot` if it still waits. False: `used` had moved. */
static bool hand_over(struct shm *shm, struct shm_gate *gate, struct gate_cell *me, uint64_t seen, unsigned slot,
	uint64_t head)
{
	bool granted = false;

	step_begin(me);
	CRASH_POINT("gate.dispatch.begun");
	if (atomic_compare_exchange_strong(&gate->used, &seen, seen + 1)) {
		CRASH_POINT("gate.dispatch.taken");
		granted = !is_too_late(gate, seen + 1) &&
			atomic_compare_exchange_strong(&gate->cell[slot].head, &head,
				GATE_GRANTED | (head & GATE_TAG));
		if (granted) {
			CRASH_POINT("gate.dispatch.claimed");
			advance(shm, gate, head & GATE_TAG);
		} else {
			CRASH_POINT("gate.dispatch.lost");
			atomic_fetch_sub(&gate->used, 1);
			CRASH_POINT("gate.dispatch.given_back");
		}
	}
	step_end(me);
	return granted;
}

/*
 * Hand free permits to the first in line until there is none of either. A claim that was lost
 * (its head was cancelled) means another round: who asked meanwhile saw no permit and relies on us.
 */
static void dispatch(struct shm *shm, struct shm_gate *gate, struct gate_cell *me)
{
	unsigned slot = 0;
	uint64_t head = 0;

	while (first_in_line(shm, gate, &slot, &head)) {
		uint64_t limit = limit_of(gate);
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
	step_begin(line->cell);
	CRASH_POINT("gate.collect.begun");
	owner_add(&line->cell->held, 1);
	CRASH_POINT("gate.collect.counted");
	atomic_store(&line->cell->head, waiting_head(next));
	CRASH_POINT("gate.collect.published");
	step_end(line->cell);
	CRASH_POINT("gate.collect.done");
	owner_add(&line->cell->grants, 1);
	if (next)
		dispatch(line->shm, line->gate, line->cell);
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

	if (line->waiters.count || first_in_line(line->shm, line->gate, &slot, &head))
		return false;
	step_begin(line->cell);
	CRASH_POINT("gate.try.begun");
	seen = atomic_load(&line->gate->used);
	while (!taken && seen < limit_of(line->gate))
		taken = atomic_compare_exchange_strong(&line->gate->used, &seen, seen + 1);
	if (taken && is_too_late(line->gate, seen + 1)) {
		atomic_fetch_sub(&line->gate->used, 1);
		taken = false;
	}
	if (taken) {
		CRASH_POINT("gate.try.taken");
		owner_add(&line->cell->held, 1);
		CRASH_POINT("gate.try.counted");
	}
	step_end(line->cell);
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
	ticket->cost = COST / (flow.weight ? flow.weight : 1);
	if (take_free(line)) {
		advance(line->shm, line->gate, charge(line, number, ticket->cost));
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
	dispatch(line->shm, line->gate, line->cell);
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
	step_begin(line->cell);
	CRASH_POINT("gate.release.begun");
	owner_add(&line->cell->held, (uint64_t)-1);
	CRASH_POINT("gate.release.uncounted");
	atomic_fetch_sub(&line->gate->used, 1);
	CRASH_POINT("gate.release.freed");
	step_end(line->cell);
	CRASH_POINT("gate.release.done");
	dispatch(line->shm, line->gate, line->cell);
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
	step_begin(line->cell);
	CRASH_POINT("gate.cancel.late");
	atomic_store(&line->cell->head, waiting_head(next));
	CRASH_POINT("gate.cancel.uncounted");
	atomic_fetch_sub(&line->gate->used, 1);
	CRASH_POINT("gate.cancel.freed");
	step_end(line->cell);
	dispatch(line->shm, line->gate, line->cell);
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
	step_begin(line->cell);
	owner_add(&line->cell->held, (uint64_t)-1);
	CRASH_POINT("lease.over.uncounted");
	seen = atomic_load(&line->gate->used);
	while (!left && seen > may_run)
		left = atomic_compare_exchange_strong(&line->gate->used, &seen, seen - 1);
	if (!left)
		owner_add(&line->cell->held, 1);
	step_end(line->cell);
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
		dispatch(line->shm, line->gate, line->cell);
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

	if (!first_in_line(line->shm, line->gate, &slot, &head))
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
		dispatch(shm, gate, &gate->cell[slot]);
}

/* ---- the master, and readers of the books ---- */

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
	dispatch(shm, gate, master_cell(shm, gate));
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
	dispatch(shm, gate, master_cell(shm, gate));
	return true;
}
