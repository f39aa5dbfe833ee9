/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses.c - POST /v1/responses: OpenAI's Responses API on top of a provider's chat completions.
 *
 * With "stream": true the client takes a place of max_connections and gets the full order of
 * events. They begin when the provider has accepted, so what fails before is a true HTTP
 * status; a client that has to wait long gets the first two earlier, and signs of life. Without
 * it the response is told when it is complete, and no place is taken.
 *
 * Where the provider has the API itself (responses: native), all of it passes through: chat_completions.c.
 */
#include "base/base.h"
#include "base/json_scan.h"
#include "worker/endpoint/apps.h"
#include "worker/endpoint/completion_body.h"
#include "worker/endpoint/responses_run.h"

struct responses {
	struct responses_run run;
	struct endpoint_place place;
	char *model; /* for the access log */
};

/* ---- the client hears -------------------------------------------------------------- */

static void say(struct responses_run *run, const char *type, const char *json, size_t len)
{
	static const struct exchange_header headers[] = {
		{ "Content-Type", "text/event-stream" },
		{ "Cache-Control", "no-cache, no-transform" },
		{ "X-Accel-Buffering", "no" },
		{ "Incremental", "?1" }, /* RFC 10036 */
	};

	if (run->x->state == EXCHANGE_ASKED)
		exchange_start(run->x, 200, headers, ARRAY_SIZE(headers));
	exchange_write(run->x, "event: ", 7);
	exchange_write(run->x, type, strlen(type));
	exchange_write(run->x, "\ndata: ", 7);
	exchange_write(run->x, json, len);
	exchange_write(run->x, "\n\n", 2);
}

static void on_refused(struct responses_run *run, const struct exchange_error *error,
	const struct provider_result *result)
{
	if (result)
		endpoint_respond_failure(run->x, result);
	else
		exchange_refuse(run->x, error);
}

static void on_stream_end(struct responses_run *run, enum ending ending)
{
	if (run->x->state != EXCHANGE_STREAMING)
		return;
	run->x->note.ending = ending;
	exchange_finish(run->x);
}

static void on_whole_end(struct responses_run *run, enum ending ending)
{
	struct buf json = BUF_INIT;

	if (ending != END_COMPLETE)
		return;
	reply_object(&run->reply, &json);
	exchange_respond_json(run->x, 200, &json);
	buf_release(&json);
}

static const struct responses_owner stream_owner = { say, on_refused, on_stream_end };
static const struct responses_owner whole_owner = { NULL, on_refused, on_whole_end };

/* ---- what the client does ------------------------------------------------------------- */

static bool read_request(struct exchange *x, struct responses_ask *ask, struct endpoint_error *e)
{
	struct json_find document = { .path = "" };
	struct json_fault fault;

	if (!completion_is_json(x)) {
		endpoint_fault(e, END_BAD_REQUEST, NULL, "Content-Type must be application/json");
	} else if (!json_scan(x->request.body, x->request.body_len, ENDPOINT_JSON_DEPTH, &document, 1,
			   &fault)) {
		endpoint_bad_json(e, &fault);
	} else if (document.kind != JSON_IS_OBJECT) {
		endpoint_fault(e, END_BAD_REQUEST, NULL, "the body must be a JSON object");
	} else if (responses_read(ask, x->request.body, &document, false, e)) {
		if (!ask->previous[0])
			return true;
		endpoint_fault(e, END_PREVIOUS_NOT_FOUND, "previous_response_id",
			"Previous response with id '%s' not found: nothing is stored here, "
			"send the whole conversation as input",
			ask->previous);
	}
	return false;
}

static void start_run(struct exchange *x)
{
	struct responses *r = x->app_data;

	run_start(&r->run, NULL, NULL, 0);
}

static void start_bridge(struct exchange *x)
{
	struct responses *r = xcalloc(1, sizeof(*r));
	struct responses_run *run = &r->run;
	struct endpoint_error e;

	x->app_data = r;
	run->x = x;
	run->note = &x->note;
	if (!read_request(x, &run->ask, &e)) {
		exchange_refuse(x, &e.error);
		return;
	}
	endpoint_note_target(x, &run->ask.target, &r->model);
	run->owner = run->ask.stream ? &stream_owner : &whole_owner;
	if (run->ask.stream)
		endpoint_enter(x, &r->place, ADMIT_STREAM, start_run);
	else
		start_run(x);
}

/* From the bridge to the passage: the exchange gets another app before it has begun. */
static void on_start(struct exchange *x)
{
	if (responses_is_native(x->request.body, x->request.body_len)) {
		x->app = &completion_responses.app;
		x->app->on_start(x);
	} else {
		start_bridge(x);
	}
}

static void on_room(struct exchange *x)
{
	struct responses *r = x->app_data;

	if (r->run.call)
		call_resume(r->run.call);
}

static void on_lost(struct exchange *x, const char *limit)
{
	struct responses *r = x->app_data;

	if (r->run.call)
		call_lose(r->run.call, limit);
}

static void on_close(struct exchange *x)
{
	struct responses *r = x->app_data;

	run_release(&r->run);
	endpoint_leave(&r->place);
	free(r->model);
	free(r);
}

const struct exchange_app responses_app = {
	.name = "responses",
	.on_start = on_start,
	.on_room = on_room,
	.on_lost = on_lost,
	.on_close = on_close,
};
