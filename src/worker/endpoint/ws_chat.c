/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws_chat.c - the chat protocol over WebSocket (headgate-chat(7)): a socket takes a place
 * of max_connections, holds a conversation, and has several requests running at once,
 * each of them one provider call.
 *
 * Ownership: the exchange owns the ws_chat, that owns its requests, and each of those its call.
 * All requests of a socket share its way to the client: when that is full they all pause.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/defer.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/endpoint/conversation.h"
#include "worker/endpoint/delta.h"
#include "worker/endpoint/ws_messages.h"
#include <event2/event.h>

/* A token of the conversation is taken for this many bytes. */
#define BYTES_PER_TOKEN 4
/* How often those who wait hear of their place in line. */
#define TICK_MS 1000
/* Timers may fire this much early. */
#define TICK_SLACK_MS 50

struct ws_chat {
	struct exchange *x;
	struct endpoint_place place;
	struct conversation talk;
	TAILQ_HEAD(, ws_request) requests;
	uint64_t running;
	struct event *tick; /* made when somebody first waits */
	char *model; /* asked last; for the access log */
	bool draining;
};

struct ws_request {
	TAILQ_ENTRY(ws_request) entry;
	struct ws_chat *chat;
	struct provider_call *call;
	struct ws_id id;
	bool streaming;	  /* pass on each delta, not all of it at the end */
	bool plain_body;  /* the provider answers with one JSON body; it is in `answer` */
	bool forgotten;	  /* the answer is too large for the conversation, and not needed else */
	uint64_t queued_ms; /* since when it waits in line; 0: it does not */
	uint64_t started_us;
	struct exchange_note note; /* for the access log */
	char *model;		   /* of the note */
	char *user;	  /* the text asked, escaped */
	size_t user_len;
	struct delta_reader reader;
	struct buf answer; /* escaped; of a plain body: the body */
	const char *broken; /* why the answer cannot be used: ends at the end of the turn */
	struct defer give_up;
};

/* ---- the end of a request --------------------------------------------------------- */

static void close_for_restart(struct ws_chat *chat)
{
	const struct ending_facts *facts = &ending_facts[END_DRAINING];

	chat->x->note.ending = END_DRAINING;
	exchange_close_ws(chat->x, facts->ws, "service restart");
}

static void request_free(struct ws_request *r)
{
	struct ws_chat *chat = r->chat;

	TAILQ_REMOVE(&chat->requests, r, entry);
	chat->running--;
	defer_cancel(&r->give_up);
	if (r->call)
		call_cancel(r->call);
	delta_release(&r->reader);
	buf_release(&r->answer);
	free(r->model);
	free(r->user);
	free(r);
}

static void log_request(struct ws_request *r, enum ending ending)
{
	char id[WS_ID_BYTES + 1];

	if (r->call)
		endpoint_note_usage(&r->note, call_usage(r->call));
	r->note.ending = ending;
	snprintf(id, sizeof(id), "%.*s", (int)r->id.key_len, r->id.key);
	exchange_log_message(r->chat->x, id, &r->note, r->started_us);
}

/* The request is over, the client knows it: who drains may go after the last one. */
static void request_end(struct ws_request *r, enum ending ending)
{
	struct ws_chat *chat = r->chat;

	stat_ending(ending);
	log_request(r, ending);
	request_free(r);
	if (chat->draining && !chat->running)
		close_for_restart(chat);
}

static void say_fault(struct ws_request *r, const char *why)
{
	struct endpoint_error e;

	endpoint_fault(&e, END_PROVIDER_GARBAGE, NULL, "provider '%s': %s",
		r->chat->x->note.provider, why);
	ws_say_error(r->chat->x, &r->id, &e.error);
}

static void give_up(void *arg)
{
	struct ws_request *r = arg;

	say_fault(r, r->broken);
	request_end(r, END_PROVIDER_GARBAGE);
}

/* The answer is of no use. Not here and now: this may be inside the call. */
static void break_off(struct ws_request *r, const char *why)
{
	r->broken = why;
	defer_call(&r->give_up, give_up, r);
}

/* ---- what the provider says ----------------------------------------------------------- */

