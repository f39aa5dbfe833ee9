/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease.h - how much of a limit this node may use now, where several nodes share limits (src/cluster).
 *
 * A lease is a schedule in the segment that says all that happens if nobody writes another one: so much until
 * a time, then less, and from a later time on the guaranteed share. Gates, windows and tokens read it through
 * lease_limit() (layout.h) whenever they look at their limit. So it falls in time although the agent, the master, or a worker may be
 * stopped. All times are of clock_boot_ms(): no other machine's clock is known here, nor trusted.
 *
 * Leased are the places (max_connections), each provider's concurrent_requests, requests_per_minute and
 * tokens_per_minute, and the caps of each key of clients. A limit that is not set is none in a cluster either.
 */
#ifndef SHM_LEASE_H
#define SHM_LEASE_H

#include "base/base.h"

#define SHM_NODE_BYTES 64
#define SHM_EPOCH_BYTES 40
#define SHM_RENEWALS 128u

struct shm;

struct lease_schedule {
	uint64_t limit;	   /* in force, */
	uint64_t until_ms; /* until then; */
	uint64_t after;	   /* then this, */
	uint64_t rise_ms;  /* until then; UINT64_MAX: never */
	uint64_t rise_to;  /* and this for good: the guaranteed share */
	/* What runs may go on although it is more than the limit in force: so many, until then. */
	uint64_t keep;
	uint64_t keep_until_ms;
	/* What `limit` shall be as soon as others have handed it back, and what was used before counts no more; until then, too. */
	uint64_t target;
	uint64_t total; /* what all nodes share; nobody decides by it */
	uint64_t granted; /* not below the limit: with what was used above that; it is not kept */
};

/* ---- what is leased ---- */

enum lease_kind { LEASE_GATE, LEASE_WINDOW, LEASE_TOKENS };

struct lease_subject {
	enum lease_kind kind;
	unsigned number;     /* of the gate, the window, or the count of tokens */
	uint64_t configured; /* 0: it is no limit, and not leased */
	uint64_t memory_ms;  /* what was used counts this much longer: the window, 0 for gates */
	char name[96];	     /* its configuration path */
};
/* How many there are now: a reload may add some. */
unsigned lease_count(const struct shm *shm);
void lease_subject(const struct shm *shm, unsigned i, struct lease_subject *s);

struct lease_reading {
	uint64_t limit;	  /* in force now, not above what is configured */
	uint64_t used;	  /* now, of a window: within it, or promised */
	uint64_t hold;	  /* what others must leave to us because of what was used, and may still be */
	uint64_t wanted;  /* used, and those who wait */
	uint64_t refused; /* how much was turned away so far: grows */
	struct lease_schedule schedule;
};
/* Zeroes where it is not leased. Costs a look at each slot of a window. */
void lease_read(const struct shm *shm, const struct lease_subject *s, struct lease_reading *r);
/*
 * Of those that are configured, the first from number *i on: what it is, and what it has; *i is then behind it. False: there
 * is none any more.
 */
bool lease_next(const struct shm *shm, unsigned *i, struct lease_subject *s, struct lease_reading *r) MUST_CHECK;
/*
 * The agent, or the master before it runs: from now on (clock_ms()) this holds. Wakes nobody. Of a window, slots above the limit may
 * have been used, and count still: if with them it would be more than was granted, the limit is so much lower.
 */
void lease_write(struct shm *shm, const struct lease_subject *s, const struct lease_schedule *schedule, uint64_t now_ms);
/* How many may go on to run at this gate now, whatever its limit; UINT64_MAX: all. */
uint64_t lease_may_run(const struct shm *shm, unsigned gate);
/* Nothing runs longer than the present lease: the master is dead. Clock_boot_ms() of that; 0: this gate has no lease. */
uint64_t lease_until_ms(const struct shm *shm, unsigned gate);

/* ---- the node ---- */

/* X(symbol, what /health and the tools call it) */
#define CLUSTER_STATES(X)                                                                       \
	X(OFF, "off")             /* no cluster is configured */                                \
	X(JOINING, "joining")     /* Redis was never reached: nothing may be used */            \
	X(SHARING, "sharing")     /* leases are renewed */                                      \
	X(ALONE, "alone")         /* Redis is out of reach: the guaranteed share, at most */    \
	X(REFUSED, "refused")     /* more names than nodes, or the name is another's: nothing */ \
	X(LEAVING, "leaving")     /* drains: gives back what is not used */                     \
	X(LEFT, "left")           /* nothing is used any more */

enum cluster_state {
#define X(symbol, name) CLUSTER_##symbol,
	CLUSTER_STATES(X)
#undef X
};
const char *cluster_state_name(enum cluster_state state);

/* The master, when it has made the segment: its limits are leased, and nothing may be used so far. */
void cluster_begin(struct shm *shm, const char *node);
bool shm_is_clustered(const struct shm *shm);
/* A limit of which the place was given to another: nothing may be used so far. No-op without a cluster. */
void lease_forget(struct shm *shm, enum lease_kind kind, unsigned number);

struct cluster_reading {
	enum cluster_state state;
	uint64_t since_ms; /* clock_ms(): of the state */
	uint64_t incarnation;
	unsigned members, nodes, mismatches;
	int agent_pid; /* 0: none runs */
	char node[SHM_NODE_BYTES];
};
void cluster_read(const struct shm *shm, struct cluster_reading *r);
/* The agent. */
void cluster_set_state(struct shm *shm, enum cluster_state state);
void cluster_set_members(struct shm *shm, unsigned members, unsigned nodes, unsigned mismatches);
/* The agent's memory of its renewals in an epoch: another agent may have to go on with it. */
struct cluster_renewal {
	uint64_t seq, sent_ms, received_ms;
};
struct cluster_history {
	char epoch[SHM_EPOCH_BYTES];
	uint64_t q; /* the last seq; 0: nothing is known */
	struct cluster_renewal renewal[SHM_RENEWALS]; /* not all of them, in no order */
	unsigned n;
};
void cluster_read_history(const struct shm *shm, struct cluster_history *h);
/*
 * Once the schedules that came with it are stored. keep: remember its times, too; at most SHM_RENEWALS are, the oldest makes
 * room. Another epoch than before: all of that is forgotten.
 */
void cluster_note_renewal(struct shm *shm, const char *epoch, const struct cluster_renewal *renewal, bool keep);
/* The number of the next request, which no request of this incarnation had. */
uint64_t cluster_next_call(struct shm *shm);
/* The master: this is the agent; it is gone. By then another master may have one: that stays. */
void cluster_set_agent(struct shm *shm, int pid);
void cluster_unset_agent(struct shm *shm, int pid);

#endif
