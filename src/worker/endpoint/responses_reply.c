/* SPDX-License-Identifier: BSD-2-Clause */
/* responses_reply.c - see responses_reply.h. */
#include "base/base.h"
#include "worker/endpoint/responses_reply.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/json_walk.h"
#include <sys/random.h>

enum item_kind { ITEM_TEXT, ITEM_REFUSAL, ITEM_REASONING, ITEM_CALL };

static const struct {
	const char *prefix; /* of the id */
	const char *part;   /* type of its only part; NULL: it has none */
	const char *member; /* the part's member that is the text */
	const char *event;  /* "response.<this>.delta", ".done" */
} kinds[] = {
	[ITEM_TEXT] = { "msg", "output_text", "text", "output_text" },
	[ITEM_REFUSAL] = { "msg", "refusal", "refusal", "refusal" },
	[ITEM_REASONING] = { "rs", "reasoning_text", "text", "reasoning_text" },
	[ITEM_CALL] = { "fc", NULL, "arguments", "function_call_arguments" },
};

struct reply_item {
	TAILQ_ENTRY(reply_item) entry;
	enum item_kind kind;
	char id[RESPONSES_ID_BYTES];
	unsigned number; /* output_index */
	uint64_t index;  /* of a call: the provider's */
	bool done;
	bool incomplete;
	struct buf text;       /* escaped; of a call: its arguments */
	struct buf call, name; /* of a call: its id and function, escaped */
	struct buf logprobs;   /* elements joined by commas */
};

static const char *const status_words[] = { "in_progress", "completed", "incomplete", "failed" };