/* Keep a part of the answer for the conversation, and for who wants it whole. */
static void keep_text(struct ws_request *r, struct conversation_text text)
{
	size_t len = r->answer.len + text.len;

	if (r->streaming && len > r->chat->talk.max_bytes) {
		r->forgotten = true;
		buf_release(&r->answer);
	}
	if (r->forgotten)
		return;
	if (len > ENDPOINT_ANSWER_MAX_BYTES)
		break_off(r, "the answer is too large");
	else
		buf_add(&r->answer, text.bytes, text.len);
}

static void on_event(struct provider_call *call, const char *data, size_t len, void *arg)
{
	struct ws_request *r = arg;
	const struct conversation_text *part;
	struct delta delta;

	if (r->broken)
		return;
	if (!delta_read(&r->reader, data, len, &delta)) {
		break_off(r, "an event of the answer is not valid JSON");
		return;
	}
	part = delta.part;
	if (part[DELTA_TEXT].len) {
		if (r->streaming)
			ws_say_text(r->chat->x, &r->id, part[DELTA_TEXT].bytes, part[DELTA_TEXT].len);
		keep_text(r, part[DELTA_TEXT]);
	}
	for (size_t i = DELTA_TEXT + 1; i < DELTA_PARTS; i++)
		if (part[i].len)
			ws_say_chunk(r->chat->x, &r->id, delta_types[i], part[i].bytes, part[i].len);
}

static void on_head(struct provider_call *call, const struct provider_head *head, void *arg)
{
	struct ws_request *r = arg;

	r->queued_ms = 0;
	r->plain_body = !head->sse;
}

static void on_bytes(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	struct ws_request *r = arg;

	if (!r->plain_body || r->broken)
		return;
	if (r->answer.len + len > ENDPOINT_ANSWER_MAX_BYTES)
		break_off(r, "the answer is too large");
	else
		buf_add(&r->answer, bytes, len);
}

static bool has_room(struct provider_call *call, void *arg)
{
	const struct ws_request *r = arg;

	return exchange_room(r->chat->x) > 0;
}

/* A server that does not stream: the answer's text out of its body. False: it has none. */
static bool read_plain_body(struct ws_request *r)
{
	struct json_find content = { .path = "choices[0].message.content" };

	if (!json_scan(r->answer.data, r->answer.len, ENDPOINT_JSON_DEPTH, &content, 1, NULL) ||
		content.kind != JSON_IS_STRING)
		return false;
	buf_drop(&r->answer, content.offset + 1);
	r->answer.len = content.len - 2;
	return true;
}

static void complete(struct ws_request *r, const struct provider_usage *usage)
{
	struct ws_chat *chat = r->chat;

	if (r->plain_body && !read_plain_body(r)) {
		say_fault(r, "the answer holds no text");
		request_end(r, END_PROVIDER_GARBAGE);
		return;
	}
	if ((r->plain_body || !r->streaming) && r->answer.len)
		ws_say_text(chat->x, &r->id, r->answer.data, r->answer.len);
	ws_say_complete(chat->x, &r->id, usage);
	conversation_add(&chat->talk, (struct conversation_text){ r->user, r->user_len },
		(struct conversation_text){ r->answer.data, r->answer.len });
	request_end(r, END_COMPLETE);
}

static void on_end(struct provider_call *call, const struct provider_result *result, void *arg)
{
	struct ws_request *r = arg;
	struct endpoint_error e;

	endpoint_note_usage(&r->note, call_usage(call));
	r->chat->x->note.tokens += r->note.tokens;
	r->call = NULL;
	if (r->broken) {
		give_up(r);
	} else if (result->ending == END_COMPLETE) {
		complete(r, call_usage(call));
	} else {
		endpoint_failure(&e, result);
		ws_say_error(r->chat->x, &r->id, &e.error);
		request_end(r, result->ending);
	}
}

/* ---- waiting in line ---------------------------------------------------------------------- */

static void set_tick(struct ws_chat *chat)
{
	const struct timeval tv = { .tv_sec = TICK_MS / 1000, .tv_usec = TICK_MS % 1000 * 1000 };

	if (!event_pending(chat->tick, EV_TIMEOUT, NULL))
		event_add(chat->tick, &tv);
}

