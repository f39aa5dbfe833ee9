/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * late_json.c - see late_json.h. Some servers ignore "stream": true; their answer comes whole,
 * and late. A client that got a keep-alive comment meanwhile can only be told by events.
 */
#include "base/base.h"
#include "worker/endpoint/late_json.h"
#include "base/json_scan.h"
#include "worker/endpoint/apps.h"

enum { MESSAGE, TEXT, SECOND, FINISH, ID, CREATED, MODEL, USAGE, FINDS };

static void add_member(struct buf *out, const char *name, const char *answer,
	const struct json_find *value)
{
	if (value->kind == JSON_IS_MISSING)
		return;
	buf_addf(out, ",\"%s\":", name);
	buf_add(out, answer + value->offset, value->len);
}

/* The message of a chat completion becomes the delta of a chunk. */
static void add_chunk(struct buf *out, const char *answer, const struct json_find *found)
{
	buf_adds(out, "{\"object\":\"chat.completion.chunk\"");
	add_member(out, "id", answer, &found[ID]);
	add_member(out, "created", answer, &found[CREATED]);
	add_member(out, "model", answer, &found[MODEL]);
	buf_adds(out, ",\"choices\":[{\"index\":0");
	add_member(out, "delta", answer, &found[MESSAGE]);
	add_member(out, "finish_reason", answer, &found[FINISH]);
	buf_adds(out, "}]");
	add_member(out, "usage", answer, &found[USAGE]);
	buf_adds(out, "}");
}

/* An event's data is one line; in JSON, line ends are but space. */
static void join_lines(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n' || text[i] == '\r')
			text[i] = ' ';
}

bool late_json_events(const char *answer, size_t len, struct buf *out)
{
	struct json_find found[FINDS] = { [MESSAGE] = { .path = "choices[0].message" },
		[TEXT] = { .path = "choices[0].text" }, [SECOND] = { .path = "choices[1]" },
		[FINISH] = { .path = "choices[0].finish_reason" }, [ID] = { .path = "id" },
		[CREATED] = { .path = "created" }, [MODEL] = { .path = "model" },
		[USAGE] = { .path = "usage" } };
	size_t start;

	if (!json_scan(answer, len, ENDPOINT_JSON_DEPTH, found, FINDS, NULL) ||
		found[SECOND].kind != JSON_IS_MISSING ||
		(found[MESSAGE].kind != JSON_IS_OBJECT && found[TEXT].kind != JSON_IS_STRING))
		return false;
	buf_adds(out, "data: ");
	start = out->len;
	if (found[MESSAGE].kind == JSON_IS_OBJECT)
		add_chunk(out, answer, found);
	else
		buf_add(out, answer, len); /* whole and in parts, text completions look alike */
	join_lines(out->data + start, out->len - start);
	buf_adds(out, "\n\ndata: [DONE]\n\n");
	return true;
}
