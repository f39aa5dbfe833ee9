/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chat_completions.c - POST bodies of OpenAI's API that a provider answers:
 * /v1/chat/completions, /v1/completions, /v1/embeddings, and /v1/responses where the provider has
 * that itself (completions.def).
 *
 * With "stream": true the client takes a place of max_connections, and the provider's
 * event stream goes to it as the bytes come: nothing is parsed, copied or allocated per
 * token. The head goes out when the provider has accepted, so what fails before is a
 * true HTTP status; a client that has to wait long gets it earlier, with keep-alive
 * comments, and then a failure comes in band, as an event with an "error" and no
 * "choices". A stream that fails never ends like one that is complete.
 *
 * Without it the answer is kept until it is whole, and no place is taken.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "worker/endpoint/completion_body.h"
#include "worker/endpoint/late_json.h"
#include <event2/event.h>

struct completion {
	struct exchange *x;
	struct provider_call *call; /* NULL once it has ended */
	struct endpoint_place place;
	struct completion_ask *ask; /* until the call is started */
	struct event *keepalive; /* streams only */
	uint64_t heard_ms;	 /* when the client last got a byte */
	uint64_t events;	 /* of the Responses API that were passed on */
	bool passing;		 /* the provider's bytes are an event stream, they go straight on */
	bool collecting;	 /* they are one body, kept here: */
	struct buf body;
	char *content_type;
	char *model; /* for the access log */
};

static void write_bytes(struct completion *c, const char *bytes, size_t len)
{
	exchange_write(c->x, bytes, len);
	c->heard_ms = clock_ms();
}

static void begin_stream(struct completion *c)
{
	static const struct exchange_header headers[] = {
		{ "Content-Type", "text/event-stream" },
		{ "Cache-Control", "no-cache, no-transform" },
		{ "X-Accel-Buffering", "no" },
		{ "Incremental", "?1" }, /* RFC 10036 */
	};

	if (c->x->state != EXCHANGE_ASKED)
		return;
	exchange_start(c->x, 200, headers, ARRAY_SIZE(headers));
	c->heard_ms = clock_ms();
}

static const struct completion_kind *kind_of(const struct completion *c)
{
	return container_of(c->x->app, struct completion_kind, app);
}

/* The same in the shape of the Responses API, whose events are numbered. */
static void add_error_event(struct buf *out, const struct completion *c, const struct exchange_error *error)
{
	const struct ending_facts *facts = &ending_facts[error->ending];
	const char *message = error->message ? error->message : facts->text;

	buf_addf(out, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":%" PRIu64
		",\"code\":\"%s\",\"param\":null,\"message\":", c->events, facts->code);
	json_add_string(out, message, strlen(message));
	buf_adds(out, "}");
}

/* The client cannot be told by a status any more: an event, then the end without "[DONE]". */
static void fail_in_band(struct completion *c, const struct exchange_error *error, bool at_boundary)
{
	struct buf event = BUF_INIT;

	/* An event that was cut short would swallow ours. */
	buf_adds(&event, at_boundary ? "" : "\n\n");
	if (kind_of(c)->responses) {
		add_error_event(&event, c, error);
	} else {
		buf_adds(&event, "data: ");
		exchange_error_json(&event, error);
	}
	buf_adds(&event, "\n\n");
	c->x->note.ending = error->ending;
	exchange_write(c->x, event.data, event.len);
	exchange_finish(c->x);
	buf_release(&event);
}

/* ---- keep-alive --------------------------------------------------------------- */

static void arm_keepalive(struct completion *c, uint64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(c->keepalive, &tv);
}

static void keepalive_due(evutil_socket_t fd, short what, void *arg)
{
	static const char comment[] = ": keepalive\n\n";
	const uint64_t every_ms = endpoint.conf->sse_keepalive_ms;
	struct completion *c = arg;
	uint64_t silent_ms = clock_ms() - c->heard_ms;

	if (!c->call || c->collecting || c->x->state == EXCHANGE_ENDED)
		return;
	if (silent_ms >= every_ms) {
		silent_ms = 0;
		if (exchange_room(c->x) && call_at_boundary(c->call)) {
			begin_stream(c);
			write_bytes(c, comment, strlen(comment));
		}
	}
	arm_keepalive(c, every_ms - silent_ms);
}

/* ---- what the provider says ------------------------------------------------------ */

static void on_head(struct provider_call *call, const struct provider_head *head, void *arg)
{
	struct completion *c = arg;

	endpoint_note_usage(&c->x->note, call_usage(call));
	c->passing = head->sse;
	c->collecting = !head->sse;
	if (c->passing)
		begin_stream(c);
	else
		c->content_type = xstrdup(head->content_type ? head->content_type : "application/json");
}

static bool has_room(struct provider_call *call, void *arg)
{
	const struct completion *c = arg;

	return c->collecting || exchange_room(c->x) > 0;
}

static void refuse_answer(struct completion *c, const char *why)
{
	struct endpoint_error e;

	endpoint_fault(&e, END_PROVIDER_GARBAGE, NULL, "provider '%s': %s",
		c->x->note.provider, why);
	if (c->x->state == EXCHANGE_STREAMING)
		fail_in_band(c, &e.error, true);
	else
		exchange_refuse(c->x, &e.error);
}

static void on_bytes(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	struct completion *c = arg;

	if (c->passing) {
		write_bytes(c, bytes, len);
	} else if (c->call && c->body.len + len <= ENDPOINT_ANSWER_MAX_BYTES) {
		buf_add(&c->body, bytes, len);
	} else if (c->call) {
		c->call = NULL;
		call_cancel(call);
		refuse_answer(c, "the answer is too large");
	}
}

