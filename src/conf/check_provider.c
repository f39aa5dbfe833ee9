/* SPDX-License-Identifier: BSD-2-Clause */
/* check_provider.c - llm.providers: URL, key, models, and which of them is active. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/check.h"
#include "conf/key.h"
#include "conf/nearest.h"
#include "conf/text.h"
#include <ctype.h>

#define URL_OF_OTHERS "for example base_url: http://127.0.0.1:8080/v1"

/* Base URLs that are known by the provider's name. */
static const struct {
	const char *name, *base_url;
} known_urls[] = {
	{ "openai", "https://api.openai.com/v1" },
	{ "groq", "https://api.groq.com/openai/v1" },
	{ "openrouter", "https://openrouter.ai/api/v1" },
};

/* One provider under check. */
struct subject {
	struct loader *l;
	struct conf_provider *p;
	unsigned number;
};

static struct origin *origin_of(const struct subject *s, enum provider_row row)
{
	return &s->l->conf->origins->provider[s->number][row];
}

static void provider_error(const struct subject *s, enum provider_row row, const char *what)
{
	const struct origin *at = origin_of(s, row);
	char *path =
		xasprintf("llm.providers.%s.%s", s->p->name, options_provider.row[row].path);

	if (!at->bad)
		loader_error(s->l,
			at->line ? at : &s->l->conf->origins->provider_name[s->number], path,
			"%s", what);
	free(path);
}

static void replace(char **text, char *by)
{
	free(*text);
	*text = by;
}

static void check_url(const struct subject *s)
{
	char **url = &s->p->base_url;
	const char *wrong;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(known_urls) && !**url; i++)
		if (strcmp(s->p->name, known_urls[i].name) == 0)
			replace(url, xstrdup(known_urls[i].base_url));
	if (!**url) {
		provider_error(s, P_base_url,
			"is missing; only openai, groq and openrouter have one by name: " URL_OF_OTHERS);
		return;
	}
	wrong = check_base_url(*url);
	if (wrong)
		provider_error(s, P_base_url, wrong);
	len = strlen(*url);
	while (len && (*url)[len - 1] == '/')
		(*url)[--len] = '\0';
}

/* NAME_API_KEY */
static char *default_key_env(const char *name)
{
	char *env = xasprintf("%s_API_KEY", name);

	for (char *p = env; *p; p++)
		*p = (char)(*p == '-' ? '_' : toupper((unsigned char)*p));
	return env;
}

static void add_key(const struct subject *s, enum provider_row source, const char *text)
{
	struct conf_provider *p = s->p;
	char *key = xstrdup(text);

	key_trim(key);
	if (!key_is_header_safe(key))
		provider_error(s, source,
			"leads to a key with spaces, line ends or other than ASCII in it; give the bare key");
	if (!*key) {
		free(key);
		return;
	}
	p->keys = xrealloc(p->keys, (p->nkeys + 1) * sizeof(*p->keys));
	p->keys[p->nkeys++] = key;
}

static void keys_from_list(const struct subject *s)
{
	const struct conf_texts *list = &s->p->api_keys;

	if (list->count > API_KEYS_MAX) {
		provider_error(s, P_api_keys, "has more than 16 elements; drop some");
		return;
	}
	for (size_t i = 0; i < list->count; i++) {
		key_trim(list->text[i]);
		if (!*list->text[i])
			provider_error(s, P_api_keys, "has an empty element; give a key");
		for (size_t k = 0; k < i; k++)
			if (strcmp(list->text[k], list->text[i]) == 0)
				provider_error(
					s, P_api_keys, "has the same key twice; give it once");
		add_key(s, P_api_keys, list->text[i]);
	}
}

static void key_from_file(const struct subject *s)
{
	bool public;
	char *wrong, *path, *key = key_read_file(s->p->api_key_file, &public, &wrong);

	if (!key) {
		provider_error(s, P_api_key_file, wrong);
		free(wrong);
		return;
	}
	add_key(s, P_api_key_file, key);
	free(key);
	if (public) {
		path = xasprintf("llm.providers.%s.api_key_file", s->p->name);
		loader_warn(s->l, origin_of(s, P_api_key_file), path,
			"everybody on this machine may read it; chmod o-r %s",
			s->p->api_key_file);
		free(path);
	}
}

static void check_key_env(const struct subject *s)
{
	if (!*s->p->api_key_env)
		replace(&s->p->api_key_env, default_key_env(s->p->name));
	else if (!key_is_variable_name(s->p->api_key_env))
		/* Not shown: whoever mistakes it for api_key put the key here. */
		provider_error(s, P_api_key_env,
			"is not the name of an environment variable; give a name such as OPENAI_API_KEY");
}

