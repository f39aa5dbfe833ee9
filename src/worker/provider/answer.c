/* SPDX-License-Identifier: BSD-2-Clause */
/* answer.c - see answer.h. */
#include "base/base.h"
#include "worker/provider/answer.h"

#include "base/find.h"
#include "base/json_scan.h"
#include "shm/stats.h"
#include "worker/provider/room.h"

#include <strings.h>

#define DEPTH_MAX 256

/* ---- what is read in JSON ------------------------------------------------------ */

/* Members that an event is looked into for. */
enum {
	HAS_FINISH_REASON = 1,
	HAS_USAGE = 2,
	HAS_ERROR = 4,
	HAS_RESPONSE = 8
};

static const struct {
	const char *quoted;
	unsigned len, has;
	bool anywhere; /* it may be a value, too */
} members[] = {
	{ "\"finish_reason\"", 15, HAS_FINISH_REASON, false },
	{ "\"usage\"", 7, HAS_USAGE, false },
	{ "\"error\"", 7, HAS_ERROR, true },
	{ "\"response\"", 10, HAS_RESPONSE, false },
};
#define MEMBER_INITIALS "fuer"

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
		at++;
	return at;
}

/* Is there a colon, and a value that is not null? */
static bool has_value(const char *at, const char *end)
{
	at = skip_blanks(at, end);
	if (at == end || *at != ':')
		return false;
	at = skip_blanks(at + 1, end);
	return at < end && *at != 'n';
}

/*
 * Which members does it have whose value is not null? Looks at bytes only: quotes in a string would be escaped, so what is
 * found is a string of its own; that it stands where it counts is not known yet.
 */
static unsigned members_of(const char *json, size_t len)
{
	const char *end = json + len, *at = json;
	unsigned has = 0;

	while ((at = find_quoted(at, end, MEMBER_INITIALS))) {
		for (unsigned i = 0; i < ARRAY_SIZE(members); i++)
			if ((size_t)(end - at) > members[i].len &&
				!memcmp(at, members[i].quoted, members[i].len) &&
				(members[i].anywhere || has_value(at + members[i].len, end)))
				has |= members[i].has;
		at++;
	}
	return has;
}

enum { EVENT_USAGE, EVENT_CHOICES, EVENT_FIRST_CHOICE, EVENT_FINDS };

/* The last report counts: some providers give one with each event. */
static void note_tokens(struct provider_call *call, const char *json, const struct json_find *prompt,
	const struct json_find *completion)
{
	struct provider_usage *usage = &call->usage;

	if (json_find_uint(json, prompt, &usage->prompt_tokens))
		usage->known = true;
	if (json_find_uint(json, completion, &usage->completion_tokens))
		usage->known = true;
}

/* As chat completions call them, or as the Responses API does. True: as the former. */
static bool note_usage(struct provider_call *call, const char *json, const struct json_find *usage)
{
	struct json_find found[] = { { .path = "input_tokens" }, { .path = "output_tokens" },
		{ .path = "prompt_tokens" }, { .path = "completion_tokens" } };

	if (usage->kind != JSON_IS_OBJECT || !json_scan(json + usage->offset, usage->len, DEPTH_MAX, found,
						     ARRAY_SIZE(found), NULL))
		return false;
	note_tokens(call, json + usage->offset, &found[0], &found[1]);
	note_tokens(call, json + usage->offset, &found[2], &found[3]);
	return found[2].kind == JSON_IS_NUMBER;
}

/* True: it is the chunk that "include_usage" asks for, and says nothing else. */
static bool read_usage(struct provider_call *call, const char *data, size_t len)
{
	struct json_find found[EVENT_FINDS] = { [EVENT_USAGE] = { .path = "usage" },
		[EVENT_CHOICES] = { .path = "choices" }, [EVENT_FIRST_CHOICE] = { .path = "choices[0]" } };

	return json_scan(data, len, DEPTH_MAX, found, EVENT_FINDS, NULL) &&
		note_usage(call, data, &found[EVENT_USAGE]) &&
		found[EVENT_CHOICES].kind == JSON_IS_ARRAY &&
		found[EVENT_FIRST_CHOICE].kind == JSON_IS_MISSING;
}

/* Is this the last event of a stream of the Responses API? Takes its usage along. */
static bool ends_response(struct provider_call *call, const char *data, size_t len)
{
	struct json_find found[] = { { .path = "type" }, { .path = "response.usage.input_tokens" },
		{ .path = "response.usage.output_tokens" } };

	if (!json_scan(data, len, DEPTH_MAX, found, ARRAY_SIZE(found), NULL))
		return false;
	note_tokens(call, data, &found[1], &found[2]);
	return json_find_equals(data, &found[0], "response.completed") ||
		json_find_equals(data, &found[0], "response.incomplete") ||
		json_find_equals(data, &found[0], "response.failed");
}

