/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_reply.h - a response as it grows: what a chat completion says becomes items of its
 * output, and events that tell of them; at the end it is the response object.
 *
 * Texts stay as they came in the provider's JSON, escaped. A new item begins whenever something else
 * comes: reasoning, text, a refusal, a function call. Calls stay open to the end, since providers may
 * send their fragments in turns.
 */
#ifndef WORKER_ENDPOINT_RESPONSES_REPLY_H
#define WORKER_ENDPOINT_RESPONSES_REPLY_H

#include "base/base.h"
#include "base/buf.h"
#include "worker/endpoint/responses_ask.h"

/* The text of one response, which is kept until its end, may not be larger. */
#define REPLY_MAX_BYTES (4u << 20)
/* And may not have more items. */
#define REPLY_MAX_ITEMS 1024

enum reply_status { REPLY_RUNNING, REPLY_COMPLETED, REPLY_INCOMPLETE, REPLY_FAILED };

struct reply_usage {
	bool known;
	uint64_t input, cached, output, reasoning, total;
};

struct responses_reply {
	const struct responses_ask *ask; /* outlives it */
	const char *lane;		 /* stream_id of a WebSocket's lane, or NULL; outlives it */
	/* One event, a JSON object. NULL: nobody wants them. */
	void (*say)(void *arg, const char *type, const char *json, size_t len);
	void *arg;

	char id[RESPONSES_ID_BYTES];
	bool begun; /* the client knows it */
	enum reply_status status;
	const char *incomplete; /* why it is */
	uint64_t created_s, completed_s;
	uint64_t sequence; /* of the next event */
	TAILQ_HEAD(, reply_item) items;
	unsigned nitems;
	size_t bytes;		 /* of their texts */
	struct reply_item *open; /* the one that grows: any but a call */
	struct reply_usage usage;
	struct exchange_error error; /* of a failed one; its texts live as long as the call of reply_fail() */
};

/* ask, lane, say and arg are set, the rest is zero. */
void reply_init(struct responses_reply *reply);
void reply_release(struct responses_reply *reply);

/* "response.created" and "response.in_progress", once. */
void reply_begin(struct responses_reply *reply);
/* "response.in_progress" again: a sign of life. */
void reply_remind(struct responses_reply *reply);
/* One chunk of a stream; NULL, or why it is of no use. */
const char *reply_chunk(struct responses_reply *reply, const char *data, size_t len);
/* A whole chat completion; likewise. */
const char *reply_document(struct responses_reply *reply, const char *data, size_t len);
/* Nothing more comes: ends all items; "response.completed" or "response.incomplete". */
void reply_end(struct responses_reply *reply);
/* The same by an error: "response.failed". */
void reply_fail(struct responses_reply *reply, const struct exchange_error *error);

/* Append the response object. */
void reply_object(const struct responses_reply *reply, struct buf *out);
/* Append the assistant's message for a later request; nothing if there was neither text nor call. */
void reply_message(const struct responses_reply *reply, struct buf *out);

#endif
