/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_ws.c - GET /v1/responses as a WebSocket: OpenAI's WebSocket mode of the Responses API. A
 * socket takes a place of max_connections; several responses run on it at once, one to a lane
 * (stream_id), each of them one provider call. What they say are the events of the stream over
 * HTTP, a message each.
 *
 * Messages wait in their lane as they came, and are read when it is their turn: what they
 * continue may be running until then. No response is started or ended inside a provider's
 * callback but at the end of the turn.
 *
 * Ownership: the exchange owns the socket, that owns its lanes and its turns.
 */
#include "base/base.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/endpoint/apps.h"
#include "worker/endpoint/responses_lanes.h"
#include "worker/endpoint/responses_run.h"
#include <event2/event.h>

/* Responses that run at once on a socket; more wait. */
#define RUNNING_MAX 16

struct socket {
	struct exchange *x;
	struct endpoint_place place;
	struct lanes lanes;
	TAILQ_HEAD(, turn) turns;
	unsigned running;
	struct defer next;	/* see who may start */
	struct event *age;	/* of a socket: chat.responses.max_age */
	enum ending leaving;	/* END_COUNT, or why nothing new is taken */
	char *model; /* asked last; for the access log */
};

/* A response that runs. */
struct turn {
	TAILQ_ENTRY(turn) entry;
	struct socket *socket;
	struct lane *lane;
	struct responses_run run;
	struct buf talk; /* what was said before it, and its input */
	uint64_t started_us;
	struct exchange_note note;
	char *model; /* of the note */
};

/* ---- the client hears ----------------------------------------------------------------- */

static const char *lane_name(const struct lane *lane)
{
	return lane && lane->name[0] ? lane->name : NULL;
}

static void add_headers(struct buf *out, const struct exchange_error *error)
{
	if (!error->limit && !error->retry_after_ms && !error->give_up)
		return;
	buf_addf(out, ",\"headers\":{\"x-should-retry\":\"%s\"", error->give_up ? "false" : "true");
	if (error->retry_after_ms)
		buf_addf(out, ",\"retry-after\":\"%" PRIu64 "\"", (error->retry_after_ms + 999) / 1000);
	if (error->limit)
		json_add_member(out, "x-headgate-limit", error->limit);
	buf_adds(out, "}");
}

/* An error of no response, or of one that the client knows nothing of. status 0: the ending's. */
static void say_error(struct socket *s, const char *lane, const struct exchange_error *error, int status)
{
	const struct ending_facts *facts = &ending_facts[error->ending];
	struct buf json = BUF_INIT;

	buf_addf(&json, "{\"type\":\"error\",\"status\":%d", status ? status : facts->http);
	if (lane)
		buf_addf(&json, ",\"stream_id\":\"%s\"", lane);
	buf_addf(&json, ",\"error\":{\"type\":\"%s\",\"code\":\"%s\"", facts->type, facts->code);
	json_add_member(&json, "message", error->message ? error->message : facts->text);
	json_add_member(&json, "param", error->param);
	add_headers(&json, error);
	buf_adds(&json, "}}");
	exchange_send_text(s->x, json.data, json.len);
	buf_release(&json);
}

static void refuse(struct socket *s, const char *lane, const struct exchange_error *error)
{
	stat_ending(error->ending);
	say_error(s, lane, error, 0);
}

/* ---- leaving ---------------------------------------------------------------------------- */

static void close_if_idle(struct socket *s)
{
	const struct ending_facts *facts;

	if (s->leaving == END_COUNT || s->running || s->x->state != EXCHANGE_WEBSOCKET)
		return;
	facts = &ending_facts[s->leaving];
	s->x->note.ending = s->leaving;
	if (s->leaving == END_SOCKET_AGED)
		say_error(s, NULL, &(struct exchange_error){ .ending = END_SOCKET_AGED }, 0);
	exchange_close_ws(s->x, facts->ws, facts->text);
}

/* Take nothing new, tell those who wait, and go when what runs is over. */
static void leave(struct socket *s, enum ending why)
{
	struct lane_message *message;
	struct lane *lane;

	if (s->leaving == END_COUNT)
		s->leaving = why;
	TAILQ_FOREACH (lane, &s->lanes.all, entry)
		lane->busy = false; /* so that all who wait are found */
	while ((message = lanes_next(&s->lanes, &lane))) {
		refuse(s, lane_name(lane), &(struct exchange_error){ .ending = s->leaving });
		free(message);
	}
	close_if_idle(s);
}

static void grown_old(evutil_socket_t fd, short what, void *arg)
{
	leave(arg, END_SOCKET_AGED);
}

/* ---- a response ---------------------------------------------------------------------------- */

