/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: the chat protocol over WebSocket. */
#include "base/base.h"
#include "unit.h"
#include "endpoint_fakes.h"

#define PROCESSING(id) \
	"{\"request_id\":" id ",\"status\":\"processing\",\"chunk\":{\"metadata\":{\"processing\":true}}}\n"
#define TEXT(id, text) \
	"{\"request_id\":" id ",\"status\":\"chunk\",\"chunk\":{\"type\":\"text\",\"data\":" text \
	",\"metadata\":{}}}\n"
#define COMPLETE(id) "{\"request_id\":" id ",\"status\":\"complete\",\"chunk\":{}}\n"
#define CANCELLED(id) \
	"{\"request_id\":" id ",\"status\":\"complete\",\"chunk\":{\"metadata\":{\"cancelled\":true}}}\n"
#define TAIL "],\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

static void connect_ws(struct client *c)
{
	client_init(c, "GET", "/ws/chat");
	c->x.request.websocket = true;
	client_send(c);
	ck_assert_int_eq(c->status, 101);
}

/* Send a message; the client forgets what it got before. */
static void say(struct client *c, const char *message)
{
	buf_clear(&c->body);
	c->x.app->on_message(&c->x, message, strlen(message));
}

static void chat(struct client *c, const char *id, const char *text)
{
	char *message = xasprintf(
		"{\"action\":\"chat\",\"request_id\":\"%s\",\"payload\":{\"text\":\"%s\"}}", id, text);

	say(c, message);
	free(message);
}

START_TEST(a_request_is_processed_streamed_and_completed)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	ck_assert_int_eq(fake_inside, 1);
	say(&c, "{\"action\":\"chat\",\"request_id\":\"r\\u0031\\\"\",\"payload\":{\"text\":\"h\\u00e9 \\\"\","
		"\"metadata\":{\"x\":[1]}}}");
	ck_assert_str_eq(running(0)->path, "/chat/completions");
	ck_assert(running(0)->stream);
	ck_assert_str_eq(running(0)->body,
		"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\\"\"}" TAIL);
	answer_head(0, true);
	answer_event(0, "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}");
	answer_text(0, "to\\nk");
	answer_text(0, "\\ud83d\\ude00");
	answer_event(0, "{\"choices\":[{\"delta\":{\"content\":null},\"finish_reason\":\"stop\"}]}");
	answer_event(0, "{\"choices\":[],\"usage\":{}}");
	running(0)->usage = (struct provider_usage){ .known = true, .completion_tokens = 2 };
	answer_complete(0);
	ck_assert_str_eq(body_of(&c),
		PROCESSING("\"r\\u0031\\\"\"") TEXT("\"r\\u0031\\\"\"", "\"to\\nk\"")
			TEXT("\"r\\u0031\\\"\"", "\"\\ud83d\\ude00\"")
				"{\"request_id\":\"r\\u0031\\\"\",\"status\":\"complete\","
				"\"chunk\":{\"metadata\":{\"tokens\":2}}}\n");
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(without_streaming_all_of_it_is_one_chunk)
{
	struct conf *conf = open_endpoints();
	struct client c;

	connect_ws(&c);
	say(&c, "{\"action\":\"chat\",\"request_id\":\"a\",\"payload\":{\"text\":\"x\",\"streaming\":false}}");
	answer_head(0, true);
	answer_text(0, "one ");
	answer_text(0, "two");
	ck_assert_str_eq(body_of(&c), PROCESSING("\"a\""));
	answer_complete(0);
	ck_assert_str_eq(body_of(&c), PROCESSING("\"a\"") TEXT("\"a\"", "\"one two\"") COMPLETE("\"a\""));

	conf->streaming_enabled = false; /* the default of who does not say */
	chat(&c, "b", "x");
	answer_head(1, true);
	answer_text(1, "three");
	ck_assert_str_eq(body_of(&c), PROCESSING("\"b\""));
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 1);
}
END_TEST

