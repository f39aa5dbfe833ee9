/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: the Responses API over HTTP. */
#include "base/base.h"
#include "unit.h"
#include "base/json_scan.h"
#include "endpoint_fakes.h"

#define PATH "/v1/responses"
#define TAIL ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

static void ask(struct client *c, const char *body)
{
	client_ask(c, "POST", PATH, body);
}

/* The types of all events, in order, each with a space behind; sequence numbers and shape are checked. */
static const char *types_of(const struct client *c)
{
	static struct buf types;
	const char *at = body_of(c);
	unsigned number = 0;

	buf_clear(&types);
	buf_adds(&types, "");
	while (*at) {
		struct json_find found[] = { { .path = "type" }, { .path = "sequence_number" } };
		const char *data = strstr(at, "\ndata: "), *end = strstr(at, "\n\n");
		char type[80];
		uint64_t n;

		ck_assert_msg(data && end && data < end && !strncmp(at, "event: ", 7), "no event: %s", at);
		data += 7;
		ck_assert_msg(json_scan(data, (size_t)(end - data), 64, found, 2, NULL), "bad JSON: %s", data);
		ck_assert(json_find_copy(data, &found[0], type, sizeof(type)));
		ck_assert_int_eq(strncmp(at + 7, type, strlen(type)), 0);
		ck_assert_ptr_eq(at + 7 + strlen(type) + 7, data);
		ck_assert(json_find_uint(data, &found[1], &n));
		ck_assert_uint_eq(n, number++);
		buf_addf(&types, "%s ", strncmp(type, "response.", 9) ? type : type + 9);
		at = end + 2;
	}
	return types.data;
}

/* ---- the request ---------------------------------------------------------------------- */

static void becomes(const char *body, const char *want)
{
	struct client c;
	unsigned n = fake_ncalls;

	ask(&c, body);
	ck_assert_msg(fake_ncalls == n + 1, "refused: %s", body_of(&c));
	ck_assert_str_eq(running(n)->path, "/chat/completions");
	ck_assert_str_eq(running(n)->body, want);
	client_close(&c);
}

START_TEST(input_becomes_messages)
{
	open_endpoints();
	becomes("{\"model\":\"gpt-4o\",\"input\":\"h\\u00e9 \\\"\"}",
		"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\\"\"}]}");
	becomes("{\"model\":\"groq/llama\",\"instructions\":\"be kind\",\"input\":"
		"[{\"role\":\"user\",\"content\":\"x\"}]}",
		"{\"model\":\"llama\",\"messages\":[{\"role\":\"system\",\"content\":\"be kind\"},"
		"{\"role\":\"user\",\"content\":\"x\"}]}");
	becomes("{\"input\":["
		"{\"role\":\"developer\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\",\"text\":\"b\"}]},"
		"{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"look\"},"
		"{\"type\":\"input_image\",\"image_url\":\"data:x\",\"detail\":\"low\",\"file_id\":null},"
		"{\"type\":\"input_file\",\"file_data\":\"data:y\",\"filename\":\"y.pdf\"}]},"
		"{\"id\":\"rs_1\",\"type\":\"reasoning\",\"summary\":[]},"
		"{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"completed\",\"content\":["
		"{\"type\":\"output_text\",\"text\":\"I \",\"annotations\":[],\"logprobs\":[]},{\"type\":\"refusal\",\"refusal\":\"see\"}]},"
		"{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\",\"status\":\"completed\"},"
		"{\"type\":\"function_call\",\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\",\"parsed_arguments\":{}},"
		"{\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"one\"},"
		"{\"type\":\"function_call_output\",\"call_id\":\"c2\",\"output\":[{\"type\":\"input_text\",\"text\":\"two\"}]},"
		"{\"type\":\"function_call\",\"call_id\":\"c3\",\"name\":\"h\",\"arguments\":\"\"}]}",
		"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"ab\"},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"look\"},"
		"{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:x\",\"detail\":\"low\"}},"
		"{\"type\":\"file\",\"file\":{ \"file_data\":\"data:y\",\"filename\":\"y.pdf\"}}]},"
		"{\"role\":\"assistant\",\"content\":\"I see\",\"tool_calls\":["
		"{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},"
		"{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"one\"},"
		"{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"two\"},"
		"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
		"{\"id\":\"c3\",\"type\":\"function\",\"function\":{\"name\":\"h\",\"arguments\":\"\"}}]}]}");
}
END_TEST

