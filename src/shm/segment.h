/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment.h - the one piece of memory that all processes of headgate share.
 *
 * A file in the run directory, mapped shared. The master makes it before it forks;
 * workers inherit the mapping; tools attach read-only by name. Its layout is in
 * layout.h (private to this room) and drawn in doc/shm-layout.md. Nothing in it is
 * a pointer; `ready` is stored last.
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include "base/base.h"

#define SHM_NAME_BYTES 96
#define SHM_LAST_WORDS_BYTES 256

struct shm; /* a process's handle on the segment */

struct shm_gate_spec {
	const char *name; /* the configuration path of its limit */
	uint64_t limit;
};
struct shm_window_spec {
	const char *name;
	uint32_t limit;	    /* 0: none */
	uint32_t window_ms; /* 60000 */
};
/* A key of clients and its caps; 0: none. */
struct shm_client_spec {
	const char *name;
	uint64_t max_connections;
	uint64_t concurrent_requests;
	uint32_t requests_per_minute;
	uint64_t tokens_per_minute;
};
/* What the master wants in the segment; texts are copied. */
struct shm_spec {
	unsigned nslots; /* worker slots, 1..128 */
	unsigned ngates;
	const struct shm_gate_spec *gates;
	unsigned nwindows;
	const struct shm_window_spec *windows;
	unsigned nproviders;
	const char *const *providers; /* names, for statistics */
	/* Room for providers that a reload adds, each with three gates and a window such as this one. */
	unsigned spare_providers;
	struct shm_window_spec spare_window;
	uint64_t pending;	      /* connections that are not admitted */
	unsigned nclients;
	const struct shm_client_spec *clients;
	unsigned client_room; /* keys that there shall be room for, also by a reload */
	uint32_t client_window_ms; /* of requests_per_minute and tokens_per_minute */
};

/*
 * The fixed places of the gates, windows and token counts, so that all rooms agree:
 * gate 0 is the house (max_connections); provider p has three gates, for permits, for sockets and
 * for those sockets that are idle, one window, and one count of tokens.
 */
#define SHM_GATE_PLACES 0u
#define SHM_GATE_PROVIDER(p) (1u + 3 * (p))
#define SHM_GATE_POOL(p) (2u + 3 * (p))
#define SHM_GATE_IDLE(p) (3u + 3 * (p))
#define SHM_GATES(nproviders) (1u + 3 * (nproviders))
#define SHM_WINDOW_PROVIDER(p) (p)
#define SHM_TOKENS_PROVIDER(p) (p)
/*
 * Numbers of the house's own, which do not depend on how many providers there are: pending
 * connections; key k of clients has two gates (one of its own connections, one of requests), a window, and a
 * count of tokens. A gate that does not limit has SHM_NO_LIMIT.
 */
#define SHM_HOUSE 0x10000u
#define SHM_GATE_PENDING SHM_HOUSE
#define SHM_GATE_CLIENT_PLACES(k) (SHM_HOUSE + 1 + 2 * (k))
#define SHM_GATE_CLIENT_REQUESTS(k) (SHM_HOUSE + 2 + 2 * (k))
#define SHM_WINDOW_CLIENT(k) (SHM_HOUSE + (k))
#define SHM_TOKENS_CLIENT(k) (SHM_HOUSE + (k))
#define SHM_NO_LIMIT (1ull << 32)

/*
 * Make the file `path` (mode 0640, replacing an old one that no living master owns) and map it.
 * NULL: error_r (>= 256 bytes) says why.
 */
struct shm *shm_create(const char *path, const struct shm_spec *spec, char *error_r);
/*
 * The same, also where a living master owns the old file (it goes on with its mapping): for the
 * new binary of an upgrade whose layout differs.
 */
struct shm *shm_replace(const char *path, const struct shm_spec *spec, char *error_r);
/*
 * The segment of a living master, for the new binary of an upgrade with the same layout: both
 * work with it until the old one has left. It stays the old one's until shm_own(). NULL: error_r says
 * why not.
 */
struct shm *shm_adopt(const char *path, char *error_r);
bool shm_is_adopted(const struct shm *shm);
/* This process is its master from now on. */
void shm_own(struct shm *shm);
/*
 * While two masters share a segment, one at a time may write what is the master's (limits, what dead
 * workers held). Waits up to timeout_ms for the other; one that died has no lock. False: it is busy still.
 */
bool shm_master_lock(struct shm *shm, unsigned timeout_ms) MUST_CHECK;
void shm_master_unlock(struct shm *shm);

/*
 * One process at a time may store leases (shm/lease.h), whoever the master is: a descriptor that it keeps, and with whose last copy its
 * right ends, however it dies. -EWOULDBLOCK: another process has it; -ENOENT: the segment's file is gone; another -errno.
 */
int shm_claim_leases(const struct shm *shm) MUST_CHECK;

/* Attach read-only; refuses politely what is not ready, of another ABI or layout. */
struct shm *shm_attach(const char *path, char *error_r);
/* Unmap; the maker (the master) passes true to remove the file as well. */
void shm_close(struct shm *shm, bool remove);

/*
 * After fork: this process is the worker in `slot`, wake_fds[i] is the eventfd of slot i (kept by
 * reference). Binds statistics and last words too. The master calls it with slot = SHM_MASTER, the cluster's
 * agent with SHM_AGENT.
 */
