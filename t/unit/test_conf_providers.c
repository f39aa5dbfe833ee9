/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration of providers: URLs, keys, models, fallbacks. */
#include "conf_unit.h"

START_TEST(base_urls)
{
	static const char *const bad[] = { "ftp://h", "h/v1", "http://", "http:///v1",
		"http://u@h/", "http://u:p@h", "http://h?x=1", "http://h/#f", "http://h:0/",
		"http://h:70000", "http://h:/", "http://h:8x/", "http://a b/", "http://[::1",
		"http://[]/", "http://h/\xc3\xa4", "http://h/a b", "http://h\\@x/", "//h/v1" };
	struct conf *conf = good(
		"llm: {providers: {openai: , groq: {}, openrouter: {}, a: {base_url: "
		"'http://h/v1//'}, "
		"b: {base_url: 'HTTPS://[::1]:8443'}, groq2: {base_url: https://x.y/}}}\n");

	ck_assert_str_eq(conf->providers[0].base_url, "https://api.openai.com/v1");
	ck_assert_str_eq(conf->providers[1].base_url, "https://api.groq.com/openai/v1");
	ck_assert_str_eq(conf->providers[2].base_url, "https://openrouter.ai/api/v1");
	ck_assert_str_eq(conf->providers[3].base_url, "http://h/v1");
	ck_assert_str_eq(conf->providers[4].base_url, "HTTPS://[::1]:8443");
	ck_assert_str_eq(conf->providers[5].base_url, "https://x.y");
	conf_free(conf);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char *yaml = xasprintf("llm: {providers: {a: {base_url: '%s'}}}\n", bad[i]);

		one_error(yaml, "f.yaml:1:33: llm.providers.a.base_url: ");
		free(yaml);
	}
	one_error("llm: {providers: {a: {}}}\n", "f.yaml:1:19: llm.providers.a.base_url: is "
						 "missing; only openai, groq and openrouter");
	ck_assert_ptr_null(load("llm: {providers: {a: {base_url: 'http://u:hunter2@h'}}}\n"));
	ck_assert_ptr_null(strstr(errors.text[0], "hunter2"));
	conf_texts_release(&errors);
}
END_TEST