/* A keep-alive went out already: this client waits for events. */
static void end_late(struct completion *c)
{
	struct buf events = BUF_INIT;

	if (!kind_of(c)->responses && late_json_events(c->body.data, c->body.len, &events)) {
		exchange_write(c->x, events.data, events.len);
		exchange_finish(c->x);
	} else {
		refuse_answer(c, "the answer is no event stream");
	}
	buf_release(&events);
}

static void end_well(struct completion *c)
{
	const struct exchange_header headers[] = { { "Content-Type", c->content_type } };

	if (c->passing)
		exchange_finish(c->x);
	else if (c->x->state == EXCHANGE_STREAMING)
		end_late(c);
	else
		exchange_respond(c->x, 200, headers, ARRAY_SIZE(headers), c->body.data, c->body.len);
}

static void on_end(struct provider_call *call, const struct provider_result *result, void *arg)
{
	struct completion *c = arg;
	struct endpoint_error e;

	endpoint_note_usage(&c->x->note, call_usage(call));
	c->call = NULL;
	if (result->ending == END_COMPLETE) {
		end_well(c);
	} else if (c->x->state == EXCHANGE_ASKED) {
		endpoint_respond_failure(c->x, result);
	} else if (c->x->state == EXCHANGE_STREAMING && kind_of(c)->responses &&
		result->ending == END_STREAM_ERROR) {
		/* "response.failed" or "error": the client has it already, and expects nothing behind it. */
		c->x->note.ending = result->ending;
		exchange_finish(c->x);
	} else if (c->x->state == EXCHANGE_STREAMING) {
		endpoint_failure(&e, result);
		fail_in_band(c, &e.error, !c->passing || call_at_boundary(call));
	}
}

static void on_event(struct provider_call *call, const char *data, size_t len, void *arg)
{
	struct completion *c = arg;

	c->events++;
}

static const struct provider_asker asker = {
	.on_head = on_head,
	.has_room = has_room,
	.on_bytes = on_bytes,
	.on_end = on_end,
};
static const struct provider_asker counting_asker = {
	.on_event = on_event,
	.on_head = on_head,
	.has_room = has_room,
	.on_bytes = on_bytes,
	.on_end = on_end,
};

/* ---- what the client does -------------------------------------------------------- */

static void start_call(struct exchange *x)
{
	const struct completion_kind *kind = container_of(x->app, struct completion_kind, app);
	struct completion *c = x->app_data;
	const struct completion_ask *ask = c->ask;
	const struct provider_request request = {
		.client = endpoint_client(x),
		.provider = ask->target.provider,
		.path = kind->upstream,
		.body = ask->body,
		.body_len = ask->body_len,
		.model_offset = ask->model_offset,
		.model_len = ask->model_len,
		.max_tokens = ask->max_tokens,
		.stream = ask->stream,
		.strip_usage = ask->strip_usage,
		.responses = kind->responses,
		.request_id = c->x->id,
		.traceparent = exchange_header(c->x, "traceparent"),
	};

	c->call = call_start(endpoint.providers, &request, kind->responses ? &counting_asker : &asker, c);
	if (ask->stream) {
		c->heard_ms = clock_ms();
		c->keepalive = evtimer_new(endpoint.base, keepalive_due, c);
		arm_keepalive(c, endpoint.conf->sse_keepalive_ms);
	}
	free(c->ask);
	c->ask = NULL;
}

static void on_start(struct exchange *x)
{
	const struct completion_kind *kind = container_of(x->app, struct completion_kind, app);
	struct completion *c = xcalloc(1, sizeof(*c));
	struct completion_ask *ask = xcalloc(1, sizeof(*ask));
	struct endpoint_error e;

	c->x = x;
	x->app_data = c;
	if (!completion_read(kind, x, ask, &e)) {
		free(ask);
		exchange_refuse(x, &e.error);
		return;
	}
	c->ask = ask;
	endpoint_note_target(x, &ask->target, &c->model);
	if (ask->stream)
		endpoint_enter(x, &c->place, ADMIT_STREAM, start_call);
	else
		start_call(x);
}

static void on_room(struct exchange *x)
{
	struct completion *c = x->app_data;

	if (c->call)
		call_resume(c->call);
}

static void on_lost(struct exchange *x, const char *limit)
{
	struct completion *c = x->app_data;

	if (c->call)
		call_lose(c->call, limit);
}

static void on_close(struct exchange *x)
{
	struct completion *c = x->app_data;

	if (c->call)
		call_cancel(c->call);
	if (c->keepalive)
		event_free(c->keepalive);
	endpoint_leave(&c->place);
	if (c->ask)
		free(c->ask->body);
	free(c->ask);
	free(c->content_type);
	free(c->model);
	buf_release(&c->body);
	free(c);
}

#define COMPLETION(symbol, path, must_have, of_kinds, in_words, may_stream, of_responses)                   \
	const struct completion_kind completion_##symbol = {                                    \
		.app = { .name = "completion_" #symbol, .on_start = on_start,                   \
			.on_room = on_room, .on_lost = on_lost, .on_close = on_close },                             \
		.upstream = path,                                                               \
		.field = must_have,                                                             \
		.kinds = of_kinds,                                                              \
		.wanted = in_words,                                                             \
		.streams = may_stream,                                                          \
		.responses = of_responses,                                                      \
	};
#include "worker/endpoint/completions.def"
#undef COMPLETION