/* Once a second while somebody waits: to each who has waited that long, his place. */
static void tell_places(evutil_socket_t fd, short what, void *arg)
{
	struct ws_chat *chat = arg;
	uint64_t now_ms = clock_ms(), position, expected_ms = 0;
	struct ws_request *r;
	bool waiting = false;

	TAILQ_FOREACH (r, &chat->requests, entry) {
		if (!r->queued_ms)
			continue;
		position = call_position(r->call, &expected_ms);
		if (!position)
			continue;
		waiting = true;
		if (now_ms + TICK_SLACK_MS >= r->queued_ms + TICK_MS)
			ws_say_queued(chat->x, &r->id, position, expected_ms);
	}
	if (waiting && chat->x->state == EXCHANGE_WEBSOCKET)
		set_tick(chat);
}

static void on_queued(struct provider_call *call, void *arg)
{
	struct ws_request *r = arg;
	struct ws_chat *chat = r->chat;

	r->queued_ms = clock_ms();
	if (!chat->tick)
		chat->tick = evtimer_new(endpoint.base, tell_places, chat);
	set_tick(chat);
}

static const struct provider_asker asker = {
	.on_queued = on_queued,
	.on_head = on_head,
	.has_room = has_room,
	.on_bytes = on_bytes,
	.on_event = on_event,
	.on_end = on_end,
};

/* ---- what the client says -------------------------------------------------------------------- */

static struct ws_request *find_request(const struct ws_chat *chat, const struct ws_id *id)
{
	struct ws_request *r;

	TAILQ_FOREACH (r, &chat->requests, entry)
		if (ws_id_equal(&r->id, id))
			return r;
	return NULL;
}

/* What the provider is asked: the body, and where its model is. */
static void make_body(const struct ws_request *r, const struct endpoint_target *target,
	struct provider_request *request)
{
	struct buf body = BUF_INIT;

	buf_adds(&body, "{");
	endpoint_add_model(&body, target, request);
	buf_adds(&body, "\"messages\":");
	conversation_add_messages(&r->chat->talk, endpoint.conf->system_prompt,
		(struct conversation_text){ r->user, r->user_len }, &body);
	buf_adds(&body, ",\"stream\":true");
	if (endpoint.conf->providers[target->provider].stream_usage)
		buf_adds(&body, ",\"stream_options\":{\"include_usage\":true}");
	buf_adds(&body, "}");
	request->body = body.data;
	request->body_len = body.len;
}

static void start_request(struct ws_chat *chat, const struct ws_ask *ask,
	const struct endpoint_target *target)
{
	struct ws_request *r = xcalloc(1, sizeof(*r));
	struct provider_request request = { .provider = target->provider,
		.client = endpoint_client(chat->x),
		.path = "/chat/completions",
		.stream = true,
		.request_id = chat->x->id,
		.traceparent = exchange_header(chat->x, "traceparent") };

	r->chat = chat;
	r->id = ask->id;
	r->streaming = ask->streaming_kind == JSON_IS_BOOL ? ask->streaming
							   : endpoint.conf->streaming_enabled;
	r->user = xmemdup0(ask->text.bytes, ask->text.len);
	r->user_len = ask->text.len;
	TAILQ_INSERT_TAIL(&chat->requests, r, entry);
	chat->running++;

	make_body(r, target, &request);
	endpoint_note_target(chat->x, target, &chat->model);
	r->started_us = clock_us();
	r->model = chat->model ? xstrdup(chat->model) : NULL;
	r->note.provider = chat->x->note.provider;
	r->note.model = r->model;
	ws_say_processing(chat->x, &r->id);
	r->call = call_start(endpoint.providers, &request, &asker, r);
}

