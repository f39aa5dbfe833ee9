/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: routes, origins, models. */
#include "base/base.h"
#include "unit.h"
#include "endpoint_fakes.h"

START_TEST(unknown_paths_are_404_and_unknown_methods_405_with_allow)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "GET", "/v1/nothing", NULL);
	ck_assert_int_eq(c.status, 404);
	ck_has(body_of(&c), "\"code\":\"not_found\"");
	client_close(&c);
	client_ask(&c, "GET", "/v1/modelsx", NULL);
	ck_assert_int_eq(c.status, 404);
	client_close(&c);
	client_ask(&c, "GET", "/v1/chat/completions", NULL);
	ck_assert_int_eq(c.status, 405);
	ck_has(head_of(&c), "Allow: POST, OPTIONS\n");
	ck_has(body_of(&c), "\"code\":\"method_not_allowed\"");
	client_close(&c);
	client_ask(&c, "DELETE", "/v1/models", NULL);
	ck_assert_int_eq(c.status, 405);
	ck_has(head_of(&c), "Allow: GET, HEAD, OPTIONS\n");
	client_close(&c);
	client_ask(&c, "HEAD", "/v1/models", NULL);
	ck_assert_int_eq(c.status, 200);
	client_close(&c);
}
END_TEST

START_TEST(plain_get_on_the_websocket_path_is_426)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "GET", "/ws/chat", NULL);
	ck_assert_int_eq(c.status, 426);
	ck_has(head_of(&c), "Upgrade: websocket\n");
	client_close(&c);
	client_ask(&c, "POST", "/ws/chat", "{}");
	ck_assert_int_eq(c.status, 405);
	client_close(&c);
}
END_TEST

/* The Origin that the answer to a request from this page would name, or NULL. */
static const char *origin_taken(const char *origin, const char *host)
{
	static struct client c;

	client_init(&c, "GET", "/v1/models");
	client_header(&c, "Origin", origin);
	if (host)
		client_header(&c, "Host", host);
	client_send(&c);
	ck_assert_int_eq(c.status, 200); /* whatever the origin, the browser decides */
	exchange_close(&c.x);
	buf_release(&c.head);
	buf_release(&c.body);
	return c.x.cors_origin;
}

START_TEST(origins_listed_or_of_the_same_host_are_allowed)
{
	static char listed[] = "https://chat.example.com", any[] = "*";
	static char *texts[] = { listed };
	struct conf *conf = open_endpoints();

	ck_assert_ptr_null(origin_taken("https://chat.example.com", "api.example.com"));
	ck_assert_str_eq(origin_taken("http://127.0.0.1:8000", "127.0.0.1:8000"),
		"http://127.0.0.1:8000");
	ck_assert_ptr_null(origin_taken("http://127.0.0.1:8001", "127.0.0.1:8000"));
	ck_assert_ptr_null(origin_taken("null", "null"));
	ck_assert_ptr_null(origin_taken("http://a", NULL));

	conf->allowed_origins = (struct conf_texts){ texts, 1 };
	ck_assert_str_eq(origin_taken("https://chat.example.com", "api.example.com"), listed);
	ck_assert_ptr_null(origin_taken("https://chat.example.com.evil.org", "api.example.com"));
	ck_assert_ptr_null(origin_taken("http://chat.example.com", "api.example.com"));

	texts[0] = any;
	ck_assert_str_eq(origin_taken("https://evil.org", "api.example.com"), "https://evil.org");
}
END_TEST

static void preflight(struct client *c, const char *path, const char *origin)
{
	client_init(c, "OPTIONS", path);
	client_header(c, "Origin", origin);
	client_header(c, "Host", "me:8000");
	client_header(c, "Access-Control-Request-Method", "POST");
	client_header(c, "Access-Control-Request-Headers", "authorization,x-stainless-os");
	client_send(c);
}

START_TEST(preflights_echo_the_headers_wanted)
{
	struct client c;

	open_endpoints();
	preflight(&c, "/v1/chat/completions", "http://me:8000");
	ck_assert_int_eq(c.status, 204);
	ck_assert_uint_eq(c.body.len, 0);
	ck_has(head_of(&c), "Access-Control-Allow-Headers: authorization,x-stainless-os\n");
	ck_has(head_of(&c), "Access-Control-Allow-Methods: POST, OPTIONS\n");
	ck_has(head_of(&c), "Access-Control-Max-Age: ");
	client_close(&c);

	preflight(&c, "/v1/chat/completions", "http://elsewhere");
	ck_assert_int_eq(c.status, 204);
	ck_has_not(head_of(&c), "Access-Control");
	client_close(&c);

	preflight(&c, "/nothing", "http://me:8000");
	ck_assert_int_eq(c.status, 404);
	client_close(&c);
}
END_TEST

