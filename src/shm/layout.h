/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * layout.h - what lies where in the segment; private to this room.
 *
 * doc/shm-layout.md draws it, and a unit test holds the drawing against these
 * structs. Every struct says who writes it. Words that change while others look
 * are atomics of 32 or 64 bits, lock-free, so that they work between processes;
 * what is written by different processes lies on different cache lines. There is
 * no pointer in here: what varies in size is found by an offset from the start.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include "base/base.h"
#include "shm/keys.h"
#include "shm/lease.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/tally.h"

#include <stdatomic.h>
#include <sys/types.h>

#define SHM_MAGIC 0x4554414744414548ull /* "HEADGATE" */
#define SHM_ABI 8u
#define SHM_LINE 64
#define SHM_MAX_SLOTS 128u
#define SHM_ALIGNED __attribute__((aligned(SHM_LINE)))

/* What became of the last reload. `version` is odd while the master writes the rest. */
struct shm_reload {
	_Atomic uint32_t version;
	_Atomic uint32_t result; /* enum reload_result */
	_Atomic uint64_t at_ms;
	_Atomic uint64_t good, failed; /* how many there were */
	char text[160];
} SHM_ALIGNED;

/* Written by the master before `ready`, but for the atomics. */
struct shm_header {
	uint64_t magic;
	uint32_t abi;
	uint32_t nslots;
	uint64_t layout_hash; /* of all structs and statistics that this build knows */
	uint64_t total_bytes;
	uint32_t ngates;
	uint32_t nwindows;
	uint32_t nproviders;
	uint32_t gate_bytes; /* a gate with its cells */
	uint64_t slots_at;
	uint64_t gates_at;
	uint64_t windows_at;
	uint64_t providers_at; /* names, SHM_NAME_BYTES each */
	uint64_t stats_at;
	uint64_t stats_block_bytes;
	uint64_t standing_at; /* nproviders of them */
	uint64_t started_ms;
	uint64_t house_at; /* gates of the house: pending connections, two for each key of clients */
	uint64_t client_names_at;
	uint64_t client_windows_at;
	uint64_t flows_at; /* of each fair gate: the ends of all flows; and for each slot, what its waiters cost them */
	uint64_t flow_bytes;
	uint64_t flow_seed;
	uint32_t nflows;
	uint32_t nclients; /* there is room for */
	_Atomic uint64_t master_start; /* field 22 of /proc/PID/stat */
	_Atomic int32_t master_pid;
	_Atomic uint32_t draining;
	_Atomic uint32_t ready; /* stored last, with release order */
	_Atomic uint32_t providers_used; /* of nproviders: the rest is room for a reload */
	_Atomic uint32_t gates_used;	 /* likewise */
	_Atomic uint32_t windows_used;	 /* likewise */
	_Atomic uint32_t slots_used;	 /* nobody was ever bound to this one or one behind it */
	_Atomic uint32_t generation;	 /* of configuration, that serves */
	_Atomic uint32_t clients_used;
	_Atomic int32_t writer; /* pid of the master in shm_master_lock(); 0: none */
	struct shm_reload reload;
	uint64_t tallies_at; /* SHM_TALLIES of them */
	uint64_t client_tokens_at;
	uint64_t cluster_at;
	uint64_t addresses_at; /* FLOW_ADDRESSES words: whose each of these flows is (flow.c) */
} SHM_ALIGNED;

/* A worker's place. The master writes the first line, the worker the rest (and `state`). */
struct shm_slot {
	_Atomic uint32_t state; /* enum slot_state */
	_Atomic int32_t pid;
	_Atomic uint32_t generation;
	_Atomic uint64_t started_ms;
	_Atomic uint32_t door;		 /* which share of the listening sockets it accepts from */
	_Atomic uint32_t conf_generation; /* whose configuration it has */
	_Atomic uint64_t heartbeat_ms SHM_ALIGNED;
	char last_words[SHM_LAST_WORDS_BYTES] SHM_ALIGNED;
} SHM_ALIGNED;

