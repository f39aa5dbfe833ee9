/* SPDX-License-Identifier: BSD-2-Clause */
/* completion_body.c - see completion_body.h. */
#include "base/base.h"
#include "worker/endpoint/completion_body.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include <strings.h>

/* "application/json; charset=utf-8", "application/vnd.x+json", or none at all. */
bool completion_is_json(const struct exchange *x)
{
	static const char json[] = "application/json", suffix[] = "+json";
	const char *type = exchange_header(x, "content-type");
	size_t len;

	if (!type)
		return true;
	len = strcspn(type, "; \t");
	return (len == strlen(json) && strncasecmp(type, json, len) == 0) ||
		(len > strlen(suffix) &&
			strncasecmp(type + len - strlen(suffix), suffix, strlen(suffix)) == 0);
}

/* ---- what is changed in the body ------------------------------------------------- */

/* One place of the body that changes: `len` bytes at `at` become `text`. */
struct edit {
	size_t at, len;
	struct buf text;
};

/* The model that the provider knows, in place of what the client wrote; where it stands in the edit's text. */
static void edit_model(struct edit *edit, const char *text, const struct json_find *document,
	const struct json_find *model, struct completion_ask *ask)
{
	const struct endpoint_target *target = &ask->target;

	edit->at = model->kind == JSON_IS_MISSING ? document->offset + 1 : model->offset;
	edit->len = model->len;
	if (target->as_asked) {
		buf_add(&edit->text, text + edit->at, edit->len);
		ask->model_len = edit->len;
		return;
	}
	/* Without a model, it becomes the first member; there are others, the body was checked. */
	if (!edit->len)
		buf_adds(&edit->text, "\"model\":");
	ask->model_offset = edit->text.len;
	json_add_string(&edit->text, target->model, target->model_len);
	ask->model_len = edit->text.len - ask->model_offset;
	if (!edit->len)
		buf_adds(&edit->text, ",");
}

/* Has this object, found in text, no member? */
static bool is_empty(const char *text, const struct json_find *object)
{
	const char *at = text + object->offset + 1;

	return at[strspn(at, " \t\r\n")] == '}';
}

/* Let a stream tell its usage. False: the client asks for that itself, or for what is not ours to judge. */
static bool edit_options(struct edit *edit, const char *text, const struct json_find *document,
	const struct json_find *options, const struct json_find *include)
{
	static const char member[] = "\"include_usage\":true";

	if (options->kind == JSON_IS_MISSING) {
		edit->at = document->offset + document->len - 1;
		buf_addf(&edit->text, ",\"stream_options\":{%s}", member);
	} else if (options->kind == JSON_IS_NULL) {
		edit->at = options->offset;
		edit->len = options->len;
		buf_addf(&edit->text, "{%s}", member);
	} else if (options->kind != JSON_IS_OBJECT || json_find_true(text, include)) {
		return false;
	} else if (include->kind == JSON_IS_MISSING) {
		edit->at = options->offset + 1;
		buf_addf(&edit->text, "%s%s", member, is_empty(text, options) ? "" : ",");
	} else if (include->kind == JSON_IS_BOOL || include->kind == JSON_IS_NULL) {
		edit->at = include->offset;
		edit->len = include->len;
		buf_adds(&edit->text, "true");
	} else {
		return false;
	}
	return true;
}

/* Append the request's bytes from *from up to the edit, and the edit; returns where that begins. */
static size_t apply(
	struct buf *out, const struct exchange_request *request, size_t *from, struct edit *edit)
{
	size_t at;

	buf_add(out, request->body + *from, edit->at - *from);
	at = out->len;
	if (edit->text.len)
		buf_add(out, edit->text.data, edit->text.len);
	*from = edit->at + edit->len;
	buf_release(&edit->text);
	return at;
}

/* The provider's body: the client's, with the edits. */
static void make_body(const struct exchange_request *request, struct edit *model,
	struct edit *options, struct completion_ask *ask)
{
	bool options_first = options->text.len && options->at < model->at;
	struct buf out = BUF_INIT;
	size_t from = 0;

