/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: the Responses API as a WebSocket: lanes, memory, limits. */
#include "base/base.h"
#include "unit.h"
#include "base/json_scan.h"
#include "endpoint_fakes.h"

static void connect_ws(struct client *c)
{
	client_init(c, "GET", "/v1/responses");
	c->x.request.websocket = true;
	client_send(c);
	ck_assert_int_eq(c->status, 101);
}

/* Send a message, to the end of the turn; the client forgets what it got before. */
static void say(struct client *c, const char *message)
{
	buf_clear(&c->body);
	c->x.app->on_message(&c->x, message, strlen(message));
	defer_run();
}

/* response.create with these further members (which begin with a comma, or are ""). */
static void create(struct client *c, const char *input, const char *more)
{
	char *message = xasprintf("{\"type\":\"response.create\",\"model\":\"gpt-4o\",\"input\":\"%s\"%s}", input, more);

	say(c, message);
	free(message);
}

/* "type@lane" of all messages, in order, each with a space behind. */
static const char *heard(const struct client *c)
{
	static struct buf types;
	const char *at = body_of(c);

	buf_clear(&types);
	buf_adds(&types, "");
	while (*at) {
		struct json_find found[] = { { .path = "type" }, { .path = "stream_id" } };
		const char *end = strchr(at, '\n');
		char type[80], lane[300] = "";

		ck_assert_msg(json_scan(at, (size_t)(end - at), 64, found, 2, NULL), "bad JSON: %s", at);
		ck_assert(json_find_copy(at, &found[0], type, sizeof(type)));
		if (found[1].kind != JSON_IS_MISSING)
			ck_assert(json_find_copy(at, &found[1], lane, sizeof(lane)));
		buf_addf(&types, "%s%s%s ", strncmp(type, "response.", 9) ? type : type + 9, lane[0] ? "@" : "", lane);
		at = end + 1;
	}
	return types.data;
}

/* The id of the response in the last message. */
static const char *last_id(const struct client *c)
{
	static char id[100];
	const char *at = strstr(body_of(c), "\"response\":{\"id\":\""), *next;

	ck_assert_ptr_nonnull(at);
	while ((next = strstr(at + 1, "\"response\":{\"id\":\"")))
		at = next;
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(at + 18, "\""), at + 18);
	return id;
}

static const char *previous(const char *id)
{
	static char more[200];

	snprintf(more, sizeof(more), ",\"previous_response_id\":\"%s\"", id);
	return more;
}

static void answer(unsigned i, const char *text)
{
	answer_head(i, true);
	answer_text(i, text);
	answer_complete(i);
	defer_run();
}

#define TEXT_EVENTS(l)                                                                          \
	"created" l " in_progress" l " output_item.added" l " content_part.added" l             \
	" output_text.delta" l " output_text.done" l " content_part.done" l " output_item.done" l \
	" completed" l " "
#define MESSAGES(...) "{\"model\":\"gpt-4o\",\"messages\":[" __VA_ARGS__ "],\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
#define USER(t) "{\"role\":\"user\",\"content\":\"" t "\"}"
#define ASSISTANT(t) "{\"role\":\"assistant\",\"content\":\"" t "\"}"

