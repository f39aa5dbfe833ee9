/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * delta.h - what a chunk of a chat completion brings: the parts of choices[0].delta.
 *
 * The chunks of a stream are alike but for a few bytes of text. So a reader remembers what stood around the
 * text of the last one: a chunk that has the same bytes there, and between them what may stand in a JSON
 * string, is the same document with another text, and need not be parsed. What is read is the same.
 */
#ifndef ENDPOINT_DELTA_H
#define ENDPOINT_DELTA_H

#include "base/base.h"
#include "base/buf.h"
#include "worker/endpoint/conversation.h"

enum delta_part {
	DELTA_TEXT, /* the inside of a JSON string, escaped as the provider did; the others are JSON values */
	DELTA_TOOL_CALLS,
	DELTA_REFUSAL,
	DELTA_REASONING,
	DELTA_PARTS
};

/* As which type of chunk each goes on to a client. */
extern const char *const delta_types[DELTA_PARTS];

/* Zero it to begin. */
struct delta_reader {
	struct buf around; /* the last chunk without its text; empty: it was not of that kind */
	size_t before;	   /* so much of it stood before the text */
};

/* Parts that a chunk does not have, or that say nothing, are of length 0. They lie in the chunk. */
struct delta {
	struct conversation_text part[DELTA_PARTS];
};

/* False: the chunk is not valid JSON. */
MUST_CHECK bool delta_read(struct delta_reader *reader, const char *chunk, size_t len, struct delta *delta_r);
void delta_release(struct delta_reader *reader);

#endif
