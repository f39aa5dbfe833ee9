/* SPDX-License-Identifier: BSD-2-Clause */
/* conf: keys, errors and their places, defaults by name, clients, warnings. */
#include "conf_unit.h"

START_TEST(defaults)
{
	struct conf *conf = good(PROVIDER_ONLY);
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	ck_assert_str_eq(conf->path, "f.yaml");
	ck_assert_str_eq(conf->host, "127.0.0.1");
	ck_assert_uint_eq(conf->port, 8000);
	ck_assert_uint_eq(conf->max_connections, 100);
	ck_assert_uint_eq(conf->connection_queue_size, 500);
	ck_assert_uint_eq(conf->backlog, 2048);
	ck_assert_uint_eq(conf->workers, CPU_COUNT(&set) > 64 ? 64 : (uint64_t)CPU_COUNT(&set));
	ck_assert_uint_eq(conf->keepalive_timeout_ms, 5000);
	ck_assert_uint_eq(conf->max_message_size_bytes, 1 << 20);
	ck_assert(conf->streaming_enabled && !conf->access_log);
	ck_assert_uint_eq(conf->log_level, LOG_INFO);
	ck_assert_uint_eq(conf->log_format, LOG_CONSOLE);
	ck_assert_str_eq(conf->active, "p");
	ck_assert_uint_eq(conf->nproviders, 1);
	ck_assert_uint_eq(conf->providers[0].concurrent_requests, 25);
	ck_assert_double_eq(conf->providers[0].backoff_factor, 0.5);
	ck_assert_uint_eq(conf->providers[0].nkeys, 0);
	ck_assert_str_eq(conf->providers[0].api_key_env, "P_API_KEY");
	ck_assert_uint_eq(conf->allowed_origins.count, 0);
	conf_free(conf);
	conf_free(NULL);
}
END_TEST

START_TEST(an_empty_file_lacks_only_a_provider)
{
	static const char *const empty[] = { "", "\n", "# nothing\n", "---\n", "~\n", "chat:\n",
		"chat: {websocket: {concurrency: {uvicorn: }}}\n" };

	for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
		one_error(empty[i],
			"f.yaml: llm.providers: names no provider; give at least one");
	one_error("llm:\n  providers:\n", "f.yaml:2:3: llm.providers: names no provider");
	conf_free(good("llm:\n  providers:\n    openai:\n"));
}
END_TEST

START_TEST(unknown_keys)
{
	one_error(PROVIDER_ONLY
		"chat:\n  websocket:\n    concurrency:\n      max_conections: 5\n",
		"f.yaml:5:7: chat.websocket.concurrency.max_conections: unknown key; nearest: "
		"max_connections");
	one_error(PROVIDER_ONLY "logign: {}\n",
		"f.yaml:2:1: logign: unknown key; nearest: logging");
	one_error(PROVIDER_ONLY "zebra: {}\n", "f.yaml:2:1: zebra: unknown key; known here: "
					       "chat, clients, llm, cluster, logging, admin, run_dir");
	one_error("llm: {provider: {}, providers: {openai: {}}}\n",
		"f.yaml:1:7: llm.provider: unknown key; nearest: providers");
	one_error(IN_UVICORN("max_header_siz: 5"),
		"f.yaml:6:9: chat.websocket.concurrency.uvicorn.max_header_siz: unknown key; "
		"nearest: max_header_size");
	one_error(PROVIDER_ONLY "uvicorn: {}\n", "f.yaml:2:1: uvicorn: unknown key here; its "
						 "place is chat.websocket.concurrency.uvicorn");
	one_error("llm: {providers: {openai: {read_timeout: 5}}}\n",
		"f.yaml:1:28: llm.providers.openai.read_timeout: "
		"unknown key here; its place is llm.providers.<name>.http_client.read_timeout");
	one_error(PROVIDER_ONLY "chat.websocket.port: 5\n",
		"f.yaml:2:1: chat.websocket.port: unknown key; known here:");
	one_error(PROVIDER_ONLY "\"\": 5\n", "f.yaml:2:1: : unknown key; known here:");
}
END_TEST