static bool is_error(const char *data, size_t len)
{
	struct json_find found[] = { { .path = "error" }, { .path = "object" }, { .path = "type" } };

	if (!json_scan(data, len, DEPTH_MAX, found, ARRAY_SIZE(found), NULL))
		return false;
	return found[0].kind > JSON_IS_NULL || json_find_equals(data, &found[1], "error") ||
		json_find_equals(data, &found[2], "error") ||
		json_find_equals(data, &found[2], "response.failed");
}

bool answer_error_text(const struct answer *answer, char *to, size_t size)
{
	static const char *const paths[] = { "error.message", "message", "error",
		"response.error.message" };

	for (size_t i = 0; i < ARRAY_SIZE(paths) && answer->error; i++) {
		struct json_find found = { .path = paths[i] };

		if (answer->body.data &&
			json_scan(answer->body.data, answer->body.len, DEPTH_MAX, &found, 1, NULL) &&
			json_find_copy(answer->body.data, &found, to, size))
			return true;
	}
	return false;
}

/* ---- a stream without its usage chunk ------------------------------------------- */

/* Pass on what is complete: up to `end`. */
static void pass_on(struct provider_call *call, const char *end)
{
	struct answer *answer = &call->answer;
	size_t len = (size_t)(end - answer->unpassed);
	const char *bytes = answer->unpassed;

	if (answer->held.len) {
		buf_add(&answer->held, bytes, len);
		bytes = answer->held.data;
		len = answer->held.len;
	}
	if (len && !call->cancelled)
		CALL_ASKER(call, on_bytes, bytes, len, call->arg);
	buf_clear(&answer->held);
	answer->unpassed = end;
}

/* An event ended here; it is passed on with those behind it, or dropped. */
static void event_ended(struct provider_call *call, bool drop)
{
	struct answer *answer = &call->answer;

	if (drop) {
		if (answer->event_end > answer->unpassed)
			pass_on(call, answer->event_end);
		buf_clear(&answer->held);
		answer->unpassed = answer->sse.next;
	}
	answer->event_end = answer->sse.next;
}

/* The block was read: pass on its whole events, and keep the rest. */
static void block_ended(struct provider_call *call, const char *end)
{
	struct answer *answer = &call->answer;

	if (answer->done || sse_at_boundary(&answer->sse))
		answer->event_end = end;
	if (answer->event_end > answer->unpassed)
		pass_on(call, answer->event_end);
	if (end > answer->unpassed)
		buf_add(&answer->held, answer->unpassed, (size_t)(end - answer->unpassed));
}

/* ---- a stream ------------------------------------------------------------------- */

static bool on_event(void *arg, const char *name, size_t name_len, const char *data, size_t len)
{
	struct provider_call *call = arg;
	struct answer *answer = &call->answer;

	bool drop = false;
	unsigned has;

	if (len >= 6 && !memcmp(data, "[DONE]", 6)) {
		answer->done = true;
		return false;
	}
	pstat_add(call->provider->index, PSTAT_EVENTS, 1);
	answer->events++;
	call_token(call);
	has = members_of(data, len);
	if (has & HAS_FINISH_REASON)
		answer->finished = true;
	if (has & HAS_USAGE)
		drop = read_usage(call, data, len);
	if (call->strip_usage)
		event_ended(call, drop);
	if (!answer->error &&
		((name_len == 5 && !memcmp(name, "error", 5)) || (has & HAS_ERROR && is_error(data, len)))) {
		answer->error = true;
		buf_add(&answer->body, data,
			len < ANSWER_REFUSAL_MAX_BYTES ? len : ANSWER_REFUSAL_MAX_BYTES);
	}
	if (call->responses && has & HAS_RESPONSE && ends_response(call, data, len))
		answer->done = true;
	CALL_ASKER(call, on_event, data, len, call->arg);
	return !call->cancelled && !answer->done;
}

static bool has_room(struct provider_call *call)
{
	bool room = true;

	if (call->asker->has_room) {
		call->calling++;
		room = call->asker->has_room(call, call->arg);
		call->calling--;
	}
	return room;
}

static enum answer_step stream_bytes(struct provider_call *call, const char *bytes, size_t len)
{
	struct answer *answer = &call->answer;
	enum sse_result result;

	if (answer->done)
		return ANSWER_TAKEN;
	if (!has_room(call))
		return call->cancelled ? ANSWER_STOP : ANSWER_PAUSE;
	answer->unpassed = answer->event_end = bytes;
	if (!call->cancelled && !call->strip_usage)
		CALL_ASKER(call, on_bytes, bytes, len, call->arg);
	if (call->cancelled)
		return ANSWER_STOP;
	result = sse_push(&answer->sse, bytes, len);
	if (call->strip_usage)
		block_ended(call, bytes + len);
	if (result == SSE_TOO_LONG) {
		answer->incomprehensible = "one event of the stream is larger than 4 MiB";
		return ANSWER_STOP;
	}
	if (answer->done)
		call_arm(call);
	return call->cancelled ? ANSWER_STOP : ANSWER_TAKEN;
}

