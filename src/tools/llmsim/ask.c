/* SPDX-License-Identifier: BSD-2-Clause */
/* ask.c - what a request asks for: its JSON, its directive, and whether it is let in. */
#include "base/base.h"
#include "tools/llmsim/answer.h"
#include "base/clock.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/sim.h"

#include <jansson.h>

#define PROMPT_SHOWN 60
#define BYTES_PER_TOKEN 4
#define TOKENS_PER_MESSAGE 4

/* The request while it is being read. */
struct ask {
	json_t *body; /* NULL: not JSON */
	json_error_t error;
	struct buf last; /* content of the last message, or the prompt, or the input */
	struct buf user; /* content of the last message of the user */
	bool user_is_last;
};

static char *escaped(const char *text, size_t len)
{
	struct buf out = BUF_INIT;

	text_escape(text, len, &out);
	return out.data ? out.data : xstrdup("");
}

/* A string, or an array of strings or of parts with a text each. */
static void content_of(const json_t *content, struct buf *out)
{
	size_t i;
	json_t *part;

	if (json_is_string(content))
		buf_adds(out, json_string_value(content));
	json_array_foreach(content, i, part)
	{
		const json_t *text =
		        json_is_object(part) ? json_object_get(part, "text") : part;

		if (json_is_string(text))
			buf_adds(out, json_string_value(text));
	}
}

static void count_tokens(struct answer *a, const struct buf *text)
{
	a->prompt_tokens += TOKENS_PER_MESSAGE + text->len / BYTES_PER_TOKEN;
}

static void read_messages(struct answer *a, struct ask *ask, const json_t *messages)
{
	size_t i;
	json_t *message;

	json_array_foreach(messages, i, message)
	{
		const char *role = json_string_value(json_object_get(message, "role"));

		buf_clear(&ask->last);
		content_of(json_object_get(message, "content"), &ask->last);
		count_tokens(a, &ask->last);
		ask->user_is_last = role && !strcmp(role, "user");
		if (!ask->user_is_last)
			continue;
		buf_clear(&ask->user);
		buf_add(&ask->user, ask->last.data, ask->last.len);
	}
}

static void read_body(struct answer *a, struct ask *ask)
{
	const struct buf *body = &a->req->body;
	const char *key = a->kind == ANSWER_COMPLETION ? "prompt" : "input";

	/* A member given twice is always a mistake of who put the request together. */
	ask->body = json_loadb(
	        body->data ? body->data : "", body->len, JSON_REJECT_DUPLICATES, &ask->error);
	a->stream = a->kind != ANSWER_EMBEDDING &&
	            json_is_true(json_object_get(ask->body, "stream"));
	a->include_usage = json_is_true(
	        json_object_get(json_object_get(ask->body, "stream_options"), "include_usage"));
	if (a->kind == ANSWER_CHAT) {
		read_messages(a, ask, json_object_get(ask->body, "messages"));
	} else if (a->kind == ANSWER_RESPONSE && json_is_array(json_object_get(ask->body, key))) {
		read_messages(a, ask, json_object_get(ask->body, key));
	} else {
		ask->user_is_last = true;
		content_of(json_object_get(ask->body, key), &ask->last);
		buf_add(&ask->user, ask->last.data, ask->last.len);
		count_tokens(a, &ask->last);
	}
	/* So that both are strings. */
	buf_adds(&ask->last, "");
	buf_adds(&ask->user, "");
}

static void request_event(const struct answer *a, const struct ask *ask)
{
	const struct http_request *req = a->req;
	size_t shown = 0;
	const char *whose = a->account && a->account->key ? a->account->key : "";
	char *prompt, *path, *key;

	if (!events_wanted())
		return;
	for (size_t chars = 0; shown < ask->last.len; shown++)
		if ((ask->last.data[shown] & 0xc0) != 0x80 && ++chars > PROMPT_SHOWN)
			break;
	prompt = escaped(ask->last.data, shown);
	path = escaped(req->head.path, strlen(req->head.path));
	key = escaped(whose, strlen(whose));
	events_write("request",
	        "\"conn\":%" PRIu64 ",\"req\":%" PRIu64 ",\"method\":\"%s\",\"path\":\"%s\","
	        "\"model\":\"%s\",\"stream\":%s,\"in_flight\":%" PRIu64 ",\"body_bytes\":%zu,"
	        "\"prompt\":\"%s\",\"prompt_tokens\":%" PRIu64 ",\"key\":\"%s\"",
	        req->conn, a->serial, req->head.method, path, a->model,
	        a->stream ? "true" : "false", sim.in_flight, req->body.len, prompt,
	        a->prompt_tokens, key);
	free(key);
	free(prompt);
	free(path);
}