START_TEST(a_response_is_its_events_one_message_each)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	ck_assert_int_eq(fake_inside, 1);
	create(&c, "hi", ",\"stream\":true"); /* @openai/agents sends it */
	ck_assert_str_eq(running(0)->body, MESSAGES(USER("hi")));
	answer(0, "yes");
	ck_assert_str_eq(heard(&c), TEXT_EVENTS(""));
	ck_has(body_of(&c), "\"output\":[{\"id\":\"msg_");
	create(&c, "hi", ",\"stream_id\":\"a.B_-1\"");
	answer(1, "yes");
	ck_assert_str_eq(heard(&c), TEXT_EVENTS("@a.B_-1"));
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(the_latest_response_of_each_lane_is_remembered)
{
	struct client c;
	char first[100], second[100];

	open_endpoints();
	connect_ws(&c);
	create(&c, "one", ",\"instructions\":\"kind\"");
	answer(0, "1");
	snprintf(first, sizeof(first), "%s", last_id(&c));
	create(&c, "two", previous(first));
	/* Instructions are not inherited. */
	ck_assert_str_eq(running(1)->body, MESSAGES(USER("one") "," ASSISTANT("1") "," USER("two")));
	/* A fork while it runs. */
	char *fork = xasprintf("%s,\"stream_id\":\"f\"", previous(first));
	create(&c, "else", fork);
	ck_assert_str_eq(running(2)->body, MESSAGES(USER("one") "," ASSISTANT("1") "," USER("else")));
	answer(1, "2");
	answer(2, "3");
	ck_has(body_of(&c), first); /* echoed */
	free(fork);

	create(&c, "three", previous(first)); /* both lanes have gone on */
	ck_assert_str_eq(heard(&c), "error ");
	ck_has(body_of(&c), "\"status\":400,\"error\":{\"type\":\"invalid_request_error\","
		"\"code\":\"previous_response_not_found\"");
	ck_has(body_of(&c), "\"param\":\"previous_response_id\"");
	create(&c, "new", "");
	ck_assert_str_eq(running(3)->body, MESSAGES(USER("new")));
	answer(3, "n");
	snprintf(second, sizeof(second), "%s", last_id(&c));

	/* A continuation that fails takes its own lane's memory along; a fork that fails does not. */
	fork = xasprintf("%s,\"stream_id\":\"f\",\"tools\":[{\"type\":\"web_search\"}]", previous(second));
	create(&c, "x", fork);
	ck_assert_str_eq(heard(&c), "error@f ");
	free(fork);
	create(&c, "x", previous(second));
	answer_end(4, &(struct provider_result){ .ending = END_CONNECT_FAILED });
	defer_run();
	ck_assert_str_eq(heard(&c), "error ");
	ck_has(body_of(&c), "\"status\":502,");
	create(&c, "x", previous(second));
	ck_has(body_of(&c), "previous_response_not_found");
	client_close(&c);
}
END_TEST

START_TEST(calls_and_their_outputs_are_remembered)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	create(&c, "go", "");
	answer_head(0, true);
	answer_text(0, "so");
	answer_event(0, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":"
		"{\"name\":\"f\",\"arguments\":\"{}\"}},{\"index\":1,\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":\"[]\"}}]}}]}");
	answer_complete(0);
	defer_run();
	char *next = xasprintf("{\"type\":\"response.create\",\"input\":[{\"type\":\"function_call_output\","
		"\"call_id\":\"c1\",\"output\":\"1\"}]%s}", previous(last_id(&c)));
	say(&c, next);
	ck_assert_str_eq(running(1)->body, MESSAGES(USER("go")
		",{\"role\":\"assistant\",\"content\":\"so\",\"tool_calls\":["
		"{\"type\":\"function\",\"id\":\"c1\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
		"{\"type\":\"function\",\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":\"[]\"}}]},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"1\"}"));
	free(next);
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 1);
}
END_TEST

START_TEST(a_warm_up_generates_nothing_and_is_remembered)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	create(&c, "base", ",\"generate\":false");
	ck_assert_uint_eq(fake_ncalls, 0);
	ck_assert_str_eq(heard(&c), "created in_progress completed ");
	ck_has(body_of(&c), "\"output\":[]");
	create(&c, "more", previous(last_id(&c)));
	ck_assert_str_eq(running(0)->body, MESSAGES(USER("base") "," USER("more")));
	say(&c, "{\"type\":\"response.create\",\"stream_id\":\"w\",\"prompt_cache_options\":{\"prewarm\":true}}");
	ck_assert_str_eq(heard(&c), "created@w in_progress@w completed@w ");
	client_close(&c);
}
END_TEST

START_TEST(a_lane_is_in_order_and_lanes_run_at_once)
{
	struct client c;
	char lane[40];

	open_endpoints();
	connect_ws(&c);
	create(&c, "1", "");
	create(&c, "2", "");
	create(&c, "3", ",\"stream_id\":\"b\"");
	ck_assert_uint_eq(fake_ncalls, 2); /* 1 and 3 */
	ck_has(running(1)->body, "\"3\"");
	answer(0, "x");
	ck_assert_uint_eq(fake_ncalls, 3);
	ck_has(running(2)->body, "\"2\"");
	for (unsigned i = 0; i < 16; i++) {
		snprintf(lane, sizeof(lane), ",\"stream_id\":\"l%u\"", i);
		create(&c, "n", lane);
	}
	ck_assert_uint_eq(fake_ncalls, 17); /* 16 run */
	answer(1, "x");
	ck_assert_uint_eq(fake_ncalls, 18);
	c.x.app->on_room(&c.x);
	ck_assert_uint_eq(running(17)->resumed, 1);
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 16);
}
END_TEST

