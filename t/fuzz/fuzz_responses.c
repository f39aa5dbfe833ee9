/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_responses.c - the bridge between the Responses API and chat completions, both ways. The
 * first line of the input is a client's request, as over HTTP and as on a WebSocket, to a provider
 * without the API and to one with it: it is refused with a reason, or what the provider gets is JSON. Each
 * further line is a chunk of the provider's stream: it is refused, or every event that comes of it is JSON
 * on one line, numbered without a gap. So is the response object, and what is remembered is JSON too.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "worker/endpoint/apps.h"
#include "worker/endpoint/responses_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the rooms around ---------------------------------------------------------------- */

struct endpoint_setup endpoint;
static char name[] = "p";

unsigned providers_route(const struct providers *providers, const char *model, size_t len,
	const char **model_r, size_t *len_r)
{
	*model_r = model;
	*len_r = len;
	return 0;
}

const char *provider_name(const struct providers *providers, unsigned provider)
{
	return name;
}

void exchange_refuse(struct exchange *x, const struct exchange_error *error)
{
}

void exchange_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
}

void exchange_error_json(struct buf *out, const struct exchange_error *error)
{
}

/* ---- what has to hold ------------------------------------------------------------------ */

static void is_json(const char *text, size_t len)
{
	BUG_ON(!json_scan(text, len, JSON_DEPTH_MAX, NULL, 0, NULL));
}

static uint64_t next_number;

static void say(void *arg, const char *type, const char *json, size_t len)
{
	struct json_find found[] = { { .path = "type" }, { .path = "sequence_number" } };
	uint64_t number;

	BUG_ON(!json_scan(json, len, JSON_DEPTH_MAX, found, ARRAY_SIZE(found), NULL));
	BUG_ON(memchr(json, '\n', len) || memchr(json, '\r', len));
	BUG_ON(!json_find_equals(json, &found[0], type));
	BUG_ON(!json_find_uint(json, &found[1], &number) || number != next_number++);
}

static void whole(const struct responses_reply *reply)
{
	struct buf out = BUF_INIT;

	reply_object(reply, &out);
	is_json(out.data, out.len);
	buf_clear(&out);
	reply_message(reply, &out);
	if (out.len)
		is_json(out.data, out.len);
	buf_release(&out);
}

static void answer(const struct responses_ask *ask, const char *text, size_t len)
{
	struct responses_reply reply = { .ask = ask, .say = say };
	const char *why = NULL;

	next_number = 0;
	reply_init(&reply);
	reply_begin(&reply);
	for (const char *end = text + len; text < end && !why;) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((eol ? eol : end) - text);

		why = reply_chunk(&reply, text, n);
		text += n + 1;
	}
	reply_remind(&reply);
	if (why)
		reply_fail(&reply, &(struct exchange_error){ .ending = END_PROVIDER_GARBAGE, .message = why });
	else
		reply_end(&reply);
	whole(&reply);
	reply_release(&reply);
}

static void document(const struct responses_ask *ask, const char *text, size_t len)
{
	struct responses_reply reply = { .ask = ask };

	reply_init(&reply);
	if (!reply_document(&reply, text, len)) {
		reply_end(&reply);
		whole(&reply);
	}
	reply_release(&reply);
}

static void ask_it(const char *text, size_t len, const char *chunks, size_t chunks_len, bool websocket,
	bool native)
{
	static const char before[] = "{\"role\":\"user\",\"content\":\"x\"}";
	struct json_find found = { .path = "" };
	struct provider_request request;
	struct responses_ask *ask = xmalloc(sizeof(*ask));
	struct endpoint_error e = { 0 };

	if (!json_scan(text, len, ENDPOINT_JSON_DEPTH, &found, 1, NULL) || found.kind != JSON_IS_OBJECT) {
		free(ask);
		return;
	}
	if (native ? responses_read_native(ask, text, &found, &e) :
		     responses_read(ask, text, &found, websocket, &e)) {
		ask->stream |= websocket;
		ask->resume = native && ask->previous[0];
		responses_request(ask, before, websocket ? strlen(before) : 0, &request);
		is_json(request.body, request.body_len);
		free((char *)(uintptr_t)request.body);
		answer(ask, chunks, chunks_len);
		document(ask, chunks, chunks_len);
	} else {
		BUG_ON(!e.error.message || !*e.error.message || e.error.ending != END_BAD_REQUEST);
	}
	responses_ask_release(ask);
	free(ask);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct conf_provider provider = { .name = name, .stream_usage = true };
	static struct conf conf = { .providers = &provider, .nproviders = 1 };
	/* Without a NUL behind it, so that who reads too far is seen. */
	char *text = xmalloc(size + !size);
	const char *eol = memchr(data, '\n', size);
	size_t len = eol ? (size_t)(eol - (const char *)data) : size;
	char *line = xmalloc(len + !len);

	endpoint.conf = &conf;
	memcpy(text, data, size);
	memcpy(line, data, len);
	for (unsigned i = 0; i < 3; i++)
		ask_it(line, len, text + len + (eol != NULL), size - len - (eol != NULL), i > 0, i == 2);
	free(line);
	free(text);
	return 0;
}