/* Releases `extra`. */
static bool refuse_as(struct answer *a, const char *how, int status, const char *type,
	const char *param, struct buf *extra, const char *message)
{
	const struct fault_status *row = fault_status(status);

	snprintf(a->refused, sizeof(a->refused), "%s", how);
	events_write("head", "\"req\":%" PRIu64 ",\"status\":%d", a->serial, status);
	answer_headers(a, extra);
	reply_error(a->req, status, type ? type : row->type, row->code, param, extra->data,
		message ? message : row->message);
	buf_release(extra);
	return false;
}

static bool refuse(struct answer *a, const char *how, int status, const char *param,
	const char *message)
{
	struct buf extra = BUF_INIT;

	return refuse_as(a, how, status, NULL, param, &extra, message);
}

static bool within_limits(struct answer *a)
{
	static const char *const types[] = {"", "requests", "tokens"};
	static const char *const hows[] = {"", "requests_per_minute", "tokens_per_minute"};
	uint64_t tokens = a->prompt_tokens + a->text.tokens, wait_us;
	enum account_verdict verdict =
		account_take(a->account, &sim.options.limits, clock_us(), tokens, &wait_us);
	struct buf extra = BUF_INIT;
	char message[160];

	if (verdict == ACCOUNT_OK)
		return true;
	if (wait_us) {
		uint64_t ms = (wait_us + 999) / 1000;

		buf_addf(&extra, "retry-after: %" PRIu64 "\r\nretry-after-ms: %" PRIu64 "\r\n",
			(ms + 999) / 1000, ms);
		snprintf(message, sizeof(message),
			"Rate limit reached on %s per min. Please try again in %" PRIu64 "ms.",
			types[verdict], ms);
	} else {
		snprintf(message, sizeof(message),
			"Request too large: %" PRIu64 " tokens are more than the limit per min.",
			tokens);
	}
	return refuse_as(a, hows[verdict], 429, types[verdict], NULL, &extra, message);
}

static bool let_in(struct answer *a)
{
	if (!a->account)
		return refuse(a, "key", 401, NULL, NULL);
	if (sim.options.max_concurrent && sim.in_flight > (uint64_t)sim.options.max_concurrent)
		return refuse(a, "max_concurrent", 429, NULL, NULL);
	return true;
}

static bool well_formed(struct answer *a, struct ask *ask)
{
	static const char *const keys[] = {"messages", "prompt", "input", "input"};
	const json_t *what = json_object_get(ask->body, keys[a->kind]);
	char message[256];

	if (!ask->body) {
		snprintf(message, sizeof(message),
		        "We could not parse the JSON body of your request: %s (byte %d).",
		        ask->error.text, ask->error.position);
		return refuse(a, "bad_request", 400, NULL, message);
	}
	if (!json_is_string(json_object_get(ask->body, "model")))
		return refuse(a, "bad_request", 400, "model",
		        "You must provide a model parameter.");
	if (!json_array_size(what) && (a->kind == ANSWER_CHAT || !json_is_string(what))) {
		snprintf(message, sizeof(message),
		        "'%s' is missing, empty or of the wrong type.", keys[a->kind]);
		return refuse(a, "bad_request", 400, keys[a->kind], message);
	}
	return true;
}

/* The directive goes before it could be echoed. */
static bool read_directive(struct answer *a, struct ask *ask)
{
	struct buf why = BUF_INIT;
	struct fault ignored;
	size_t start, end;
	bool good = true;

	if (!fault_directive(a->firm ? &ignored : &a->plan, ask->last.data, &a->random, &why, &start, &end))
		return true;
	if (why.len) {
		buf_adds(&why, " (in the [[sim:...]] directive)");
		good = refuse(a, "bad_request", 400, NULL, why.data);
	} else if (ask->user_is_last) {
		memmove(ask->user.data + start, ask->user.data + end, ask->user.len - end + 1);
		ask->user.len -= end - start;
	}
	buf_release(&why);
	return good;
}

/* ---- tools --------------------------------------------------------------- */

