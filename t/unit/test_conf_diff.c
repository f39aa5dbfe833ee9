/* SPDX-License-Identifier: BSD-2-Clause */
/* conf: what a reload changes, and what that takes. */
#include "base/base.h"
#include "conf/conf.h"
#include "conf/load.h"
#include "unit.h"

static struct conf_texts changed, kept;

static struct conf *load(const char *more)
{
	char *text = xasprintf("llm:\n  providers:\n    a:\n      base_url: http://127.0.0.1:1/v1\n%s", more);
	struct conf_texts errors;
	struct conf *conf = conf_load_bytes("test.yaml", text, strlen(text), &errors);

	ck_assert_msg(conf != NULL, "%s", errors.count ? errors.text[0] : "?");
	free(text);
	return conf;
}

/* The change between two files; `changed` and `kept` tell the lines. */
static enum conf_change diff(const char *from, const char *to, struct conf **next_r)
{
	struct conf *now = load(from), *next = load(to);
	enum conf_change change;

	conf_texts_release(&changed);
	conf_texts_release(&kept);
	change = conf_diff(now, next, &changed, &kept);
	conf_free(now);
	if (next_r)
		*next_r = next;
	else
		conf_free(next);
	return change;
}

#define HTTP(rows) "      http_client: {" rows "}\n"

START_TEST(the_same_file_changes_nothing)
{
	ck_assert_int_eq(diff("", "", NULL), CONF_SAME);
	ck_assert_uint_eq(changed.count + kept.count, 0);
	ck_assert_int_eq(diff(HTTP("concurrent_requests: 25"), "", NULL), CONF_SAME); /* the default */
}
END_TEST

START_TEST(limits_are_live)
{
	ck_assert_int_eq(diff("", HTTP("concurrent_requests: 30, max_connections: 60"), NULL), CONF_LIVE);
	ck_assert_uint_eq(changed.count, 2);
	ck_assert_str_eq(changed.text[0], "llm.providers.a.http_client.max_connections: 50 -> 60");
	ck_assert_str_eq(changed.text[1], "llm.providers.a.http_client.concurrent_requests: 25 -> 30");
}
END_TEST

START_TEST(the_rest_takes_new_workers)
{
	ck_assert_int_eq(diff("", "      model: m\n" HTTP("concurrent_requests: 30"), NULL), CONF_WORKERS);
	ck_assert_int_eq(diff("", "      models: [m, n]\n", NULL), CONF_WORKERS);
	ck_assert_int_eq(diff("      models: [m, n]\n", "      models: [m, n]\n", NULL), CONF_SAME);
	ck_assert_int_eq(diff("", HTTP("backoff_factor: 0.7"), NULL), CONF_WORKERS);
}
END_TEST

START_TEST(what_takes_a_restart_is_kept)
{
	struct conf *next;

	ck_assert_int_eq(diff("", "rlimit_nofile: 9\nrun_dir: /nowhere\n", &next), CONF_SAME);
	ck_assert_uint_eq(kept.count, 3); /* pid_file follows run_dir */
	ck_assert_str_eq(kept.text[2], "rlimit_nofile: 0 -> 9");
	ck_assert_uint_eq(next->rlimit_nofile, 0);
	ck_assert_str_ne(next->run_dir, "/nowhere");
	conf_free(next);
}
END_TEST

START_TEST(addresses_and_workers_take_new_workers)
{
	struct conf *next;

	ck_assert_int_eq(diff("", "chat: {websocket: {port: 9, host: \"::1\", concurrency: {uvicorn: {workers: 3}}}}\n"
		"admin: {listen: 7}\n", &next), CONF_WORKERS);
	ck_assert_uint_eq(kept.count, 0);
	ck_assert_uint_eq(next->port, 9);
	ck_assert_uint_eq(next->workers, 3);
	ck_assert_uint_eq(next->admin_port, 7);
	conf_free(next);
}
END_TEST

START_TEST(a_changed_key_is_seen_and_not_shown)
{
	ck_assert_int_eq(diff("      api_key: old-secret\n", "      api_key: new-secret\n", NULL), CONF_WORKERS);
	for (size_t i = 0; i < changed.count; i++)
		ck_assert_ptr_null(strstr(changed.text[i], "secret"));
	setenv("A_API_KEY", "one", 1);
	{
		struct conf *now = load(""), *next;

		setenv("A_API_KEY", "two", 1);
		next = load("");
		conf_texts_release(&changed);
		ck_assert_int_eq(conf_diff(now, next, &changed, &kept), CONF_WORKERS);
		ck_assert_str_eq(changed.text[0], "llm.providers.a.api_key");
		conf_free(now);
		conf_free(next);
	}
	unsetenv("A_API_KEY");
}
END_TEST

START_TEST(providers_are_known_by_name)
{
	const char *b = "    b: {base_url: http://127.0.0.1:2/v1}\n";

	ck_assert_int_eq(diff("", b, NULL), CONF_WORKERS);
	ck_assert_str_eq(changed.text[0], "llm.providers.b: new");
	ck_assert_int_eq(diff(b, "", NULL), CONF_WORKERS);
	ck_assert_str_eq(changed.text[0], "llm.providers.b: gone");
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_diff", the_same_file_changes_nothing, limits_are_live, the_rest_takes_new_workers,
		what_takes_a_restart_is_kept,
		addresses_and_workers_take_new_workers, a_changed_key_is_seen_and_not_shown,
		providers_are_known_by_name);
}
