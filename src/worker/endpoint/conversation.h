/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conversation.h - what a WebSocket's user and the model have said so far.
 *
 * Kept are pairs: a user's turn with its answer, once the answer is complete; so what
 * fails or is cancelled leaves nothing behind, and of requests that run at once each
 * sees what was complete before it. Texts are kept as they stand in JSON, escaped,
 * and are never decoded. The oldest pairs go when it gets larger than its bound.
 */
#ifndef WORKER_ENDPOINT_CONVERSATION_H
#define WORKER_ENDPOINT_CONVERSATION_H

#include "base/base.h"
#include "base/buf.h"

struct conversation {
	TAILQ_HEAD(, conversation_pair) pairs; /* oldest first */
	size_t bytes;			       /* of their texts */
	size_t max_bytes;
};

/* A JSON string's inside: escaped, without quotes. */
struct conversation_text {
	const char *bytes;
	size_t len;
};

void conversation_init(struct conversation *talk, size_t max_bytes);
void conversation_release(struct conversation *talk);
/*
 * A turn is complete. The texts are copied; a pair that is larger than the bound is not
 * kept, and neither is one without an answer.
 */
void conversation_add(struct conversation *talk, struct conversation_text user,
	struct conversation_text assistant);
/*
 * Append the array of messages for a request: the system prompt (plain text, "": none), as many
 * of the newest pairs as the bound allows beside the user's text, and that text.
 */
void conversation_add_messages(const struct conversation *talk, const char *system_prompt,
	struct conversation_text user, struct buf *out);

#endif
