/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.h - what is said between a node and lease.lua: a request as arguments, a reply as numbers that were checked. */
#ifndef CLUSTER_WIRE_H
#define CLUSTER_WIRE_H

#include "base/base.h"

#define WIRE_EPOCH_BYTES 40
#define WIRE_WHY_BYTES 256
#define WIRE_NUMBER_MOST (1ull << 52) /* what a double of Lua holds exactly, with room */

struct redisReply;

/* One limit of a request. */
struct wire_ask {
	const char *name;
	bool memory; /* what was used counts for a window longer */
	uint64_t configured, hold, want;
	uint64_t guaranteed; /* what this node would rise to, were this request lost */
};

struct wire_request {
	const char *incarnation, *node, *epoch, *new_epoch, *run;
	uint64_t call, nodes, ttl_ms;
	double share;
	bool draining;
	uint64_t number;      /* from the greeting in this epoch; 0: there was none, or it is long known */
	uint64_t q, sigma[2]; /* by `memory` */
	int64_t rho;	      /* -1: none */
	const struct wire_ask *ask;
	unsigned nasks;
};

/* The arguments of EVALSHA behind its key, and their lengths. */
struct wire_args {
	char **text;
	size_t *len;
	unsigned count;
};
void wire_build(const struct wire_request *request, struct wire_args *args);
void wire_release(struct wire_args *args);

enum wire_status { WIRE_OK, WIRE_HELLO, WIRE_STALE, WIRE_SUPERSEDED, WIRE_REFUSED, WIRE_NOT_LOADED, WIRE_BROKEN };

struct wire_grant {
	uint64_t lease, target, limit, guaranteed;
	bool contended, mismatch;
};

struct wire_reply {
	enum wire_status status;
	char epoch[WIRE_EPOCH_BYTES]; /* HELLO: the one that there is */
	char why[WIRE_WHY_BYTES];     /* REFUSED, BROKEN: in words */
	uint64_t seq;		      /* OK, HELLO */
	bool again;
	unsigned members, nodes;
	struct wire_grant *grant; /* as many as were asked for; OK only */
	unsigned ngrants;
};
/*
 * Take a reply apart; nothing in it is trusted. NULL: there was none. BROKEN: it is not what lease.lua
 * says to a request of `nasks` limits. NOT_LOADED: the server does not know the script yet.
 */
void wire_parse(const struct redisReply *from, unsigned nasks, struct wire_reply *reply);
void wire_reply_release(struct wire_reply *reply);

#endif
