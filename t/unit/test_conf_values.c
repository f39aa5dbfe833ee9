/* SPDX-License-Identifier: BSD-2-Clause */
/* conf: what a value may be, of each kind. */
#include "conf_unit.h"

static uint64_t read_timeout(const char *text)
{
	char *yaml = xasprintf(IN_PROVIDER("read_timeout: %s"), text);
	struct conf *conf = good(yaml);
	uint64_t ms = conf->providers[0].read_timeout_ms;

	free(yaml);
	conf_free(conf);
	return ms;
}

static uint64_t max_body(const char *text)
{
	char *yaml = xasprintf(IN_UVICORN("max_body_size: %s"), text);
	struct conf *conf = good(yaml);
	uint64_t bytes = conf->max_body_bytes;

	free(yaml);
	conf_free(conf);
	return bytes;
}

START_TEST(times_and_sizes)
{
	ck_assert_uint_eq(read_timeout("5"), 5000);
	ck_assert_uint_eq(read_timeout("0.5"), 500);
	ck_assert_uint_eq(read_timeout("30.0"), 30000);
	ck_assert_uint_eq(read_timeout("0.001"), 1);
	ck_assert_uint_eq(read_timeout("250ms"), 250);
	ck_assert_uint_eq(read_timeout("'1.5s'"), 1500);
	ck_assert_uint_eq(read_timeout("2m"), 120000);
	ck_assert_uint_eq(read_timeout("24h"), 86400000);
	ck_assert_uint_eq(max_body("1024"), 1024);
	ck_assert_uint_eq(max_body("1024B"), 1024);
	ck_assert_uint_eq(max_body("64KiB"), 65536);
	ck_assert_uint_eq(max_body("64k"), 65536);
	ck_assert_uint_eq(max_body("64K"), 65536);
	ck_assert_uint_eq(max_body("1.5MiB"), 3 << 19);
	ck_assert_uint_eq(max_body("256M"), 256 << 20);
}
END_TEST

START_TEST(words)
{
	static const char *const yes[] = { "true", "True", "yes", "on", "ON" };
	static const char *const no[] = { "false", "no", "off" };
	struct conf *conf;

	for (size_t i = 0; i < ARRAY_SIZE(yes) + ARRAY_SIZE(no); i++) {
		bool want = i < ARRAY_SIZE(yes);
		char *yaml = xasprintf(
			IN_UVICORN("access_log: %s"), want ? yes[i] : no[i - ARRAY_SIZE(yes)]);

		conf = good(yaml);
		ck_assert_int_eq(conf->access_log, want);
		conf_free(conf);
		free(yaml);
	}
	conf = good(PROVIDER_ONLY "logging: {level: debug, format: \"json\"}\n");
	ck_assert_uint_eq(conf->log_level, LOG_DEBUG);
	ck_assert_uint_eq(conf->log_format, LOG_JSON);
	conf_free(conf);
	one_error(PROVIDER_ONLY "logging: {level: loud}\n",
		"f.yaml:2:18: logging.level: 'loud' is not a level; give error, warning, info "
		"or debug");
}
END_TEST

START_TEST(numbers_are_strict)
{
	static const char *const bad[] = { "0x10", "010", "1_000", "1e2", "+5", "5.0", "5 5",
		"5s", "five", "many", "[5]", "{a: 1}", ".5", "5.", "\"5\"", "'5'",
		"|\n          5", "0o7", "\"auto\\0\"", ".inf", ".nan", "\xef\xbc\x95", "-x",
		"'-5'", "-5", "0", "65", "18446744073709551616", "18446744073709551617",
		"99999999999999999999999999999999999" };
	char *yaml;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		yaml = xasprintf(IN_UVICORN("workers: %s"), bad[i]);
		one_error(yaml, "f.yaml:6:18: chat.websocket.concurrency.uvicorn.workers: ");
		free(yaml);
	}
	one_error(IN_UVICORN("workers: 30s"),
		"f.yaml:6:18: chat.websocket.concurrency.uvicorn.workers: '30s' is not a whole "
		"number; "
		"give auto or a whole number, 1 to 64");
	one_error(IN_UVICORN("backlog: \"100\""),
		"f.yaml:6:18: chat.websocket.concurrency.uvicorn.backlog: "
		"'100' is a text in quotes; drop the quotes");
	one_error(IN_UVICORN("access_log: \"on\""),
		"f.yaml:6:21: chat.websocket.concurrency.uvicorn.access_log: "
		"'on' is a text in quotes; drop the quotes");
	one_error(IN_UVICORN("backlog: -1"),
		"f.yaml:6:18: chat.websocket.concurrency.uvicorn.backlog: "
		"'-1' is out of range; give a whole number, 1 to 65535");
}
END_TEST