START_TEST(limits_are_told)
{
	struct conf *conf = open_endpoints();
	struct client c;
	char more[300];

	connect_ws(&c);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(more, sizeof(more), ",\"generate\":false,\"stream_id\":\"l%u\"", i);
		create(&c, "x", more);
		ck_has(heard(&c), "completed@l");
	}
	create(&c, "x", ",\"generate\":false,\"stream_id\":\"one-more\"");
	ck_assert_str_eq(heard(&c), "error@one-more ");
	ck_has(body_of(&c), "\"code\":\"websocket_stream_limit_reached\"");
	ck_has(body_of(&c), "\"param\":\"stream_id\"");
	create(&c, "x", ",\"generate\":false");
	ck_assert_str_eq(heard(&c), "created in_progress completed "); /* the default lane does not count */
	static const char *const bad[] = { "\"\"", "\"a b\"", "\"\\u00e9\"", "7" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(more, sizeof(more), ",\"stream_id\":%s", bad[i]);
		create(&c, "x", more);
		ck_assert_str_eq(heard(&c), "error ");
		ck_has(body_of(&c), "\"code\":\"invalid_stream_id\"");
	}
	create(&c, "x", "");
	for (unsigned i = 0; i < 64; i++) {
		create(&c, "x", "");
		ck_assert_str_eq(heard(&c), "");
	}
	create(&c, "x", "");
	ck_has(body_of(&c), "\"status\":429,");
	client_close(&c);

	conf->max_message_size_bytes = 1024;
	connect_ws(&c);
	create(&c, "x", "");
	memset(more, ' ', sizeof(more) - 1);
	more[sizeof(more) - 1] = 0;
	for (unsigned i = 0; i < 6; i++) {
		create(&c, "x", more);
		if (*heard(&c))
			break;
	}
	ck_has(body_of(&c), "\"status\":429,"); /* by their bytes */
	client_close(&c);
}
END_TEST

START_TEST(memory_is_bounded)
{
	struct conf *conf = open_endpoints();
	struct client c;
	char a[300], b[300];

	conf->responses_memory_bytes = 80; /* two short conversations, and not three */
	connect_ws(&c);
	create(&c, "aa", ",\"generate\":false,\"stream_id\":\"a\"");
	snprintf(a, sizeof(a), "%s", previous(last_id(&c)));
	create(&c, "bb", ",\"generate\":false,\"stream_id\":\"b\"");
	snprintf(b, sizeof(b), "%s,\"stream_id\":\"b\"", previous(last_id(&c)));
	char *touch = xasprintf("%s,\"stream_id\":\"x\"", a);
	create(&c, "x", touch); /* a fork: a is the younger now */
	ck_assert_uint_eq(fake_ncalls, 1);
	free(touch);
	create(&c, "cc", ",\"generate\":false,\"stream_id\":\"c\"");
	create(&c, "x", b);
	ck_has(body_of(&c), "previous_response_not_found");
	create(&c, "x", a);
	ck_assert_uint_eq(fake_ncalls, 2);
	/* One that is too large by itself is not kept, and costs the others nothing. */
	create(&c, "0123456789012345678901234567890123456789012345678901234567890123456789",
		",\"generate\":false,\"stream_id\":\"d\"");
	char *d = xasprintf("%s", previous(last_id(&c)));
	create(&c, "x", d);
	ck_assert_str_eq(heard(&c), "");
	answer(1, "x"); /* frees the default lane, where that waits */
	ck_has(body_of(&c), "previous_response_not_found");
	free(d);
	client_close(&c);
}
END_TEST

START_TEST(bad_messages_leave_the_socket_open)
{
	static const struct {
		const char *message, *code, *param;
	} rows[] = {
		{ "{", "\"code\":\"invalid_json\"", "\"param\":null" },
		{ "[]", "\"code\":\"bad_request\"", "\"param\":null" },
		{ "{}", "\"code\":\"bad_request\"", "\"param\":\"type\"" },
		{ "{\"type\":\"response.cancel\"}", "\"code\":\"bad_request\"", "\"param\":\"type\"" },
		{ "{\"type\":\"response.create\"}", "\"code\":\"bad_request\"", "\"param\":\"input\"" },
		{ "{\"type\":\"response.create\",\"input\":\"x\",\"foo\":1}", "\"code\":\"bad_request\"", "\"param\":\"foo\"" },
		{ "{\"type\":\"response.create\",\"input\":\"x\",\"background\":true}", "\"code\":\"bad_request\"",
			"\"param\":\"background\"" },
	};
	struct client c;

	open_endpoints();
	connect_ws(&c);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		say(&c, rows[i].message);
		ck_assert_str_eq(heard(&c), "error ");
		ck_has(body_of(&c), "\"status\":400,\"error\":{\"type\":\"invalid_request_error\",");
		ck_has(body_of(&c), rows[i].code);
		ck_has(body_of(&c), rows[i].param);
		ck_assert_uint_eq(c.close_code, 0);
	}
	say(&c, "{\"type\":\"response.steer\",\"previous_response_id\":\"resp_1\",\"input\":[1]}");
	ck_assert_str_eq(heard(&c), "steer.failed ");
	ck_has(body_of(&c), "\"steer\":{\"previous_response_id\":\"resp_1\",\"input\":[1]}");
	client_close(&c);
}
END_TEST