START_TEST(nearest_counts_edits)
{
	static const struct {
		const char *wanted, *known, *best;
	} rows[] = {
		{ "prot", "port", "port" },
		{ "port", "port", "port" },
		{ "max_conections", "max_connections", "max_connections" },
		{ "x", "port", "" },
		{ "a", "b", "" },
		{ "backlof", "backlog", "backlog" },
		{ "", "port", "" },
		{ "read_timeout", "write_timeout", "" },
		{ "host", "port", "" },
	};
	char huge[NAME_MAX_BYTES + 2];
	struct nearest near;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		nearest_begin(&near, rows[i].wanted);
		nearest_offer(&near, rows[i].known, strlen(rows[i].known));
		ck_assert_str_eq(near.best, rows[i].best);
	}
	memset(huge, 'a', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	nearest_begin(&near, huge);
	nearest_offer(&near, huge, strlen(huge));
	ck_assert_str_eq(near.best, "");
}
END_TEST

START_TEST(duplicates_and_second_names)
{
	struct conf *conf = good(PROVIDER_ONLY
		"chat: {websocket: {concurrency: {server: {max_header_size: 5000, "
		"max_request_line_size: 600, h11_max_incomplete_event_size: 700}}}}\n");

	ck_assert_uint_eq(conf->max_header_bytes, 5000);
	ck_assert_uint_eq(conf->max_request_line_bytes, 600);
	ck_assert_uint_eq(conf->max_incomplete_event_bytes, 700);
	conf_free(conf);
	one_error(PROVIDER_ONLY "chat: {websocket: {port: 1, port: 2}}\n",
		"f.yaml:2:29: chat.websocket.port: is given twice; the first is port in line "
		"2");
	one_error(PROVIDER_ONLY "chat: {}\nchat: {}\n",
		"f.yaml:3:1: chat: is given twice; the first is chat in line 2");
	one_error(PROVIDER_ONLY "chat: {websocket: {concurrency: {uvicorn: {}, server: {}}}}\n",
		"f.yaml:2:47: chat.websocket.concurrency.server: is given twice; the first is "
		"uvicorn in line 2");
	one_error(IN_UVICORN("max_header_size: 5000\n        h11_max_header_size: 5000"),
		"f.yaml:7:9: chat.websocket.concurrency.uvicorn.h11_max_header_size: is given "
		"twice; the first is max_header_size in line 6");
	one_error("llm: {providers: {openai: {}, openai: {}}}\n",
		"f.yaml:1:31: llm.providers.openai: is given twice; the first is in line 1");
}
END_TEST

START_TEST(yaml_that_is_refused)
{
	char *deep = xmalloc(20001);

	one_error(
		"llm: &a {}\n", "f.yaml:1:6: anchors and aliases (& and *) are not used here");
	one_error("llm: *a\n", "f.yaml:1:6: anchors and aliases (& and *) are not used here");
	one_error("chat: {websocket: {host: *}}\n",
		"f.yaml:1:26: a value cannot begin with *; put it in quotes");
	one_error("llm: !!map {}\n", "f.yaml:1:6: tags (!) are not used here");
	one_error("llm: {active: !secret x}\n", "f.yaml:1:15: tags (!) are not used here");
	one_error(PROVIDER_ONLY "---\nllm: {}\n",
		"f.yaml:2:1: a second document; one file holds one");
	one_error("chat:\n\twebsocket: {}\n", "f.yaml:2:1: a tab cannot indent; use spaces");
	one_error("chat:\n  a\xc3\xa4\xff: 1\n",
		"f.yaml:2:5: invalid leading UTF-8 octet; save the file as plain UTF-8");
	one_error("chat: {}\na\x01: 1\n",
		"f.yaml:2:2: control characters are not allowed; save the file");
	one_error("chat: {\n",
		"f.yaml:2:1: did not find expected node content while parsing a flow node;");
	one_error("chat:\n  a: 1\n b: 2\n",
		"f.yaml:3:2: did not find expected key while parsing a block mapping");
	one_error("chat: \"abc\n", "f.yaml:2:1: found unexpected end of stream while scanning "
				   "a quoted scalar (which began in line 1);");
	memset(deep, '[', 20000);
	deep[20000] = '\0';
	one_error(deep, "f.yaml:1:17: nested too deep; no option is");
	free(deep);
}
END_TEST

