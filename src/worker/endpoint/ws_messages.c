/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_messages.c - see ws_messages.h. */
#include "base/base.h"
#include "worker/endpoint/ws_messages.h"
#include "base/buf.h"
#include "base/json_out.h"

/* ---- reading ------------------------------------------------------------------ */

bool ws_id_equal(const struct ws_id *a, const struct ws_id *b)
{
	return a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0;
}

static void id_unknown(struct ws_id *id)
{
	id->raw_len = strlen("null");
	memcpy(id->raw, "null", id->raw_len);
	id->key_len = 0;
}

static bool read_id(struct ws_id *id, const char *text, const struct json_find *found,
	struct endpoint_error *e)
{
	struct buf decoded = BUF_INIT;

	if (found->kind == JSON_IS_MISSING)
		endpoint_fault(e, END_BAD_REQUEST, "request_id", "'request_id' is missing");
	else if (found->kind != JSON_IS_STRING)
		endpoint_fault(e, END_BAD_REQUEST, "request_id", "'request_id' must be a string");
	else if (found->len == 2 || found->len > WS_ID_BYTES + 2)
		endpoint_fault(e, END_BAD_REQUEST, "request_id",
			"'request_id' must have 1 to %d bytes", WS_ID_BYTES);
	else {
		/* An escape is never shorter than what it stands for. */
		json_find_decode(text, found, &decoded);
		id->key_len = decoded.len;
		memcpy(id->key, decoded.data, decoded.len);
		id->raw_len = found->len;
		memcpy(id->raw, text + found->offset, found->len);
		buf_release(&decoded);
		return true;
	}
	return false;
}