START_TEST(failures_have_the_shape_of_their_time)
{
	static const char body[] = "{\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\","
		"\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}";
	struct client c;

	open_endpoints();
	connect_ws(&c);
	create(&c, "x", ",\"stream_id\":\"a\"");
	answer_end(0, &(struct provider_result){ .ending = END_QUEUE_TIMEOUT, .limit = "a.b", .retry_after_ms = 1500 });
	defer_run();
	ck_has(body_of(&c), "{\"type\":\"error\",\"status\":503,\"stream_id\":\"a\",\"error\":{\"type\":\"server_error\","
		"\"code\":\"queue_timeout\"");
	ck_has(body_of(&c), "\"headers\":{\"x-should-retry\":\"true\",\"retry-after\":\"2\",\"x-headgate-limit\":\"a.b\"}}}");
	create(&c, "x", "");
	answer_end(1, &(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 400, .body = body,
		.body_len = strlen(body) });
	defer_run();
	ck_has(body_of(&c), "{\"type\":\"error\",\"status\":400,\"error\":{\"message\":\"too long\"");
	create(&c, "x", "");
	answer_head(2, true);
	answer_end(2, &(struct provider_result){ .ending = END_PROVIDER_RESET });
	defer_run();
	ck_assert_str_eq(heard(&c), "created in_progress failed ");
	client_close(&c);
}
END_TEST

#define NATIVE(input, more) "{\"model\":\"llama\",\"input\":[" input "]" more ",\"stream\":true}"
#define LAST(id, output) \
	"{\"type\":\"response.completed\",\"response\":{\"id\":\"" id "\",\"output\":[" output "]}}"

START_TEST(where_the_provider_has_the_api_its_events_are_passed_on)
{
	struct client c;

	open_endpoints();
	fake_providers[1].responses = CONF_RESPONSES_NATIVE;
	connect_ws(&c);
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"stream_id\":\"a\",\"stream\":true,"
		"\"tools\":[{\"type\":\"web_search\"}],\"input\":\"hi\",\"max_output_tokens\":7}");
	ck_assert_str_eq(running(0)->path, "/responses");
	ck_assert(running(0)->responses);
	ck_assert_uint_eq(running(0)->max_tokens, 7);
	ck_assert_str_eq(running(0)->body, NATIVE("{\"role\":\"user\",\"content\":\"hi\"}",
		",\"tools\":[{\"type\":\"web_search\"}],\"max_output_tokens\":7"));
	answer_head(0, true);
	ck_assert_str_eq(body_of(&c), "");
	answer_event(0, "{\"type\":\"response.new\",\"x\":1}");
	answer_event(0, LAST("resp_p", "{\"id\":\"rs_1\"} , {\"id\":\"msg_1\"}"));
	answer_complete(0);
	defer_run();
	ck_assert_str_eq(body_of(&c), "{\"stream_id\":\"a\",\"type\":\"response.new\",\"x\":1}\n"
		"{\"stream_id\":\"a\",\"type\":\"response.completed\",\"response\":{\"id\":\"resp_p\",\"output\":["
		"{\"id\":\"rs_1\"} , {\"id\":\"msg_1\"}]}}\n");

	/* The memory is of items, by the provider's own id. */
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"previous_response_id\":\"resp_p\","
		"\"input\":[{\"id\":\"a\"} , {\"id\":\"b\"}]}");
	ck_assert_str_eq(running(1)->body, NATIVE("{\"role\":\"user\",\"content\":\"hi\"},{\"id\":\"rs_1\"} , {\"id\":\"msg_1\"},"
		"{\"id\":\"a\"},{\"id\":\"b\"}", ""));
	/* It fails in the middle, and then by the provider's own words. */
	answer_head(1, true);
	answer_event(1, "{\"type\":\"response.created\"}");
	answer_end(1, &(struct provider_result){ .ending = END_PROVIDER_RESET, .answered = true });
	defer_run();
	ck_assert_str_eq(heard(&c), "created error ");
	ck_has(body_of(&c), "\"code\":\"provider_reset\"");
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"input\":\"x\"}");
	answer_head(2, true);
	answer_event(2, "{\"type\":\"response.failed\"}");
	answer_end(2, &(struct provider_result){ .ending = END_STREAM_ERROR, .answered = true });
	defer_run();
	ck_assert_str_eq(heard(&c), "failed ");

	/* What is not known here the provider may know; what continues it is not known here either. */
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"previous_response_id\":\"resp_q\",\"input\":[]}");
	ck_assert_str_eq(running(3)->body, NATIVE("", ",\"previous_response_id\":\"resp_q\""));
	answer_head(3, true);
	answer_event(3, LAST("resp_r", ""));
	answer_complete(3);
	defer_run();
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"previous_response_id\":\"resp_r\",\"input\":[]}");
	ck_assert_str_eq(running(4)->body, NATIVE("", ",\"previous_response_id\":\"resp_r\""));
	/* A document, where a stream was asked for. */
	answer_head(4, false);
	answer_bytes(4, "{\"id\":\"resp_s\",\"output\":[]}");
	answer_complete(4);
	defer_run();
	ck_assert_str_eq(body_of(&c), "{\"type\":\"response.completed\",\"sequence_number\":0,\"response\":"
		"{\"id\":\"resp_s\",\"output\":[]}}\n");

	/* Items are of no use to a provider without it; a warm-up is ours. */
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"input\":\"w\",\"generate\":false}");
	ck_assert_str_eq(heard(&c), "created in_progress completed ");
	char *more = xasprintf("%s", previous(last_id(&c)));
	create(&c, "x", more);
	ck_has(body_of(&c), "previous_response_not_found");
	free(more);
	say(&c, "{\"type\":\"response.create\",\"model\":\"groq/llama\",\"input\":\"x\",\"background\":true}");
	ck_has(body_of(&c), "\"param\":\"background\"");
	client_close(&c);
	fake_providers[1].responses = CONF_RESPONSES_BRIDGE;
}
END_TEST

