/* SPDX-License-Identifier: BSD-2-Clause */
/* responses_run.c - see responses_run.h. */
#include "base/base.h"
#include "worker/endpoint/responses_run.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include <event2/event.h>

static void say(void *arg, const char *type, const char *json, size_t len)
{
	struct responses_run *run = arg;

	run->heard_ms = clock_ms();
	run->owner->say(run, type, json, len);
}

/* ---- the end ----------------------------------------------------------------------- */

/* What the client has not heard of is refused, what it has fails. The provider's own error event is all there is. */
static void fail(struct responses_run *run, const struct exchange_error *error,
	const struct provider_result *result)
{
	if (run->ask.native && error->ending == END_STREAM_ERROR)
		; /* it went on as it came */
	else if (run->reply.begun)
		reply_fail(&run->reply, error);
	else
		run->owner->on_refused(run, error, result);
	run->owner->on_end(run, error->ending);
}

static void fail_by_answer(struct responses_run *run, const char *why)
{
	struct endpoint_error e;

	endpoint_fault(&e, END_PROVIDER_GARBAGE, NULL, "provider '%s': %s",
		provider_name(endpoint.providers, run->ask.target.provider), why);
	fail(run, &e.error, NULL);
}

static void give_up(void *arg)
{
	struct responses_run *run = arg;

	if (run->call)
		call_cancel(run->call);
	run->call = NULL;
	fail_by_answer(run, run->broken);
}

/* The answer is of no use. Not here and now: this may be inside the call. */
static void break_off(struct responses_run *run, const char *why)
{
	run->broken = why;
	defer_call(&run->give_up, give_up, run);
}

/* ---- a provider that has the API itself --------------------------------------------------- */

enum { EVENT, EVENT_TYPE, EVENT_ID, EVENT_OUTPUT, EVENT_FINDS };

static void say_native(struct responses_run *run, const char *json, size_t len)
{
	struct buf event = BUF_INIT;

	if (run->reply.lane) {
		buf_addf(&event, "{\"stream_id\":\"%s\",", run->reply.lane);
		buf_add(&event, json + 1, len - 1);
		json = event.data;
		len = event.len;
	}
	say(run, "", json, len);
	buf_release(&event);
}

/* For the memory: the response's own id, and the inside of its output. */
static void keep_output(struct responses_run *run, const char *json, const struct json_find *id,
	const struct json_find *output)
{
	if (!json_find_copy(json, id, run->reply.id, sizeof(run->reply.id)))
		run->reply.id[0] = 0;
	buf_clear(&run->document);
	if (output->kind == JSON_IS_ARRAY && memchr(json + output->offset, '{', output->len))
		buf_add(&run->document, json + output->offset + 1, output->len - 2);
}

/* An event goes on as it is, but for the lane. NULL, or why it is of no use. */
static const char *take_native(struct responses_run *run, const char *json, size_t len)
{
	struct json_find found[EVENT_FINDS] = { [EVENT] = { .path = "" }, [EVENT_TYPE] = { .path = "type" },
		[EVENT_ID] = { .path = "response.id" }, [EVENT_OUTPUT] = { .path = "response.output" } };

	if (!json_scan(json, len, ENDPOINT_JSON_DEPTH, found, EVENT_FINDS, NULL) ||
		found[EVENT].kind != JSON_IS_OBJECT || found[EVENT_TYPE].kind != JSON_IS_STRING)
		return "an event of the answer is no event of the Responses API";
	say_native(run, json + found[EVENT].offset, found[EVENT].len);
	if (json_find_equals(json, &found[EVENT_TYPE], "response.completed") ||
		json_find_equals(json, &found[EVENT_TYPE], "response.incomplete"))
		keep_output(run, json, &found[EVENT_ID], &found[EVENT_OUTPUT]);
	return NULL;
}

/* The provider does not stream: its response makes the last event. */
static const char *take_native_document(struct responses_run *run)
{
	struct buf event = BUF_INIT;
	const char *why;

	buf_adds(&event, "{\"type\":\"response.completed\",\"sequence_number\":0,\"response\":");
	buf_add(&event, run->document.data, run->document.len);
	buf_adds(&event, "}");
	why = take_native(run, event.data, event.len);
	buf_release(&event);
	return why;
}

/* ---- what the provider says ------------------------------------------------------------ */