#define INPUT "{\"input\":\"x\","
#define BODY "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

START_TEST(parameters_are_translated)
{
	open_endpoints();
	becomes(INPUT "\"stream\":true,\"max_output_tokens\":50,\"temperature\":0.5,\"top_p\":1,\"user\":\"u\","
		"\"store\":true,\"truncation\":\"disabled\",\"background\":false,\"conversation\":null,"
		"\"metadata\":{\"a\":\"b\"},\"include\":[\"reasoning.encrypted_content\"],\"prompt_cache_key\":\"k\"}",
		BODY ",\"max_completion_tokens\":50,\"temperature\":0.5,\"top_p\":1,\"prompt_cache_key\":\"k\","
		"\"user\":\"u\"" TAIL);
	ck_assert_uint_eq(fake_ncalls, 1);
	becomes(INPUT "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"},\"text\":{\"verbosity\":\"high\","
		"\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{\"a\":[1]},\"strict\":true}}}",
		BODY ",\"reasoning_effort\":\"low\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
		"{\"name\":\"n\",\"schema\":{\"a\":[1]},\"strict\":true}},\"verbosity\":\"high\"}");
	becomes(INPUT "\"text\":{\"format\":{\"type\":\"json_object\"}}}",
		BODY ",\"response_format\":{\"type\":\"json_object\"}}");
	becomes(INPUT "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"p\":1},"
		"\"strict\":false},{\"type\":\"function\",\"name\":\"g\",\"parameters\":null}],"
		"\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"},\"parallel_tool_calls\":false}",
		BODY ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\","
		"\"parameters\":{\"p\":1},\"strict\":false}},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}],"
		"\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}},\"parallel_tool_calls\":false}");
	becomes(INPUT "\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":{\"type\":\"allowed_tools\","
		"\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]}}",
		BODY ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":"
		"{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":["
		"{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}}}");
	/* Without tools there is nothing to choose. */
	becomes(INPUT "\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,\"tools\":[]}", BODY "}");
	becomes(INPUT "\"top_logprobs\":2}", BODY ",\"logprobs\":true,\"top_logprobs\":2}");
}
END_TEST

START_TEST(what_cannot_be_served_is_refused_by_name)
{
	static const struct {
		const char *body, *param;
	} rows[] = {
		{ "[]", NULL },
		{ "{", NULL },
		{ "{}", "input" },
		{ "{\"input\":null}", "input" },
		{ "{\"input\":7}", "input" },
		{ "{\"input\":[]}", "input" },
		{ "{\"input\":[7]}", "input[0]" },
		{ "{\"input\":\"x\",\"input\":\"y\"}", "input" },
		{ INPUT "\"foo\":1}", "foo" },
		{ INPUT "\"model\":7}", "model" },
		{ INPUT "\"stream\":1}", "stream" },
		{ INPUT "\"generate\":false}", "generate" },
		{ INPUT "\"stream_id\":\"a\"}", "stream_id" },
		{ INPUT "\"background\":true}", "background" },
		{ INPUT "\"conversation\":\"conv_1\"}", "conversation" },
		{ INPUT "\"prompt\":{}}", "prompt" },
		{ INPUT "\"moderation\":{}}", "moderation" },
		{ INPUT "\"context_management\":[]}", "context_management" },
		{ INPUT "\"truncation\":\"auto\"}", "truncation" },
		{ INPUT "\"max_output_tokens\":0}", "max_output_tokens" },
		{ INPUT "\"max_output_tokens\":1.5}", "max_output_tokens" },
		{ INPUT "\"metadata\":{\"a\":1}}", "metadata" },
		{ INPUT "\"include\":[\"message.output_text.logprobs\",\"x\"]}", "include[1]" },
		{ INPUT "\"top_logprobs\":21}", "top_logprobs" },
		{ INPUT "\"reasoning\":{\"effort\":1}}", "reasoning.effort" },
		{ INPUT "\"reasoning\":{\"summary\":\"detailed\"}}", "reasoning.summary" },
		{ INPUT "\"reasoning\":{\"context\":\"all_turns\"}}", "reasoning.context" },
		{ INPUT "\"text\":{\"format\":{\"type\":\"grammar\"}}}", "text.format.type" },
		{ INPUT "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\"}}}", "text.format.schema" },
		{ INPUT "\"text\":{\"x\":1}}", "text.x" },
		{ INPUT "\"stream_options\":{\"include_obfuscation\":true}}", "stream_options.include_obfuscation" },
		{ INPUT "\"prompt_cache_options\":{\"prewarm\":true}}", "prompt_cache_options.prewarm" },
		{ INPUT "\"tools\":[{\"type\":\"web_search\"}]}", "tools[0].type" },
		{ INPUT "\"tools\":[{\"type\":\"function\"}]}", "tools[0].name" },
		{ INPUT "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"defer_loading\":true}]}",
			"tools[0].defer_loading" },
		{ INPUT "\"tool_choice\":\"required\"}", "tool_choice" },
		{ INPUT "\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":{\"type\":\"file_search\"}}",
			"tool_choice" },
		{ "{\"input\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "input[0].role" },
		{ "{\"input\":[{\"role\":\"user\"}]}", "input[0].content" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":\"x\",\"name\":\"n\"}]}", "input[0].name" },
		{ "{\"input\":[{\"role\":\"assistant\",\"content\":\"x\",\"phase\":\"commentary\"}]}", "input[0].phase" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}", "input[0].content[0].type" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"x\"}]}]}",
			"input[0].content[0].type" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}]}", "input[0].content[0].text" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"file_id\":\"f\"}]}]}",
			"input[0].content[0].file_id" },
		{ "{\"input\":[{\"role\":\"system\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"u\"}]}]}",
			"input[0].content[0].type" },
		{ "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_file\",\"file_url\":\"u\"}]}]}",
			"input[0].content[0].file_url" },
		{ "{\"input\":[{\"type\":\"item_reference\",\"id\":\"msg_1\"}]}", "input[0]" },
		{ "{\"input\":[{\"type\":\"web_search_call\",\"id\":\"ws_1\"}]}", "input[0].type" },
		{ "{\"input\":[{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\"}]}", "input[0].arguments" },
		{ "{\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":"
		  "[{\"type\":\"input_image\",\"image_url\":\"u\"}]}]}",
			"input[0].output[0].type" },
	};

	open_endpoints();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *param = rows[i].param ? xasprintf("\"param\":\"%s\"", rows[i].param) : NULL;
		struct client c;

		ask(&c, rows[i].body);
		ck_assert_msg(c.status == 400, "%s: %d", rows[i].body, c.status);
		ck_has(body_of(&c), "{\"error\":{\"message\":\"");
		ck_has(body_of(&c), "\"type\":\"invalid_request_error\"");
		ck_has(body_of(&c), param ? param : "\"param\":null");
		if (rows[i].param)
			ck_has(body_of(&c), rows[i].param);
		client_close(&c);
		free(param);
	}
	ck_assert_uint_eq(fake_ncalls, 0);
	ck_assert_int_eq(fake_inside, 0);
}
END_TEST