static void see_who_is_next(struct socket *s);

static struct turn *turn_of(struct responses_run *run)
{
	return container_of(run, struct turn, run);
}

static void turn_free(struct turn *turn)
{
	TAILQ_REMOVE(&turn->socket->turns, turn, entry);
	turn->socket->running--;
	run_release(&turn->run);
	buf_release(&turn->talk);
	free(turn->model);
	free(turn);
}

static void turn_log(struct turn *turn, enum ending ending)
{
	if (turn->run.call)
		endpoint_note_usage(&turn->note, call_usage(turn->run.call));
	turn->note.ending = ending;
	exchange_log_message(turn->socket->x, turn->run.reply.id, &turn->note, turn->started_us);
}

static void say_event(struct responses_run *run, const char *type, const char *json, size_t len)
{
	exchange_send_text(run->x, json, len);
}

/* The provider's own error object, if it sent one: clients look at its code. */
static bool say_its_error(struct turn *turn, const struct provider_result *result)
{
	struct json_find error = { .path = "error" };
	struct buf json = BUF_INIT;

	if (!result->body_len || !json_scan(result->body, result->body_len, ENDPOINT_JSON_DEPTH, &error, 1,
					 NULL) ||
		error.kind != JSON_IS_OBJECT)
		return false;
	buf_addf(&json, "{\"type\":\"error\",\"status\":%d", result->status);
	if (lane_name(turn->lane))
		buf_addf(&json, ",\"stream_id\":\"%s\"", lane_name(turn->lane));
	buf_adds(&json, ",\"error\":");
	buf_add(&json, result->body + error.offset, error.len);
	buf_adds(&json, "}");
	exchange_send_text(turn->socket->x, json.data, json.len);
	buf_release(&json);
	return true;
}

static void on_refused(struct responses_run *run, const struct exchange_error *error,
	const struct provider_result *result)
{
	struct turn *turn = turn_of(run);
	bool its_own = result && result->ending == END_PROVIDER_STATUS && result->status >= 400;

	if (!its_own || !say_its_error(turn, result))
		say_error(turn->socket, lane_name(turn->lane), error, its_own ? result->status : 0);
}

/* A continuation that failed takes along what it continued, if that was of its lane. */
static void settle_memory(struct turn *turn, enum ending ending)
{
	struct lanes *lanes = &turn->socket->lanes;
	struct buf answer = BUF_INIT;

	if (ending != END_COMPLETE) {
		if (turn->run.ask.previous[0] &&
			strcmp(turn->run.ask.previous, turn->lane->latest) == 0)
			lanes_forget(lanes, turn->lane);
		return;
	}
	if (turn->run.ask.native)
		buf_add(&answer, turn->run.document.data, turn->run.document.len);
	else
		reply_message(&turn->run.reply, &answer);
	if (answer.len && turn->talk.len)
		buf_adds(&turn->talk, ",");
	buf_add(&turn->talk, answer.data, answer.len);
	buf_release(&answer);
	/* Of what began elsewhere not all is known here. */
	if (turn->run.ask.resume || !turn->run.reply.id[0])
		lanes_forget(lanes, turn->lane);
	else
		lanes_remember(lanes, turn->lane, turn->run.reply.id, turn->run.ask.native, &turn->talk);
}

static void on_end(struct responses_run *run, enum ending ending)
{
	struct turn *turn = turn_of(run);
	struct socket *s = turn->socket;

	settle_memory(turn, ending);
	turn->lane->busy = false;
	stat_ending(ending);
	turn_log(turn, ending);
	s->x->note.tokens += turn->note.tokens;
	turn_free(turn);
	see_who_is_next(s);
}

static const struct responses_owner owner = { say_event, on_refused, on_end };

/* ---- its beginning ---------------------------------------------------------------------------- */

/* What it continues, and its own input: the talk. False: *e says why not. */
static bool make_talk(struct turn *turn, struct endpoint_error *e)
{
	struct responses_ask *ask = &turn->run.ask;
	struct lane *parent = ask->previous[0] ? lanes_find(&turn->socket->lanes, ask->previous) : NULL;

	if (parent && parent->native != ask->native)
		parent = NULL;
	ask->resume = ask->native && ask->previous[0] && !parent && !ask->warm_up;
	if (ask->previous[0] && !parent && !ask->resume) {
		endpoint_fault(e, END_PREVIOUS_NOT_FOUND, "previous_response_id",
			"Previous response with id '%s' not found: a socket remembers the latest of each "
			"stream_id, send the whole conversation as input",
			ask->previous);
		return false;
	}
	if (parent)
		buf_add(&turn->talk, parent->talk.data, parent->talk.len);
	if (turn->talk.len && ask->messages.len)
		buf_adds(&turn->talk, ",");
	buf_add(&turn->talk, ask->messages.data, ask->messages.len);
	buf_release(&ask->messages); /* it is in the talk */
	if (turn->talk.len || ask->warm_up || ask->native)
		return true;
	endpoint_fault(e, END_BAD_REQUEST, "input", "'input' is empty");
	return false;
}