START_TEST(size_limit_and_error_limit)
{
	struct buf text = BUF_INIT;

	while (text.len <= 262144)
		buf_adds(&text, "# a comment that fills the file\n");
	one_error(text.data, "f.yaml: is larger than 256 KiB; no configuration is");
	buf_clear(&text);
	for (int i = 0; i < 2000; i++)
		buf_addf(&text, "zebra%d: 1\n", i);
	ck_assert_ptr_null(load(text.data));
	ck_assert_uint_eq(errors.count, 101);
	ck_assert_str_eq(errors.text[100], "f.yaml: 100 errors; looked no further");
	conf_texts_release(&errors);
	buf_release(&text);
}
END_TEST

START_TEST(all_errors_in_the_order_of_the_file)
{
	static const char *const want[] = {
		"f.yaml:3:11: chat.websocket.port: '70000' is out of range",
		"f.yaml:4:5: chat.websocket.hots: unknown key; nearest: host",
		"f.yaml:5:15: chat.websocket.endpoint: '/metrics' is a path",
		"f.yaml:7:11: llm.active: 'opnai' is no provider; nearest: openai",
		"f.yaml:10:14: llm.providers.openai.model: NOT_THERE is not set",
		"f.yaml:11:5: llm.providers.other.base_url: is missing;",
	};

	unsetenv("NOT_THERE");
	ck_assert_ptr_null(load(
		"chat:\n  websocket:\n    port: 70000\n    hots: a\n    endpoint: /metrics\n"
		"llm:\n  active: opnai\n  providers:\n    openai:\n      model: ${NOT_THERE}\n "
		"   other:\n"));
	ck_assert_uint_eq(errors.count, ARRAY_SIZE(want));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		ck_assert_msg(strncmp(errors.text[i], want[i], strlen(want[i])) == 0, "%s",
			errors.text[i]);
	conf_texts_release(&errors);
}
END_TEST

START_TEST(environment_in_texts)
{
	struct conf *conf;

	setenv("CONF_A", "alpha", 1);
	setenv("CONF_EMPTY", "", 1);
	setenv("CONF_LATIN", "\xe4", 1);
	unsetenv("CONF_NONE");
	conf = good("llm: {providers: {openai: {model: \"${CONF_A}-$$x-$5-${CONF_EMPTY}$\", "
		    "models: [\"${CONF_A}\"], "
		    "api_key: \"${CONF_A}\"}}}\n");
	ck_assert_str_eq(conf->providers[0].model, "alpha-$x-$5-$");
	ck_assert_str_eq(conf->providers[0].models.text[0], "alpha");
	ck_assert_str_eq(conf->providers[0].keys[0], "alpha");
	conf_free(conf);
	one_error(PROVIDER_ONLY "run_dir: /a/${CONF_NONE}\n",
		"f.yaml:2:10: run_dir: CONF_NONE is not set in the environment; set it, or "
		"write $$");
	one_error(PROVIDER_ONLY "run_dir: /a/${CONF_A\n",
		"f.yaml:2:10: run_dir: ${ without its }; write ${NAME}");
	one_error(PROVIDER_ONLY "run_dir: /a/${}\n",
		"f.yaml:2:10: run_dir: ${...} does not name a variable; write");
	one_error(PROVIDER_ONLY "run_dir: /a/${A B}\n",
		"f.yaml:2:10: run_dir: ${...} does not name a variable; write");
	one_error(PROVIDER_ONLY "run_dir: /a/${CONF_LATIN}\n",
		"f.yaml:2:10: run_dir: CONF_LATIN in the environment is not UTF-8;");
	one_error(PROVIDER_ONLY "chat: {websocket: {port: \"${CONF_A}\"}}\n",
		"f.yaml:2:26: chat.websocket.port: '${CONF_A}' is not a whole number;");
}
END_TEST

#define KEYS(list) PROVIDER_ONLY "clients:\n  keys:\n" list
#define HASH "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b" /* of "secret" */

