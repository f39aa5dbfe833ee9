/* SPDX-License-Identifier: BSD-2-Clause */
/* responses_ask.c - see responses_ask.h. What a request may say is in responses_params.def. */
#include "base/base.h"
#include "worker/endpoint/responses_ask.h"
#include "base/json_out.h"
#include "base/json_walk.h"
#include "conf/conf.h"
#include "worker/endpoint/responses_read.h"

enum fate { FATE_OWN, FATE_COPY, FATE_ECHO, FATE_NEVER, FATE_SOCKET };

enum param {
#define PARAM(symbol, name, kinds, wanted, fate) PARAM_##symbol,
#include "worker/endpoint/responses_params.def"
#undef PARAM
	PARAMS
};

static const struct member_rule param_rules[PARAMS] = {
#define PARAM(symbol, name, kinds, wanted, fate) { name, kinds, wanted },
#include "worker/endpoint/responses_params.def"
#undef PARAM
};

static const enum fate param_fates[PARAMS] = {
#define PARAM(symbol, name, kinds, wanted, fate) FATE_##fate,
#include "worker/endpoint/responses_params.def"
#undef PARAM
};

/* ---- the reader --------------------------------------------------------------------- */

bool reader_fault(struct responses_reader *r, const char *path, const char *member, const char *fmt,
	...)
{
	char what[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(r->ask->param, sizeof(r->ask->param), "%s%s%s", path, path[0] && member ? "." : "",
		member ? member : "");
	endpoint_fault(r->e, END_BAD_REQUEST, r->ask->param, "'%s' %s", r->ask->param, what);
	return false;
}

static int rule_of(const struct responses_reader *r, const struct json_find *name,
	const struct member_rule *rules, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (json_find_equals(r->text, name, rules[i].name))
			return (int)i;
	return -1;
}

bool reader_members(struct responses_reader *r, const char *path, const struct json_find *object,
	const struct member_rule *rules, unsigned n, struct json_find *values)
{
	struct json_find name, value;
	struct json_walk walk;
	char unknown[80];

	for (unsigned i = 0; i < n; i++)
		values[i] = (struct json_find){ 0 };
	json_walk_begin(&walk, r->text, object);
	while (json_walk_next(&walk, &name, &value)) {
		int i = rule_of(r, &name, rules, n);

		if (i < 0) {
			if (!json_find_copy(r->text, &name, unknown, sizeof(unknown)))
				snprintf(unknown, sizeof(unknown), "?");
			return reader_fault(r, path, unknown, "is not known");
		}
		if (values[i].len)
			return reader_fault(r, path, rules[i].name, "is there twice");
		if (value.kind != JSON_IS_NULL && !rules[i].kinds)
			return reader_fault(r, path, rules[i].name, "is not supported: %s",
				rules[i].wanted);
		if (value.kind != JSON_IS_NULL && !(rules[i].kinds & 1u << value.kind))
			return reader_fault(r, path, rules[i].name, "must be %s", rules[i].wanted);
		values[i] = value;
	}
	for (unsigned i = 0; i < n; i++)
		if (values[i].kind == JSON_IS_NULL)
			values[i] = (struct json_find){ 0 };
	return true;
}

int reader_word(const struct responses_reader *r, const struct json_find *value,
	const char *const *words, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (json_find_equals(r->text, value, words[i]))
			return (int)i;
	return -1;
}

void reader_copy(const struct responses_reader *r, struct buf *out, const struct json_find *value,
	const char *missing)
{
	if (value->len)
		buf_add(out, r->text + value->offset, value->len);
	else if (missing)
		buf_adds(out, missing);
}

void reader_member(const struct responses_reader *r, struct buf *out, const char *name,
	const struct json_find *value)
{
	if (!value->len)
		return;
	buf_addf(out, ",\"%s\":", name);
	reader_copy(r, out, value, NULL);
}

void reader_inside(const struct responses_reader *r, struct buf *out, const struct json_find *string)
{
	buf_add(out, r->text + string->offset + 1, string->len - 2);
}

static void echo(struct responses_reader *r, const char *name, const struct json_find *value,
	const char *missing)
{
	buf_addf(&r->ask->echo, ",\"%s\":", name);
	reader_copy(r, &r->ask->echo, value, missing);
}

static bool is_true(const struct responses_reader *r, const struct json_find *value)
{
	return json_find_true(r->text, value);
}

/* ---- what has to be translated --------------------------------------------------------- */

static bool read_instructions(struct responses_reader *r, const struct json_find *p)
{
	const struct json_find *text = &p[PARAM_INSTRUCTIONS];
	struct buf *out = &r->ask->system;

	echo(r, "instructions", text, "null");
	if (text->len <= 2)
		return true;
	buf_adds(out, "{\"role\":\"system\"");
	reader_member(r, out, "content", text);
	buf_adds(out, "}");
	return true;
}

static bool read_max_tokens(struct responses_reader *r, const struct json_find *p)
{
	const struct json_find *value = &p[PARAM_MAX_OUTPUT_TOKENS];

	echo(r, "max_output_tokens", value, "null");
	if (value->len && (!json_find_uint(r->text, value, &r->ask->max_tokens) || !r->ask->max_tokens))
		return reader_fault(r, "", "max_output_tokens", "must be a whole number above 0");
	reader_member(r, &r->ask->options, "max_completion_tokens", value);
	return true;
}

static bool read_sampling(struct responses_reader *r, const struct json_find *p)
{
	echo(r, "temperature", &p[PARAM_TEMPERATURE], "null");
	echo(r, "top_p", &p[PARAM_TOP_P], "null");
	reader_member(r, &r->ask->options, "temperature", &p[PARAM_TEMPERATURE]);
	reader_member(r, &r->ask->options, "top_p", &p[PARAM_TOP_P]);
	return true;
}

static bool read_metadata(struct responses_reader *r, const struct json_find *p)
{
	struct json_find name, value;
	struct json_walk walk;

	json_walk_begin(&walk, r->text, &p[PARAM_METADATA]);
	while (json_walk_next(&walk, &name, &value))
		if (value.kind != JSON_IS_STRING)
			return reader_fault(r, "", "metadata", "must be an object of strings");
	echo(r, "metadata", &p[PARAM_METADATA], "{}");
	return true;
}

static bool read_reasoning(struct responses_reader *r, const struct json_find *p)
{
	static const char why[] = "chat completions have nothing like it";
	static const struct member_rule rules[] = {
		{ "effort", KIND_STRING, "a string" },
		{ "summary", KIND_STRING, "a string" },
		{ "generate_summary", KIND_STRING, "a string" },
		{ "mode", 0, why },
		{ "context", 0, why },
	};
	static const char *const summaries[] = { "auto" };
	struct json_find v[ARRAY_SIZE(rules)];

	if (!reader_members(r, "reasoning", &p[PARAM_REASONING], rules, ARRAY_SIZE(rules), v))
		return false;
	for (unsigned i = 1; i <= 2; i++)
		if (v[i].len && reader_word(r, &v[i], summaries, 1) < 0)
			return reader_fault(r, "reasoning", rules[i].name,
				"must be \"auto\": whether there is one is up to the provider");
	reader_member(r, &r->ask->options, "reasoning_effort", &v[0]);
	buf_adds(&r->ask->echo, ",\"reasoning\":{\"effort\":");
	reader_copy(r, &r->ask->echo, &v[0], "null");
	echo(r, "summary", &v[1], "null");
	buf_adds(&r->ask->echo, "}");
	return true;
}

/* text.format: flat there, nested in response_format. */
static bool read_format(struct responses_reader *r, const struct json_find *format)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "name", KIND_STRING, "a string" },
		{ "schema", KIND_OBJECT, "an object" },
		{ "description", KIND_STRING, "a string" },
		{ "strict", KIND_BOOL, "true or false" },
	};
	static const char *const types[] = { "text", "json_object", "json_schema" };
	struct json_find v[ARRAY_SIZE(rules)];
	struct buf *out = &r->ask->options;
	int type;

	if (!format->len)
		return true;
	if (!reader_members(r, "text.format", format, rules, ARRAY_SIZE(rules), v))
		return false;
	type = reader_word(r, &v[0], types, ARRAY_SIZE(types));
	if (type < 0)
		return reader_fault(r, "text.format", "type",
			"must be \"text\", \"json_object\" or \"json_schema\"");
	if (type == 1)
		buf_adds(out, ",\"response_format\":{\"type\":\"json_object\"}");
	if (type < 2)
		return true;
	for (unsigned i = 1; i <= 2; i++)
		if (!v[i].len)
			return reader_fault(r, "text.format", rules[i].name, "is missing");
	buf_adds(out, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":");
	reader_copy(r, out, &v[1], NULL);
	for (unsigned i = 2; i < ARRAY_SIZE(rules); i++)
		reader_member(r, out, rules[i].name, &v[i]);
	buf_adds(out, "}}");
	return true;
}