START_TEST(nothing_is_stored_and_it_is_said)
{
	struct client c;

	open_endpoints();
	ask(&c, INPUT "\"previous_response_id\":\"resp_1\"}");
	ck_assert_int_eq(c.status, 400);
	ck_has(body_of(&c), "\"param\":\"previous_response_id\",\"code\":\"previous_response_not_found\"");
	client_close(&c);
}
END_TEST

/* ---- the answer ------------------------------------------------------------------------------ */

START_TEST(a_text_has_all_its_events)
{
	struct client c;

	open_endpoints();
	ask(&c, "{\"stream\":true,\"input\":\"x\",\"tools\":[\r\n{\"type\":\"function\",\"name\":\"f\"}]}");
	ck_assert_int_eq(fake_inside, 1);
	answer_head(0, true);
	ck_has(head_of(&c), "Content-Type: text/event-stream");
	answer_event(0, "{\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}");
	ck_assert_str_eq(types_of(&c), "created in_progress ");
	answer_text(0, "to\\nk");
	answer_text(0, "\\ud83d\\ude00");
	answer_event(0, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
	answer_event(0, "{\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9,"
		"\"prompt_tokens_details\":{\"cached_tokens\":3},\"completion_tokens_details\":{\"reasoning_tokens\":1}}}");
	answer_complete(0);
	ck_assert(c.finished);
	ck_assert_str_eq(types_of(&c),
		"created in_progress output_item.added content_part.added output_text.delta output_text.delta "
		"output_text.done content_part.done output_item.done completed ");
	ck_has(body_of(&c), "\"delta\":\"to\\nk\",\"logprobs\":[]}");
	ck_has(body_of(&c), "\"text\":\"to\\nk\\ud83d\\ude00\",\"logprobs\":[]}");
	ck_has(body_of(&c), "\"usage\":{\"input_tokens\":7,\"input_tokens_details\":{\"cached_tokens\":3,\"cache_write_tokens\":0},"
		"\"output_tokens\":2,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":9}}}\n\n");
	ck_has(body_of(&c), "\"store\":false");
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
	ck_assert_uint_eq(fake_cancelled, 0);
}
END_TEST