/* A file with this content and mode; its name. */
static char *key_file(const char *text, mode_t mode)
{
	char *path = xstrdup("/tmp/headgate-test-conf-XXXXXX");
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static struct conf *load_key_file(const char *path, const char *more)
{
	char *yaml =
		xasprintf("llm: {providers: {openai: {api_key_file: '%s'%s}}}\n", path, more);
	struct conf *conf = load(yaml);

	free(yaml);
	return conf;
}

START_TEST(keys_from_files)
{
	char *path = key_file("  sk-file \r\nsecond line\n", 0600),
	     *open_path = key_file("sk-open", 0644);
	char *empty_path = key_file("\nsk-late\n", 0600);
	struct conf *conf;

	setenv("OPENAI_API_KEY", "sk-env", 1);
	conf = load_key_file(path, "");
	ck_assert_ptr_nonnull(conf);
	ck_assert_str_eq(conf->providers[0].keys[0], "sk-file");
	ck_assert_uint_eq(warned(conf, "everybody"), 0);
	conf_free(conf);
	conf = load_key_file(open_path, "");
	ck_assert_ptr_nonnull(conf);
	ck_assert_str_eq(conf->providers[0].keys[0], "sk-open");
	ck_assert_uint_eq(warned(conf, "everybody on this machine may read it; chmod o-r"), 1);
	conf_free(conf);
	ck_assert_ptr_null(load_key_file(path, ", api_key: sk-literal"));
	ck_assert_uint_eq(errors.count, 1);
	ck_assert_ptr_nonnull(
		strstr(errors.text[0], "is given beside api_key; keep one of them"));
	conf_texts_release(&errors);
	ck_assert_ptr_null(load_key_file(empty_path, ""));
	ck_assert_ptr_nonnull(strstr(errors.text[0], "has nothing on its first line"));
	conf_texts_release(&errors);
	unlink(path);
	ck_assert_ptr_null(load_key_file(path, ""));
	ck_assert_uint_eq(errors.count, 1);
	ck_assert_ptr_nonnull(strstr(errors.text[0], "No such file or directory"));
	conf_texts_release(&errors);
	ck_assert_ptr_null(load_key_file("/dev/null", ""));
	ck_assert_ptr_nonnull(strstr(errors.text[0], "not a regular file"));
	conf_texts_release(&errors);
	unlink(open_path);
	unlink(empty_path);
	free(path);
	free(open_path);
	free(empty_path);
}
END_TEST

START_TEST(keys_from_text_and_environment)
{
	struct conf *conf;

	setenv("OPENAI_API_KEY", "sk-env\n", 1);
	setenv("MY_OWN", "sk-own", 1);
	setenv("A_B_API_KEY", "sk-ab", 1);
	unsetenv("GROQ_API_KEY");
	unsetenv("LOCAL_API_KEY");
	conf = good("llm: {providers: {openai: {api_key: sk-literal}, openrouter: "
		    "{api_key_env: MY_OWN}, groq: {}, "
		    "a-B: {base_url: 'http://h'}, local: {base_url: 'http://h'}}}\n");
	ck_assert_str_eq(conf->providers[0].keys[0], "sk-literal");
	ck_assert_str_eq(conf->providers[1].keys[0], "sk-own");
	ck_assert_uint_eq(conf->providers[2].nkeys, 0);
	ck_assert_str_eq(conf->providers[3].keys[0], "sk-ab");
	ck_assert_uint_eq(conf->providers[4].nkeys, 0);
	ck_assert_uint_eq(
		warned(conf, "GROQ_API_KEY is not set: requests to groq go out without a key"),
		1);
	ck_assert_uint_eq(warned(conf, "without a key"), 1);
	conf_free(conf);
	conf = good("llm: {providers: {openai: {}}}\n");
	ck_assert_str_eq(conf->providers[0].keys[0], "sk-env");
	conf_free(conf);
	ck_assert_ptr_null(load("llm: {providers: {openai: {api_key_env: sk-hunter2}, groq: "
				"{api_key: \"a\\nhunter2\"}}}\n"));
	ck_assert_uint_eq(errors.count, 2);
	for (size_t i = 0; i < 2; i++)
		ck_assert_ptr_null(strstr(errors.text[i], "hunter2"));
	conf_texts_release(&errors);
}
END_TEST

START_TEST(several_keys)
{
	struct conf *conf;
	char *text;

	setenv("KEY_A", "sk-a", 1);
	conf = good("llm: {providers: {openai: {api_keys: [\"${KEY_A}\", \" sk-b \"]}, groq: {api_key: sk-g}, "
		    "local: {base_url: 'http://h'}}}\n");
	ck_assert_uint_eq(conf->providers[0].nkeys, 2);
	ck_assert_str_eq(conf->providers[0].keys[0], "sk-a");
	ck_assert_str_eq(conf->providers[0].keys[1], "sk-b");
	ck_assert_uint_eq(conf->providers[1].nkeys, 1);
	ck_assert_str_eq(conf->providers[1].keys[0], "sk-g");
	ck_assert_uint_eq(conf->providers[2].nkeys, 0);
	ck_assert_uint_eq(conf->providers[2].nkeys, 0);
	ck_assert_uint_eq(warned(conf, "without a key"), 0);
	text = dump(conf);
	ck_assert_ptr_nonnull(strstr(text, "# api_keys: [***, ***]"));
	ck_assert_ptr_null(strstr(text, "sk-"));
	free(text);
	conf_free(conf);
}
END_TEST

START_TEST(several_keys_that_are_refused)
{
#define IN_OPENAI(row) "llm:\n  providers:\n    openai:\n      api_keys: " row "\n"
#define KEYS "llm.providers.openai.api_keys: "
	struct buf many = BUF_INIT;

	one_error(IN_OPENAI("[a, \"\"]"), "f.yaml:4:17: " KEYS "has an empty element");
	one_error(IN_OPENAI("[a, b, a]"), "f.yaml:4:17: " KEYS "has the same key twice");
	one_error(IN_OPENAI("[\"a b\"]"), "f.yaml:4:17: " KEYS "leads to a key with spaces");
	one_error(IN_OPENAI("a"), "f.yaml:4:17: " KEYS "is a single value; give a list");
	one_error(IN_OPENAI("[a]\n      api_key: b"), "f.yaml:4:17: " KEYS "is given beside api_key");
	one_error(IN_OPENAI("[a]\n      api_key_env: B"), "f.yaml:4:17: " KEYS "is given beside api_key");
	one_error(IN_OPENAI("[a]\n      api_key_file: /b"), "f.yaml:4:17: " KEYS "is given beside api_key");
	buf_adds(&many, IN_OPENAI("[k0"));
	many.len--;
	for (int i = 1; i < 17; i++)
		buf_addf(&many, ", k%d", i);
	buf_adds(&many, "]\n");
	one_error(many.data, "f.yaml:4:17: " KEYS "has more than 16 elements");
	buf_release(&many);
#undef KEYS
#undef IN_OPENAI
}
END_TEST

START_TEST(fallbacks_are_other_providers)
{
#define A(list) "llm:\n  providers:\n    a:\n      base_url: http://h\n      fallback: " list "\n" \
	"    b: {base_url: 'http://h'}\n    c: {base_url: 'http://h', fallback: [a]}\n"
#define FALLBACK "f.yaml:5:17: llm.providers.a.fallback: "
	struct conf *conf = good(A("[c, b]"));

	ck_assert_uint_eq(conf->providers[0].fallback_chain.count, 2);
	ck_assert_uint_eq(conf->providers[0].fallback_chain.target[0].provider, 2);
	ck_assert_uint_eq(conf->providers[0].fallback_chain.target[1].provider, 1);
	ck_assert_uint_eq(conf->providers[1].fallback_chain.count, 0);
	ck_assert_uint_eq(conf->providers[2].fallback_chain.target[0].provider, 0);
	conf_free(conf);
	one_error(A("[d]"), FALLBACK "'d' is no provider; give one of llm.providers");
	one_error(A("[b, a]"), FALLBACK "'a' is this provider itself");
	one_error(A("[b, c, b]"), FALLBACK "'b' is named twice");
#undef FALLBACK
#undef A
}
END_TEST

START_TEST(fallbacks_have_models)
{
#define A(rows) "llm:\n  providers:\n    a:\n      base_url: http://h\n      model: m\n" rows \
	"    b: {base_url: 'http://h', model: bm}\n"
#define MAP "llm.providers.a.model_fallback"
	struct conf *conf = good(A("      fallback: [b, b/x/y, a/small]\n"
				   "      model_fallback: {m: [b/z], \"gpt-4.1\": []}\n"));
	const struct conf_provider *p = &conf->providers[0];
	char *text;

	ck_assert_uint_eq(p->fallback_chain.count, 3);
	ck_assert_str_eq(p->fallback_chain.target[0].model, "bm");
	ck_assert_str_eq(p->fallback_chain.target[1].model, "x/y");
	ck_assert_uint_eq(p->fallback_chain.target[1].provider, 1);
	ck_assert_str_eq(p->fallback_chain.target[2].model, "small");
	ck_assert_uint_eq(p->fallback_chain.target[2].provider, 0);
	ck_assert_uint_eq(p->model_fallback.count, 2);
	ck_assert_str_eq(p->model_fallback.key[1], "gpt-4.1");
	ck_assert_uint_eq(p->model_chains[0].count, 1);
	ck_assert_str_eq(p->model_chains[0].target[0].model, "z");
	ck_assert_uint_eq(p->model_chains[1].count, 0);
	text = dump(conf);
	ck_assert_ptr_nonnull(strstr(text, "model_fallback: {\"m\": [\"b/z\"], \"gpt-4.1\": []}"));
	free(text);
	conf_free(conf);
	one_error(A("      model_fallback: {m: [c]}\n"), "f.yaml:6:23: " MAP ": 'c' is no provider");
	one_error(A("      model_fallback: {m: b}\n"), "f.yaml:6:27: " MAP ".m: is a single value; give a list");
	one_error(A("      model_fallback: [b]\n"), "f.yaml:6:23: " MAP ": is a list; give a section such as");
	one_error(A("      model_fallback: {m: [b], m: []}\n"), "f.yaml:6:32: " MAP ": has the same key twice");
	one_error(A("      model_fallback: {m: [[b]]}\n"), "f.yaml:6:28: " MAP ".m: has a list for an element");
#undef MAP
#undef A
}
END_TEST

START_TEST(responses_is_bridge_or_native)
{
	struct conf *conf = good(PROVIDER_ONLY);

	ck_assert_uint_eq(conf->providers[0].responses, CONF_RESPONSES_BRIDGE);
	conf_free(conf);
	conf = good("llm: {providers: {p: {base_url: 'http://h/v1', responses: native}}}\n");
	ck_assert_uint_eq(conf->providers[0].responses, CONF_RESPONSES_NATIVE);
	conf_free(conf);
	one_error("llm: {providers: {p: {base_url: 'http://h/v1', responses: yes}}}\n",
		"f.yaml:1:59: llm.providers.p.responses: 'yes' is not a setting; give bridge or native");
}
END_TEST

START_TEST(http2_is_auto_or_off)
{
	struct conf *conf = good(IN_PROVIDER("http2: off"));

	ck_assert_uint_eq(conf->providers[0].http2, CONF_HTTP2_OFF);
	conf_free(conf);
	conf = good(PROVIDER_ONLY);
	ck_assert_uint_eq(conf->providers[0].http2, CONF_HTTP2_AUTO);
	conf_free(conf);
	one_error(IN_PROVIDER("http2: true"),
		"f.yaml:6:16: llm.providers.p.http_client.http2: 'true' is not a setting; give auto or off");
}
END_TEST

START_TEST(provider_names_and_number)
{
	struct buf text = BUF_INIT;
	struct conf *conf;

	buf_adds(&text, "llm:\n  providers:\n");
	for (int i = 0; i < 32; i++)
		buf_addf(&text, "    p%d: {base_url: 'http://h'}\n", i);
	conf = good(text.data);
	ck_assert_uint_eq(conf->nproviders, 32);
	ck_assert_str_eq(conf->active, "p0");
	conf_free(conf);
	buf_adds(&text, "    p32: {base_url: 'http://h'}\n");
	one_error(text.data,
		"f.yaml:35:5: llm.providers.p32: is one provider too many; 32 are possible");
	buf_release(&text);
	one_error("llm: {providers: {a b: {}}}\n",
		"f.yaml:1:19: llm.providers.a b: is no name for a provider; use");
	one_error("llm: {providers: {a.b: {}}}\n",
		"f.yaml:1:19: llm.providers.a.b: is no name for a provider; use");
	one_error("llm: {providers: {'': {}}}\n",
		"f.yaml:1:19: llm.providers.: is no name for a provider; use");
	one_error("llm: {providers: {a2345678901234567890123456789012345678901: {}}}\n",
		"f.yaml:1:19: llm.providers.a2345678901234567890123456789012345678901: is no "
		"name");
	conf_free(good("llm: {providers: {a234567890123456789012345678901234567890: {base_url: "
		       "'http://h'}}}\n"));
	conf = good("llm: {active: groq, providers: {openai: {}, groq: {}}}\n");
	ck_assert_uint_eq(conf->active_provider, 1);
	conf_free(conf);
	one_error("llm: {active: zebra, providers: {openai: {}}}\n",
		"f.yaml:1:15: llm.active: 'zebra' is no provider; give one of");
}
END_TEST

START_TEST(a_model_of_two_providers)
{
	struct conf *conf =
		good("llm: {providers: {a: {base_url: 'http://h', model: m, models: [m, n]}, "
		     "b: {base_url: 'http://h', model: n, models: [n, o]}}}\n");

	ck_assert_uint_eq(
		warned(conf,
			"llm.providers.b.model: 'n' is a model of a too; a gets its requests"),
		1);
	ck_assert_uint_eq(conf->warnings.count,
		1 + warned(conf, "by the kernel") + warned(conf, "open files"));
	conf_free(conf);
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_providers", base_urls, keys_from_files, keys_from_text_and_environment,
		several_keys, several_keys_that_are_refused, fallbacks_are_other_providers,
		fallbacks_have_models, responses_is_bridge_or_native, http2_is_auto_or_off,
		provider_names_and_number, a_model_of_two_providers);
}