static void on_head(struct provider_call *call, const struct provider_head *head, void *arg)
{
	struct responses_run *run = arg;

	endpoint_note_usage(run->note, call_usage(call));
	run->plain = !head->sse;
	if (head->sse && run->reply.say && !run->ask.native)
		reply_begin(&run->reply);
}

static bool has_room(struct provider_call *call, void *arg)
{
	const struct responses_run *run = arg;

	return !run->reply.say || exchange_room(run->x) > 0;
}

static void on_bytes(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	struct responses_run *run = arg;

	if (run->plain)
		buf_add(&run->document, bytes, len);
}

static void on_event(struct provider_call *call, const char *data, size_t len, void *arg)
{
	struct responses_run *run = arg;
	const char *why;

	if (run->broken)
		return;
	why = run->ask.native ? take_native(run, data, len) : reply_chunk(&run->reply, data, len);
	if (why)
		break_off(run, why);
}

static void complete(struct responses_run *run)
{
	const char *why = NULL;

	if (run->plain && run->ask.native) {
		why = take_native_document(run);
	} else if (run->plain) {
		if (run->reply.say)
			reply_begin(&run->reply);
		why = reply_document(&run->reply, run->document.data, run->document.len);
	}
	if (why) {
		fail_by_answer(run, why);
		return;
	}
	if (!run->ask.native)
		reply_end(&run->reply);
	run->owner->on_end(run, END_COMPLETE);
}

static void on_end(struct provider_call *call, const struct provider_result *result, void *arg)
{
	struct responses_run *run = arg;
	struct endpoint_error e;

	endpoint_note_usage(run->note, call_usage(call));
	run->call = NULL;
	if (run->broken) {
		defer_cancel(&run->give_up);
		fail_by_answer(run, run->broken);
	} else if (result->ending == END_COMPLETE) {
		complete(run);
	} else {
		endpoint_failure(&e, result);
		fail(run, &e.error, result);
	}
}

static const struct provider_asker asker = {
	.on_head = on_head,
	.has_room = has_room,
	.on_bytes = on_bytes,
	.on_event = on_event,
	.on_end = on_end,
};

/* ---- signs of life ------------------------------------------------------------------------ */

static void arm_keepalive(struct responses_run *run, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(run->keepalive, &tv);
}

/* Comments reset no client's watchdog; an event that may be repeated does. */
static void keepalive_due(evutil_socket_t fd, short what, void *arg)
{
	const uint64_t every_ms = endpoint.conf->sse_keepalive_ms;
	struct responses_run *run = arg;
	uint64_t silent_ms = clock_ms() - run->heard_ms;

	if (!run->call || run->broken || run->x->state == EXCHANGE_ENDED)
		return;
	if (silent_ms >= every_ms) {
		silent_ms = 0;
		if (!run->reply.begun)
			reply_begin(&run->reply);
		else if (exchange_room(run->x))
			reply_remind(&run->reply);
	}
	arm_keepalive(run, every_ms - silent_ms);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void open_reply(struct responses_run *run, const char *lane)
{
	run->reply = (struct responses_reply){ .ask = &run->ask,
		.lane = lane,
		.say = run->owner->say ? say : NULL,
		.arg = run };
	reply_init(&run->reply);
}

void run_start(struct responses_run *run, const char *lane, const char *before, size_t len)
{
	struct provider_request request;

	open_reply(run, lane);
	responses_request(&run->ask, before, len, &request);
	request.client = endpoint_client(run->x);
	request.request_id = run->x->id;
	request.traceparent = exchange_header(run->x, "traceparent");
	run->call = call_start(endpoint.providers, &request, &asker, run);
	if (run->reply.say && !run->ask.native) {
		run->heard_ms = clock_ms();
		run->keepalive = evtimer_new(endpoint.base, keepalive_due, run);
		arm_keepalive(run, endpoint.conf->sse_keepalive_ms);
	}
}

void run_warm_up(struct responses_run *run, const char *lane)
{
	open_reply(run, lane);
	run->reply.usage.known = true;
	reply_begin(&run->reply);
	reply_end(&run->reply);
	run->owner->on_end(run, END_COMPLETE);
}

void run_release(struct responses_run *run)
{
	if (run->call)
		call_cancel(run->call);
	if (run->keepalive)
		event_free(run->keepalive);
	defer_cancel(&run->give_up);
	if (run->reply.ask)
		reply_release(&run->reply);
	buf_release(&run->document);
	responses_ask_release(&run->ask);
}