START_TEST(thoughts_text_refusal_and_calls_are_items_of_their_own)
{
	struct client c;

	open_endpoints();
	ask(&c, INPUT "\"stream\":true}");
	answer_head(0, true);
	answer_event(0, "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}");
	answer_event(0, "{\"choices\":[{\"delta\":{\"reasoning\":\"hm\",\"content\":null}}]}");
	answer_text(0, "so");
	answer_event(0, "{\"choices\":[{\"delta\":{\"refusal\":\"no\"}}]}");
	answer_event(0, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\","
		"\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}");
	answer_event(0, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"arguments\":\"{\\\"a\"}},"
		"{\"index\":1,\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}}]}");
	answer_event(0, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\":1}\"}}]}}]}");
	answer_complete(0);
	ck_assert_str_eq(types_of(&c),
		"created in_progress "
		"output_item.added content_part.added reasoning_text.delta reasoning_text.delta "
		"reasoning_text.done content_part.done output_item.done "
		"output_item.added content_part.added output_text.delta "
		"output_text.done content_part.done output_item.done "
		"output_item.added content_part.added refusal.delta "
		"refusal.done content_part.done output_item.done "
		"output_item.added function_call_arguments.delta "
		"output_item.added function_call_arguments.delta function_call_arguments.delta "
		"function_call_arguments.done output_item.done function_call_arguments.done output_item.done "
		"completed ");
	ck_has(body_of(&c), "\"output_index\":2,\"content_index\":0,\"delta\":\"no\"}");
	ck_has(body_of(&c), "\"output_index\":3,\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}");
	ck_has(body_of(&c), "\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}");
	ck_has(body_of(&c), "\"call_id\":\"call_"); /* the second came without one */
	client_close(&c);
}
END_TEST

START_TEST(without_stream_the_response_comes_whole)
{
	struct client c;

	open_endpoints();
	ask(&c, INPUT "\"metadata\":{\"a\":\"b\"}}");
	ck_assert_int_eq(fake_inside, 0);
	ck_assert(!running(0)->stream);
	answer_head(0, false);
	answer_bytes(0, "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"all\",\"tool_calls\":["
		"{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
		"\"logprobs\":{\"content\":[{\"token\":\"all\",\n\"logprob\":-1}]},\"finish_reason\":\"length\"}],"
		"\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}");
	answer_complete(0);
	ck_assert_int_eq(c.status, 200);
	ck_has(body_of(&c), "\"status\":\"incomplete\",\"completed_at\":null,\"error\":null,"
		"\"incomplete_details\":{\"reason\":\"max_output_tokens\"}");
	ck_has(body_of(&c), "\"metadata\":{\"a\":\"b\"}");
	ck_has(body_of(&c), "\"content\":[{\"type\":\"output_text\",\"text\":\"all\",\"annotations\":[],"
		"\"logprobs\":[{\"token\":\"all\", \"logprob\":-1}]}]}");
	ck_has(body_of(&c), "\"call_id\":\"c1\"");
	ck_has(body_of(&c), "\"total_tokens\":2}}");
	client_close(&c);
}
END_TEST