START_TEST(who_drains_ends_what_runs_and_closes)
{
	struct client c;

	open_endpoints();
	connect_ws(&c);
	c.x.app->on_drain(&c.x);
	ck_assert_uint_eq(c.close_code, 1012);
	client_close(&c);

	connect_ws(&c);
	create(&c, "runs", "");
	create(&c, "waits", "");
	buf_clear(&c.body);
	c.x.app->on_drain(&c.x);
	ck_assert_str_eq(heard(&c), "error ");
	ck_has(body_of(&c), "\"status\":503,\"error\":{\"type\":\"server_error\",\"code\":\"shutting_down\"");
	ck_assert_uint_eq(c.close_code, 0);
	create(&c, "new", ",\"stream_id\":\"n\"");
	ck_assert_str_eq(heard(&c), "error@n ");
	answer(0, "x");
	ck_has(heard(&c), "completed ");
	ck_assert_uint_eq(c.close_code, 1012);
	ck_assert_uint_eq(fake_ncalls, 1);
	client_close(&c);
}
END_TEST

START_TEST(an_old_socket_is_closed_between_two_responses)
{
	struct conf *conf = open_endpoints();
	struct client c;

	conf->responses_max_age_ms = 1;
	connect_ws(&c);
	create(&c, "x", "");
	event_base_loop(fake_base, EVLOOP_ONCE);
	ck_assert_uint_eq(c.close_code, 0);
	answer(0, "x");
	ck_has(heard(&c), "completed error ");
	ck_has(body_of(&c), "\"code\":\"websocket_connection_limit_reached\"");
	ck_assert_uint_eq(c.close_code, 1001);
	client_close(&c);
}
END_TEST

START_TEST(a_full_house_closes_the_socket)
{
	struct client c;

	open_endpoints();
	fake_places = 0;
	connect_ws(&c);
	ck_assert_uint_eq(c.close_code, 1013);
	client_close(&c);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_responses_ws", a_response_is_its_events_one_message_each,
		the_latest_response_of_each_lane_is_remembered, calls_and_their_outputs_are_remembered,
		a_warm_up_generates_nothing_and_is_remembered, a_lane_is_in_order_and_lanes_run_at_once,
		limits_are_told, memory_is_bounded, bad_messages_leave_the_socket_open,
		failures_have_the_shape_of_their_time,
		where_the_provider_has_the_api_its_events_are_passed_on, who_drains_ends_what_runs_and_closes,
		an_old_socket_is_closed_between_two_responses, a_full_house_closes_the_socket);
}