START_TEST(keys_of_clients)
{
	static const char *const names[] = { "\"\"", "a b", "a/b", "a:b", "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddde" };
	char path[] = "/tmp/headgate-unit-key-XXXXXX", text[1024];
	int fd = mkstemp(path);
	struct conf *conf;
	char *yaml;

	ck_assert_int_ge(write(fd, "  secret \nsecond line\n", 23), 0);
	close(fd);
	setenv("UNIT_KEY", "another-secret-of-length", 1);
	snprintf(text, sizeof(text),
		KEYS("    - {name: a, key_sha256: " HASH "}\n    - {name: b, key_env: UNIT_KEY}\n"));
	conf = good(text);
	ck_assert_uint_eq(conf->nclients, 2);
	ck_assert_str_eq(conf->clients[0].name, "a");
	ck_assert_uint_eq(conf->clients[0].sha256[0], 0x2b);
	ck_assert_uint_eq(conf->clients[0].sha256[31], 0x5b);
	ck_assert_uint_eq(warned(conf, "shorter than 16"), 0);
	yaml = dump(conf);
	ck_assert_ptr_null(strstr(yaml, "2bb80d53"));
	ck_assert_ptr_nonnull(strstr(yaml, "name: \"b\""));
	free(yaml);
	conf_free(conf);
	/* the first line of a file, without what is around it; and it is a weak one */
	snprintf(text, sizeof(text), KEYS("    - {name: c, key_file: %s}\n"), path);
	chmod(path, 0644);
	conf = good(text);
	ck_assert_uint_eq(conf->clients[0].sha256[0], 0x2b);
	ck_assert_uint_eq(warned(conf, "shorter than 16"), 1);
	ck_assert_uint_eq(warned(conf, "everybody on this machine"), 1);
	conf_free(conf);
	/* not the part before a NUL, which would be another key than the file's */
	ck_assert_int_eq(truncate(path, 2), 0);
	ck_assert_int_eq(truncate(path, 9), 0);
	snprintf(text, sizeof(text), KEYS("    - {name: c, key_file: %s}\n"), path);
	one_error(text, "f.yaml:4:27: clients.keys.key_file: has a NUL byte on its first line");
	unlink(path);
	/* with a key, others may reach us */
	conf = good(KEYS("    - {name: a, key_sha256: " HASH "}\n") "chat: {websocket: {host: \"*\"}}\n");
	conf_free(conf);
	conf = good(KEYS("    []\n"));
	ck_assert_uint_eq(conf->nclients, 0);
	conf_free(conf);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(text, sizeof(text), KEYS("    - {name: %s, key_env: UNIT_KEY}\n"), names[i]);
		one_error(text, "f.yaml:4:14: clients.keys.name: is no name for a key");
	}
	one_error(KEYS("    - {key_env: UNIT_KEY}\n"), "f.yaml:4:7: clients.keys.name: is missing");
	one_error(KEYS("    - {name: a}\n"), "f.yaml:4:14: clients.keys: 'a' has no key");
	one_error(KEYS("    - {name: a, key_env: UNIT_KEY, key_file: /x}\n"),
		"f.yaml:4:46: clients.keys.key_file: is given beside another source");
	one_error(KEYS("    - {name: a, key_env: UNIT_NONE}\n"),
		"f.yaml:4:26: clients.keys.key_env: UNIT_NONE is not set");
	one_error(KEYS("    - {name: a, key_env: sk-oops}\n"),
		"f.yaml:4:26: clients.keys.key_env: is not the name of an environment variable");
	one_error(KEYS("    - {name: a, key_file: /nonexistent/k}\n"),
		"f.yaml:4:27: clients.keys.key_file: cannot be read");
	one_error(KEYS("    - {name: a, key_sha256: \"" HASH "0\"}\n"),
		"f.yaml:4:29: clients.keys.key_sha256: is no SHA-256");
	one_error(KEYS("    - {name: a, key_sha256: " HASH "}\n    - {name: a, key_env: UNIT_KEY}\n"),
		"f.yaml:5:14: clients.keys.name: is given twice; the first is in line 4");
	one_error(KEYS("    - {name: a, key_env: UNIT_KEY}\n    - {name: b, key_env: UNIT_KEY}\n"),
		"f.yaml:5:14: clients.keys: 'b' has the same key as 'a'");
	one_error(KEYS("    - a\n"), "f.yaml:4:7: clients.keys: has a single value for an element");
	one_error(PROVIDER_ONLY "clients: {keys: {name: a}}\n", "f.yaml:2:11: clients.keys: is a section");
	one_error(PROVIDER_ONLY "clients: {key: []}\n", "f.yaml:2:11: clients.key: unknown key; nearest: keys");
	one_error(KEYS("    - {name: a, key_evn: UNIT_KEY, key_env: UNIT_KEY}\n"),
		"f.yaml:4:17: clients.keys.key_evn: unknown key; nearest: key_env");
	setenv("UNIT_KEY", "with space", 1);
	one_error(KEYS("    - {name: a, key_env: UNIT_KEY}\n"), "f.yaml:4:26: clients.keys.key_env: leads to a key that");
}
END_TEST