START_TEST(a_failure_is_a_status_before_and_an_event_after_the_beginning)
{
	const struct provider_result timeout = { .ending = END_QUEUE_TIMEOUT, .limit = "a.b", .retry_after_ms = 1500 };
	struct client c;

	open_endpoints();
	ask(&c, INPUT "\"stream\":true}");
	answer_end(0, &timeout);
	ck_assert_int_eq(c.status, 503);
	ck_has(head_of(&c), "Retry-After: 2");
	ck_has(head_of(&c), "X-Headgate-Limit: a.b");
	ck_has(body_of(&c), "\"code\":\"queue_timeout\"");
	client_close(&c);

	ask(&c, INPUT "\"stream\":true}");
	answer_head(1, true);
	answer_text(1, "half");
	answer_end(1, &(struct provider_result){ .ending = END_PROVIDER_RESET, .answered = true });
	ck_assert_str_eq(types_of(&c),
		"created in_progress output_item.added content_part.added output_text.delta failed ");
	ck_has(body_of(&c), "\"status\":\"failed\"");
	ck_has(body_of(&c), "\"error\":{\"code\":\"server_error\",\"message\":\"provider 'openai': ");
	ck_assert(c.finished);
	ck_assert_int_eq(c.x.note.ending, END_PROVIDER_RESET);
	client_close(&c);

	ask(&c, INPUT "\"stream\":true}");
	answer_head(2, true);
	answer_end(2, &(struct provider_result){ .ending = END_RATE_LIMITED });
	ck_has(body_of(&c), "\"error\":{\"code\":\"rate_limit_exceeded\"");
	client_close(&c);
}
END_TEST

START_TEST(an_answer_that_is_of_no_use_fails)
{
	struct client c;
	struct buf big = BUF_INIT;

	open_endpoints();
	ask(&c, INPUT "\"stream\":true}");
	answer_head(0, true);
	answer_event(0, "{\"choices\":[{");
	ck_assert_str_eq(types_of(&c), "created in_progress ");
	defer_run();
	ck_assert_str_eq(types_of(&c), "created in_progress failed ");
	ck_assert_uint_eq(fake_cancelled, 1);
	client_close(&c);

	ask(&c, INPUT "\"model\":\"gpt-4o\"}");
	answer_head(1, false);
	answer_bytes(1, "{\"choices\":[]}");
	answer_complete(1);
	ck_assert_int_eq(c.status, 502);
	ck_has(body_of(&c), "\"code\":\"provider_bad_answer\"");
	client_close(&c);

	ask(&c, INPUT "\"stream\":true}");
	answer_head(2, true);
	memset(buf_reserve(&big, 1u << 20), 'x', 1u << 20);
	big.len = 1u << 20;
	big.data[big.len] = 0;
	for (unsigned i = 0; i < 5; i++)
		answer_text(2, big.data);
	answer_text(2, "more");
	defer_run();
	ck_has(body_of(&c), "the answer is too large");
	ck_assert(c.finished);
	client_close(&c);
	buf_release(&big);
}
END_TEST

START_TEST(a_stream_waits_for_its_client_and_ends_with_it)
{
	struct client c;

	open_endpoints();
	ask(&c, INPUT "\"stream\":true}");
	answer_head(0, true);
	ck_assert(running(0)->asker.has_room(running(0), running(0)->arg));
	c.room = 0;
	ck_assert(!running(0)->asker.has_room(running(0), running(0)->arg));
	c.room = 1;
	c.x.app->on_room(&c.x);
	ck_assert_uint_eq(running(0)->resumed, 1);
	client_close(&c);
	ck_assert_uint_eq(fake_cancelled, 1);
	ck_assert_int_eq(fake_inside, 0);

	fake_places = 0;
	ask(&c, INPUT "\"stream\":true}");
	ck_assert_int_eq(c.status, 503);
	ck_has(body_of(&c), "\"code\":\"max_connections\"");
	client_close(&c);
	ask(&c, INPUT "\"stream\":false}"); /* takes no place */
	ck_assert_int_eq(c.status, 0);
	client_close(&c);
}
END_TEST

