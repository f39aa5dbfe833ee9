/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_client.c - clients.keys: each has a name of its own and a key from one place, of which the
 * SHA-256 is kept and nothing else.
 */
#include "base/base.h"
#include "conf/check.h"
#include "conf/key.h"
#include "conf/text.h"
#include <ctype.h>
#include <openssl/evp.h>

/* A key that is shorter can be guessed. */
#define KEY_SHORT 16

/* One key under check. */
struct subject {
	struct loader *l;
	struct conf_client *c;
	unsigned number;
};

static struct origin *origin_of(const struct subject *s, enum client_row row)
{
	return &s->l->conf->origins->client[s->number][row];
}

/* At the row, or at the element that lacks it. */
static const struct origin *place_of(const struct subject *s, enum client_row row)
{
	const struct origin *at = origin_of(s, row);

	return at->line ? at : &s->l->conf->origins->client_at[s->number];
}

static void client_error(const struct subject *s, enum client_row row, const char *what)
{
	char *path = xasprintf("clients.keys.%s", options_client.row[row].path);

	if (!origin_of(s, row)->bad)
		loader_error(s->l, place_of(s, row), path, "%s", what);
	origin_of(s, row)->bad = true;
	free(path);
}

static void check_name(const struct subject *s)
{
	const char *name = s->c->name;
	size_t len = strlen(name);
	char *text;

	if (!origin_of(s, C_name)->line) {
		client_error(s, C_name, "is missing; give the key a name for logs, such as \"name: alice\"");
		return;
	}
	if (!len || len > 40 || name[strspn(name, TEXT_NAME_CHARS "-.")])
		client_error(s, C_name, "is no name for a key; use 1 to 40 letters, digits, _ - and .");
	for (unsigned i = 0; i < s->number; i++) {
		if (strcmp(s->l->conf->clients[i].name, name) != 0)
			continue;
		text = xasprintf("is given twice; the first is in line %u",
			s->l->conf->origins->client[i][C_name].line);
		client_error(s, C_name, text);
		free(text);
		break;
	}
}

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

static void hash_from_text(const struct subject *s)
{
	const char *text = s->c->key_sha256;

	if (strlen(text) != 64 || text[strspn(text, "0123456789abcdefABCDEF")]) {
		client_error(s, C_key_sha256,
			"is no SHA-256; give the 64 hexadecimal digits that \"printf %s KEY | sha256sum\" says");
		return;
	}
	for (unsigned i = 0; i < 32; i++)
		s->c->sha256[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
}

static void hash_key(const struct subject *s, enum client_row source, const char *text)
{
	char *key = xstrdup(text);
	unsigned len = 0;

	key_trim(key);
	if (!*key || !key_is_header_safe(key))
		client_error(s, source,
			"leads to a key that is empty, or has spaces, line ends or other than ASCII in it; give the bare key");
	else if (!EVP_Digest(key, strlen(key), s->c->sha256, &len, EVP_sha256(), NULL) || len != 32)
		client_error(s, source, "cannot be hashed: OpenSSL has no SHA-256; mend its configuration");
	else if (strlen(key) < KEY_SHORT)
		loader_warn(s->l, place_of(s, source), "clients.keys",
			"the key of '%s' is shorter than %d characters and may be guessed", s->c->name,
			KEY_SHORT);
	free(key);
}

static void hash_from_env(const struct subject *s)
{
	const char *key;
	char *text;

	if (!key_is_variable_name(s->c->key_env)) {
		/* Not shown: whoever mistakes it put the key itself here. */
		client_error(s, C_key_env,
			"is not the name of an environment variable; give a name such as ALICE_KEY");
		return;
	}
	key = getenv(s->c->key_env);
	if (key) {
		hash_key(s, C_key_env, key);
		return;
	}
	text = xasprintf("%s is not set in the environment; set it", s->c->key_env);
	client_error(s, C_key_env, text);
	free(text);
}

static void hash_from_file(const struct subject *s)
{
	bool public;
	char *wrong, *key = key_read_file(s->c->key_file, &public, &wrong);

	if (!key) {
		client_error(s, C_key_file, wrong);
		free(wrong);
		return;
	}
	hash_key(s, C_key_file, key);
	free(key);
	if (public)
		loader_warn(s->l, origin_of(s, C_key_file), "clients.keys.key_file",
			"everybody on this machine may read it; chmod o-r %s", s->c->key_file);
}

static void check_source(const struct subject *s)
{
	const struct {
		enum client_row row;
		const char *text;
		void (*hash)(const struct subject *s);
	} sources[] = { { C_key_sha256, s->c->key_sha256, hash_from_text },
		{ C_key_env, s->c->key_env, hash_from_env },
		{ C_key_file, s->c->key_file, hash_from_file } };
	unsigned given = 0, found = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
		if (!*sources[i].text && !origin_of(s, sources[i].row)->bad)
			continue;
		given++;
		found = i;
	}
	if (given == 1 && !origin_of(s, sources[found].row)->bad)
		sources[found].hash(s);
	else if (given > 1)
		client_error(s, sources[found].row,
			"is given beside another source of the key; keep one of key_sha256, key_env and key_file");
	else if (!given)
		loader_error(s->l, place_of(s, C_name), "clients.keys",
			"'%s' has no key; give key_sha256, key_env or key_file", s->c->name);
}

static void check_twice(const struct subject *s)
{
	for (unsigned i = 0; i < s->number; i++)
		if (memcmp(s->l->conf->clients[i].sha256, s->c->sha256, sizeof(s->c->sha256)) == 0) {
			loader_error(s->l, place_of(s, C_name), "clients.keys",
				"'%s' has the same key as '%s'; give each its own", s->c->name,
				s->l->conf->clients[i].name);
			return;
		}
}

void check_clients(struct loader *l)
{
	bool sound = true;

	for (unsigned i = 0; i < l->conf->nclients && !loader_is_full(l); i++) {
		struct subject s = { l, &l->conf->clients[i], i };
		size_t problems = l->nproblems;

		check_name(&s);
		check_source(&s);
		sound = sound && l->nproblems == problems;
		if (sound)
			check_twice(&s);
	}
}