static bool read_text(struct responses_reader *r, const struct json_find *p)
{
	static const struct member_rule rules[] = {
		{ "format", KIND_OBJECT, "an object" },
		{ "verbosity", KIND_STRING, "a string" },
	};
	struct json_find v[ARRAY_SIZE(rules)];

	if (!reader_members(r, "text", &p[PARAM_TEXT], rules, ARRAY_SIZE(rules), v) ||
		!read_format(r, &v[0]))
		return false;
	reader_member(r, &r->ask->options, "verbosity", &v[1]);
	buf_adds(&r->ask->echo, ",\"text\":{\"format\":");
	reader_copy(r, &r->ask->echo, &v[0], "{\"type\":\"text\"}");
	reader_member(r, &r->ask->echo, "verbosity", &v[1]);
	buf_adds(&r->ask->echo, "}");
	return true;
}

/* Most of what may be included belongs to tools and to storage: there is none of it, and that is all of it. */
static bool read_include(struct responses_reader *r, const struct json_find *p)
{
	static const char *const words[] = { "message.output_text.logprobs",
		"reasoning.encrypted_content", "file_search_call.results", "web_search_call.results",
		"web_search_call.action.sources", "message.input_image.image_url",
		"computer_call_output.output.image_url", "code_interpreter_call.outputs" };
	struct json_find none, value;
	uint64_t top = 0;
	struct json_walk walk;
	bool logprobs = false;
	char path[32];

	if (p[PARAM_TOP_LOGPROBS].len &&
		(!json_find_uint(r->text, &p[PARAM_TOP_LOGPROBS], &top) || top > 20))
		return reader_fault(r, "", "top_logprobs", "must be a whole number from 0 to 20");
	json_walk_begin(&walk, r->text, &p[PARAM_INCLUDE]);
	for (unsigned i = 0; json_walk_next(&walk, &none, &value); i++) {
		int word = reader_word(r, &value, words, ARRAY_SIZE(words));

		snprintf(path, sizeof(path), "include[%u]", i);
		if (word < 0)
			return reader_fault(r, path, NULL, "is not known");
		logprobs |= word == 0;
	}
	echo(r, "top_logprobs", &p[PARAM_TOP_LOGPROBS], "0");
	if (logprobs || top)
		buf_addf(&r->ask->options, ",\"logprobs\":true,\"top_logprobs\":%" PRIu64, top);
	return true;
}

