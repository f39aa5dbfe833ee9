/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: /v1/chat/completions and its kin. */
#include "base/base.h"
#include "base/json_scan.h"
#include "unit.h"
#include "endpoint_fakes.h"

#define CHAT "/v1/chat/completions"
#define STREAM "{\"stream\":true,\"model\":\"gpt-4o\",\"messages\":[]}"
#define EVENT "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}"

static void refused(const char *path, const char *body, const char *param, const char *text)
{
	struct client c;
	char *named = param ? xasprintf("\"param\":\"%s\"", param) : xstrdup("\"param\":null");

	client_ask(&c, "POST", path, body);
	ck_assert_int_eq(c.status, 400);
	ck_has(body_of(&c), named);
	ck_has(body_of(&c), text);
	ck_assert_uint_eq(fake_ncalls, 0);
	client_close(&c);
	free(named);
}

START_TEST(bodies_that_are_wrong_are_refused_with_the_place)
{
	struct client c;

	open_endpoints();
	refused(CHAT, NULL, NULL, "invalid_json");
	refused(CHAT, "{\"messages\":[],\n \"x\":tru}", NULL, "line 2, column 6");
	refused(CHAT, "[]", NULL, "must be a JSON object");
	refused(CHAT, "{}", "messages", "'messages' is missing");
	refused(CHAT, "{\"messages\":{}}", "messages", "must be an array");
	refused(CHAT, "{\"messages\":[],\"model\":7}", "model", "must be a string");
	refused(CHAT, "{\"messages\":[],\"model\":null}", "model", "must be a string");
	refused(CHAT, "{\"messages\":[],\"stream\":\"yes\"}", "stream", "must be true or false");
	refused("/v1/completions", "{\"messages\":[]}", "prompt", "'prompt' is missing");
	refused("/v1/embeddings", "{\"input\":7}", "input", "must be a string or an array");

	client_init(&c, "POST", CHAT);
	client_header(&c, "Content-Type", "text/plain");
	client_send(&c);
	ck_assert_int_eq(c.status, 400);
	ck_has(body_of(&c), "Content-Type must be application/json");
	client_close(&c);
}
END_TEST

/* The model's value in a body of ours, as far as that is flat. */
static void check_model(const struct provider_call *call)
{
	struct json_find model = { .path = "model" };

	ck_assert(json_scan(call->body, strlen(call->body), 64, &model, 1, NULL));
	ck_assert_uint_eq(strlen(call->model), model.len);
	ck_assert(memcmp(call->model, call->body + model.offset, model.len) == 0);
}

static void goes_up(const char *body, unsigned provider, const char *as)
{
	struct client c;
	unsigned n = fake_ncalls;

	client_init(&c, "POST", CHAT);
	client_header(&c, "content-type", "Application/JSON; charset=utf-8");
	c.x.request.body = body;
	c.x.request.body_len = strlen(body);
	client_send(&c);
	ck_assert_str_eq(running(n)->body, as);
	check_model(running(n));
	ck_assert_uint_eq(running(n)->provider, provider);
	ck_assert_str_eq(running(n)->path, "/chat/completions");
	client_close(&c);
}

START_TEST(bodies_go_up_byte_for_byte_but_for_the_model)
{
	open_endpoints();
	goes_up(" {\"x\" : 1e999, \"messages\":[ {} ],\"model\":\"gpt-4o\"}\n", 0,
		" {\"x\" : 1e999, \"messages\":[ {} ],\"model\":\"gpt-4o\"}\n");
	goes_up("{\"messages\":[],\"model\":\"groq/gpt-4o\",\"y\":[1,2]}", 1,
		"{\"messages\":[],\"model\":\"gpt-4o\",\"y\":[1,2]}");
	goes_up("{\"messages\":[],\"model\" : \"groq\\/a\\\"b\" }", 1,
		"{\"messages\":[],\"model\" : \"a\\\"b\" }");
	goes_up(" { \"messages\":[]}", 0, " {\"model\":\"gpt-4o\", \"messages\":[]}");
	goes_up("{\"messages\":[],\"model\":\"\"}", 0, "{\"messages\":[],\"model\":\"gpt-4o\"}");
	goes_up("{\"messages\":[],\"model\":\"unknown\",\"stream\":null}", 0,
		"{\"messages\":[],\"model\":\"unknown\",\"stream\":null}");
	ck_assert_uint_eq(fake_cancelled, fake_ncalls); /* their clients left */
}
END_TEST

