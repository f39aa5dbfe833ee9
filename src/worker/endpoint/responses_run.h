/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_run.h - one response that is being made: the provider call below it, the events that come
 * of it, and signs of life while it is silent. On HTTP there is one to a request, on a WebSocket
 * there are several.
 *
 * Ownership: the owner (responses.c, responses_ws.c) embeds the run and releases it, at any time
 * but from inside on_refused(). The run owns its call.
 */
#ifndef WORKER_ENDPOINT_RESPONSES_RUN_H
#define WORKER_ENDPOINT_RESPONSES_RUN_H

#include "base/base.h"
#include "base/buf.h"
#include "base/defer.h"
#include "worker/endpoint/responses_ask.h"
#include "worker/endpoint/responses_reply.h"

struct event;
struct responses_run;

struct responses_owner {
	/* One event for the client. NULL: it wants the whole response at the end. */
	void (*say)(struct responses_run *run, const char *type, const char *json, size_t len);
	/* It failed before "response.created" went out. result: how the call ended; NULL: the error is ours. */
	void (*on_refused)(struct responses_run *run, const struct exchange_error *error,
		const struct provider_result *result);
	/* It is over and the client knows it, but for who wants the whole of it. May release the run. */
	void (*on_end)(struct responses_run *run, enum ending ending);
};

struct responses_run {
	const struct responses_owner *owner;
	struct exchange *x;
	struct exchange_note *note; /* for the access log: the exchange's, or one of the owner's */
	struct responses_ask ask;
	struct responses_reply reply;
	struct provider_call *call; /* NULL once it has ended */
	struct event *keepalive;    /* of one that says events */
	uint64_t heard_ms;	    /* when the client last got an event */
	bool plain;		    /* the provider answers with one document: */
	struct buf document;	    /* of a native one that is complete: its output, items joined by commas */
	const char *broken; /* why the answer cannot be used: ends at the end of the turn */
	struct defer give_up;
};

/*
 * Start the call. owner, x, note and ask are set and the rest is zero; before: see responses_request(). lane: as in
 * struct responses_reply.
 */
void run_start(struct responses_run *run, const char *lane, const char *before, size_t len);
/* Without a call: "created", "in_progress" and "completed" with nothing in it. */
void run_warm_up(struct responses_run *run, const char *lane);
void run_release(struct responses_run *run);

#endif