/*
 * A worker's part in a gate. Its owner writes it; others only turn `head` from WAITING
 * to GRANTED, by compare-and-swap; the master clears it when the owner is dead. The first line is
 * about its line, and everybody looks at it all the time; the second one changes with each permit.
 */
struct gate_cell {
	_Atomic uint64_t head;	  /* GATE_NONE, or a state and an order tag */
	_Atomic uint64_t waiting; /* tickets in this worker's heap */
	_Atomic uint64_t flow;	  /* whose the head is, and the tag that its ticket came with: hints, */
	_Atomic uint64_t came;	  /* they may be of another head than the one just seen */
	_Atomic uint64_t held SHM_ALIGNED; /* permits that this worker holds */
	_Atomic uint64_t version; /* odd: the owner is in the middle of a step */
	_Atomic uint64_t grants;  /* permits it was given in this life */
} SHM_ALIGNED;

/*
 * How much of a limit this node has from a cluster (shm/lease.h). The agent writes it: first the copy that is not
 * current, then `current`; so whenever it dies there is a whole one, and readers wait for nobody.
 */
struct lease_words {
	_Atomic uint64_t limit;
	_Atomic uint64_t until_ms;
	_Atomic uint64_t after;
	_Atomic uint64_t rise_ms;
	_Atomic uint64_t rise_to;
	_Atomic uint64_t keep;
	_Atomic uint64_t keep_until_ms;
	_Atomic uint64_t target;
	_Atomic uint64_t total;
};
struct shm_lease {
	_Atomic uint64_t current; /* 0: no cluster; else how many there were, + 1: copy[current % 2] */
	struct lease_words copy[2];
};

#define GATE_NONE 0ull
#define GATE_WAITING (1ull << 62)
#define GATE_GRANTED (2ull << 62)
#define GATE_STATE (3ull << 62)
#define GATE_TAG (GATE_WAITING - 1)

/* A gate; its nslots + 1 cells follow, the last one is the master's. */
struct shm_gate {
	_Atomic uint64_t used SHM_ALIGNED; /* permits handed out: the one contended word */
	_Atomic uint64_t learnt;	   /* a lower limit that the workers found out; 0: none */
	_Atomic uint64_t line SHM_ALIGNED; /* virtual time: the last order tag, or the highest that was granted */
	_Atomic uint64_t limit SHM_ALIGNED; /* the master writes it */
	struct shm_lease lease;
	_Atomic uint64_t refused; /* by gate_try(), while it had a lease */
	_Atomic uint64_t retired_grants;    /* of workers that are dead; the master's */
	_Atomic uint64_t last_grant_us;	    /* to one who had waited; an estimate, unguarded */
	_Atomic uint64_t interval_us;
	char name[SHM_NAME_BYTES];
	struct gate_cell cell[];
};

/*
 * A window: `limit` slots of a ring of `capacity` words, and a queue of as many hints to
 * returned appointments. All may write all of it, one compare-and-swap at a time.
 */
struct shm_window {
	_Atomic uint64_t cursor SHM_ALIGNED; /* round << 32 | slot to look at next; a hint */
	_Atomic uint64_t hint_head SHM_ALIGNED;
	_Atomic uint64_t hint_tail SHM_ALIGNED;
	_Atomic uint32_t limit SHM_ALIGNED; /* 0: none; the master writes it */
	uint32_t window_ms;
	uint32_t capacity; /* a power of two */
	uint32_t reserved;
	uint64_t ring_at;  /* capacity words: WINDOW_WORD */
	uint64_t hints_at; /* capacity uint32_t: slot + 1, 0: none */
	struct shm_lease lease;
	_Atomic uint64_t refused; /* takes, while it had a lease */
	char name[SHM_NAME_BYTES];
};

#define TOKENS_PIECES 128u /* a power of two */