static void make_id(char id[RESPONSES_ID_BYTES], const char *prefix)
{
	unsigned char random[24];
	size_t len = (size_t)snprintf(id, RESPONSES_ID_BYTES, "%s_", prefix);

	BUG_ON(getrandom(random, sizeof(random), 0) != sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		len += (size_t)snprintf(id + len, RESPONSES_ID_BYTES - len, "%02x", random[i]);
}

void reply_init(struct responses_reply *reply)
{
	TAILQ_INIT(&reply->items);
	make_id(reply->id, "resp");
	reply->created_s = (uint64_t)clock_wall_s();
}

void reply_release(struct responses_reply *reply)
{
	struct reply_item *item;

	while ((item = TAILQ_FIRST(&reply->items))) {
		TAILQ_REMOVE(&reply->items, item, entry);
		buf_release(&item->text);
		buf_release(&item->call);
		buf_release(&item->name);
		buf_release(&item->logprobs);
		free(item);
	}
}

/* ---- the objects -------------------------------------------------------------------- */

static void add_string(struct buf *out, const char *name, const struct buf *inside)
{
	buf_addf(out, ",\"%s\":\"", name);
	buf_add(out, inside->data, inside->len);
	buf_adds(out, "\"");
}

/* The part of an item, with its text or before there is any. */
static void add_part(struct buf *out, const struct reply_item *item, bool whole)
{
	static const struct buf nothing;

	buf_addf(out, "{\"type\":\"%s\"", kinds[item->kind].part);
	add_string(out, kinds[item->kind].member, whole ? &item->text : &nothing);
	if (item->kind == ITEM_TEXT) {
		buf_adds(out, ",\"annotations\":[],\"logprobs\":[");
		buf_add(out, item->logprobs.data, whole ? item->logprobs.len : 0);
		buf_adds(out, "]");
	}
	buf_adds(out, "}");
}

static void add_item(struct buf *out, const struct reply_item *item)
{
	enum reply_status status = !item->done	     ? REPLY_RUNNING
		: item->incomplete		     ? REPLY_INCOMPLETE
						     : REPLY_COMPLETED;

	buf_addf(out, "{\"id\":\"%s\",\"status\":\"%s\"", item->id, status_words[status]);
	if (item->kind == ITEM_CALL) {
		buf_adds(out, ",\"type\":\"function_call\"");
		add_string(out, "call_id", &item->call);
		add_string(out, "name", &item->name);
		add_string(out, "arguments", &item->text);
		buf_adds(out, "}");
		return;
	}
	buf_adds(out, item->kind == ITEM_REASONING ? ",\"type\":\"reasoning\",\"summary\":[]"
						   : ",\"type\":\"message\",\"role\":\"assistant\"");
	buf_adds(out, ",\"content\":[");
	if (item->done)
		add_part(out, item, true);
	buf_adds(out, "]}");
}

static void add_usage(struct buf *out, const struct reply_usage *usage)
{
	if (!usage->known)
		return;
	buf_addf(out,
		",\"usage\":{\"input_tokens\":%" PRIu64 ",\"input_tokens_details\":{\"cached_tokens\":%" PRIu64
		",\"cache_write_tokens\":0},\"output_tokens\":%" PRIu64
		",\"output_tokens_details\":{\"reasoning_tokens\":%" PRIu64 "},\"total_tokens\":%" PRIu64 "}",
		usage->input, usage->cached, usage->output, usage->reasoning,
		usage->total ? usage->total : usage->input + usage->output);
}

/* The causes are a closed list in the clients' types. */
static void add_error(struct buf *out, const struct responses_reply *reply)
{
	const struct ending_facts *facts = &ending_facts[reply->error.ending];
	const char *message = reply->error.message ? reply->error.message : facts->text;

	if (reply->status != REPLY_FAILED) {
		buf_adds(out, ",\"error\":null");
		return;
	}
	buf_addf(out, ",\"error\":{\"code\":\"%s\",\"message\":",
		facts->http == 429 ? "rate_limit_exceeded" : "server_error");
	json_add_string(out, message, strlen(message));
	buf_adds(out, "}");
}

void reply_object(const struct responses_reply *reply, struct buf *out)
{
	const struct reply_item *item;

	buf_addf(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%" PRIu64 ",\"status\":\"%s\"",
		reply->id, reply->created_s, status_words[reply->status]);
	if (reply->status == REPLY_COMPLETED)
		buf_addf(out, ",\"completed_at\":%" PRIu64, reply->completed_s);
	else
		buf_adds(out, ",\"completed_at\":null");
	add_error(out, reply);
	if (reply->status == REPLY_INCOMPLETE)
		buf_addf(out, ",\"incomplete_details\":{\"reason\":\"%s\"}", reply->incomplete);
	else
		buf_adds(out, ",\"incomplete_details\":null");
	buf_add(out, reply->ask->echo.data, reply->ask->echo.len);
	buf_adds(out, ",\"output\":[");
	TAILQ_FOREACH (item, &reply->items, entry) {
		/* A sign of life does not repeat what was said. */
		if (reply->status == REPLY_RUNNING)
			break;
		buf_adds(out, item->number ? "," : "");
		add_item(out, item);
	}
	buf_adds(out, "]");
	add_usage(out, &reply->usage);
	buf_adds(out, "}");
}

static void add_call(struct buf *out, const struct reply_item *item)
{
	buf_adds(out, "{\"type\":\"function\"");
	add_string(out, "id", &item->call);
	buf_adds(out, ",\"function\":{\"name\":\"");
	buf_add(out, item->name.data, item->name.len);
	buf_adds(out, "\"");
	add_string(out, "arguments", &item->text);
	buf_adds(out, "}}");
}

void reply_message(const struct responses_reply *reply, struct buf *out)
{
	const struct reply_item *item;
	bool text = false;
	unsigned calls = 0;

	TAILQ_FOREACH (item, &reply->items, entry) {
		text |= item->kind == ITEM_TEXT || item->kind == ITEM_REFUSAL;
		calls += item->kind == ITEM_CALL;
	}
	if (!text && !calls)
		return;
	buf_adds(out, "{\"role\":\"assistant\",\"content\":");
	buf_adds(out, text ? "\"" : "null");
	TAILQ_FOREACH (item, &reply->items, entry)
		if (item->kind == ITEM_TEXT || item->kind == ITEM_REFUSAL)
			buf_add(out, item->text.data, item->text.len);
	buf_adds(out, text ? "\"" : "");
	if (calls) {
		buf_adds(out, ",\"tool_calls\":[");
		TAILQ_FOREACH (item, &reply->items, entry)
			if (item->kind == ITEM_CALL) {
				add_call(out, item);
				buf_adds(out, --calls ? "," : "]");
			}
	}
	buf_adds(out, "}");
}

/* ---- the events ----------------------------------------------------------------------- */

/* Every event is put together here: no allocation per token. */
static struct buf event;
/* Beyond this its memory is given back after use. */
#define KEEP_BYTES (1u << 20)

static void event_begin(struct responses_reply *reply, const char *type)
{
	buf_clear(&event);
	buf_addf(&event, "{\"type\":\"%s\",\"sequence_number\":%" PRIu64, type, reply->sequence++);
	if (reply->lane)
		buf_addf(&event, ",\"stream_id\":\"%s\"", reply->lane);
}

static void event_end(struct responses_reply *reply, const char *type)
{
	buf_adds(&event, "}");
	reply->say(reply->arg, type, event.data, event.len);
	if (event.size > KEEP_BYTES)
		buf_release(&event);
}

static void say_response(struct responses_reply *reply, const char *type)
{
	if (!reply->say)
		return;
	event_begin(reply, type);
	buf_adds(&event, ",\"response\":");
	reply_object(reply, &event);
	event_end(reply, type);
}

static void say_item(struct responses_reply *reply, const struct reply_item *item, const char *type)
{
	if (!reply->say)
		return;
	event_begin(reply, type);
	buf_addf(&event, ",\"output_index\":%u,\"item\":", item->number);
	add_item(&event, item);
	event_end(reply, type);
}

/* What all events about an item's inside have. */
static void event_place(const struct reply_item *item)
{
	buf_addf(&event, ",\"item_id\":\"%s\",\"output_index\":%u", item->id, item->number);
	if (kinds[item->kind].part)
		buf_adds(&event, ",\"content_index\":0");
}

static void say_part(struct responses_reply *reply, const struct reply_item *item, const char *type,
	bool whole)
{
	if (!reply->say || !kinds[item->kind].part)
		return;
	event_begin(reply, type);
	event_place(item);
	buf_adds(&event, ",\"part\":");
	add_part(&event, item, whole);
	event_end(reply, type);
}

static void event_logprobs(const struct reply_item *item, size_t from)
{
	if (item->kind != ITEM_TEXT)
		return;
	buf_adds(&event, ",\"logprobs\":[");
	if (item->logprobs.len > from)
		buf_add(&event, item->logprobs.data + from, item->logprobs.len - from);
	buf_adds(&event, "]");
}

/* Of the item's logprobs, those behind `from` are this piece's. */
static void say_delta(struct responses_reply *reply, const struct reply_item *item, const char *text,
	size_t len, size_t from)
{
	char type[64];

	if (!reply->say)
		return;
	snprintf(type, sizeof(type), "response.%s.delta", kinds[item->kind].event);
	event_begin(reply, type);
	event_place(item);
	buf_adds(&event, ",\"delta\":\"");
	buf_add(&event, text, len);
	buf_adds(&event, "\"");
	event_logprobs(item, from);
	event_end(reply, type);
}

static void say_text(struct responses_reply *reply, const struct reply_item *item)
{
	char type[64];

	if (!reply->say)
		return;
	snprintf(type, sizeof(type), "response.%s.done", kinds[item->kind].event);
	event_begin(reply, type);
	event_place(item);
	if (item->kind == ITEM_CALL)
		add_string(&event, "name", &item->name);
	add_string(&event, kinds[item->kind].member, &item->text);
	event_logprobs(item, 0);
	event_end(reply, type);
}

void reply_begin(struct responses_reply *reply)
{
	if (reply->begun)
		return;
	reply->begun = true;
	say_response(reply, "response.created");
	say_response(reply, "response.in_progress");
}

void reply_remind(struct responses_reply *reply)
{
	say_response(reply, "response.in_progress");
}

/* ---- items ------------------------------------------------------------------------------ */

static struct reply_item *item_new(struct responses_reply *reply, enum item_kind kind)
{
	struct reply_item *item = xcalloc(1, sizeof(*item));

	item->kind = kind;
	item->number = reply->nitems++;
	make_id(item->id, kinds[kind].prefix);
	TAILQ_INSERT_TAIL(&reply->items, item, entry);
	return item;
}

static void item_end(struct responses_reply *reply, struct reply_item *item)
{
	if (item->done)
		return;
	say_text(reply, item);
	say_part(reply, item, "response.content_part.done", true);
	item->done = true;
	item->incomplete = reply->incomplete != NULL;
	say_item(reply, item, "response.output_item.done");
	if (reply->open == item)
		reply->open = NULL;
}

/* Add the elements of this chunk's array; where they begin. */
static size_t add_logprobs(struct buf *out, const char *data, const struct json_find *array)
{
	size_t from;

	if (!array || array->kind != JSON_IS_ARRAY || !memchr(data + array->offset, '{', array->len))
		return out->len;
	if (out->len)
		buf_adds(out, ",");
	from = out->len;
	buf_add(out, data + array->offset + 1, array->len - 2);
	responses_one_line(out->data + from, out->len - from);
	return from;
}

static void grow(struct responses_reply *reply, enum item_kind kind, const char *data,
	const struct json_find *text, const struct json_find *array)
{
	struct reply_item *item = reply->open;
	size_t from;

	if (text->kind != JSON_IS_STRING || text->len <= 2)
		return;
	if (item && item->kind != kind)
		item_end(reply, item);
	if (!reply->open) {
		item = reply->open = item_new(reply, kind);
		say_item(reply, item, "response.output_item.added");
		say_part(reply, item, "response.content_part.added", false);
	}
	buf_add(&item->text, data + text->offset + 1, text->len - 2);
	from = add_logprobs(&item->logprobs, data, array);
	reply->bytes += text->len + item->logprobs.len - from;
	say_delta(reply, item, data + text->offset + 1, text->len - 2, from);
}

/* ---- function calls ------------------------------------------------------------------------ */

static struct reply_item *find_call(struct responses_reply *reply, uint64_t index)
{
	struct reply_item *item;

	TAILQ_FOREACH (item, &reply->items, entry)
		if (item->kind == ITEM_CALL && item->index == index)
			return item;
	return NULL;
}

static void copy_inside(struct buf *out, const char *data, const struct json_find *string)
{
	if (string->kind == JSON_IS_STRING)
		buf_add(out, data + string->offset + 1, string->len - 2);
}

/* A call without an id (some servers give none) needs one: its output names it. */
static struct reply_item *call_new(struct responses_reply *reply, const char *data, uint64_t index,
	const struct json_find *id, const struct json_find *name)
{
	struct reply_item *item;
	char own[RESPONSES_ID_BYTES];

	if (reply->open)
		item_end(reply, reply->open);
	item = item_new(reply, ITEM_CALL);
	item->index = index;
	copy_inside(&item->call, data, id);
	if (!item->call.len) {
		make_id(own, "call");
		buf_adds(&item->call, own);
	}
	copy_inside(&item->name, data, name);
	buf_adds(&item->text, "");
	reply->bytes += item->call.len + item->name.len;
	say_item(reply, item, "response.output_item.added");
	return item;
}

/* The fragments of a chunk, or the calls of a whole answer; NULL, or why they are of no use. */
static const char *take_calls(struct responses_reply *reply, const char *data, const struct json_find *calls)
{
	struct json_find none, call;
	struct json_walk walk;

	json_walk_begin(&walk, data, calls);
	for (uint64_t i = 0; json_walk_next(&walk, &none, &call); i++) {
		struct json_find number = json_walk_member(data, &call, "index");
		struct json_find id = json_walk_member(data, &call, "id");
		struct json_find function = json_walk_member(data, &call, "function");
		struct json_find name = json_walk_member(data, &function, "name");
		struct json_find arguments = json_walk_member(data, &function, "arguments");
		uint64_t index = i;
		struct reply_item *item;

		if (!json_find_uint(data, &number, &index))
			index = i;
		item = find_call(reply, index);
		if (!item && reply->nitems >= REPLY_MAX_ITEMS)
			return "the answer has too many items";
		if (!item && (name.kind != JSON_IS_STRING || name.len <= 2))
			return "a function call without a name";
		if (!item)
			item = call_new(reply, data, index, &id, &name);
		if (arguments.kind != JSON_IS_STRING || arguments.len <= 2)
			continue;
		copy_inside(&item->text, data, &arguments);
		reply->bytes += arguments.len;
		say_delta(reply, item, data + arguments.offset + 1, arguments.len - 2, 0);
	}
	return NULL;
}

/* ---- what the provider says ------------------------------------------------------------------ */

enum {
	FIND_TEXT,
	FIND_REFUSAL,
	FIND_REASONING,
	FIND_REASONING_OLD,
	FIND_CALLS,
	FIND_FINISH,
	FIND_LOGPROBS,
	FIND_INPUT,
	FIND_OUTPUT,
	FIND_TOTAL,
	FIND_CACHED,
	FIND_THOUGHT,
	FIND_CHOICE,
	FINDS
};

/* The same of a chunk and of a whole answer. */
#define PATHS(inside)                                                                           \
	{ [FIND_TEXT] = { .path = "choices[0]." inside ".content" },                            \
		[FIND_REFUSAL] = { .path = "choices[0]." inside ".refusal" },                   \
		[FIND_REASONING] = { .path = "choices[0]." inside ".reasoning_content" },       \
		[FIND_REASONING_OLD] = { .path = "choices[0]." inside ".reasoning" },           \
		[FIND_CALLS] = { .path = "choices[0]." inside ".tool_calls" },                  \
		[FIND_FINISH] = { .path = "choices[0].finish_reason" },                         \
		[FIND_LOGPROBS] = { .path = "choices[0].logprobs.content" },                    \
		[FIND_INPUT] = { .path = "usage.prompt_tokens" },                               \
		[FIND_OUTPUT] = { .path = "usage.completion_tokens" },                          \
		[FIND_TOTAL] = { .path = "usage.total_tokens" },                                \
		[FIND_CACHED] = { .path = "usage.prompt_tokens_details.cached_tokens" },        \
		[FIND_THOUGHT] = { .path = "usage.completion_tokens_details.reasoning_tokens" }, \
		[FIND_CHOICE] = { .path = "choices[0]" } }

/* The last report counts: some providers give one with each chunk. */
static void take_usage(struct reply_usage *usage, const char *data, const struct json_find *found)
{
	if (json_find_uint(data, &found[FIND_INPUT], &usage->input))
		usage->known = true;
	if (json_find_uint(data, &found[FIND_OUTPUT], &usage->output))
		usage->known = true;
	if (!json_find_uint(data, &found[FIND_TOTAL], &usage->total))
		usage->total = 0;
	if (!json_find_uint(data, &found[FIND_CACHED], &usage->cached))
		usage->cached = 0;
	if (!json_find_uint(data, &found[FIND_THOUGHT], &usage->reasoning))
		usage->reasoning = 0;
}

static const char *take(struct responses_reply *reply, const char *data, const struct json_find *found)
{
	const struct json_find *reasoning = &found[FIND_REASONING];
	const char *why;

	if (reasoning->kind != JSON_IS_STRING)
		reasoning = &found[FIND_REASONING_OLD];
	grow(reply, ITEM_REASONING, data, reasoning, NULL);
	grow(reply, ITEM_TEXT, data, &found[FIND_TEXT], &found[FIND_LOGPROBS]);
	grow(reply, ITEM_REFUSAL, data, &found[FIND_REFUSAL], NULL);
	why = take_calls(reply, data, &found[FIND_CALLS]);
	if (json_find_equals(data, &found[FIND_FINISH], "length"))
		reply->incomplete = "max_output_tokens";
	else if (json_find_equals(data, &found[FIND_FINISH], "content_filter"))
		reply->incomplete = "content_filter";
	if (found[FIND_INPUT].len || found[FIND_OUTPUT].len)
		take_usage(&reply->usage, data, found);
	if (why)
		return why;
	if (reply->bytes > REPLY_MAX_BYTES || reply->nitems > REPLY_MAX_ITEMS)
		return "the answer is too large";
	return NULL;
}

const char *reply_chunk(struct responses_reply *reply, const char *data, size_t len)
{
	struct json_find found[FINDS] = PATHS("delta");

	if (!json_scan(data, len, ENDPOINT_JSON_DEPTH, found, FINDS, NULL))
		return "an event of the answer is not valid JSON";
	return take(reply, data, found);
}

const char *reply_document(struct responses_reply *reply, const char *data, size_t len)
{
	struct json_find found[FINDS] = PATHS("message");

	if (!json_scan(data, len, ENDPOINT_JSON_DEPTH, found, FINDS, NULL) ||
		found[FIND_CHOICE].kind != JSON_IS_OBJECT)
		return "the answer is no chat completion";
	return take(reply, data, found);
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void end_items(struct responses_reply *reply)
{
	struct reply_item *item;

	TAILQ_FOREACH (item, &reply->items, entry)
		item_end(reply, item);
}

void reply_end(struct responses_reply *reply)
{
	end_items(reply);
	reply->status = reply->incomplete ? REPLY_INCOMPLETE : REPLY_COMPLETED;
	reply->completed_s = (uint64_t)clock_wall_s();
	say_response(reply, reply->incomplete ? "response.incomplete" : "response.completed");
}

void reply_fail(struct responses_reply *reply, const struct exchange_error *error)
{
	struct reply_item *item;

	/* What was said stays said, and was not all. */
	TAILQ_FOREACH (item, &reply->items, entry) {
		item->incomplete |= !item->done;
		item->done = true;
	}
	reply->status = REPLY_FAILED;
	reply->error = *error;
	say_response(reply, "response.failed");
}