static bool read_turn(struct turn *turn, const struct lane_message *message, struct endpoint_error *e)
{
	struct json_find document = { .path = "" };
	struct json_fault fault;

	if (!json_scan(message->text, message->len, ENDPOINT_JSON_DEPTH, &document, 1, &fault)) {
		endpoint_bad_json(e, &fault);
		return false;
	}
	if (responses_is_native(message->text, message->len))
		return responses_read_native(&turn->run.ask, message->text, &document, e) && make_talk(turn, e);
	return responses_read(&turn->run.ask, message->text, &document, true, e) && make_talk(turn, e);
}

static void start_turn(struct socket *s, struct lane *lane, const struct lane_message *message)
{
	struct turn *turn = xcalloc(1, sizeof(*turn));
	struct endpoint_error e;

	turn->socket = s;
	turn->lane = lane;
	turn->started_us = clock_us();
	turn->run.owner = &owner;
	turn->run.x = s->x;
	turn->run.note = &turn->note;
	TAILQ_INSERT_TAIL(&s->turns, turn, entry);
	s->running++;
	if (!read_turn(turn, message, &e)) {
		refuse(s, lane_name(lane), &e.error);
		settle_memory(turn, e.error.ending);
		turn_free(turn);
		return;
	}
	endpoint_note_target(s->x, &turn->run.ask.target, &s->model);
	turn->model = s->model ? xstrdup(s->model) : NULL;
	turn->note.provider = s->x->note.provider;
	turn->note.model = turn->model;
	turn->run.ask.stream = true; /* whatever it says: there is no other way here */
	lane->busy = true;
	if (turn->run.ask.warm_up)
		run_warm_up(&turn->run, lane_name(lane));
	else
		run_start(&turn->run, lane_name(lane), turn->talk.data, turn->talk.len);
}

static void start_next(void *arg)
{
	struct socket *s = arg;
	struct lane_message *message;
	struct lane *lane;

	while (s->leaving == END_COUNT && s->running < RUNNING_MAX &&
		s->x->state == EXCHANGE_WEBSOCKET && (message = lanes_next(&s->lanes, &lane))) {
		start_turn(s, lane, message);
		free(message);
	}
	close_if_idle(s);
}

static void see_who_is_next(struct socket *s)
{
	defer_call(&s->next, start_next, s);
}

/* ---- what the client says ------------------------------------------------------------------------- */

enum { DOCUMENT, TYPE, STREAM_ID, INPUT, PREVIOUS, FINDS };

/* The lane that a message is for. NULL: there is none, *e says why; *name is "" or the client's. */
static struct lane *find_lane(struct socket *s, const char *text, const struct json_find *id, char *name,
	struct endpoint_error *e)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	struct lane *lane;

	name[0] = 0;
	if (id->kind != JSON_IS_MISSING && id->kind != JSON_IS_NULL &&
		(!json_find_copy(text, id, name, LANE_NAME_MAX + 1) || !name[0] ||
			name[strspn(name, allowed)])) {
		name[0] = 0;
		endpoint_fault(e, END_BAD_STREAM_ID, "stream_id", "'stream_id' must be 1 to %d letters, "
			"digits, '_', '.' or '-'", LANE_NAME_MAX);
		return NULL;
	}
	lane = lanes_get(&s->lanes, name);
	if (!lane)
		endpoint_fault(e, END_TOO_MANY_LANES, "stream_id", "%s",
			ending_facts[END_TOO_MANY_LANES].text);
	return lane;
}

static void take_create(struct socket *s, const char *text, size_t len, const struct json_find *found)
{
	char name[LANE_NAME_MAX + 1];
	struct endpoint_error e;
	struct lane *lane = find_lane(s, text, &found[STREAM_ID], name, &e);

	if (!lane) {
		refuse(s, name[0] ? name : NULL, &e.error);
	} else if (s->leaving != END_COUNT) {
		refuse(s, lane_name(lane), &(struct exchange_error){ .ending = s->leaving });
	} else if (s->lanes.waiting == LANES_WAITING_MAX ||
		s->lanes.waiting_bytes + len > 2 * endpoint.conf->max_message_size_bytes) {
		endpoint_fault(&e, END_TOO_MANY_REQUESTS, NULL, "too many messages wait on this socket");
		refuse(s, lane_name(lane), &e.error);
	} else {
		lanes_wait(&s->lanes, lane, text, len);
		see_who_is_next(s);
	}
}