#define SHM_MASTER UINT32_MAX
#define SHM_AGENT (UINT32_MAX - 1)
void shm_bind(struct shm *shm, uint32_t slot, const int *wake_fds);

/*
 * Let all other workers look at their gates: for who waits for what they could give up. Writes
 * their wake descriptors.
 */
void shm_wake_all(const struct shm *shm);

/*
 * Master: provider number `place` is this one from now on. A place that is new (shm_nproviders()
 * so far), or whose provider no process uses any more: statistics, windows and what was learnt begin
 * anew. False: there is no such place, or no room for its window.
 */
struct shm_provider_spec {
	const char *name;
	struct shm_gate_spec gates[3]; /* in the order of SHM_GATE_PROVIDER, _POOL, _IDLE */
	struct shm_window_spec window;
};
bool shm_provider_install(struct shm *shm, unsigned place, const struct shm_provider_spec *spec) MUST_CHECK;
/* How many providers there is room for. */
unsigned shm_provider_room(const struct shm *shm);
/* The highest limit that this window can be given. */
uint32_t shm_window_room(const struct shm *shm, unsigned window);

unsigned shm_nslots(const struct shm *shm);
unsigned shm_ngates(const struct shm *shm);
unsigned shm_nwindows(const struct shm *shm);
unsigned shm_nproviders(const struct shm *shm);
const char *shm_gate_name(const struct shm *shm, unsigned gate);
const char *shm_window_name(const struct shm *shm, unsigned window);
const char *shm_provider_name(const struct shm *shm, unsigned provider);
unsigned shm_nclients(const struct shm *shm);
/* How many keys there is room for. */
unsigned shm_client_room(const struct shm *shm);
const char *shm_client_name(const struct shm *shm, unsigned place);
/* Master: the key at `place` (one that was used before, or the next) is this one from now on. False: no room. */
bool shm_client_install(struct shm *shm, unsigned place, const struct shm_client_spec *spec) MUST_CHECK;
int shm_master_pid(const struct shm *shm);
/* clock_ms() at which the master made the segment. */
uint64_t shm_started_ms(const struct shm *shm);
/* False when the master that made it no longer runs (pid and start time are compared). */
bool shm_master_alive(const struct shm *shm);

/* ---- worker slots ---- */
enum slot_state { SLOT_EMPTY, SLOT_STARTING, SLOT_READY, SLOT_DRAINING };
/* "empty", "starting", ...: what /health and the tools call it. */
const char *shm_slot_state_name(enum slot_state state);
struct slot_reading {
	enum slot_state state;
	int pid;
	unsigned generation;	/* how many lives this slot has had */
	uint64_t started_ms;	/* clock_ms() */
	uint64_t heartbeat_ms;	/* clock_ms() of the last beat */
	unsigned door;		/* the share of the listening sockets that it accepts from */
	unsigned conf_generation; /* whose configuration it has */
};
void shm_slot_read(const struct shm *shm, unsigned slot, struct slot_reading *r);
/* Master: a new life begins in this (empty) slot; returns its generation (first is 1). */
unsigned shm_slot_claim(struct shm *shm, unsigned slot, uint64_t now_ms);
/* Master, before the fork: which door it stands at, with the configuration of which generation. */
void shm_slot_set_duty(struct shm *shm, unsigned slot, unsigned door, unsigned conf_generation);
/* Master, after fork; and the worker, which may be ready before its master goes on. */
void shm_slot_set_pid(struct shm *shm, unsigned slot, int pid);
/* Worker. */
void shm_slot_set_state(struct shm *shm, unsigned slot, enum slot_state state);
void shm_slot_beat(struct shm *shm, unsigned slot, uint64_t now_ms);
/* What the worker said before it died ("" if nothing); lives until the next claim. */
const char *shm_slot_last_words(const struct shm *shm, unsigned slot);
/* True for a slot in use whose process runs no more, and was not reclaimed. */
bool shm_slot_is_orphaned(const struct shm *shm, unsigned slot);
/*
 * True when a worker is ready and every slot in use has beaten within max_age_ms (a claim counts
 * as a beat, so a worker that starts has that long).
 */
bool shm_hearts_beat(const struct shm *shm, uint64_t now_ms, uint64_t max_age_ms);
/* True once the master set it: no new work is taken. */
bool shm_draining(const struct shm *shm);
void shm_set_draining(struct shm *shm);

/* ---- reload ---- */
/* The generation of workers that serves; the first is 1. The master sets it. */
unsigned shm_generation(const struct shm *shm);
void shm_set_generation(struct shm *shm, unsigned generation);

enum reload_result { RELOAD_NEVER, RELOAD_GOOD, RELOAD_FAILED };
struct reload_reading {
	enum reload_result result; /* of the last one */
	uint64_t at_ms;		   /* clock_ms() */
	uint64_t good, failed;	   /* how many there were */
	char text[160];		   /* why it failed, or what it did; cut to fit */
};
/* Master: a reload ended so. */
void shm_reload_note(struct shm *shm, bool good, const char *text);
void shm_reload_read(const struct shm *shm, struct reload_reading *r);

#endif