START_TEST(hosts_endpoints_origins)
{
	static const char *const endpoints[] = { "ws", "\"\"", "/", "/v1",
		"/v1/chat/completions", "/health", "/health/live", "/metrics", "/status",
		"/a?b", "\"/a b\"", "\"/a\\nb\"" };
	static const char *const origins[] = { "example.com", "https://", "https://a/",
		"https://a/b", "https://a:b", "null", "https://a?x", "://a", "https://*.a.com",
		"1a://b" };
	struct conf *conf =
		good(PROVIDER_ONLY "clients: {allow_anonymous: true}\nchat: {websocket: {host: "
				   "\"*\", endpoint: /v1chat, "
				   "allowed_origins: [\"*\", \"HTTPS://A.com:8443\", "
				   "\"http://[::1]:80\", chrome-extension://abc]}}\n");
	char *yaml;

	ck_assert_str_eq(conf->host, "*");
	ck_assert_str_eq(conf->allowed_origins.text[1], "https://a.com:8443");
	conf_free(conf);
	conf = good(PROVIDER_ONLY "chat: {websocket: {host: localhost}}\n");
	ck_assert_str_eq(conf->host, "127.0.0.1");
	conf_free(conf);
	conf_free(good(PROVIDER_ONLY "chat: {websocket: {host: \"::1\"}}\n"));
	conf_free(good(PROVIDER_ONLY "chat: {websocket: {host: 127.8.8.8}}\n"));
	one_error(PROVIDER_ONLY "chat: {websocket: {host: example.com}}\n",
		"f.yaml:2:26: chat.websocket.host: 'example.com' is not an address; give");
	one_error(PROVIDER_ONLY "chat: {websocket: {host: 0.0.0.0}}\n",
		"f.yaml:2:26: chat.websocket.host: '0.0.0.0' can be reached from other "
		"machines");
	one_error(PROVIDER_ONLY "chat: {websocket: {host: \"*\"}}\n",
		"f.yaml:2:26: chat.websocket.host: '*' can be reached");
	one_error(PROVIDER_ONLY "chat: {websocket: {host: \"::\"}}\n",
		"f.yaml:2:26: chat.websocket.host: '::' can be reached");
	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
		yaml = xasprintf(
			PROVIDER_ONLY "chat: {websocket: {endpoint: %s}}\n", endpoints[i]);
		one_error(yaml, "f.yaml:2:30: chat.websocket.endpoint: ");
		free(yaml);
	}
	one_error(PROVIDER_ONLY "chat: {websocket: {subprotocols: [chat.v1, 'a b']}}\n",
		"f.yaml:2:34: chat.websocket.subprotocols: 'a b' is not the name of a subprotocol");
	one_error(PROVIDER_ONLY "chat: {echo_endpoint: echo}\n",
		"f.yaml:2:23: chat.echo_endpoint: 'echo' is not a path; give one that begins with /, such as /echo");
	one_error(PROVIDER_ONLY "chat: {echo_endpoint: /health}\n",
		"f.yaml:2:23: chat.echo_endpoint: '/health' is a path with a meaning of its own");
	one_error(PROVIDER_ONLY "chat: {echo_endpoint: /ws/chat}\n",
		"f.yaml:2:23: chat.echo_endpoint: '/ws/chat' is chat.websocket.endpoint as well");
	for (size_t i = 0; i < ARRAY_SIZE(origins); i++) {
		yaml = xasprintf(PROVIDER_ONLY "chat: {websocket: {allowed_origins: ['%s']}}\n",
			origins[i]);
		one_error(yaml, "f.yaml:2:37: chat.websocket.allowed_origins: ");
		free(yaml);
	}
}
END_TEST

