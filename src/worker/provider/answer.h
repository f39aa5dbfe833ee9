/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.h - the provider's answer: what kind it is, what of it goes to the asker,
 * and whether it is complete.
 *
 * A stream goes on as it comes; a document (any other 2xx) is collected, checked and
 * passed on whole; a refusal (not 2xx) is collected for on_end(). A stream's events are
 * looked into only when the bytes "usage", "error" or "finish_reason" occur in them.
 */
#ifndef WORKER_PROVIDER_ANSWER_H
#define WORKER_PROVIDER_ANSWER_H

#include "base/base.h"
#include "base/buf.h"
#include "shm/endings.h"
#include "worker/provider/sse.h"

#define ANSWER_EVENT_MAX_BYTES (4u << 20)
#define ANSWER_DOCUMENT_MAX_BYTES (16u << 20)
#define ANSWER_REFUSAL_MAX_BYTES (64u << 10)

struct provider_call;

enum answer_kind { ANSWER_NONE, ANSWER_STREAM, ANSWER_DOCUMENT, ANSWER_REFUSAL };

struct answer {
	enum answer_kind kind; /* known once the head is complete */
	int status;
	char *content_type;
	struct sse sse;
	struct buf body;	  /* a document, a refusal, or a stream's error event */
	/* With strip_usage: an unfinished event of earlier blocks; and of this block, what was not passed
	 * on yet, and where the last event ended. */
	struct buf held;
	const char *unpassed, *event_end;
	uint64_t events;	  /* of a stream */
	bool finished;		  /* a finish_reason was seen */
	bool done;		  /* "[DONE]", or the last event, was seen: what follows is ignored */
	bool error;		  /* the stream reported an error */
	const char *incomprehensible; /* why it is; NULL: it is not */
};

/* What becomes of a block of the body. */
enum answer_step {
	ANSWER_TAKEN,
	ANSWER_PAUSE, /* the asker has no room: the same block must come again */
	ANSWER_STOP,  /* no more is wanted, or it was cancelled: end the transfer */
};

/* The head is complete. content_type may be NULL. Calls on_head() for a stream. */
void answer_begin(struct provider_call *call, int status, const char *content_type);
MUST_CHECK enum answer_step answer_bytes(struct provider_call *call, const char *bytes, size_t len);
/*
 * How does a call end whose transfer ended so (END_COMPLETE: all of it came)? What the answer itself
 * said goes before what the connection did. *detail_r: why, or NULL, or as it was.
 */
enum ending answer_ending(struct provider_call *call, enum ending transfer, const char **detail_r);
/* A complete document goes to the asker: on_head(), on_bytes(). */
void answer_deliver(struct provider_call *call);
/* What a stream's error event says, decoded and cut to size; false if it says nothing. */
bool answer_error_text(const struct answer *answer, char *to, size_t size);
void answer_release(struct answer *answer);

#endif