static bool read_stream(struct responses_reader *r, const struct json_find *p)
{
	static const struct member_rule rules[] = {
		{ "include_obfuscation", KIND_BOOL, "true or false" },
	};
	struct json_find v[ARRAY_SIZE(rules)];

	if (!reader_members(r, "stream_options", &p[PARAM_STREAM_OPTIONS], rules, ARRAY_SIZE(rules), v))
		return false;
	if (is_true(r, &v[0]))
		return reader_fault(r, "stream_options", "include_obfuscation", "must be false");
	r->ask->stream = is_true(r, &p[PARAM_STREAM]);
	return true;
}

static bool read_cache_options(struct responses_reader *r, const struct json_find *p)
{
	static const struct member_rule rules[] = {
		{ "mode", KIND_STRING, "a string" },
		{ "ttl", KIND_STRING, "a string" },
		{ "prewarm", KIND_BOOL, "true or false" },
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct buf *out = &r->ask->options;
	size_t start;

	if (!reader_members(r, "prompt_cache_options", &p[PARAM_PROMPT_CACHE_OPTIONS], rules,
		    ARRAY_SIZE(rules), v))
		return false;
	r->ask->warm_up |= is_true(r, &v[2]);
	if (!v[0].len && !v[1].len)
		return true;
	buf_adds(out, ",\"prompt_cache_options\":{");
	start = out->len;
	reader_member(r, out, "mode", &v[0]);
	reader_member(r, out, "ttl", &v[1]);
	out->data[start] = ' '; /* the first comma */
	buf_adds(out, "}");
	return true;
}

/* What may have one value only, and storage: there is none, which is said in the response. */
static bool read_fixed(struct responses_reader *r, const struct json_find *p)
{
	static const char *const truncations[] = { "disabled" };
	const struct json_find *previous = &p[PARAM_PREVIOUS_RESPONSE_ID];

	if (is_true(r, &p[PARAM_BACKGROUND]))
		return reader_fault(r, "", "background", "must be false: nothing is stored here");
	if (p[PARAM_TRUNCATION].len && reader_word(r, &p[PARAM_TRUNCATION], truncations, 1) < 0)
		return reader_fault(r, "", "truncation",
			"must be \"disabled\": how much a model takes is not known here");
	if (previous->len && !json_find_copy(r->text, previous, r->ask->previous,
				     sizeof(r->ask->previous)))
		return reader_fault(r, "", "previous_response_id", "is too long to be one of ours");
	echo(r, "previous_response_id", previous, "null");
	buf_adds(&r->ask->echo,
		",\"background\":false,\"store\":false,\"truncation\":\"disabled\"");
	return true;
}

static void read_plain(struct responses_reader *r, const struct json_find *p)
{
	for (unsigned i = 0; i < PARAMS; i++) {
		if (param_fates[i] == FATE_COPY)
			reader_member(r, &r->ask->options, param_rules[i].name, &p[i]);
		if (param_fates[i] == FATE_COPY || param_fates[i] == FATE_ECHO)
			reader_member(r, &r->ask->echo, param_rules[i].name, &p[i]);
	}
}

static bool read_model(struct responses_reader *r, const struct json_find *p)
{
	const struct json_find *model = &p[PARAM_MODEL];
	struct endpoint_target *target = &r->ask->target;

	if (!endpoint_aim(r->text, model, target))
		return reader_fault(r, "", "model", "must be a string of less than %d bytes",
			ENDPOINT_MODEL_BYTES);
	buf_adds(&r->ask->echo, ",\"model\":");
	if (model->len)
		reader_copy(r, &r->ask->echo, model, NULL);
	else
		json_add_string(&r->ask->echo, target->model, target->model_len);
	return true;
}

static bool check_place(struct responses_reader *r, const struct json_find *p, bool websocket)
{
	for (unsigned i = 0; i < PARAMS && !websocket; i++)
		if (param_fates[i] == FATE_SOCKET && p[i].len)
			return reader_fault(r, "", param_rules[i].name,
				"is not known but on a WebSocket");
	if (!websocket && r->ask->warm_up)
		return reader_fault(r, "prompt_cache_options", "prewarm",
			"is not known but on a WebSocket");
	r->ask->warm_up |= websocket && p[PARAM_GENERATE].len && !is_true(r, &p[PARAM_GENERATE]);
	if (!p[PARAM_INPUT].len && !r->ask->warm_up)
		return reader_fault(r, "", "input", "is missing");
	return true;
}

bool responses_read(struct responses_ask *ask, const char *text, const struct json_find *document,
	bool websocket, struct endpoint_error *e)
{
	static bool (*const readers[])(struct responses_reader *, const struct json_find *) = {
		read_model, read_fixed, read_instructions, read_max_tokens, read_sampling, read_metadata,
		read_reasoning, read_text, read_include, read_stream, read_cache_options };
	struct responses_reader r = { .text = text, .ask = ask, .e = e };
	struct json_find p[PARAMS];

	*ask = (struct responses_ask){ 0 };
	if (!reader_members(&r, "", document, param_rules, PARAMS, p))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
		if (!readers[i](&r, p))
			return false;
	read_plain(&r, p);
	if (!reader_tools(&r, &p[PARAM_TOOLS], &p[PARAM_TOOL_CHOICE], &p[PARAM_PARALLEL_TOOL_CALLS]) ||
		!check_place(&r, p, websocket) || !reader_input(&r, &p[PARAM_INPUT]))
		return false;
	responses_one_line(ask->echo.data, ask->echo.len);
	if (!ask->messages.len && !ask->previous[0] && !ask->warm_up)
		return reader_fault(&r, "", "input", "is empty");
	return true;
}

void responses_one_line(char *json, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (json[i] == '\n' || json[i] == '\r')
			json[i] = ' ';
}

/* ---- the provider's request ---------------------------------------------------------------- */

/* Append what there is, with a comma behind what was there before it. */
static void join(struct buf *out, bool *any, const char *bytes, size_t len)
{
	if (!len)
		return;
	buf_adds(out, *any ? "," : "");
	buf_add(out, bytes, len);
	*any = true;
}

void responses_request(const struct responses_ask *ask, const char *before, size_t len,
	struct provider_request *request)
{
	const struct endpoint_target *target = &ask->target;
	struct buf body = BUF_INIT;
	bool any = false;

	*request = (struct provider_request){ .provider = target->provider,
		.path = ask->native ? "/responses" : "/chat/completions",
		.responses = ask->native,
		.max_tokens = ask->max_tokens,
		.stream = ask->stream };
	buf_reserve(&body, ask->system.len + len + ask->messages.len + ask->options.len + 512);
	buf_adds(&body, "{");
	endpoint_add_model(&body, target, request);
	buf_adds(&body, ask->native ? "\"input\":[" : "\"messages\":[");
	join(&body, &any, ask->system.data, ask->system.len);
	join(&body, &any, before, len);
	join(&body, &any, ask->messages.data, ask->messages.len);
	buf_adds(&body, "]");
	buf_add(&body, ask->options.data, ask->options.len);
	if (ask->resume) {
		buf_adds(&body, ",\"previous_response_id\":");
		json_add_string(&body, ask->previous, strlen(ask->previous));
	}
	if (ask->stream)
		buf_adds(&body, ",\"stream\":true");
	if (ask->stream && !ask->native && endpoint.conf->providers[target->provider].stream_usage)
		buf_adds(&body, ",\"stream_options\":{\"include_usage\":true}");
	buf_adds(&body, "}");
	request->body = body.data;
	request->body_len = body.len;
}

void responses_ask_release(struct responses_ask *ask)
{
	buf_release(&ask->system);
	buf_release(&ask->messages);
	buf_release(&ask->options);
	buf_release(&ask->echo);
}