/* A value that fits this JSON schema, as far as its type goes. */
static json_t *example(const char *name, const json_t *schema)
{
	const char *type = json_string_value(json_object_get(schema, "type"));
	json_t *choice = json_array_get(json_object_get(schema, "enum"), 0);

	if (choice)
		return json_incref(choice);
	if (type && (!strcmp(type, "number") || !strcmp(type, "integer")))
		return json_integer(1);
	if (type && !strcmp(type, "boolean"))
		return json_true();
	if (type && !strcmp(type, "array"))
		return json_array();
	if (type && !strcmp(type, "object"))
		return json_object();
	return json_string(
	        strstr(name, "location") || strstr(name, "city") ? "Paris" : "example");
}

static char *arguments_for(const json_t *tool)
{
	json_t *properties = json_object_get(json_object_get(tool, "parameters"), "properties");
	json_t *arguments = json_object();
	const char *name;
	json_t *schema;
	char *text;

	json_object_foreach(properties, name, schema)
	        json_object_set_new(arguments, name, example(name, schema));
	text = json_dumps(arguments, JSON_COMPACT);
	json_decref(arguments);
	return text;
}

/* The tool to be called, or NULL. */
static const json_t *tool_wanted(const struct answer *a, const struct ask *ask)
{
	const json_t *tool = json_object_get(
	        json_array_get(json_object_get(ask->body, "tools"), 0), "function");
	const json_t *choice = json_object_get(ask->body, "tool_choice");
	const char *word = json_string_value(choice);

	if (a->kind != ANSWER_CHAT || !json_is_string(json_object_get(tool, "name")))
		return NULL;
	if (word && !strcmp(word, "none"))
		return NULL;
	if (json_is_object(choice) || (word && !strcmp(word, "required")))
		return tool;
	return ask->user_is_last && strcasestr(ask->user.data, "weather") ? tool : NULL;
}

/* ---- the answer to be given ---------------------------------------------- */

static void plan_text(struct answer *a, const struct ask *ask)
{
	const struct fault *f = &a->plan;
	const json_t *limit = json_object_get(ask->body, "max_completion_tokens");
	const json_t *tool = tool_wanted(a, ask);
	enum text_mode mode = (enum text_mode)(f->text >= 0 ? f->text : sim.options.text);
	int64_t tokens = f->tokens >= 0      ? f->tokens
	                 : mode == TEXT_ECHO ? INT32_MAX
	                                     : sim.options.tokens;
	int64_t most;

	if (a->kind == ANSWER_EMBEDDING)
		return;
	if (tool) {
		const char *name = json_string_value(json_object_get(tool, "name"));
		char *arguments = arguments_for(tool);

		a->tool = escaped(name, strlen(name));
		text_init(&a->text, TEXT_PIECES, INT32_MAX, 0, arguments);
		free(arguments);
		return;
	}
	if (!json_is_integer(limit))
		limit = json_object_get(ask->body, "max_tokens");
	if (!json_is_integer(limit))
		limit = json_object_get(ask->body, "max_output_tokens");
	text_init(&a->text, mode, (unsigned)tokens, (uint64_t)sim.options.seed + a->serial,
	        ask->user.data);
	most = json_integer_value(limit);
	if (most > 0 && most < (int64_t)a->text.tokens) {
		a->text.tokens = (unsigned)most;
		a->cut_short = true;
	}
}

static void plan_pace(struct answer *a)
{
	const struct fault *f = &a->plan;
	double rate = f->rate >= 0 ? f->rate : sim.options.rate;
	int64_t first_ms =
	        f->first_token_ms >= 0 ? f->first_token_ms : sim.options.first_token_ms;

	a->gap_us = rate > 0 ? 1e6 / rate : 0;
	a->due_us = clock_us() + (uint64_t)first_ms * 1000;
}

bool answer_ask(struct answer *a)
{
	struct ask ask = {.last = BUF_INIT, .user = BUF_INIT};
	const char *model;
	bool good;

	read_body(a, &ask);
	model = json_string_value(json_object_get(ask.body, "model"));
	a->model = escaped(model ? model : "", model ? strlen(model) : 0);
	a->created = clock_wall_s();
	snprintf(a->id, sizeof(a->id), "%s-%016" PRIx64,
	        a->kind == ANSWER_CHAT ? "chatcmpl" : "cmpl", a->serial);
	request_event(a, &ask);
	/* Each of these ends `a` when it is false. */
	good = let_in(a) && well_formed(a, &ask) && read_directive(a, &ask);
	if (good) {
		plan_text(a, &ask);
		good = within_limits(a);
	}
	if (good) {
		plan_pace(a);
		buf_release(&a->req->body);
	}
	buf_release(&ask.last);
	buf_release(&ask.user);
	json_decref(ask.body);
	return good;
}