/* ---- all kinds ------------------------------------------------------------------ */

static bool is_event_stream(const char *type)
{
	static const char name[] = "text/event-stream";
	size_t n = sizeof(name) - 1;

	return type && !strncasecmp(type, name, n) && (!type[n] || strchr("; \t", type[n]));
}

static void tell_head(struct provider_call *call)
{
	struct provider_head head = {
		.status = call->answer.status,
		.sse = call->answer.kind == ANSWER_STREAM,
		.content_type = call->answer.content_type,
	};

	call->told_head = true;
	target_drop_body(call);
	CALL_ASKER(call, on_head, &head, call->arg);
}

void answer_begin(struct provider_call *call, int status, const char *content_type)
{
	struct answer *answer = &call->answer;

	answer->status = status;
	answer->content_type = xstrdup(content_type ? content_type : "application/json");
	if (status >= 200 && status <= 299)
		report_accepted(call);
	if (status < 200 || status > 299) {
		answer->kind = ANSWER_REFUSAL;
	} else if (is_event_stream(content_type)) {
		answer->kind = ANSWER_STREAM;
		sse_init(&answer->sse, ANSWER_EVENT_MAX_BYTES, on_event, call);
		tell_head(call);
	} else {
		answer->kind = ANSWER_DOCUMENT;
	}
}

enum answer_step answer_bytes(struct provider_call *call, const char *bytes, size_t len)
{
	struct answer *answer = &call->answer;
	size_t room;

	switch (answer->kind) {
	case ANSWER_STREAM:
		return stream_bytes(call, bytes, len);
	case ANSWER_DOCUMENT:
		call_first_token(call);
		if (len > ANSWER_DOCUMENT_MAX_BYTES - answer->body.len) {
			answer->incomprehensible = "the answer is larger than 16 MiB";
			return ANSWER_STOP;
		}
		buf_add(&answer->body, bytes, len);
		return ANSWER_TAKEN;
	case ANSWER_REFUSAL:
		room = ANSWER_REFUSAL_MAX_BYTES - answer->body.len;
		buf_add(&answer->body, bytes, len < room ? len : room);
		return len <= room ? ANSWER_TAKEN : ANSWER_STOP;
	case ANSWER_NONE:
		break;
	}
	answer->incomprehensible = "a body without a head";
	return ANSWER_STOP;
}

static enum ending stream_ending(
	struct provider_call *call, enum ending transfer, const char **detail_r)
{
	struct answer *answer = &call->answer;

	/* An event that was left unfinished goes on as it is. */
	if (answer->held.len)
		pass_on(call, answer->unpassed);
	if (answer->error)
		return END_STREAM_ERROR;
	if (answer->done || (transfer == END_COMPLETE && answer->finished))
		return END_COMPLETE;
	if (transfer != END_COMPLETE)
		return transfer;
	*detail_r = "the provider's stream ended early";
	return END_PROVIDER_RESET;
}

static enum ending document_ending(
	struct provider_call *call, enum ending transfer, const char **detail_r)
{
	struct json_find usage = { .path = "usage" };
	struct buf *body = &call->answer.body;
	struct json_fault fault;

	if (transfer != END_COMPLETE)
		return transfer;
	buf_reserve(body, 0);
	if (!json_scan(body->data, body->len, DEPTH_MAX, &usage, 1, &fault)) {
		snprintf(call->detail, sizeof(call->detail), "not JSON (%.100s): %s",
			call->answer.content_type, json_fault_text(fault.code));
		*detail_r = call->detail;
		return END_PROVIDER_GARBAGE;
	}
	(void)note_usage(call, body->data, &usage);
	return END_COMPLETE;
}

enum ending answer_ending(struct provider_call *call, enum ending transfer, const char **detail_r)
{
	struct answer *answer = &call->answer;

	if (answer->incomprehensible) {
		*detail_r = answer->incomprehensible;
		return END_PROVIDER_GARBAGE;
	}
	switch (answer->kind) {
	case ANSWER_STREAM:
		return stream_ending(call, transfer, detail_r);
	case ANSWER_DOCUMENT:
		return document_ending(call, transfer, detail_r);
	case ANSWER_REFUSAL:
		return answer->status == 401 || answer->status == 403 ? END_PROVIDER_AUTH
								      : END_PROVIDER_STATUS;
	case ANSWER_NONE:
		break;
	}
	return transfer == END_COMPLETE ? END_PROVIDER_GARBAGE : transfer;
}

void answer_deliver(struct provider_call *call)
{
	struct answer *answer = &call->answer;

	tell_head(call);
	if (!call->cancelled)
		CALL_ASKER(call, on_bytes, answer->body.data, answer->body.len, call->arg);
}

void answer_release(struct answer *answer)
{
	if (answer->kind == ANSWER_STREAM)
		sse_release(&answer->sse);
	buf_release(&answer->body);
	buf_release(&answer->held);
	free(answer->content_type);
	answer->content_type = NULL;
}