static bool read_action(enum ws_action *action_r, const char *text, const struct json_find *found,
	struct endpoint_error *e)
{
	static const char *const names[] = { [WS_CHAT] = "chat", [WS_CANCEL] = "cancel" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (json_find_equals(text, found, names[i])) {
			*action_r = (enum ws_action)i;
			return true;
		}
	if (found->kind == JSON_IS_STRING)
		endpoint_fault(e, END_BAD_ACTION, "action",
			"unknown action; there are \"chat\" and \"cancel\"");
	else
		endpoint_fault(e, END_BAD_REQUEST, "action", "'action' %s",
			found->kind == JSON_IS_MISSING ? "is missing" : "must be a string");
	return false;
}

enum { DOCUMENT, ACTION, REQUEST_ID, PAYLOAD, TEXT, STREAMING, MODEL, FINDS };

static bool check_payload(const struct json_find *found, struct endpoint_error *e)
{
	const struct json_find *streaming = &found[STREAMING];

	if (found[PAYLOAD].kind != JSON_IS_OBJECT)
		endpoint_fault(e, END_BAD_REQUEST, "payload", "'payload' must be an object");
	else if (found[TEXT].kind != JSON_IS_STRING)
		endpoint_fault(e, END_BAD_REQUEST, "payload.text", "'payload.text' must be a string");
	else if (streaming->kind != JSON_IS_BOOL && streaming->kind != JSON_IS_NULL &&
		streaming->kind != JSON_IS_MISSING)
		endpoint_fault(e, END_BAD_REQUEST, "payload.streaming",
			"'payload.streaming' must be true or false");
	else
		return true;
	return false;
}

bool ws_ask_read(struct ws_ask *ask, const char *text, size_t len, struct endpoint_error *e)
{
	struct json_find found[FINDS] = { [DOCUMENT] = { .path = "" },
		[ACTION] = { .path = "action" }, [REQUEST_ID] = { .path = "request_id" },
		[PAYLOAD] = { .path = "payload" }, [TEXT] = { .path = "payload.text" },
		[STREAMING] = { .path = "payload.streaming" }, [MODEL] = { .path = "payload.model" } };
	struct json_fault fault;

	id_unknown(&ask->id);
	if (!json_scan(text, len, ENDPOINT_JSON_DEPTH, found, FINDS, &fault)) {
		endpoint_bad_json(e, &fault);
		return false;
	}
	if (found[DOCUMENT].kind != JSON_IS_OBJECT) {
		endpoint_fault(e, END_BAD_REQUEST, NULL, "a message must be a JSON object");
		return false;
	}
	if (!read_id(&ask->id, text, &found[REQUEST_ID], e) ||
		!read_action(&ask->action, text, &found[ACTION], e))
		return false;
	if (ask->action != WS_CHAT)
		return true;
	if (!check_payload(found, e))
		return false;
	ask->text = (struct conversation_text){ text + found[TEXT].offset + 1, found[TEXT].len - 2 };
	ask->model = found[MODEL];
	ask->streaming_kind = found[STREAMING].kind;
	ask->streaming = json_find_true(text, &found[STREAMING]);
	return true;
}

/* ---- saying -------------------------------------------------------------------- */

/* Every message is put together here: no allocation per token. */
static struct buf message;
/* Beyond this its memory is given back after use. */
#define KEEP_BYTES (1u << 20)

static void begin(const struct ws_id *id, const char *status)
{
	buf_clear(&message);
	buf_adds(&message, "{\"request_id\":");
	buf_add(&message, id->raw, id->raw_len);
	buf_adds(&message, ",\"status\":\"");
	buf_adds(&message, status);
	buf_adds(&message, "\",\"chunk\":{");
}

static void send(struct exchange *x, const char *last)
{
	buf_adds(&message, last);
	buf_adds(&message, "}}");
	exchange_send_text(x, message.data, message.len);
	if (message.size > KEEP_BYTES)
		buf_release(&message);
}

static void begin_chunk(const struct ws_id *id, const char *type)
{
	begin(id, "chunk");
	buf_adds(&message, "\"type\":\"");
	buf_adds(&message, type);
	buf_adds(&message, "\",\"data\":");
}

void ws_say_processing(struct exchange *x, const struct ws_id *id)
{
	begin(id, "processing");
	send(x, "\"metadata\":{\"processing\":true}");
}

void ws_say_queued(struct exchange *x, const struct ws_id *id, uint64_t position,
	uint64_t expected_ms)
{
	begin(id, "processing");
	buf_addf(&message, "\"type\":\"queued\",\"data\":{\"position\":%" PRIu64, position);
	if (expected_ms)
		buf_addf(&message, ",\"expected_wait\":%.1f", (double)expected_ms / 1000);
	send(x, "},\"metadata\":{}");
}

void ws_say_chunk(struct exchange *x, const struct ws_id *id, const char *type, const char *data,
	size_t len)
{
	begin_chunk(id, type);
	buf_add(&message, data, len);
	send(x, ",\"metadata\":{}");
}

void ws_say_text(struct exchange *x, const struct ws_id *id, const char *escaped, size_t len)
{
	begin_chunk(id, "text");
	buf_adds(&message, "\"");
	buf_add(&message, escaped, len);
	send(x, "\",\"metadata\":{}");
}

void ws_say_complete(struct exchange *x, const struct ws_id *id, const struct provider_usage *usage)
{
	begin(id, "complete");
	if (usage && usage->known)
		buf_addf(&message, "\"metadata\":{\"tokens\":%" PRIu64 "}", usage->completion_tokens);
	send(x, "");
}

void ws_say_cancelled(struct exchange *x, const struct ws_id *id)
{
	begin(id, "complete");
	send(x, "\"metadata\":{\"cancelled\":true}");
}

void ws_say_error(struct exchange *x, const struct ws_id *id, const struct exchange_error *error)
{
	const struct ending_facts *facts = &ending_facts[error->ending];
	const char *text = error->message ? error->message : facts->text;

	begin(id, "error");
	buf_adds(&message, "\"error\":");
	json_add_string(&message, text, strlen(text));
	buf_addf(&message, ",\"metadata\":{\"code\":\"%s\"", facts->code);
	if (error->param)
		buf_addf(&message, ",\"param\":\"%s\"", error->param);
	if (error->limit) {
		buf_adds(&message, ",\"limit\":");
		json_add_string(&message, error->limit, strlen(error->limit));
	}
	if (error->retry_after_ms)
		buf_addf(&message, ",\"retry_after\":%.1f", (double)((error->retry_after_ms + 99) / 100) / 10);
	send(x, "}");
}