	buf_reserve(&out, request->body_len + model->text.len + options->text.len + 1);
	if (options_first)
		apply(&out, request, &from, options);
	ask->model_offset += apply(&out, request, &from, model);
	if (options->text.len)
		apply(&out, request, &from, options);
	buf_add(&out, request->body + from, request->body_len - from);
	ask->body = out.data;
	ask->body_len = out.len;
}

/* ---- reading ---------------------------------------------------------------------- */

static bool check_kinds(const struct completion_kind *kind, const struct json_find *document,
	const struct json_find *field, const struct json_find *stream, struct endpoint_error *e)
{
	if (document->kind != JSON_IS_OBJECT)
		endpoint_fault(e, END_BAD_REQUEST, NULL, "the body must be a JSON object");
	else if (kind->field && field->kind == JSON_IS_MISSING)
		endpoint_fault(e, END_BAD_REQUEST, kind->field, "'%s' is missing", kind->field);
	else if (kind->field && !(kind->kinds & 1u << field->kind))
		endpoint_fault(e, END_BAD_REQUEST, kind->field, "'%s' must be %s", kind->field,
			kind->wanted);
	else if (stream->kind != JSON_IS_BOOL && stream->kind != JSON_IS_NULL &&
		stream->kind != JSON_IS_MISSING)
		endpoint_fault(e, END_BAD_REQUEST, "stream", "'stream' must be true or false");
	else
		return true;
	return false;
}

bool completion_read(const struct completion_kind *kind, const struct exchange *x,
	struct completion_ask *ask, struct endpoint_error *e)
{
	const struct exchange_request *request = &x->request;
	enum { DOCUMENT, FIELD, MODEL, STREAM, OPTIONS, INCLUDE, NEW_MAX, OLD_MAX, OUTPUT_MAX };
	struct json_find found[] = { [DOCUMENT] = { .path = "" }, [FIELD] = { .path = kind->field ? kind->field : "" },
		[MODEL] = { .path = "model" }, [STREAM] = { .path = "stream" },
		[OPTIONS] = { .path = "stream_options" },
		[INCLUDE] = { .path = "stream_options.include_usage" },
		[NEW_MAX] = { .path = "max_completion_tokens" },
		[OLD_MAX] = { .path = "max_tokens" },
		[OUTPUT_MAX] = { .path = "max_output_tokens" } };
	struct edit model = { 0 }, options = { 0 };
	struct json_fault fault;

	*ask = (struct completion_ask){ 0 };

	if (!completion_is_json(x)) {
		endpoint_fault(e, END_BAD_REQUEST, NULL, "Content-Type must be application/json");
		return false;
	}
	if (!json_scan(request->body, request->body_len, ENDPOINT_JSON_DEPTH, found,
		    ARRAY_SIZE(found), &fault)) {
		endpoint_bad_json(e, &fault);
		return false;
	}
	if (!check_kinds(kind, &found[DOCUMENT], &found[FIELD], &found[STREAM], e))
		return false;
	if (is_empty(request->body, &found[DOCUMENT])) {
		endpoint_fault(e, END_BAD_REQUEST, NULL, "the body is an empty object");
		return false;
	}
	if (!endpoint_aim(request->body, &found[MODEL], &ask->target)) {
		endpoint_fault(e, END_BAD_REQUEST, "model",
			"'model' must be a string of less than %d bytes", ENDPOINT_MODEL_BYTES);
		return false;
	}
	ask->stream = kind->streams && json_find_true(request->body, &found[STREAM]);
	ask->strip_usage = ask->stream && !kind->responses &&
		endpoint.conf->providers[ask->target.provider].stream_usage &&
		edit_options(&options, request->body, &found[DOCUMENT], &found[OPTIONS],
			&found[INCLUDE]);
	if (!json_find_uint(request->body, &found[NEW_MAX], &ask->max_tokens) &&
		!json_find_uint(request->body, &found[OLD_MAX], &ask->max_tokens) &&
		!json_find_uint(request->body, &found[OUTPUT_MAX], &ask->max_tokens))
		ask->max_tokens = 0;
	edit_model(&model, request->body, &found[DOCUMENT], &found[MODEL], ask);
	make_body(request, &model, &options, ask);
	return true;
}
