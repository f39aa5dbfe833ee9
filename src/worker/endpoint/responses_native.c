/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_native.c - requests for a provider that has the Responses API itself. Over HTTP they pass
 * through as they are (chat_completions.c); a message on a WebSocket is taken apart here, because
 * its input is only what is new, and some of its members are for us. See responses_ask.h.
 */
#include "base/base.h"
#include "base/json_out.h"
#include "base/json_walk.h"
#include "conf/conf.h"
#include "worker/endpoint/responses_read.h"

bool responses_is_native(const char *text, size_t len)
{
	struct json_find model = { .path = "model" };
	struct endpoint_target target;

	return json_scan(text, len, ENDPOINT_JSON_DEPTH, &model, 1, NULL) &&
		endpoint_aim(text, &model, &target) &&
		endpoint.conf->providers[target.provider].responses == CONF_RESPONSES_NATIVE;
}

enum { TYPE, STREAM_ID, GENERATE, STREAM, BACKGROUND, MODEL, INPUT, PREVIOUS, CACHE, MAX_TOKENS, OURS };

/* What is not simply passed on. */
static const struct member_rule ours[OURS] = {
	[TYPE] = { "type", KIND_STRING, "a string" },
	[STREAM_ID] = { "stream_id", KIND_STRING, "a string" },
	[GENERATE] = { "generate", KIND_BOOL, "true or false" },
	[STREAM] = { "stream", KIND_BOOL, "true or false" },
	[BACKGROUND] = { "background", KIND_BOOL, "true or false" },
	[MODEL] = { "model", KIND_STRING, "a string" },
	[INPUT] = { "input", KIND_STRING | KIND_ARRAY, "a string or an array of items" },
	[PREVIOUS] = { "previous_response_id", KIND_STRING, "a string" },
	[CACHE] = { "prompt_cache_options", KIND_OBJECT, "an object" },
	[MAX_TOKENS] = { "max_output_tokens", KIND_NUMBER, "a whole number" },
};

static int rule_of(const struct responses_reader *r, const struct json_find *name)
{
	for (int i = 0; i < OURS; i++)
		if (json_find_equals(r->text, name, ours[i].name))
			return i;
	return -1;
}

/* Find ours; the others go into the options, in their order. */
static bool sort_members(struct responses_reader *r, const struct json_find *document, struct json_find *v)
{
	struct buf *out = &r->ask->options;
	struct json_find name, value;
	struct json_walk walk;

	json_walk_begin(&walk, r->text, document);
	while (json_walk_next(&walk, &name, &value)) {
		int i = rule_of(r, &name);

		if (i >= 0 && v[i].len)
			return reader_fault(r, "", ours[i].name, "is there twice");
		if (i >= 0 && value.kind != JSON_IS_NULL && !(ours[i].kinds & 1u << value.kind))
			return reader_fault(r, "", ours[i].name, "must be %s", ours[i].wanted);
		if (i >= 0)
			v[i] = value;
		if (i >= 0 && i < CACHE)
			continue;
		buf_adds(out, ",");
		reader_copy(r, out, &name, NULL);
		buf_adds(out, ":");
		reader_copy(r, out, &value, NULL);
	}
	for (unsigned i = 0; i < OURS; i++)
		if (v[i].kind == JSON_IS_NULL)
			v[i] = (struct json_find){ 0 };
	return true;
}

static void add_items(struct responses_reader *r, const struct json_find *input)
{
	struct buf *out = &r->ask->messages;
	struct json_find none, item;
	struct json_walk walk;

	if (input->kind == JSON_IS_STRING) {
		buf_adds(out, "{\"role\":\"user\"");
		reader_member(r, out, "content", input);
		buf_adds(out, "}");
		return;
	}
	json_walk_begin(&walk, r->text, input);
	while (json_walk_next(&walk, &none, &item)) {
		buf_adds(out, out->len ? "," : "");
		reader_copy(r, out, &item, NULL);
	}
}

/* The response to a warm-up is ours: it says no more than it must. */
static void add_echo(struct responses_ask *ask)
{
	buf_adds(&ask->echo, ",\"model\":");
	json_add_string(&ask->echo, ask->target.model, ask->target.model_len);
	buf_adds(&ask->echo, ",\"instructions\":null,\"metadata\":{},\"temperature\":null,\"top_p\":null,"
		"\"tools\":[],\"tool_choice\":\"auto\",\"parallel_tool_calls\":true");
}

bool responses_read_native(struct responses_ask *ask, const char *text, const struct json_find *document,
	struct endpoint_error *e)
{
	struct responses_reader r = { .text = text, .ask = ask, .e = e };
	struct json_find v[OURS] = { { 0 } }, prewarm;

	*ask = (struct responses_ask){ .native = true };
	if (!sort_members(&r, document, v))
		return false;
	if (!endpoint_aim(text, &v[MODEL], &ask->target))
		return reader_fault(&r, "", "model", "must be a string of less than %d bytes",
			ENDPOINT_MODEL_BYTES);
	if (json_find_true(text, &v[BACKGROUND]))
		return reader_fault(&r, "", "background", "must be false on a WebSocket");
	if (v[PREVIOUS].len && !json_find_copy(text, &v[PREVIOUS], ask->previous, sizeof(ask->previous)))
		return reader_fault(&r, "", "previous_response_id", "is too long");
	prewarm = json_walk_member(text, &v[CACHE], "prewarm");
	ask->warm_up = (v[GENERATE].len && !json_find_true(text, &v[GENERATE])) ||
		json_find_true(text, &prewarm);
	if (!json_find_uint(text, &v[MAX_TOKENS], &ask->max_tokens))
		ask->max_tokens = 0;
	add_items(&r, &v[INPUT]);
	add_echo(ask);
	return true;
}