/* True, and an error, if the key is given in more than one place. */
static bool has_two_sources(const struct subject *s)
{
	const struct conf_provider *p = s->p;

	if (*p->api_key && *p->api_key_file) {
		provider_error(s, P_api_key_file, "is given beside api_key; keep one of them");
		return true;
	}
	if (p->api_keys.count && (*p->api_key || *p->api_key_file ||
					 origin_of(s, P_api_key_env)->line)) {
		provider_error(s, P_api_keys,
			"is given beside api_key, api_key_file or api_key_env; keep one of them");
		return true;
	}
	return false;
}

static void warn_without_key(const struct subject *s)
{
	static const enum provider_row sources[] = { P_api_key, P_api_keys, P_api_key_file,
		P_api_key_env };

	/* A refused option may have been the key's source: nothing more to say. */
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++)
		if (origin_of(s, sources[i])->bad)
			return;
	if (strncasecmp(s->p->base_url, "https://", 8) == 0 && !*s->p->api_key_file)
		loader_warn(s->l, &s->l->conf->origins->provider_name[s->number], NULL,
			"%s is not set: requests to %s go out without a key", s->p->api_key_env,
			s->p->name);
}

/* Keys come from exactly one place: literal, list, file, environment. */
static void check_key(const struct subject *s)
{
	struct conf_provider *p = s->p;
	const char *env;

	check_key_env(s);
	if (has_two_sources(s))
		return;
	if (*p->api_key)
		add_key(s, P_api_key, p->api_key);
	else if (p->api_keys.count)
		keys_from_list(s);
	else if (*p->api_key_file)
		key_from_file(s);
	else if ((env = getenv(p->api_key_env)))
		add_key(s, P_api_key_env, env);
	if (!p->nkeys)
		warn_without_key(s);
}

/* It is kept whole: workers may not be allowed to read it. */
static void check_ca(const struct subject *s)
{
	char *wrong;

	if (!*s->p->ca_file || origin_of(s, P_ca_file)->bad)
		return;
	if (strncasecmp(s->p->base_url, "http://", 7) == 0) {
		provider_error(s, P_ca_file,
			"is of no use, for base_url is http:; give an https: URL, or drop it");
		return;
	}
	wrong = check_ca_file(s->p->ca_file, &s->p->ca_pem);
	if (wrong)
		provider_error(s, P_ca_file, wrong);
	free(wrong);
}

static bool has_model(const struct conf_provider *p, const char *model)
{
	if (strcmp(p->model, model) == 0)
		return true;
	for (size_t i = 0; i < p->models.count; i++)
		if (strcmp(p->models.text[i], model) == 0)
			return true;
	return false;
}

/* A model that an earlier provider lists too is routed there. */
static void check_model(const struct subject *s, const char *model, enum provider_row row)
{
	const struct conf *conf = s->l->conf;

	for (unsigned i = 0; *model && i < s->number; i++) {
		char *path, *shown;

		if (!has_model(&conf->providers[i], model))
			continue;
		path = xasprintf(
			"llm.providers.%s.%s", s->p->name, options_provider.row[row].path);
		shown = text_quote(model);
		loader_warn(s->l, origin_of(s, row), path,
			"%s is a model of %s too; %s gets its requests, %s/%s reaches this one",
			shown, conf->providers[i].name, conf->providers[i].name, s->p->name,
			model);
		free(shown);
		free(path);
		return;
	}
}