START_TEST(a_websocket_of_a_page_from_elsewhere_is_refused)
{
	struct client c;

	open_endpoints();
	client_init(&c, "GET", "/ws/chat");
	c.x.request.websocket = true;
	client_header(&c, "Origin", "http://elsewhere");
	client_header(&c, "Host", "me:8000");
	client_send(&c);
	ck_assert_int_eq(c.status, 403);
	ck_has(body_of(&c), "\"code\":\"origin_not_allowed\"");
	ck_assert_int_eq(fake_inside, 0);
	client_close(&c);
}
END_TEST

START_TEST(the_echo_gives_back_what_it_gets)
{
	struct conf *conf = open_endpoints();
	struct client c;

	client_ask(&c, "PUT", "/echo", "<b>\"");
	ck_assert_int_eq(c.status, 200);
	ck_has(head_of(&c), "Content-Type: application/octet-stream\n");
	ck_assert_str_eq(body_of(&c), "<b>\"");
	client_close(&c);
	client_ask(&c, "OPTIONS", "/echo", NULL);
	ck_assert_str_eq(body_of(&c), "echo\n");
	client_close(&c);
	client_init(&c, "GET", "/echo");
	c.x.request.websocket = true;
	client_send(&c);
	ck_assert_int_eq(c.status, 101);
	ck_assert_int_eq(fake_inside, 1);
	c.x.app->on_message(&c.x, "a\0b", 3);
	c.x.app->on_binary(&c.x, "\xff", 1);
	ck_assert_mem_eq(c.body.data, "a\0b\nbinary:\xff\n", 14);
	c.x.app->on_drain(&c.x);
	ck_assert_int_eq(c.close_code, 1012);
	client_close(&c);
	ck_assert_int_eq(fake_inside, 0);
	client_init(&c, "GET", "/echo");
	c.x.request.websocket = true;
	client_header(&c, "Origin", "http://elsewhere");
	client_send(&c);
	ck_assert_int_eq(c.status, 403);
	client_close(&c);
	conf->echo_endpoint = empty;
	client_ask(&c, "GET", "/echo", NULL);
	ck_assert_int_eq(c.status, 404);
	client_close(&c);
}
END_TEST

START_TEST(every_listed_model_leads_to_its_owner)
{
	struct client c;

	open_endpoints();
	client_ask(&c, "GET", "/v1/models", NULL);
	ck_assert_str_eq(body_of(&c),
		"{\"object\":\"list\",\"data\":["
		"{\"id\":\"gpt-4o\",\"object\":\"model\",\"created\":0,\"owned_by\":\"openai\"},"
		"{\"id\":\"gpt-4o-mini\",\"object\":\"model\",\"created\":0,\"owned_by\":\"openai\"},"
		"{\"id\":\"llama\",\"object\":\"model\",\"created\":0,\"owned_by\":\"groq\"},"
		"{\"id\":\"groq/gpt-4o\",\"object\":\"model\",\"created\":0,\"owned_by\":\"groq\"}]}");
	client_close(&c);
	client_ask(&c, "GET", "/v1/models/groq%2Fgpt-4o", NULL);
	ck_assert_str_eq(body_of(&c),
		"{\"id\":\"groq/gpt-4o\",\"object\":\"model\",\"created\":0,\"owned_by\":\"groq\"}");
	client_close(&c);
	client_ask(&c, "GET", "/v1/models/gpt-5", NULL);
	ck_assert_int_eq(c.status, 404);
	ck_has(body_of(&c), "\"code\":\"model_not_found\"");
	client_close(&c);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint", unknown_paths_are_404_and_unknown_methods_405_with_allow,
		plain_get_on_the_websocket_path_is_426,
		origins_listed_or_of_the_same_host_are_allowed, preflights_echo_the_headers_wanted,
		a_websocket_of_a_page_from_elsewhere_is_refused,
		the_echo_gives_back_what_it_gets, every_listed_model_leads_to_its_owner);
}