/* Tokens per minute. The limit is the master's; all may write the words, one compare-and-swap at a time. */
struct shm_tokens {
	_Atomic uint64_t limit SHM_ALIGNED; /* 0: none */
	_Atomic uint64_t window_ms;
	struct shm_lease lease;
	_Atomic uint64_t refused; /* while it had a lease */
	_Atomic uint64_t word[TOKENS_PIECES] SHM_ALIGNED;
};

/*
 * What all workers know about a provider. All may write all of it, one compare-and-swap at a time;
 * the .c files of the same names say what a word is made of.
 */
struct shm_standing {
	_Atomic uint64_t budget SHM_ALIGNED;
	_Atomic uint64_t circuit SHM_ALIGNED;
	_Atomic uint64_t circuit_recent[2];
	_Atomic uint64_t circuit_opened;
	_Atomic uint64_t learnt SHM_ALIGNED;
	_Atomic uint64_t learn_cut_after_ms;
	_Atomic uint64_t learn_cuts;
	_Atomic uint64_t parked_until_ms[SHM_KEYS] SHM_ALIGNED;
	struct shm_tokens tokens;
};

/* The histograms of stats.def, in order. */
enum phist_id {
#define GLOBAL(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) PHIST_OF_##type(symbol)
#define PHIST_OF_COUNTER(symbol)
#define PHIST_OF_GAUGE(symbol)
#define PHIST_OF_HISTOGRAM(symbol) PHIST_##symbol,
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
#undef PHIST_OF_COUNTER
#undef PHIST_OF_GAUGE
#undef PHIST_OF_HISTOGRAM
	PHIST_COUNT
};

struct stats_phist {
	_Atomic uint64_t sum_us; /* the count is in value[] */
	_Atomic uint64_t bucket[STATS_BUCKETS];
};

/* Tokens of requests, by tally_usage_bound(). */
struct stats_usage {
	_Atomic uint64_t sum;
	_Atomic uint64_t bucket[TALLY_USAGE_BUCKETS];
};

struct stats_provider {
	_Atomic uint64_t value[PSTAT_COUNT];
	struct stats_phist hist[PHIST_COUNT];
};

/* A renewal of the leases: the number that Redis gave it, and when, by clock_boot_ms(). The agent writes it, seq last. */
struct shm_renewal {
	_Atomic uint64_t seq; /* 0: none */
	_Atomic uint64_t sent_ms, received_ms;
};

/* What the agent of a cluster knows, and what it has to remember when it dies. It writes what has no other writer below. */
struct shm_cluster {
	_Atomic uint32_t clustered; /* the master, once: limits are leased */
	_Atomic uint32_t state;	    /* enum cluster_state */
	uint64_t incarnation;	    /* of this segment; the master, once */
	_Atomic uint64_t calls;	    /* the number of the last request */
	_Atomic uint64_t since_ms;  /* clock_ms(): of the state */
	_Atomic uint32_t members, nodes;
	_Atomic uint32_t mismatches; /* limits that are not the same everywhere */
	_Atomic int32_t agent_pid;   /* the master; 0: none runs */
	char node[SHM_NODE_BYTES];
	/* What the next agent goes on with; the agent writes it, when what the answer says is in force. */
	_Atomic uint64_t q;	/* the number of the last renewal; 0: none in this epoch, and what follows means nothing */
	_Atomic uint64_t noted; /* how many renewals were noted: the next one's place */
	char epoch[SHM_EPOCH_BYTES];
	struct shm_renewal renewal[SHM_RENEWALS];
} SHM_ALIGNED;

/* Who is counted under a number (shm/tally.h). The master writes it, `is` last; then it stays. */
struct shm_tally {
	_Atomic uint32_t is; /* enum tally_kind + 1; 0: nobody */
	char group[SHM_NAME_BYTES];
	char name[SHM_NAME_BYTES];
};

/* One per slot, one of the master, one of the agent, one of the dead. Its owner writes it. */
#define STATS_EXTRA 3u
struct stats_block {
	_Atomic uint64_t value[STAT_COUNT];
	_Atomic uint64_t tally[SHM_TALLIES][TALLY_COUNT];
	struct stats_phist model[SHM_MODEL_TALLIES][TALLY_TIME_COUNT];
	struct stats_usage usage[SHM_MODEL_TALLIES][TALLY_USAGE_COUNT];
	struct stats_provider provider[];
} SHM_ALIGNED;

