/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * link.h - the connection to Redis: it is made again whenever it is lost, and nothing on it may take longer than a
 * time-out, after which it counts as lost (hiredis has none of its own).
 */
#ifndef CLUSTER_LINK_H
#define CLUSTER_LINK_H

#include "base/base.h"

#define LINK_RUN_BYTES 136

struct conf;
struct event_base;
struct link;
struct redisReply;
struct wire_args;

struct link_events {
	/*
	 * Commands can be sent; run tells this server and its data from others: its run_id changes whenever it is started, and its
	 * replication id when it becomes a master, with data that may be older.
	 */
	void (*up)(void *arg, const char *run);
	/* No more: why. A command that was under way has no answer. */
	void (*down)(void *arg, const char *why);
	/* The answer to the last command. */
	void (*answered)(void *arg, const struct redisReply *reply);
};

/* Begins to connect. Any time-out is timeout_ms. The configuration stays the caller's. */
struct link *link_open(struct event_base *base, const struct conf *conf, unsigned timeout_ms,
	const struct link_events *events, void *arg);
void link_close(struct link *link);
/* What it answers is of no use. Connect anew, after a while: it may be another server by then. Events: down. */
void link_again(struct link *link, const char *why);
/*
 * Run lease.lua with these arguments; by its hash, or as a whole where the server is to learn it. One command
 * at a time, and only while it is up.
 */
void link_eval(struct link *link, const struct wire_args *args, bool whole);

#endif