START_TEST(a_provider_that_does_not_stream_is_read_too)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	answer_head(0, false);
	answer_bytes(0, "{\"choices\":[{\"message\":{\"role\":\"assistant\",");
	answer_bytes(0, "\"content\":\"al\\\\l\"}}]}");
	answer_complete(0);
	ck_assert_str_eq(body_of(&c), PROCESSING("\"a\"") TEXT("\"a\"", "\"al\\\\l\"") COMPLETE("\"a\""));
	chat(&c, "b", "y");
	ck_has(running(1)->body, "{\"role\":\"assistant\",\"content\":\"al\\\\l\"}");
	answer_head(1, false);
	answer_bytes(1, "{\"choices\":[]}");
	answer_complete(1);
	ck_has(body_of(&c), "\"code\":\"provider_bad_answer\"");
	client_close(&c);
}
END_TEST

START_TEST(other_parts_of_a_delta_go_on_under_their_own_type)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	answer_head(0, true);
	answer_event(0, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}],\"content\":null}}]}");
	answer_event(0, "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":\"\"}}]}");
	ck_assert_str_eq(body_of(&c),
		PROCESSING("\"a\"")
		"{\"request_id\":\"a\",\"status\":\"chunk\",\"chunk\":{\"type\":\"tool_calls\",\"data\":"
		"[{\"index\":0}],\"metadata\":{}}}\n"
		"{\"request_id\":\"a\",\"status\":\"chunk\",\"chunk\":{\"type\":\"reasoning\",\"data\":"
		"\"hm\",\"metadata\":{}}}\n");
	client_close(&c);
}
END_TEST

static void complains(struct client *c, const char *message, const char *id, const char *code,
	const char *text)
{
	unsigned before = fake_ncalls;

	say(c, message);
	ck_has(body_of(c), "\"status\":\"error\",\"chunk\":{\"error\":\"");
	ck_has(body_of(c), id);
	ck_has(body_of(c), code);
	ck_has(body_of(c), text);
	ck_assert_ptr_eq(strchr(body_of(c), '\n'), body_of(c) + c->body.len - 1); /* one message */
	ck_assert_uint_eq(fake_ncalls, before);
	ck_assert_uint_eq(c->close_code, 0);
}

#define CHAT_OF(payload) "{\"action\":\"chat\",\"request_id\":\"a\",\"payload\":" payload "}"
#define NO_ID "{\"request_id\":null,"
#define ID_A "{\"request_id\":\"a\","
#define BAD "\"code\":\"bad_request\""

START_TEST(bad_messages_are_answered_and_the_socket_stays_open)
{
	struct client c;
	char *long_id;

	open_endpoints();
	connect_ws(&c);
	complains(&c, "{\"action\":\n x}", NO_ID, "invalid_json", "line 2, column 2");
	complains(&c, "[1]", NO_ID, BAD, "must be a JSON object");
	complains(&c, "{\"action\":\"chat\"}", NO_ID, BAD, "'request_id' is missing");
	complains(&c, "{\"action\":\"chat\",\"request_id\":7}", NO_ID, BAD, "must be a string");
	complains(&c, "{\"action\":\"chat\",\"request_id\":\"\"}", NO_ID, BAD, "1 to 128 bytes");
	complains(&c, "{\"request_id\":\"a\"}", ID_A, BAD, "'action' is missing");
	complains(&c, "{\"request_id\":\"a\",\"action\":{}}", ID_A, BAD, "'action' must be a string");
	complains(&c, "{\"request_id\":\"a\",\"action\":\"dance\"}", ID_A, "\"unknown_action\"", "cancel");
	complains(&c, "{\"request_id\":\"a\",\"action\":\"chat\"}", ID_A, BAD, "'payload' must be");
	complains(&c, CHAT_OF("{}"), ID_A, BAD, "\"param\":\"payload.text\"");
	complains(&c, CHAT_OF("{\"text\":7}"), ID_A, BAD, "'payload.text' must be a string");
	complains(&c, CHAT_OF("{\"text\":\"x\",\"streaming\":1}"), ID_A, BAD, "payload.streaming");
	complains(&c, CHAT_OF("{\"text\":\"x\",\"model\":1}"), ID_A, BAD, "payload.model");
	complains(&c, "{\"request_id\":\"a\",\"action\":\"cancel\"}", ID_A, BAD, "no request with this");

	long_id = xasprintf("{\"action\":\"chat\",\"request_id\":\"%0129d\"}", 7);
	complains(&c, long_id, NO_ID, BAD, "1 to 128 bytes");
	free(long_id);
	long_id = xasprintf("{\"action\":\"dance\",\"request_id\":\"%0128d\"}", 7);
	complains(&c, long_id, "00000007\"", "unknown_action", "");
	free(long_id);
	client_close(&c);
}
END_TEST

