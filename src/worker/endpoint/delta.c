/* SPDX-License-Identifier: BSD-2-Clause */
/* delta.c - see delta.h. */
#include "base/base.h"
#include "worker/endpoint/delta.h"

#include "base/json_scan.h"
#include "worker/endpoint/apps.h"

/* What is remembered of a chunk; larger ones are parsed each time. */
#define AROUND_MAX_BYTES 2048

const char *const delta_types[DELTA_PARTS] = { "text", "tool_calls", "refusal", "reasoning" };
static const char *const paths[DELTA_PARTS] = { "content", "tool_calls", "refusal", "reasoning_content" };

/* The text of a chunk that is as the last one was. False: it is not. */
static bool read_alike(
	const struct delta_reader *reader, const char *chunk, size_t len, struct conversation_text *text_r)
{
	const char *after = reader->around.data + reader->before;
	size_t around = reader->around.len, rest = around - reader->before;

	if (!around || len < around)
		return false;
	*text_r = (struct conversation_text){ chunk + reader->before, len - around };
	return !memcmp(chunk, reader->around.data, reader->before) &&
		!memcmp(chunk + len - rest, after, rest) &&
		json_plain_run(text_r->bytes, text_r->len) == text_r->len;
}

/* A chunk of text and nothing else: the next one may be alike. */
static void remember(struct delta_reader *reader, const char *chunk, size_t len, const struct delta *delta)
{
	const struct conversation_text *text = &delta->part[DELTA_TEXT];
	bool only_text = text->len > 0;

	buf_clear(&reader->around);
	for (size_t i = DELTA_TEXT + 1; i < DELTA_PARTS; i++)
		only_text &= !delta->part[i].len;
	if (!only_text || len - text->len > AROUND_MAX_BYTES)
		return;
	reader->before = (size_t)(text->bytes - chunk);
	buf_add(&reader->around, chunk, reader->before);
	buf_add(&reader->around, text->bytes + text->len, len - reader->before - text->len);
}

static bool says_something(const struct json_find *found)
{
	return found->kind != JSON_IS_MISSING && found->kind != JSON_IS_NULL && found->len > 2;
}

bool delta_read(struct delta_reader *reader, const char *chunk, size_t len, struct delta *delta_r)
{
	struct json_find delta = { .path = "choices[0].delta" }, found[DELTA_PARTS];
	const char *data;

	*delta_r = (struct delta){ 0 };
	if (read_alike(reader, chunk, len, &delta_r->part[DELTA_TEXT]))
		return true;
	*delta_r = (struct delta){ 0 };
	for (size_t i = 0; i < DELTA_PARTS; i++)
		found[i].path = paths[i];
	if (!json_scan(chunk, len, ENDPOINT_JSON_DEPTH, &delta, 1, NULL))
		return false;
	data = chunk + delta.offset; /* the few members of it cost less by themselves */
	if (delta.kind == JSON_IS_OBJECT &&
		json_scan(data, delta.len, ENDPOINT_JSON_DEPTH, found, DELTA_PARTS, NULL)) {
		for (size_t i = 0; i < DELTA_PARTS; i++)
			if (says_something(&found[i]))
				delta_r->part[i] = (struct conversation_text){ data + found[i].offset, found[i].len };
		if (found[DELTA_TEXT].kind == JSON_IS_STRING && says_something(&found[DELTA_TEXT])) {
			delta_r->part[DELTA_TEXT].bytes++;
			delta_r->part[DELTA_TEXT].len -= 2;
		} else {
			delta_r->part[DELTA_TEXT] = (struct conversation_text){ 0 };
		}
	}
	remember(reader, chunk, len, delta_r);
	return true;
}

void delta_release(struct delta_reader *reader)
{
	buf_release(&reader->around);
}