/* The head of the statistics; the blocks follow, stats_block_bytes each. */
struct shm_stats {
	_Atomic uint64_t version; /* odd: the master is folding a dead worker's block */
} SHM_ALIGNED;

_Static_assert(sizeof(struct shm_header) == 512, "shm_header: a new layout needs a new SHM_ABI");
_Static_assert(sizeof(struct shm_slot) == 384, "shm_slot");
_Static_assert(sizeof(struct gate_cell) == 2 * SHM_LINE, "a cell is two cache lines");
_Static_assert(offsetof(struct shm_gate, line) == SHM_LINE, "used is on a line of its own");
_Static_assert(offsetof(struct shm_gate, limit) == 2 * SHM_LINE, "the line counter too");
_Static_assert(sizeof(struct shm_lease) == 152, "shm_lease");
_Static_assert(offsetof(struct shm_gate, cell) == 448, "cells begin on a line");
_Static_assert(sizeof(struct shm_window) == 512, "shm_window");
_Static_assert(offsetof(struct shm_window, limit) == 192, "shm_window");
_Static_assert(sizeof(struct shm_tokens) == 1216, "shm_tokens");
_Static_assert(sizeof(struct shm_standing) == 1536, "shm_standing");
_Static_assert(sizeof(struct shm_stats) == SHM_LINE, "shm_stats");
_Static_assert(sizeof(struct shm_cluster) == 3264, "shm_cluster");
_Static_assert(sizeof(struct shm_tally) == 196, "shm_tally");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
	"atomics must work between processes");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics are bare words");

/* A process's handle. */
struct shm {
	struct shm_header *header; /* where the segment is mapped */
	size_t bytes;
	char *path;
	dev_t dev; /* the file that `path` named when it was opened */
	ino_t ino;
	bool writable;
	bool adopted; /* another master's, so far */
	uint32_t slot; /* what shm_bind() said; SHM_MASTER at first */
	const int *wake_fds;
};

static inline void *shm_at(const struct shm *shm, uint64_t offset)
{
	return (char *)shm->header + offset;
}

/* These check the number (BUG): it comes from our own code. */
struct shm_slot *shm_slot_at(const struct shm *shm, unsigned slot);
struct shm_gate *shm_gate_at(const struct shm *shm, unsigned gate);
struct shm_window *shm_window_at(const struct shm *shm, unsigned window);
struct shm_standing *shm_standing_at(const struct shm *shm, unsigned provider);
struct shm_tokens *shm_tokens_at(const struct shm *shm, unsigned which);

static inline struct shm_cluster *shm_cluster_at(const struct shm *shm)
{
	return shm_at(shm, shm->header->cluster_at);
}

/* What lease_limit() is when there is a lease. */
uint64_t lease_limit_now(const struct shm_lease *lease, uint64_t configured);
/* Is more than this limit in sight? */
bool lease_grows(const struct shm_lease *lease, uint64_t limit, uint64_t configured);

/* The limit in force here and now. Without a cluster it costs a load from the line of the limit. */
static inline uint64_t lease_limit(const struct shm_lease *lease, uint64_t configured)
{
	if (!atomic_load_explicit(&lease->current, memory_order_relaxed))
		return configured;
	return lease_limit_now(lease, configured);
}

static inline struct shm_stats *shm_stats_at(const struct shm *shm)
{
	return shm_at(shm, shm->header->stats_at);
}

/* When a process started, in clock ticks since boot; 0: there is no such process, or it is dead. */
uint64_t shm_process_start(int pid);
/* A name into its SHM_NAME_BYTES; cut to fit. */
void shm_copy_name(char *to, const char *name);

/* Write the eventfd of a worker, so that its loop turns; harmless if nobody is there. */
void shm_wake(const struct shm *shm, unsigned slot);

#endif