START_TEST(requests_on_one_socket_are_told_apart_and_bounded)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	complains(&c, CHAT_OF("{\"text\":\"x\"}"), ID_A, "\"duplicate_request_id\"", "");
	complains(&c, "{\"action\":\"chat\",\"request_id\":\"\\u0061\",\"payload\":{\"text\":\"x\"}}",
		"{\"request_id\":\"\\u0061\",", "\"duplicate_request_id\"", "");
	chat(&c, "b", "y");
	chat(&c, "c", "z");
	complains(&c, "{\"action\":\"chat\",\"request_id\":\"d\",\"payload\":{\"text\":\"x\"}}",
		"{\"request_id\":\"d\",", "\"too_many_requests_per_connection\"",
		"\"limit\":\"chat.websocket.max_requests_per_connection\"");
	buf_clear(&c.body);
	answer_head(1, true);
	answer_head(0, true);
	answer_text(1, "1");
	answer_text(0, "0");
	answer_complete(0);
	answer_text(1, "2");
	ck_assert_str_eq(body_of(&c), TEXT("\"b\"", "\"1\"") TEXT("\"a\"", "\"0\"") COMPLETE("\"a\"")
			TEXT("\"b\"", "\"2\""));
	chat(&c, "a", "again"); /* the name is free again, and so is a place */
	ck_assert_str_eq(body_of(&c), PROCESSING("\"a\""));
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 3);
}
END_TEST

START_TEST(a_cancelled_request_ends_at_once_and_leaves_nothing)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "forget me");
	answer_head(0, true);
	answer_text(0, "part");
	say(&c, "{\"action\":\"cancel\",\"request_id\":\"\\u0061\"}");
	ck_assert_str_eq(body_of(&c), CANCELLED("\"a\""));
	ck_assert_uint_eq(fake_cancelled, 1);
	chat(&c, "b", "new");
	ck_assert_str_eq(running(1)->body,
		"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"new\"}" TAIL);
	client_close(&c);
}
END_TEST

START_TEST(a_failure_is_told_with_code_limit_and_retry_after)
{
	const char said[] = "{\"error\":{\"message\":\"too\\nfast\"}}";
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	buf_clear(&c.body);
	answer_end(0, &(struct provider_result){ .ending = END_QUEUE_TIMEOUT, .retry_after_ms = 1410,
			.limit = "llm.providers.openai.http_client.concurrent_requests" });
	ck_assert_str_eq(body_of(&c),
		"{\"request_id\":\"a\",\"status\":\"error\",\"chunk\":{\"error\":\"provider 'openai': waited "
		"longer than queue_timeout for a place at the provider\",\"metadata\":{"
		"\"code\":\"queue_timeout\","
		"\"limit\":\"llm.providers.openai.http_client.concurrent_requests\","
		"\"retry_after\":1.5}}}\n");
	chat(&c, "a", "x");
	answer_end(1, &(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 429,
			      .body = said, .body_len = strlen(said) });
	ck_has(body_of(&c), "\"error\":\"provider 'openai' answered with status 429: too\\nfast\"");
	chat(&c, "b", "y");
	ck_has_not(running(2)->body, "\"x\""); /* what failed is not part of the conversation */
	client_close(&c);
}
END_TEST