static void streams_as(const char *body, const char *as, bool strip)
{
	unsigned n = fake_ncalls;
	struct client c;

	client_ask(&c, "POST", CHAT, body);
	ck_assert_str_eq(running(n)->body, as);
	ck_assert_int_eq(running(n)->strip_usage, strip);
	check_model(running(n));
	client_close(&c);
}

#define ASKS "\"stream_options\":{\"include_usage\":true}"
#define TO_GROQ "{\"model\":\"groq/m\",\"stream\":true,\"messages\":[],"
#define AT_GROQ "{\"model\":\"m\",\"stream\":true,\"messages\":[],"

START_TEST(a_stream_tells_its_usage_and_the_client_need_not_know)
{
	open_endpoints();
	streams_as("{\"messages\":[ ],\"stream\":true,\"model\":\"gpt-4o\" } ",
		"{\"messages\":[ ],\"stream\":true,\"model\":\"gpt-4o\" ," ASKS "} ", true);
	streams_as(TO_GROQ ASKS "}", AT_GROQ ASKS "}", false);
	streams_as(TO_GROQ "\"stream_options\": {} }", AT_GROQ "\"stream_options\": {\"include_usage\":true} }", true);
	streams_as(TO_GROQ "\"stream_options\":{ \"x\":1}}",
		AT_GROQ "\"stream_options\":{\"include_usage\":true, \"x\":1}}", true);
	streams_as(TO_GROQ "\"stream_options\":{\"include_usage\":false}}", AT_GROQ ASKS "}", true);
	streams_as(TO_GROQ "\"stream_options\":null}", AT_GROQ ASKS "}", true);
	streams_as(TO_GROQ "\"stream_options\":7}", AT_GROQ "\"stream_options\":7}", false);
	streams_as("{\"stream_options\":{},\"stream\":true,\"messages\":[],\"model\":\"groq/m\"}",
		"{" ASKS ",\"stream\":true,\"messages\":[],\"model\":\"m\"}", true);
	streams_as("{\"stream\":true,\"messages\":[]}",
		"{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[]," ASKS "}", true);
	/* Switched off, and where there is no stream, nothing is added. */
	fake_providers[1].stream_usage = false;
	streams_as(TO_GROQ "\"a\":1}", AT_GROQ "\"a\":1}", false);
	streams_as("{\"model\":\"gpt-4o\",\"messages\":[]}", "{\"model\":\"gpt-4o\",\"messages\":[]}", false);
}
END_TEST

static uint64_t max_tokens(const char *body)
{
	unsigned n = fake_ncalls;
	struct client c;
	uint64_t tokens;

	client_ask(&c, "POST", CHAT, body);
	tokens = running(n)->max_tokens;
	client_close(&c);
	return tokens;
}

START_TEST(the_most_tokens_are_read)
{
	open_endpoints();
	ck_assert_uint_eq(max_tokens("{\"messages\":[]}"), 0);
	ck_assert_uint_eq(max_tokens("{\"messages\":[],\"max_tokens\":7}"), 7);
	ck_assert_uint_eq(max_tokens("{\"messages\":[],\"max_tokens\":7,\"max_completion_tokens\":9}"), 9);
	ck_assert_uint_eq(max_tokens("{\"messages\":[],\"max_tokens\":-1,\"max_completion_tokens\":null}"), 0);
}
END_TEST

START_TEST(who_is_not_to_try_again_is_told)
{
	const struct provider_result result = { .ending = END_PROVIDER_STATUS, .status = 429,
		.retry_after_ms = 3600000, .give_up = true };
	const struct provider_result reset = { .ending = END_PROVIDER_RESET, .give_up = true };
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	answer_end(0, &result);
	ck_has(head_of(&c), "x-should-retry: false\n");
	ck_has(head_of(&c), "Retry-After: 60\n");
	client_close(&c);
	client_ask(&c, "POST", CHAT, STREAM);
	answer_end(1, &reset);
	ck_assert_int_eq(c.status, 502);
	ck_has(head_of(&c), "x-should-retry: false\n");
	client_close(&c);
	client_ask(&c, "POST", CHAT, STREAM);
	answer_end(2, &(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 429 });
	ck_assert_ptr_null(strstr(head_of(&c), "x-should-retry"));
	client_close(&c);
}
END_TEST