START_TEST(times_sizes_and_reals_are_strict)
{
	static const char *const times[] = { "1e999", "0.0001", "5 s", "5d", "5S", "1.s", "inf",
		"0", "25h", "-1", "ms", "1h30m", "'5'", "0.1234567890" };
	static const char *const sizes[] = { "1KB", "1kb", "1 KiB", "1.5", "0.3k", "1MiBs",
		"1T", "257MiB", "99999999999999999G", "1023" };
	static const char *const reals[] = { "1e999", "nan", ".5", "5.", "-0.5", "3600.1",
		"0x1p3", "'0.5'", "0.5s", "1,5" };
	char *yaml;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		yaml = xasprintf(IN_PROVIDER("read_timeout: %s"), times[i]);
		one_error(yaml, "f.yaml:6:23: llm.providers.p.http_client.read_timeout: ");
		free(yaml);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		yaml = xasprintf(IN_UVICORN("max_body_size: %s"), sizes[i]);
		one_error(yaml,
			"f.yaml:6:24: chat.websocket.concurrency.uvicorn.max_body_size: ");
		free(yaml);
	}
	for (size_t i = 0; i < ARRAY_SIZE(reals); i++) {
		yaml = xasprintf(IN_PROVIDER("backoff_factor: %s"), reals[i]);
		one_error(yaml, "f.yaml:6:25: llm.providers.p.http_client.backoff_factor: ");
		free(yaml);
	}
	one_error(IN_PROVIDER("backoff_factor: 3601"),
		"f.yaml:6:25: llm.providers.p.http_client.backoff_factor: "
		"'3601' is out of range; give a number such as 0.5, 0 to 3600");
}
END_TEST

START_TEST(kinds_and_missing_values)
{
	one_error(IN_UVICORN("backlog:"),
		"f.yaml:6:9: chat.websocket.concurrency.uvicorn.backlog: "
		"has no value; give one, or drop the line");
	one_error(IN_UVICORN("backlog: ~"),
		"f.yaml:6:9: chat.websocket.concurrency.uvicorn.backlog: has no value");
	one_error(IN_UVICORN("backlog: null"),
		"f.yaml:6:9: chat.websocket.concurrency.uvicorn.backlog: has no value");
	one_error(PROVIDER_ONLY "run_dir:\n", "f.yaml:2:1: run_dir: has no value");
	one_error(PROVIDER_ONLY "chat: {websocket: {allowed_origins: }}\n",
		"f.yaml:2:20: chat.websocket.allowed_origins: has no value");
	one_error(PROVIDER_ONLY "chat: {websocket: {allowed_origins: a}}\n",
		"f.yaml:2:37: chat.websocket.allowed_origins: is a single value; give a list "
		"such as [a, b]");
	one_error(PROVIDER_ONLY "chat: {websocket: {allowed_origins: [\"*\", [x]]}}\n",
		"f.yaml:2:43: chat.websocket.allowed_origins: has a list for an element; give "
		"texts");
	one_error(PROVIDER_ONLY "chat: {websocket: {allowed_origins: [\"*\", ~]}}\n",
		"f.yaml:2:43: chat.websocket.allowed_origins: has no value");
	one_error(
		PROVIDER_ONLY "run_dir: [a]\n", "f.yaml:2:10: run_dir: is a list; give a text");
	one_error(PROVIDER_ONLY "chat: 5\n",
		"f.yaml:2:7: chat: is a single value; give a section");
	one_error(PROVIDER_ONLY "chat: [a]\n", "f.yaml:2:7: chat: is a list; give a section");
	one_error("llm: {providers: [a]}\n",
		"f.yaml:1:18: llm.providers: is a list; give a section");
	one_error("hello\n", "f.yaml:1:1: the file is a single value; give sections");
	one_error("- a\n", "f.yaml:1:1: the file is a list; give sections");
	one_error(PROVIDER_ONLY "run_dir: \"/a\\0b\"\n",
		"f.yaml:2:10: run_dir: holds a NUL character");
	one_error(PROVIDER_ONLY "[a, b]: 1\n", "f.yaml:2:1: has a key that is not a text");
	one_error(PROVIDER_ONLY "\"chat\\0\": 1\n", "f.yaml:2:1: has a key that is not a text");
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_values", times_and_sizes, words, numbers_are_strict,
		times_sizes_and_reals_are_strict, kinds_and_missing_values);
}
