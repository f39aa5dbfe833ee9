/* SPDX-License-Identifier: BSD-2-Clause */
/* completion_body.c - see completion_body.h. */
#include "base/base.h"
#include "worker/endpoint/completion_body.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include <strings.h>

/* "application/json; charset=utf-8", "application/vnd.x+json", or none at all. */
static bool is_json_type(const char *type)
{
	static const char json[] = "application/json", suffix[] = "+json";
	size_t len;

	if (!type)
		return true;
	len = strcspn(type, "; \t");
	return (len == strlen(json) && strncasecmp(type, json, len) == 0) ||
		(len > strlen(suffix) &&
			strncasecmp(type + len - strlen(suffix), suffix, strlen(suffix)) == 0);
}

/* The body with the model that the provider knows in place of what the client wrote. */
static void splice_model(const struct exchange_request *request, const struct json_find *document,
	const struct json_find *model, struct completion_ask *ask)
{
	bool given = model->kind != JSON_IS_MISSING;
	/* Without a model, it becomes the first member; there are others, the body was checked. */
	size_t at = given ? model->offset : document->offset + 1;
	struct buf out = BUF_INIT;

	buf_reserve(&out, request->body_len + ask->target.model_len + 16);
	buf_add(&out, request->body, at);
	if (!given)
		buf_adds(&out, "\"model\":");
	json_add_string(&out, ask->target.model, ask->target.model_len);
	if (!given)
		buf_adds(&out, ",");
	buf_add(&out, request->body + at + model->len, request->body_len - at - model->len);
	ask->body = out.data;
	ask->body_len = out.len;
}

static bool check_kinds(const struct completion_kind *kind, const struct json_find *document,
	const struct json_find *field, const struct json_find *stream, struct endpoint_error *e)
{
	if (document->kind != JSON_IS_OBJECT)
		endpoint_fault(e, END_BAD_REQUEST, NULL, "the body must be a JSON object");
	else if (field->kind == JSON_IS_MISSING)
		endpoint_fault(e, END_BAD_REQUEST, kind->field, "'%s' is missing", kind->field);
	else if (!(kind->kinds & 1u << field->kind))
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
	enum { DOCUMENT, FIELD, MODEL, STREAM };
	struct json_find found[] = { [DOCUMENT] = { .path = "" }, [FIELD] = { .path = kind->field },
		[MODEL] = { .path = "model" }, [STREAM] = { .path = "stream" } };
	struct json_fault fault;

	if (!is_json_type(exchange_header(x, "content-type"))) {
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
	if (!endpoint_aim(request->body, &found[MODEL], &ask->target)) {
		endpoint_fault(e, END_BAD_REQUEST, "model",
			"'model' must be a string of less than %d bytes", ENDPOINT_MODEL_BYTES);
		return false;
	}
	ask->stream = kind->streams && json_find_true(request->body, &found[STREAM]);
	if (ask->target.as_asked) {
		ask->body = xmemdup0(request->body, request->body_len);
		ask->body_len = request->body_len;
	} else {
		splice_model(request, &found[DOCUMENT], &found[MODEL], ask);
	}
	return true;
}