START_TEST(other_paths_go_to_theirs)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", "/v1/embeddings", "{\"input\":\"x\",\"stream\":true}");
	ck_assert_str_eq(running(0)->path, "/embeddings");
	ck_assert(!running(0)->stream);
	ck_assert_int_eq(fake_inside, 0);
	client_close(&c);
	client_ask(&c, "POST", "/v1/completions", "{\"prompt\":[\"x\"],\"stream\":true}");
	ck_assert_str_eq(running(1)->path, "/completions");
	ck_assert(running(1)->stream);
	client_close(&c);
}
END_TEST

START_TEST(an_answer_without_stream_is_kept_until_it_is_whole)
{
	struct client c;

	open_endpoints();
	fake_places = 0; /* it needs none */
	client_ask(&c, "POST", CHAT, "{\"messages\":[],\"stream\":false}");
	answer_head(0, false);
	answer_bytes(0, "{\"id\":");
	ck_assert_int_eq(c.status, 0);
	answer_bytes(0, "7}");
	running(0)->usage = (struct provider_usage){ .known = true, .completion_tokens = 12 };
	answer_complete(0);
	ck_assert_int_eq(c.status, 200);
	ck_assert_str_eq(head_of(&c), "Content-Type: application/json\n");
	ck_assert_str_eq(body_of(&c), "{\"id\":7}");
	ck_assert_uint_eq(c.x.note.tokens, 12);
	ck_assert_str_eq(c.x.note.provider, "openai");
	ck_assert_str_eq(c.x.note.model, "gpt-4o");
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 0);
}
END_TEST

START_TEST(a_stream_is_passed_on_as_it_comes)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	ck_assert_int_eq(fake_inside, 1);
	ck_assert_int_eq(c.status, 0);
	answer_head(0, true);
	ck_assert_int_eq(c.status, 200);
	ck_assert_str_eq(head_of(&c),
		"Content-Type: text/event-stream\nCache-Control: no-cache, no-transform\n"
		"X-Accel-Buffering: no\nIncremental: ?1\n");
	answer_bytes(0, ": hello\r\n\r\nda");
	answer_bytes(0, "ta: {}\n\ndata: [DONE]\n\n");
	ck_assert(!c.finished);
	answer_complete(0);
	ck_assert(c.finished);
	ck_assert_str_eq(body_of(&c), ": hello\r\n\r\ndata: {}\n\ndata: [DONE]\n\n");
	ck_assert_int_eq(c.x.note.ending, END_COMPLETE);
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(a_slow_client_pauses_its_provider_and_resumes_it)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	answer_head(0, true);
	ck_assert(running(0)->asker.has_room(running(0), running(0)->arg));
	c.room = 0;
	ck_assert(!running(0)->asker.has_room(running(0), running(0)->arg));
	c.x.app->on_room(&c.x);
	ck_assert_uint_eq(running(0)->resumed, 1);
	client_close(&c);
}
END_TEST

START_TEST(a_full_house_is_503_with_retry_after_and_the_limit)
{
	struct client c;

	open_endpoints();
	fake_places = 0;
	client_ask(&c, "POST", CHAT, STREAM);
	ck_assert_int_eq(c.status, 503);
	ck_has(head_of(&c), "Retry-After: 2\n");
	ck_has(head_of(&c), "X-Headgate-Limit: chat.websocket.concurrency.max_connections\n");
	ck_has(body_of(&c), "\"code\":\"max_connections\"");
	ck_assert_uint_eq(fake_ncalls, 0);
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(a_client_that_leaves_ends_its_call_and_gives_its_place_back)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 1);
	ck_assert_int_eq(fake_inside, 0);
	client_ask(&c, "POST", CHAT, "{\"messages\":[]}");
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 2);
}
END_TEST

static void fails(const struct provider_result *result, int status, const char *head, const char *body)
{
	struct client c;
	unsigned n = fake_ncalls;

	client_ask(&c, "POST", CHAT, n % 2 ? STREAM : "{\"messages\":[]}");
	answer_end(n, result);
	ck_assert_int_eq(c.status, status);
	ck_has(head_of(&c), head);
	ck_has(body_of(&c), body);
	ck_assert_int_eq(c.x.note.ending, result->ending);
	client_close(&c);
}