START_TEST(who_waits_long_gets_signs_of_life)
{
	struct conf *conf = open_endpoints();
	struct client c;

	conf->sse_keepalive_ms = 1;
	ask(&c, INPUT "\"stream\":true}");
	for (unsigned i = 0; i < 1000 && !strstr(body_of(&c), "\"sequence_number\":3"); i++)
		event_base_loop(fake_base, EVLOOP_ONCE);
	ck_assert_str_eq(types_of(&c), "created in_progress in_progress in_progress ");
	c.room = 0; /* and none that would only pile up */
	for (unsigned i = 0; i < 5; i++)
		event_base_loop(fake_base, EVLOOP_ONCE);
	ck_assert_str_eq(types_of(&c), "created in_progress in_progress in_progress ");
	answer_end(0, &(struct provider_result){ .ending = END_QUEUE_TIMEOUT });
	ck_assert_str_eq(types_of(&c), "created in_progress in_progress in_progress failed ");
	client_close(&c);
}
END_TEST

/* ---- a provider that has the API itself --------------------------------------------------------- */

START_TEST(where_the_provider_has_it_all_passes_through)
{
	static const char body[] = "{\"model\":\"groq/llama\",\"input\":\"x\",\"stream\":true,\"tools\":[{\"type\":\"web_search\"}],"
		"\"previous_response_id\":\"resp_1\",\"max_output_tokens\":7}";
	struct client c;

	open_endpoints();
	fake_providers[1].responses = CONF_RESPONSES_NATIVE;
	ask(&c, body);
	ck_assert_str_eq(running(0)->path, "/responses");
	ck_assert(running(0)->responses && running(0)->stream && !running(0)->strip_usage);
	ck_assert_uint_eq(running(0)->max_tokens, 7);
	ck_assert_str_eq(running(0)->body,
		"{\"model\":\"llama\",\"input\":\"x\",\"stream\":true,\"tools\":[{\"type\":\"web_search\"}],"
		"\"previous_response_id\":\"resp_1\",\"max_output_tokens\":7}");
	ck_assert_int_eq(fake_inside, 1);
	answer_head(0, true);
	answer_event(0, "{\"type\":\"response.created\"}");
	answer_event(0, "{\"type\":\"response.new\"}");
	ck_assert_str_eq(body_of(&c),
		"data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"response.new\"}\n\n");
	answer_end(0, &(struct provider_result){ .ending = END_PROVIDER_RESET, .answered = true });
	ck_has(body_of(&c), "\n\nevent: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"code\":\"provider_reset\","
		"\"param\":null,\"message\":\"");
	ck_assert(c.finished);
	client_close(&c);

	/* What the provider itself says of a failure is all there is. */
	ask(&c, body);
	answer_head(1, true);
	answer_event(1, "{\"type\":\"response.failed\"}");
	answer_end(1, &(struct provider_result){ .ending = END_STREAM_ERROR, .answered = true });
	ck_assert_str_eq(body_of(&c), "data: {\"type\":\"response.failed\"}\n\n");
	ck_assert_int_eq(c.x.note.ending, END_STREAM_ERROR);
	ck_assert(c.finished);
	client_close(&c);

	ask(&c, "{\"model\":\"groq/llama\",\"prompt\":{\"id\":\"p\"}}");
	answer_head(2, false);
	answer_bytes(2, "{\"object\":\"response\"}");
	answer_complete(2);
	ck_assert_str_eq(body_of(&c), "{\"object\":\"response\"}");
	client_close(&c);
	ask(&c, "{\"model\":\"gpt-4o\",\"prompt\":{\"id\":\"p\"}}"); /* the other one has not */
	ck_assert_int_eq(c.status, 400);
	client_close(&c);
	fake_providers[1].responses = CONF_RESPONSES_BRIDGE;
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_responses", input_becomes_messages, parameters_are_translated,
		what_cannot_be_served_is_refused_by_name, nothing_is_stored_and_it_is_said,
		a_text_has_all_its_events, thoughts_text_refusal_and_calls_are_items_of_their_own,
		without_stream_the_response_comes_whole,
		a_failure_is_a_status_before_and_an_event_after_the_beginning,
		an_answer_that_is_of_no_use_fails, a_stream_waits_for_its_client_and_ends_with_it,
		who_waits_long_gets_signs_of_life, where_the_provider_has_it_all_passes_through);
}
