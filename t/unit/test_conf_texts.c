/* SPDX-License-Identifier: BSD-2-Clause */
/* conf: what is printed and read again: dump, limits, files, the sample, the manual. */
#include "conf_unit.h"

/* The same text without its comments. */
static char *without_comments(const char *text)
{
	struct buf out = BUF_INIT;

	while (*text) {
		size_t line = strcspn(text, "\n");
		const char *hash = memmem(text, line, "  # ", 4);

		buf_add(&out, text, hash ? (size_t)(hash - text) : line);
		buf_adds(&out, "\n");
		text += line + (text[line] == '\n');
	}
	return out.data;
}

START_TEST(the_dump_loads_again)
{
	struct conf *conf =
		good("clients: {allow_anonymous: on}\nchat: {websocket: {host: 0.0.0.0, "
		     "allowed_origins: [\"*\"], port: 0, max_message_size: 1025, "
		     "concurrency: {server: {keepalive_timeout: 0.25}}}, service: "
		     "{system_prompt: \"a $${B} \\\"c\\\" \\\\ \\n\\t"
		     "\\x01\\u2028\\uFEFF\\U0001F600\"}}\nllm: {active: b, providers: {openai: "
		     "{api_key: sk-hunter2, models: [a, 'b, c']}, "
		     "b: {base_url: 'http://h', http_client: {backoff_factor: 0.123, "
		     "max_keepalive: 0}}}}\nlogging: {level: debug, format: json, file: /x}\n");
	char *first = dump(conf), *second, *bare_first, *bare_second;
	struct conf *again = good(first);

	ck_assert_ptr_null(strstr(first, "hunter2"));
	ck_assert_ptr_nonnull(strstr(first, "\n      # api_key: ***  # f.yaml:3\n"));
	ck_assert_ptr_nonnull(strstr(first, "\n    host: \"0.0.0.0\"  # f.yaml:2\n"));
	ck_assert_ptr_nonnull(strstr(first, "\n    endpoint: \"/ws/chat\"  # default\n"));
	ck_assert_str_eq(again->system_prompt, conf->system_prompt);
	ck_assert_str_eq(again->system_prompt,
		"a ${B} \"c\" \\ \n\t\x01\xe2\x80\xa8\xef\xbb\xbf\xf0\x9f\x98\x80");
	ck_assert_str_eq(again->providers[0].models.text[1], "b, c");
	ck_assert_double_eq(again->providers[1].backoff_factor, 0.123);
	ck_assert_uint_eq(again->keepalive_timeout_ms, 250);
	ck_assert_uint_eq(again->max_message_size_bytes, 1025);
	ck_assert_uint_eq(again->active_provider, 1);
	second = dump(again);
	bare_first = without_comments(first);
	bare_second = without_comments(second);
	ck_assert_str_eq(bare_first, bare_second);
	free(first);
	free(second);
	free(bare_first);
	free(bare_second);
	conf_free(conf);
	conf_free(again);
}
END_TEST

START_TEST(limits_are_printed)
{
	struct conf *conf =
		good("llm: {active: groq, providers: {openai: {api_key: sk-hunter2}, groq: "
		     "{http_client: {requests_per_minute: 0}}}}\n");
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_print_limits(conf, out);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "100 at once over all workers"));
	ck_assert_ptr_nonnull(strstr(text, "groq *"));
	ck_assert_ptr_nonnull(strstr(text, "no limit"));
	ck_assert_ptr_nonnull(strstr(text, "https://api.openai.com/v1"));
	ck_assert_ptr_null(strstr(text, "hunter2"));
	free(text);
	conf_free(conf);
}
END_TEST

START_TEST(files)
{
	struct conf *conf;

	ck_assert_ptr_null(conf_load("/nonexistent/headgate.yaml", &errors));
	ck_assert_uint_eq(errors.count, 1);
	ck_assert_str_eq(errors.text[0], "/nonexistent/headgate.yaml: cannot be read: No such "
					 "file or directory; name a file with -c FILE");
	conf_texts_release(&errors);
	ck_assert_ptr_null(conf_load("/", &errors));
	ck_assert_str_eq(
		errors.text[0], "/: cannot be read: Is a directory; name a file with -c FILE");
	conf_texts_release(&errors);
	ck_assert_ptr_null(conf_load("/dev/zero", &errors));
	ck_assert_str_eq(
		errors.text[0], "/dev/zero: is larger than 256 KiB; no configuration is");
	conf_texts_release(&errors);
	conf = conf_load("etc/headgate.yaml", &errors);
	ck_assert_ptr_nonnull(conf);
	ck_assert_str_eq(conf->path, "etc/headgate.yaml");
	ck_assert_str_eq(conf->active, "sim");
	ck_assert_str_eq(conf->providers[0].base_url, "http://127.0.0.1:8001/v1");
	ck_assert_str_eq(conf->providers[0].model, "sim-1");
	ck_assert_str_eq(conf->providers[1].name, "openai");
	ck_assert_str_eq(conf->providers[1].model, "gpt-4o-mini");
	conf_free(conf);
}
END_TEST

/* "#name:" or "name:" at the start of a line of text. */
static bool names_option(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL) {
		const char *key = text + strspn(text, " ");

		key += *key == '#';
		key += strspn(key, "- #"); /* an element of a list */
		if (strncmp(key, name, n) == 0 && key[n] == ':')
			return true;
	}
	return false;
}

START_TEST(the_sample_names_every_option)
{
	char *text = file_text("etc/headgate.yaml");

	for (size_t i = 0; i < options_global.count; i++)
		ck_assert_msg(names_option(text, option_leaf(&options_global.row[i])),
			"etc/headgate.yaml lacks %s", options_global.row[i].path);
	for (size_t i = 0; i < options_provider.count; i++)
		ck_assert_msg(names_option(text, option_leaf(&options_provider.row[i])),
			"etc/headgate.yaml lacks a provider's %s",
			options_provider.row[i].path);
	for (size_t i = 0; i < options_client.count; i++)
		ck_assert_msg(names_option(text, option_leaf(&options_client.row[i])),
			"etc/headgate.yaml lacks a client key's %s", options_client.row[i].path);
	free(text);
}
END_TEST

START_TEST(the_manual_has_every_option)
{
	char *manual = file_text("man/headgate.yaml.5"), *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_print_mdoc(out);
	fclose(out);
	ck_assert_uint_gt(len, 1000);
	ck_assert_msg(strstr(manual, text) != NULL,
		"man/headgate.yaml.5 is out of date; put the output of headgate "
		"--print=options-mdoc into it");
	free(text);
	free(manual);
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_texts", the_dump_loads_again, limits_are_printed, files,
		the_sample_names_every_option, the_manual_has_every_option);
}
