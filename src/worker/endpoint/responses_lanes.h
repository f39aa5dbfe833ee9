/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_lanes.h - what a WebSocket at /v1/responses knows of its lanes: what waits in each of
 * them, and the conversation behind each one's latest response.
 *
 * A conversation is kept as messages for chat completions (or items, for a provider that has the
 * Responses API itself), joined by commas. Those of all lanes
 * together have a bound; beyond it the one that was of use longest ago is forgotten, and its client
 * told "previous_response_not_found", upon which it sends the whole conversation again.
 */
#ifndef WORKER_ENDPOINT_RESPONSES_LANES_H
#define WORKER_ENDPOINT_RESPONSES_LANES_H

#include "base/base.h"
#include "base/buf.h"
#include "worker/endpoint/responses_ask.h"

#define LANES_MAX 32	  /* named ones, over the life of a socket */
#define LANE_NAME_MAX 256 /* bytes of a stream_id */
#define LANES_WAITING_MAX 64 /* messages that wait on a socket */

/* A message that waits for its turn. */
struct lane_message {
	TAILQ_ENTRY(lane_message) entry;
	uint64_t number; /* by arrival, on the socket */
	size_t len;
	char text[];
};

struct lane {
	TAILQ_ENTRY(lane) entry;
	char name[LANE_NAME_MAX + 1];		/* "": the default lane */
	bool busy;				/* a response of it is running */
	TAILQ_HEAD(, lane_message) waiting;
	char latest[RESPONSES_ID_BYTES];	/* id of the response that is remembered; "": none */
	bool native;				/* its talk is items, not messages */
	struct buf talk;			/* all that was said up to it and in it */
	uint64_t used;				/* when that was last of use, as a number */
};

struct lanes {
	TAILQ_HEAD(, lane) all;
	unsigned named;
	unsigned waiting;
	size_t waiting_bytes;
	uint64_t numbers; /* the last one given out */
	size_t talk_bytes;
	size_t talk_max;
};

void lanes_init(struct lanes *lanes, size_t talk_max_bytes);
void lanes_release(struct lanes *lanes);
/* The lane of that name, which may be new. NULL: there are too many already. */
struct lane *lanes_get(struct lanes *lanes, const char *name);
/* A message waits in its lane. */
void lanes_wait(struct lanes *lanes, struct lane *lane, const char *text, size_t len);
/* The next whose lane is not busy, in the order of arrival; NULL: none. The caller frees it. */
struct lane_message *lanes_next(struct lanes *lanes, struct lane **lane_r);
/* The lane whose latest response has this id; NULL: it is not known. */
struct lane *lanes_find(struct lanes *lanes, const char *id);
/* The lane's latest response; the talk is taken over (and is empty then). */
void lanes_remember(struct lanes *lanes, struct lane *lane, const char *id, bool native, struct buf *talk);
void lanes_forget(struct lanes *lanes, struct lane *lane);

#endif