START_TEST(failures_before_the_head_are_true_statuses)
{
	const char quota[] = "{\"error\":{\"message\":\"no money\",\"code\":\"insufficient_quota\"}}";
	const char key[] = "{\"error\":{\"message\":\"wrong key sk-123\"}}";

	open_endpoints();
	for (int i = 0; i < 2; i++) { /* streams and others */
		fails(&(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 429,
			      .body = quota, .body_len = strlen(quota), .retry_after_ms = 2001 },
			429, "Retry-After: 3\n", quota);
		fails(&(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 500,
			      .body = "<html>", .body_len = 6 },
			500, "application/json", "provider 'openai' answered with status 500");
		fails(&(struct provider_result){ .ending = END_QUEUE_TIMEOUT, .limit = "a.b",
			      .retry_after_ms = 1 },
			503, "X-Headgate-Limit: a.b\n", "\"code\":\"queue_timeout\"");
		fails(&(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 302 }, 502,
			"application/json", "\"code\":\"provider_error\"");
		fails(&(struct provider_result){ .ending = END_CONNECT_FAILED, .message = "refused" },
			502, "application/json", "\"message\":\"provider 'openai': refused\"");
		/* one more, so that the next round meets the other kind */
		fails(&(struct provider_result){ .ending = END_PROVIDER_AUTH, .status = 401,
			      .body = key, .body_len = strlen(key) },
			502, "application/json", "refused headgate's API key\"");
		fails(&(struct provider_result){ .ending = END_READ_TIMEOUT }, 504,
			"application/json", "\"code\":\"provider_read_timeout\"");
	}
}
END_TEST

START_TEST(failures_in_a_stream_come_in_band_at_a_boundary)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	answer_head(0, true);
	answer_event(0, EVENT);
	answer_end(0, &(struct provider_result){ .ending = END_READ_TIMEOUT, .answered = true });
	ck_assert_str_eq(body_of(&c),
		"data: " EVENT "\n\n"
		"data: {\"error\":{\"message\":\"provider 'openai': the provider sent nothing for "
		"read_timeout\",\"type\":\"server_error\",\"param\":null,"
		"\"code\":\"provider_read_timeout\"}}\n\n");
	ck_assert(c.finished);
	ck_assert_int_eq(c.x.note.ending, END_READ_TIMEOUT);
	client_close(&c);

	client_ask(&c, "POST", CHAT, STREAM);
	answer_head(1, true);
	answer_bytes(1, "data: {\"cho");
	running(1)->mid_event = true;
	answer_end(1, &(struct provider_result){ .ending = END_PROVIDER_RESET, .answered = true });
	ck_has(body_of(&c), "data: {\"cho\n\ndata: {\"error\":");
	ck_assert(c.finished);
	client_close(&c);
}
END_TEST

START_TEST(json_for_a_stream_request_is_passed_on_as_json)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "POST", CHAT, STREAM);
	answer_head(0, false);
	answer_bytes(0, "{\"id\":1}");
	answer_complete(0);
	ck_assert_int_eq(c.status, 200);
	ck_assert_str_eq(head_of(&c), "Content-Type: application/json\n");
	ck_assert_str_eq(body_of(&c), "{\"id\":1}");
	client_close(&c);
}
END_TEST

static void open_with_keepalive(void)
{
	struct conf *conf = open_endpoints();

	conf->sse_keepalive_ms = 20;
}

/* Let this many timers fire. */
static void turn(unsigned times)
{
	while (times--)
		ck_assert_int_eq(event_base_loop(fake_base, EVLOOP_ONCE), 0);
}

/* Let timers fire until the client has got this much (libevent's may be a little early). */
static void turn_until(const struct client *c, size_t bytes)
{
	for (int i = 0; i < 50 && c->body.len < bytes; i++)
		turn(1);
	ck_assert_uint_eq(c->body.len, bytes);
}

#define KEEPALIVE ": keepalive\n\n"

