/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.h - permits that survive their holders (design: "The gate").
 *
 * A gate hands out `limit` permits to all workers. A permit held by a worker is
 * written in that worker's cell, so that the master can give it back when the
 * worker dies; a worker's waiters stand in a heap of its own, and only the best
 * one is published. No lock, nothing that a dead or stopped process can hold.
 * t/model/gate.pml is the checked model of exactly these steps; the names of the
 * crash points in gate.c and gate_turn.c are the places where the model lets a worker die.
 *
 * The line is fair: each client is a flow (flow.h), and flows are served in the order of virtual
 * start times (start-time fair queueing, Goyal, Vin and Cheng 1996). A request is tagged with
 * max(now, end of its flow's last one), where now is the tag that was granted last (or a head before it, where
 * a worker lags behind); its flow's end is then that plus GATE_COST / weight. So who has asked for nothing lately is next, who floods waits for his own
 * requests, and weights are shares. Within a flow it is first come, first served
 * (after many have left the line at one worker, about so). The ends of all flows
 * are in the segment, one word each, changed by compare-and-swap; a place in line that is not used (its
 * ticket left, its worker died) is given back to its flow.
 * The model knows nothing of this and stays true: to it a tag is any number that says who is
 * first, and each step of the gate is the same whatever order the tags are in (the model lets a later
 * ticket be better than the published one, too). Tickets of one worker that move up a place in their own
 * line are no step at all: nobody else can see it. And gate_arrive() is gate_try(), then, if that takes
 * nothing, the model's arrive.
 *
 * All functions but gate_read() are for workers; a gate_line belongs to one
 * worker's one thread.
 */
#ifndef SHM_GATE_H
#define SHM_GATE_H

#include "base/base.h"
#include "shm/flow.h"

struct shm;
struct waiters_flow;
struct gate_line; /* a worker's part in one gate: its waiters, its cell */

enum ticket_state { TICKET_IDLE, TICKET_WAITING, TICKET_HELD };

/* Embedded in whoever wants a permit; zero it before first use. */
struct gate_ticket {
	TAILQ_ENTRY(gate_ticket) in_line;
	struct waiters_flow *flow; /* while it waits */
	uint32_t cost;		   /* of its place, to its flow */
	uint64_t came;		   /* the tag of the place that it came to */
	enum ticket_state state;
	uint64_t since_us;	/* when it came into line */
};

/*
 * A permit was granted to a ticket that had to wait: it is TICKET_HELD now. Called
 * by gate_poll() only, so at the end of a loop turn, never inside another call.
 */
typedef void (*gate_granted_fn)(struct gate_ticket *ticket, void *arg);

/* This worker's line at gate number `gate` of the segment; lives as long as the worker. */
struct gate_line *gate_line_open(struct shm *shm, unsigned gate, gate_granted_fn granted, void *arg);
void gate_line_close(struct gate_line *line);

/*
 * Stand in line. True: there was a permit at once, the ticket is HELD (granted()
 * is not called). False: it is WAITING.
 */
bool gate_arrive(struct gate_line *line, struct gate_ticket *ticket) MUST_CHECK;
/* The same as one of this flow. At gates that are not fair (shm/house.h) all are of one flow. */
bool gate_arrive_as(struct gate_line *line, struct gate_ticket *ticket, struct flow flow) MUST_CHECK;

/* As gate_arrive(), but never waits: false if no permit is free or others are in line. */
bool gate_try(struct gate_line *line, struct gate_ticket *ticket) MUST_CHECK;

/*
 * Leave: a WAITING ticket loses its place in line (a grant that was on its way goes
 * to the next), a HELD one gives its permit back. The ticket is IDLE afterwards.
 */
void gate_leave(struct gate_line *line, struct gate_ticket *ticket);

/*
 * A lease of this gate (shm/lease.h) has lapsed or shrunk, and more permits are out than may be: give a HELD one
 * back, if that is so still; then what it was for must end. Of all workers that try at once no more than are too many
 * succeed. False: it may be kept.
 */
bool gate_leave_over(struct gate_line *line, struct gate_ticket *ticket) MUST_CHECK;

/*
 * More permits are out than may be: how many of this worker's are to be given back by gate_leave_over() now, a part of them that is
 * like the part of all permits that it holds, so that it is not one worker's that go. To be asked again soon.
 */
uint64_t gate_over(const struct gate_line *line);

/* The limit may have risen by itself, as a lease does: hand out what is free, if we have anybody in line. */
void gate_look(struct gate_line *line);

/*
 * Collect what other workers (or our own releases) granted to us. To be called when the wake
 * descriptor was readable and at the end of each loop turn; cheap when there is nothing.
 */
void gate_poll(struct gate_line *line);

/*
 * True while a grant to us waits for gate_poll(). A release of our own may cause it without
 * a wake descriptor being written: do not let the loop sleep while this holds.
 */
bool gate_pending(const struct gate_line *line);

/* Who is served next when a permit comes free; those that were granted one already do not wait. */
enum gate_next { GATE_NEXT_NOBODY, GATE_NEXT_OURS, GATE_NEXT_OTHERS };
enum gate_next gate_next(const struct gate_line *line);

/* How many wait in front of a WAITING ticket over all workers, +1 (an estimate: heads only are shared). */
uint64_t gate_position(const struct gate_line *line, const struct gate_ticket *ticket);

/* What a gate shows to anybody, also to read-only tools. */
struct gate_reading {
	uint64_t limit;		/* as configured */
	uint64_t in_force;	/* that, or less where a cluster leases it (shm/lease.h) */
	uint64_t learnt;	/* a limit below that one that holds instead, see gate_set_learnt(); 0: none */
	uint64_t used;
	uint64_t waiting;
	uint64_t grants;	/* since the segment was made */
	uint64_t interval_us;	/* mean time between two grants lately; 0: not known yet */
};
void gate_read(const struct shm *shm, unsigned gate, struct gate_reading *r);

/* A new limit, in force at once for all workers; dispatches if it grew. Master only. */
void gate_set_limit(struct shm *shm, unsigned gate, uint64_t limit);

/*
 * A second limit (0: none); the lower one of both is in force, at once for all workers; dispatches if
 * it grew. Any worker may call it, with a number that all agree on (shm/learn.h), and the master.
 */
void gate_set_learnt(struct shm *shm, unsigned gate, uint64_t learnt);

/* ---- for shm/reclaim.c ---- */

/* The books at a moment when nobody was in the middle of a step: used == held + granted. */
struct gate_books {
	uint64_t limit;
	uint64_t used;
	uint64_t held;	  /* sum over all workers */
	uint64_t granted; /* on their way to a worker */
};
/* False: no such moment was found in `tries` readings. Reads only. */
bool gate_read_books(const struct shm *shm, unsigned gate, unsigned tries, struct gate_books *books)
	MUST_CHECK;

/* The master that used the master's cell is dead: end the step that it may have been in. */
void gate_mend(struct shm *shm, unsigned gate);
/* Clear the cell of a dead worker. */
void gate_reap(struct shm *shm, unsigned gate, unsigned slot);
/*
 * After all dead cells are cleared: give back what the dead had in their hands. False: no quiet
 * moment was found, come back at the next tick. *lost_r: how many permits came back this way.
 * Dispatches.
 */
bool gate_audit(struct shm *shm, unsigned gate, uint64_t *lost_r) MUST_CHECK;

#endif
