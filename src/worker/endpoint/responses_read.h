/* SPDX-License-Identifier: BSD-2-Clause */
/* responses_read.h - what the files that read a Responses request share; see responses_ask.h. */
#ifndef WORKER_ENDPOINT_RESPONSES_READ_H
#define WORKER_ENDPOINT_RESPONSES_READ_H

#include "base/base.h"
#include "worker/endpoint/responses_ask.h"

#define KIND_BOOL (1u << JSON_IS_BOOL)
#define KIND_NUMBER (1u << JSON_IS_NUMBER)
#define KIND_STRING (1u << JSON_IS_STRING)
#define KIND_OBJECT (1u << JSON_IS_OBJECT)
#define KIND_ARRAY (1u << JSON_IS_ARRAY)
#define KIND_ANY (~0u)

struct responses_reader {
	const char *text;
	struct responses_ask *ask;
	struct endpoint_error *e;
};

/* A member that an object may have. Kinds 0: it has to be null, and `wanted` says why. */
struct member_rule {
	const char *name;
	unsigned kinds;
	const char *wanted; /* the kinds in words */
};

/* Always false: `member` of the object at `path` ("" or "input[3]") is wrong: "'input[3].role' <fmt>". */
bool reader_fault(struct responses_reader *r, const char *path, const char *member, const char *fmt,
	...) PRINTF_LIKE(4, 5);
/*
 * Find the members of an object: values[i] is that of rules[i], "missing" also if it is null. False:
 * one is unknown, there twice, or of the wrong kind.
 */
bool reader_members(struct responses_reader *r, const char *path, const struct json_find *object,
	const struct member_rule *rules, unsigned n, struct json_find *values) MUST_CHECK;
/* Which of n words a string is; -1: none of them, or no string. */
int reader_word(const struct responses_reader *r, const struct json_find *value,
	const char *const *words, unsigned n);
/* Append a value as it stands, or `missing` in its place. */
void reader_copy(const struct responses_reader *r, struct buf *out, const struct json_find *value,
	const char *missing);
/* Append `,"name":value` unless the value is missing. */
void reader_member(const struct responses_reader *r, struct buf *out, const char *name,
	const struct json_find *value);
/* Append the inside of a string. */
void reader_inside(const struct responses_reader *r, struct buf *out, const struct json_find *string);

/* ---- the parts (each false on a fault) ---- */

/* responses_input.c: a string or an array of items becomes messages. */
bool reader_input(struct responses_reader *r, const struct json_find *input) MUST_CHECK;
/* responses_tools.c: tools, tool_choice and parallel_tool_calls. */
bool reader_tools(struct responses_reader *r, const struct json_find *tools,
	const struct json_find *choice, const struct json_find *parallel) MUST_CHECK;

#endif
