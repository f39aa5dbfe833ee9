/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ledger.h - what this node knows of its leases, and what it decides from it: when to ask, what to say, what an answer
 * means for the segment. No socket and no clock in here: whoever calls says what time it is (clock_boot_ms()).
 *
 * Of lease_ttl T: a lease is used for V = T/2 after its request was sent. Others count it as lapsed after S = 0.6 T. The
 * promise not to use more than was said holds for W = 2 T after a reply came. doc/cluster.md says why this is enough.
 */
#ifndef CLUSTER_LEDGER_H
#define CLUSTER_LEDGER_H

#include "base/base.h"
#include "cluster/wire.h"
#include "shm/lease.h"

#define LEDGER_HISTORY 1024u /* requests remembered: more than a window at the fastest pace */
#define LEDGER_OWN 64u	     /* leases of a limit that have not lapsed */

/* A lease of ours: what runs may be so many until then. */
struct ledger_lease {
	uint64_t lease, until_ms;
};

struct ledger_limit {
	struct lease_subject subject;
	struct lease_reading now;
	uint64_t refused;	 /* when the later half of the time looked back on began */
	uint64_t want[2];	 /* the most of this half of a look-back, and of the one before */
	struct wire_grant grant; /* of the last answer */
	bool granted;		 /* there was one in this epoch */
	bool handing_back;	 /* hold was above the target: what comes free is to be reported */
	/* Larger and earlier ones first. */
	struct ledger_lease own[LEDGER_OWN];
	unsigned nown;
	bool mismatch_told;
};

struct ledger {
	uint64_t ttl_ms, v_ms, s_ms, w_ms, margin_ms;
	char epoch[WIRE_EPOCH_BYTES];
	uint64_t number; /* from the greeting in this epoch, */
	uint64_t q;	 /* the last seq that we received in it; 0: none but that */
	struct cluster_renewal past[LEDGER_HISTORY];
	unsigned npast, past_at; /* a ring: past_at is the next to be written */
	uint64_t kept_ms;	 /* when the last one was sent of those that are kept in the segment */
	unsigned members, nodes, mismatches;
	bool again, outgrown;
	uint64_t half_ms; /* when the half of the look-back began */
	bool draining;
	bool holds_nothing; /* so it was said in the last request, but for what counts for a window longer */
	bool left;	    /* and the answer has granted nothing: Redis reserves nothing for us */
	struct ledger_limit *limit;
	unsigned nlimits;
	struct wire_ask *ask; /* of the request under way: ask[i] is of limit[of[i]] */
	unsigned *of;
	unsigned nasks;
};

void ledger_open(struct ledger *l, uint64_t ttl_ms);
void ledger_release(struct ledger *l);

/* What a dead agent remembered: its promises go on. */
void ledger_resume(struct ledger *l, const struct shm *shm);
/* When all schedules of the last answer are stored: leave to the next agent what it has to know. */
void ledger_note(struct ledger *l, struct shm *shm);

/* Look at the segment: what is used and wanted. At the first look the leases that a dead agent left are taken over. */
void ledger_look(struct ledger *l, const struct shm *shm, uint64_t now_ms);
/* When the next request is due, counted from when the last one was sent. */
uint64_t ledger_pace_ms(const struct ledger *l);
/* The least lease_ttl with which so many members and limits take Redis no more than a quarter of its time at rest. */
uint64_t ledger_bearable_ttl_ms(const struct ledger *l);
/* What is to be said now: epoch, promises, what is held and wanted. The texts are the ledger's. */
void ledger_ask(struct ledger *l, uint64_t now_ms, struct wire_request *request);

/*
 * A greeting: this epoch is new to us. Leases stand as they are; all that was told by numbers, and what was promised, means nothing
 * in it. To be asked again soon. True: we were known in another one, and Redis has lost that.
 */
bool ledger_greeted(struct ledger *l, const struct wire_reply *reply) MUST_CHECK;
/*
 * A lease, the answer to the last ledger_ask(), sent and received at these times. False: it came too late to be of use, and nothing
 * was changed.
 */
bool ledger_take(struct ledger *l, const struct wire_reply *reply, uint64_t sent_ms, uint64_t received_ms) MUST_CHECK;
/* What follows from it for limit i of the answer; to be stored. */
void ledger_schedule(struct ledger *l, unsigned i, uint64_t sent_ms, uint64_t received_ms,
	struct lease_schedule *schedule);
/* Nothing may be used any more, and what runs ends with the lease that it has. */
void ledger_give_up(struct ledger *l, unsigned limit, struct lease_schedule *schedule);
#endif