START_TEST(a_broken_event_ends_the_request_at_the_end_of_the_turn)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	answer_head(0, true);
	buf_clear(&c.body);
	answer_event(0, "{\"choices\":[");
	answer_text(0, "late");
	ck_assert_uint_eq(c.body.len, 0);
	ck_assert_uint_eq(fake_cancelled, 0); /* not from inside the call */
	defer_run();
	ck_assert_uint_eq(fake_cancelled, 1);
	ck_has(body_of(&c), "\"code\":\"provider_bad_answer\"");

	chat(&c, "b", "x"); /* the same, but the call ends first */
	answer_head(1, true);
	buf_clear(&c.body);
	answer_event(1, "no json");
	answer_complete(1);
	ck_has(body_of(&c), "\"code\":\"provider_bad_answer\"");
	ck_assert(!defer_pending());

	chat(&c, "c", "x"); /* and the client leaves first */
	answer_head(2, true);
	answer_event(2, "no json");
	exchange_close(&c.x);
	ck_assert(!defer_pending());
	ck_assert_uint_eq(fake_cancelled, 2);
	client_close(&c);
}
END_TEST

/* One turn of the conversation. */
static void turn(struct client *c, const char *ask, const char *answer)
{
	unsigned n = fake_ncalls;

	chat(c, "t", ask);
	answer_head(n, true);
	answer_text(n, answer);
	answer_complete(n);
}

START_TEST(each_request_is_sent_with_the_turns_completed_before_it)
{
	static char prompt[] = "Be \"brief\"";
	struct conf *conf = open_endpoints();
	struct client c;

	conf->system_prompt = prompt;
	connect_ws(&c);
	turn(&c, "q1", "a1");
	chat(&c, "x", "q2");
	say(&c, "{\"action\":\"chat\",\"request_id\":\"y\",\"payload\":{\"text\":\"q3\",\"model\":\"groq/m\"}}");
	ck_assert_str_eq(running(2)->body,
		"{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"Be \\\"brief\\\"\"},"
		"{\"role\":\"user\",\"content\":\"q1\"},{\"role\":\"assistant\",\"content\":\"a1\"},"
		"{\"role\":\"user\",\"content\":\"q3\"}" TAIL);
	ck_assert_uint_eq(running(2)->provider, 1);
	client_close(&c);
}
END_TEST

START_TEST(the_oldest_turns_go_when_the_conversation_is_too_large)
{
	struct conf *conf = open_endpoints();
	struct client c;
	unsigned n;

	conf->context_max_tokens = 5; /* 20 bytes */
	connect_ws(&c);
	turn(&c, "11111", "aaaaa");
	turn(&c, "22222", "bbbbb");
	chat(&c, "t", ""); /* both fit: 20 bytes */
	ck_has(running(2)->body, "11111");
	ck_has(running(2)->body, "bbbbb");
	answer_end(2, &(struct provider_result){ .ending = END_READ_TIMEOUT });
	chat(&c, "t", "3"); /* not beside one more byte */
	ck_has_not(running(3)->body, "11111");
	ck_has(running(3)->body, "22222");
	answer_end(3, &(struct provider_result){ .ending = END_READ_TIMEOUT });
	turn(&c, "3", "c");
	n = fake_ncalls;
	chat(&c, "t", "");
	ck_has_not(running(n)->body, "11111");
	ck_has(running(n)->body, "22222");
	ck_has(running(n)->body, "\"c\"");
	answer_end(n, &(struct provider_result){ .ending = END_READ_TIMEOUT });
	turn(&c, "4", "ddddddddddddddddddddd"); /* larger than all of it: not kept */
	chat(&c, "t", "");
	ck_has_not(running(n + 2)->body, "ddd");
	ck_has(running(n + 2)->body, "22222");
	client_close(&c);
}
END_TEST