/* False: *e says why it may not start. */
static bool may_start(const struct ws_chat *chat, const struct ws_ask *ask, struct endpoint_error *e)
{
	const uint64_t limit = endpoint.conf->max_requests_per_connection;

	if (chat->draining) {
		endpoint_fault(e, END_DRAINING, NULL, "%s", ending_facts[END_DRAINING].text);
	} else if (find_request(chat, &ask->id)) {
		endpoint_fault(e, END_DUPLICATE_REQUEST_ID, "request_id", "%s",
			ending_facts[END_DUPLICATE_REQUEST_ID].text);
	} else if (chat->running >= limit) {
		endpoint_fault(e, END_TOO_MANY_REQUESTS, NULL,
			"%" PRIu64 " requests are running on this socket", limit);
		e->error.limit = "chat.websocket.max_requests_per_connection";
	} else {
		return true;
	}
	return false;
}

static bool take_chat(struct ws_chat *chat, const struct ws_ask *ask, const char *text,
	struct endpoint_error *e)
{
	struct endpoint_target target;

	if (!may_start(chat, ask, e))
		return false;
	if (!endpoint_aim(text, &ask->model, &target)) {
		endpoint_fault(e, END_BAD_REQUEST, "payload.model",
			"'payload.model' must be a string of less than %d bytes",
			ENDPOINT_MODEL_BYTES);
		return false;
	}
	start_request(chat, ask, &target);
	return true;
}

static bool take_cancel(struct ws_chat *chat, const struct ws_ask *ask, const char *text,
	struct endpoint_error *e)
{
	struct ws_request *r = find_request(chat, &ask->id);

	if (!r) {
		endpoint_fault(e, END_BAD_REQUEST, "request_id",
			"no request with this request_id is running on this socket");
		return false;
	}
	ws_say_cancelled(chat->x, &r->id);
	request_end(r, END_CANCELLED);
	return true;
}

static void on_message(struct exchange *x, const char *text, size_t len)
{
	static bool (*const actions[])(struct ws_chat *, const struct ws_ask *, const char *,
		struct endpoint_error *) = { [WS_CHAT] = take_chat, [WS_CANCEL] = take_cancel };
	struct ws_chat *chat = x->app_data;
	struct ws_ask ask;
	struct endpoint_error e;

	if (x->state != EXCHANGE_WEBSOCKET)
		return;
	if (ws_ask_read(&ask, text, len, &e) && actions[ask.action](chat, &ask, text, &e))
		return;
	stat_ending(e.error.ending);
	ws_say_error(x, &ask.id, &e.error);
}

/* ---- the socket --------------------------------------------------------------------------------- */

static void on_start(struct exchange *x)
{
	struct ws_chat *chat = xcalloc(1, sizeof(*chat));
	uint64_t by_tokens = endpoint.conf->context_max_tokens * BYTES_PER_TOKEN;
	uint64_t by_bytes = endpoint.conf->context_max_bytes;

	chat->x = x;
	TAILQ_INIT(&chat->requests);
	conversation_init(&chat->talk, by_tokens < by_bytes ? by_tokens : by_bytes);
	x->app_data = chat;
	endpoint_enter(x, &chat->place, ADMIT_WEBSOCKET, exchange_accept_ws);
}

static void on_room(struct exchange *x)
{
	struct ws_chat *chat = x->app_data;
	struct ws_request *r, *next;

	TAILQ_FOREACH_SAFE (r, &chat->requests, entry, next)
		call_resume(r->call);
}

static void on_drain(struct exchange *x)
{
	struct ws_chat *chat = x->app_data;

	chat->draining = true;
	if (x->state == EXCHANGE_ASKED) /* waits for a place */
		endpoint_give_up(x);
	else if (!chat->running && x->state == EXCHANGE_WEBSOCKET)
		close_for_restart(chat);
}

static void on_close(struct exchange *x)
{
	struct ws_chat *chat = x->app_data;
	struct ws_request *r, *next;

	TAILQ_FOREACH_SAFE (r, &chat->requests, entry, next) {
		log_request(r, END_CLIENT_GONE);
		request_free(r);
	}
	if (chat->tick)
		event_free(chat->tick);
	conversation_release(&chat->talk);
	endpoint_leave(&chat->place);
	free(chat->model);
	free(chat);
}

const struct exchange_app ws_chat_app = {
	.name = "ws_chat",
	.on_start = on_start,
	.on_room = on_room,
	.on_message = on_message,
	.on_drain = on_drain,
	.on_close = on_close,
};