START_TEST(silence_is_filled_with_comments_at_boundaries_only)
{
	struct client c;

	open_with_keepalive();
	client_ask(&c, "POST", CHAT, STREAM);
	turn_until(&c, strlen(KEEPALIVE));
	ck_assert_int_eq(c.status, 200); /* before the provider said anything */
	ck_assert_str_eq(body_of(&c), KEEPALIVE);
	answer_head(0, true);
	answer_bytes(0, "data: {");
	running(0)->mid_event = true;
	turn(8);
	ck_assert_str_eq(body_of(&c), KEEPALIVE "data: {");
	answer_bytes(0, "}\n\n");
	running(0)->mid_event = false;
	turn_until(&c, strlen(KEEPALIVE "data: {}\n\n" KEEPALIVE));
	ck_assert_str_eq(body_of(&c), KEEPALIVE "data: {}\n\n" KEEPALIVE);
	answer_end(0, &(struct provider_result){ .ending = END_QUEUE_TIMEOUT });
	ck_has(body_of(&c), "\n\ndata: {\"error\":");
	ck_assert(c.finished);
	client_close(&c);
}
END_TEST

START_TEST(json_that_comes_after_a_keepalive_becomes_events)
{
	struct client c;

	open_with_keepalive();
	client_ask(&c, "POST", CHAT, STREAM);
	turn_until(&c, strlen(KEEPALIVE));
	answer_head(0, false);
	answer_bytes(0, "{\"id\":\"x\",\n\"choices\":[{\"message\":{\"role\":\"assistant\",\r\n"
			"\"content\":\"a\\nb\"},\"finish_reason\":\"stop\"}],\"usage\":{}}");
	answer_complete(0);
	ck_assert_str_eq(body_of(&c),
		KEEPALIVE "data: {\"object\":\"chat.completion.chunk\",\"id\":\"x\",\"choices\":["
		"{\"index\":0,\"delta\":{\"role\":\"assistant\",  \"content\":\"a\\nb\"},"
		"\"finish_reason\":\"stop\"}],\"usage\":{}}\n\ndata: [DONE]\n\n");
	ck_assert(c.finished);
	ck_assert_int_eq(c.x.note.ending, END_COMPLETE);
	client_close(&c);

	client_ask(&c, "POST", "/v1/completions", "{\"stream\":true,\"prompt\":\"x\"}");
	turn_until(&c, strlen(KEEPALIVE));
	answer_head(1, false);
	answer_bytes(1, "{\"choices\":[{\"text\":\"a\"}]\n}");
	answer_complete(1);
	ck_assert_str_eq(body_of(&c),
		KEEPALIVE "data: {\"choices\":[{\"text\":\"a\"}] }\n\ndata: [DONE]\n\n");
	client_close(&c);
}
END_TEST

START_TEST(after_a_keepalive_nothing_ends_like_a_success_that_is_none)
{
	struct client c;

	open_with_keepalive();
	client_ask(&c, "POST", CHAT, STREAM);
	turn_until(&c, strlen(KEEPALIVE));
	answer_end(0, &(struct provider_result){ .ending = END_PROVIDER_STATUS, .status = 429 });
	ck_has(body_of(&c), ": keepalive\n\ndata: {\"error\":{\"message\":\"provider 'openai' answered");
	ck_assert(c.finished);
	client_close(&c);

	client_ask(&c, "POST", CHAT, STREAM);
	turn_until(&c, strlen(KEEPALIVE));
	answer_head(1, false);
	answer_bytes(1, "{}");
	answer_complete(1);
	ck_has(body_of(&c), "data: {\"error\":{\"message\":\"provider 'openai': the answer is no event");
	ck_assert_int_eq(c.x.note.ending, END_PROVIDER_GARBAGE);
	client_close(&c);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_completions", bodies_that_are_wrong_are_refused_with_the_place,
		bodies_go_up_byte_for_byte_but_for_the_model,
		a_stream_tells_its_usage_and_the_client_need_not_know, the_most_tokens_are_read,
		who_is_not_to_try_again_is_told, other_paths_go_to_theirs,
		an_answer_without_stream_is_kept_until_it_is_whole, a_stream_is_passed_on_as_it_comes,
		a_slow_client_pauses_its_provider_and_resumes_it,
		a_full_house_is_503_with_retry_after_and_the_limit,
		a_client_that_leaves_ends_its_call_and_gives_its_place_back,
		failures_before_the_head_are_true_statuses,
		failures_in_a_stream_come_in_band_at_a_boundary,
		json_for_a_stream_request_is_passed_on_as_json,
		silence_is_filled_with_comments_at_boundaries_only,
		json_that_comes_after_a_keepalive_becomes_events,
		after_a_keepalive_nothing_ends_like_a_success_that_is_none);
}