START_TEST(a_full_house_is_accepted_and_closed_with_1013)
{
	struct client c;

	open_endpoints();
	fake_places = 0;
	connect_ws(&c);
	ck_assert_uint_eq(c.close_code, 1013);
	ck_assert_str_eq(c.close_reason, "Server at maximum capacity");
	ck_assert_int_eq(c.x.note.ending, END_HOUSE_FULL);
	say(&c, CHAT_OF("{\"text\":\"x\"}"));
	ck_assert_uint_eq(fake_ncalls, 0);
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(a_slow_client_pauses_all_its_requests_and_resumes_them)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	chat(&c, "b", "y");
	c.room = 0;
	ck_assert(!running(0)->asker.has_room(running(0), running(0)->arg));
	c.room = 1;
	ck_assert(running(1)->asker.has_room(running(1), running(1)->arg));
	c.x.app->on_room(&c.x);
	ck_assert_uint_eq(running(0)->resumed, 1);
	ck_assert_uint_eq(running(1)->resumed, 1);
	client_close(&c);
}
END_TEST

START_TEST(a_drain_closes_idle_sockets_now_and_busy_ones_after_their_last_request)
{
	struct client idle, busy;

	open_endpoints();
	connect_ws(&idle);
	idle.x.app->on_drain(&idle.x);
	ck_assert_uint_eq(idle.close_code, 1012);
	ck_assert_str_eq(idle.close_reason, "service restart");
	client_close(&idle);

	connect_ws(&busy);
	chat(&busy, "a", "x");
	chat(&busy, "b", "y");
	busy.x.app->on_drain(&busy.x);
	ck_assert_uint_eq(busy.close_code, 0);
	complains(&busy, "{\"action\":\"chat\",\"request_id\":\"d\",\"payload\":{\"text\":\"x\"}}",
		"{\"request_id\":\"d\",", "\"shutting_down\"", "");
	answer_head(0, true);
	answer_complete(0);
	ck_assert_uint_eq(busy.close_code, 0);
	say(&busy, "{\"action\":\"cancel\",\"request_id\":\"b\"}");
	ck_assert_str_eq(body_of(&busy), CANCELLED("\"b\""));
	ck_assert_uint_eq(busy.close_code, 1012);
	client_close(&busy);
}
END_TEST

START_TEST(who_waits_hears_of_the_place_in_line)
{
	struct provider_call *call;
	struct client c;

	open_endpoints();
	connect_ws(&c);
	chat(&c, "a", "x");
	chat(&c, "b", "y");
	call = running(0);
	call->position = 7;
	call->asker.on_queued(call, call->arg);
	buf_clear(&c.body);
	ck_assert_int_eq(event_base_loop(fake_base, EVLOOP_ONCE), 0);
	ck_assert_str_eq(body_of(&c),
		"{\"request_id\":\"a\",\"status\":\"processing\",\"chunk\":{\"type\":\"queued\","
		"\"data\":{\"position\":7,\"expected_wait\":2.1},\"metadata\":{}}}\n");
	call->position = 0; /* its turn */
	buf_clear(&c.body);
	ck_assert_int_eq(event_base_loop(fake_base, EVLOOP_ONCE), 0);
	ck_assert_uint_eq(c.body.len, 0);
	ck_assert_int_eq(event_base_loop(fake_base, EVLOOP_ONCE), 1); /* no timer is left */
	client_close(&c);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_ws", a_request_is_processed_streamed_and_completed,
		without_streaming_all_of_it_is_one_chunk, a_provider_that_does_not_stream_is_read_too,
		other_parts_of_a_delta_go_on_under_their_own_type,
		bad_messages_are_answered_and_the_socket_stays_open,
		requests_on_one_socket_are_told_apart_and_bounded,
		a_cancelled_request_ends_at_once_and_leaves_nothing,
		a_failure_is_told_with_code_limit_and_retry_after,
		a_broken_event_ends_the_request_at_the_end_of_the_turn,
		each_request_is_sent_with_the_turns_completed_before_it,
		the_oldest_turns_go_when_the_conversation_is_too_large,
		a_full_house_is_accepted_and_closed_with_1013,
		a_slow_client_pauses_all_its_requests_and_resumes_them,
		a_drain_closes_idle_sockets_now_and_busy_ones_after_their_last_request,
		who_waits_hears_of_the_place_in_line);
}