static void check_models(const struct subject *s)
{
	const struct conf_texts *models = &s->p->models;

	check_model(s, s->p->model, P_model);
	for (size_t i = 0; i < models->count; i++) {
		if (!*models->text[i])
			provider_error(
				s, P_models, "has an empty element; give the name of a model");
		if (strcmp(models->text[i], s->p->model) != 0)
			check_model(s, models->text[i], P_models);
	}
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static bool any_control(const struct conf_texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		if (has_control(texts->text[i]))
			return true;
	return false;
}

/* Texts that become part of a URL, a file name or a JSON body hold no control characters. */
static void check_one_line(const struct subject *s)
{
	static const char wrong[] = "holds a control character or a line end; leave it out";
	bool bad;

	for (size_t i = 0; i < options_provider.count; i++) {
		const struct option *o = &options_provider.row[i];

		if (o->type != OPTION_TEXT ||
			!has_control(*(char **)((char *)s->p + o->offset)))
			continue;
		provider_error(s, (enum provider_row)i, wrong);
		origin_of(s, (enum provider_row)i)->bad = true;
	}
	if (any_control(&s->p->models))
		provider_error(s, P_models, wrong);
	if (any_control(&s->p->fallback))
		provider_error(s, P_fallback, wrong);
	bad = false;
	for (size_t i = 0; i < s->p->model_fallback.count; i++)
		bad = bad || any_control(&s->p->model_fallback.texts[i]);
	if (bad)
		provider_error(s, P_model_fallback, wrong);
}

/* NULL, or what is wrong with provider i as one more fallback. */
static const char *fallback_wrong(
	const struct subject *s, const struct conf_chain *chain, const struct conf_target *target, int i)
{
	if (i < 0)
		return "is no provider; give one of llm.providers";
	if ((unsigned)i == s->number && !strcmp(target->model, s->p->model))
		return "is this provider itself; give another one, or another model of it";
	for (unsigned k = 0; k < chain->count; k++)
		if (chain->target[k].provider == (unsigned)i &&
			strcmp(chain->target[k].model, target->model) == 0)
			return "is named twice; once is enough";
	return NULL;
}

/* The provider that "name" or "name/model" names, or -1; *model_r: part of text, or "". */
static int find_target(const struct conf *conf, const char *text, const char **model_r)
{
	const char *slash = strchr(text, '/');
	int i = -1;

	*model_r = slash ? slash + 1 : "";
	for (unsigned k = 0; k < conf->nproviders && i < 0; k++) {
		const char *name = conf->providers[k].name;
		size_t len = slash ? (size_t)(slash - text) : strlen(text);

		if (strlen(name) == len && memcmp(name, text, len) == 0)
			i = (int)k;
	}
	if (i >= 0 && !**model_r)
		*model_r = conf->providers[i].model;
	return i;
}

static void check_chain(const struct subject *s, const struct conf_texts *texts,
	enum provider_row row, struct conf_chain *chain)
{
	chain->target = xcalloc(texts->count + 1, sizeof(*chain->target));
	for (size_t n = 0; n < texts->count; n++) {
		struct conf_target target;
		int i = find_target(s->l->conf, texts->text[n], &target.model);
		const char *wrong = fallback_wrong(s, chain, &target, i);
		char *shown, *text;

		if (!wrong) {
			target.provider = (unsigned)i;
			chain->target[chain->count++] = target;
			continue;
		}
		/* A provider that was refused may be the one that is meant. */
		if (i < 0 && s->l->providers.bad)
			continue;
		shown = text_quote(texts->text[n]);
		text = xasprintf("%s %s", shown, wrong);
		provider_error(s, row, text);
		free(text);
		free(shown);
	}
}

static void check_fallback(const struct subject *s)
{
	struct conf_provider *p = s->p;

	check_chain(s, &p->fallback, P_fallback, &p->fallback_chain);
	p->model_chains = xcalloc(p->model_fallback.count + 1, sizeof(*p->model_chains));
	for (size_t i = 0; i < p->model_fallback.count; i++)
		check_chain(s, &p->model_fallback.texts[i], P_model_fallback, &p->model_chains[i]);
}

static void check_active(struct loader *l)
{
	struct conf *conf = l->conf;
	const struct origin *at = &conf->origins->global[G_active];
	struct nearest near;
	char *shown;

	if (!*conf->active && conf->nproviders)
		replace(&conf->active, xstrdup(conf->providers[0].name));
	nearest_begin(&near, conf->active);
	for (unsigned i = 0; i < conf->nproviders; i++) {
		if (strcmp(conf->providers[i].name, conf->active) == 0) {
			conf->active_provider = i;
			return;
		}
		nearest_offer(&near, conf->providers[i].name, strlen(conf->providers[i].name));
	}
	/* With a provider refused, it may be the one that is meant. */
	if (at->bad || !conf->nproviders || l->providers.bad)
		return;
	shown = text_quote(conf->active);
	loader_error(l, at, "llm.active", "%s is no provider; %s: %s", shown,
		*near.best ? "nearest" : "give one of llm.providers, such as",
		*near.best ? near.best : conf->providers[0].name);
	free(shown);
}

void check_providers(struct loader *l)
{
	struct conf *conf = l->conf;

	if (!conf->nproviders && !l->providers.bad)
		loader_error(l, &l->providers, "llm.providers",
			"names no provider; give at least one, for example \"openai:\"");
	for (unsigned i = 0; i < conf->nproviders && !loader_is_full(l); i++) {
		struct subject s = { l, &conf->providers[i], i };

		check_one_line(&s);
		check_url(&s);
		check_key(&s);
		check_ca(&s);
		check_models(&s);
		check_fallback(&s);
	}
	check_active(l);
}