START_TEST(run_directory)
{
	struct conf *conf = good(PROVIDER_ONLY "run_dir: /a/b\n");
	char *segment = conf_segment_path(conf);

	ck_assert_str_eq(segment, "/a/b/segment");
	free(segment);
	conf_free(conf);
	conf = good(PROVIDER_ONLY);
	ck_assert_int_eq(*conf->run_dir, '/');
	if (geteuid() == 0)
		ck_assert_str_eq(conf->run_dir, "/run/headgate");
	conf_free(conf);
	one_error(PROVIDER_ONLY "run_dir: a/b\n",
		"f.yaml:2:10: run_dir: 'a/b' is not absolute; begin it with /");
	one_error(PROVIDER_ONLY "logging: {file: \"a\\nb\"}\n",
		"f.yaml:2:17: logging.file: 'a\\x0ab' holds a control character");
}
END_TEST

START_TEST(warnings_of_sections_and_options_without_effect)
{
	struct conf *conf =
		good("mcp: {servers: [1, 2]}\nchat_store: x\nchat: {service: {repository: {a: "
		     "1}}, websocket: "
		     "{concurrency: {connection_queue_size: 7}}}\nllm: {providers: {a: "
		     "{base_url: 'http://h', http_client: "
		     "{max_retries: 1, http2: auto}}, b: {base_url: 'http://h', "
		     "http_client: {max_retries: 1, max_connections: 9}}}}\n");

	ck_assert_uint_eq(warned(conf, "f.yaml:1:1: mcp: has no meaning here; ignored"), 1);
	ck_assert_uint_eq(
		warned(conf, "f.yaml:2:1: chat_store: has no meaning here; ignored"), 1);
	ck_assert_uint_eq(
		warned(conf,
			"f.yaml:3:18: chat.service.repository: has no meaning here; ignored"),
		1);
	ck_assert_uint_eq(warned(conf, "without effect"),
		options_provider.row[P_http2].effect == EFFECT_LATER);
	conf_free(conf);
	conf = good(PROVIDER_ONLY);
	ck_assert_uint_eq(warned(conf, "without effect"), 0);
	conf_free(conf);
}
END_TEST

START_TEST(warnings_of_limits)
{
	struct conf *conf = good(IN_UVICORN("backlog: 499"));
	struct rlimit limit = { 199, 199 };
	FILE *file = fopen("/proc/sys/net/core/somaxconn", "r");
	unsigned most = 0;
	char *yaml;

	ck_assert_uint_eq(
		warned(conf, "uvicorn.backlog: 499 is below connection_queue_size, 500"), 1);
	conf_free(conf);
	conf = good(IN_UVICORN("backlog: 500"));
	ck_assert_uint_eq(warned(conf, "is below connection_queue_size"), 0);
	conf_free(conf);
	if (file && fscanf(file, "%u", &most) == 1 && most < 65535) {
		yaml = xasprintf(IN_UVICORN("backlog: %u"), most + 1);
		conf = good(yaml);
		ck_assert_uint_eq(warned(conf, "net.core.somaxconn"), 1);
		conf_free(conf);
		free(yaml);
		yaml = xasprintf(IN_UVICORN("backlog: %u"), most);
		conf = good(yaml);
		ck_assert_uint_eq(warned(conf, "net.core.somaxconn"), 0);
		conf_free(conf);
		free(yaml);
	}
	if (file)
		fclose(file);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit),
		0); /* Check runs each test in its own process */
	conf = good(PROVIDER_ONLY);
	ck_assert_uint_eq(
		warned(conf,
			"may need 778 open files in one process, and the hard limit is 199"),
		1);
	conf_free(conf);
	conf = good(PROVIDER_ONLY "chat: {websocket: {concurrency: {max_connections: 10, connection_queue_size: 11}}}\n");
	ck_assert_uint_eq(warned(conf, "open files"), 0);
	conf_free(conf);
}
END_TEST

int main(void)
{
	UNIT_RUN("conf", defaults, an_empty_file_lacks_only_a_provider, unknown_keys,
		nearest_counts_edits, duplicates_and_second_names, yaml_that_is_refused,
		size_limit_and_error_limit, all_errors_in_the_order_of_the_file, environment_in_texts,
		keys_of_clients, hosts_endpoints_origins, run_directory,
		warnings_of_sections_and_options_without_effect, warnings_of_limits);
}