static void add_given(struct buf *out, const char *text, const struct json_find *value)
{
	if (value->len)
		buf_add(out, text + value->offset, value->len);
	else
		buf_adds(out, "null");
}

/* To steer a response while it runs is more than chat completions can do. */
static void take_steer(struct socket *s, const char *text, size_t len, const struct json_find *found)
{
	struct buf json = BUF_INIT;

	buf_adds(&json, "{\"type\":\"response.steer.failed\",\"error\":{\"type\":\"invalid_request_error\","
		"\"code\":\"steering_not_supported\",\"message\":\"responses cannot be steered here\"},"
		"\"steer\":{\"previous_response_id\":");
	add_given(&json, text, &found[PREVIOUS]);
	buf_adds(&json, ",\"input\":");
	add_given(&json, text, &found[INPUT]);
	buf_adds(&json, "}}");
	exchange_send_text(s->x, json.data, json.len);
	buf_release(&json);
}

static void on_message(struct exchange *x, const char *text, size_t len)
{
	struct json_find found[FINDS] = { [DOCUMENT] = { .path = "" }, [TYPE] = { .path = "type" },
		[STREAM_ID] = { .path = "stream_id" }, [INPUT] = { .path = "input" },
		[PREVIOUS] = { .path = "previous_response_id" } };
	struct socket *s = x->app_data;
	struct json_fault fault;
	struct endpoint_error e;

	if (x->state != EXCHANGE_WEBSOCKET)
		return;
	if (!json_scan(text, len, ENDPOINT_JSON_DEPTH, found, FINDS, &fault)) {
		endpoint_bad_json(&e, &fault);
	} else if (json_find_equals(text, &found[TYPE], "response.create")) {
		take_create(s, text, len, found);
		return;
	} else if (json_find_equals(text, &found[TYPE], "response.steer")) {
		take_steer(s, text, len, found);
		return;
	} else if (found[DOCUMENT].kind != JSON_IS_OBJECT) {
		endpoint_fault(&e, END_BAD_REQUEST, NULL, "a message must be a JSON object");
	} else {
		endpoint_fault(&e, END_BAD_REQUEST, "type",
			"'type' must be \"response.create\" or \"response.steer\"");
	}
	refuse(s, NULL, &e.error);
}

/* ---- the socket -------------------------------------------------------------------------------------- */

static void begin(struct exchange *x)
{
	const struct timeval max_age = { .tv_sec = (time_t)(endpoint.conf->responses_max_age_ms / 1000),
		.tv_usec = (suseconds_t)(endpoint.conf->responses_max_age_ms % 1000 * 1000) };
	struct socket *s = x->app_data;

	exchange_accept_ws(x);
	s->age = evtimer_new(endpoint.base, grown_old, s);
	event_add(s->age, &max_age);
}

static void on_start(struct exchange *x)
{
	struct socket *s = xcalloc(1, sizeof(*s));

	s->x = x;
	s->leaving = END_COUNT;
	TAILQ_INIT(&s->turns);
	lanes_init(&s->lanes, endpoint.conf->responses_memory_bytes);
	x->app_data = s;
	endpoint_enter(x, &s->place, ADMIT_WEBSOCKET, begin);
}

static void on_room(struct exchange *x)
{
	struct socket *s = x->app_data;
	struct turn *turn, *next;

	TAILQ_FOREACH_SAFE (turn, &s->turns, entry, next)
		if (turn->run.call)
			call_resume(turn->run.call);
}

static void on_drain(struct exchange *x)
{
	if (x->state == EXCHANGE_ASKED)
		endpoint_give_up(x);
	else if (x->state == EXCHANGE_WEBSOCKET)
		leave(x->app_data, END_DRAINING);
}

static void on_close(struct exchange *x)
{
	struct socket *s = x->app_data;
	struct turn *turn, *next;

	TAILQ_FOREACH_SAFE (turn, &s->turns, entry, next) {
		turn_log(turn, END_CLIENT_GONE);
		turn_free(turn);
	}
	defer_cancel(&s->next);
	if (s->age)
		event_free(s->age);
	lanes_release(&s->lanes);
	endpoint_leave(&s->place);
	free(s->model);
	free(s);
}

const struct exchange_app responses_ws_app = {
	.name = "responses_ws",
	.on_start = on_start,
	.on_room = on_room,
	.on_message = on_message,
	.on_drain = on_drain,
	.on_close = on_close,
};
