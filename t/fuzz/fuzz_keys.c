/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_keys.c - keys of clients. The first byte chooses.
 *
 * The list in a configuration: errors with the file's name in front, or keys that are sound (names and hashes differ, a
 * hash is what its text says, limits are within their bounds), and a dump that tells no hash.
 *
 * The bytes of a key file: the key is its first line, trimmed, if that is fit for a header; else an error that does not
 * show it.
 *
 * The fields of a request: who is let in is who a plain reader of the fields says.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/load.h"
#include "worker/admit/admit.h"
#include "worker/admit/room.h"
#include "worker/exchange/exchange.h"

#include <openssl/sha.h>
#include <strings.h>
#include <sys/mman.h>

#define HEAD "llm:\n  providers:\n    sim:\n      base_url: http://127.0.0.1:9/v1\nclients:\n  keys:\n"
#define ENV_KEY "fuzz-key-0123456789abcdef"
#define FIELDS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const struct conf_texts *errors)
{
	BUG_ON(!errors->count);
	for (size_t i = 0; i < errors->count; i++)
		BUG_ON(strncmp(errors->text[i], "fuzz:", 5));
}

/* ---- the list ---- */

static void check_hash(const struct conf_client *c)
{
	unsigned char said[32];
	unsigned byte;

	if (*c->key_sha256) {
		BUG_ON(strlen(c->key_sha256) != 64);
		for (unsigned i = 0; i < 32; i++) {
			BUG_ON(sscanf(c->key_sha256 + 2 * i, "%2x", &byte) != 1);
			said[i] = (unsigned char)byte;
		}
		BUG_ON(memcmp(said, c->sha256, 32));
	} else if (!strcmp(c->key_env, "FUZZ_KEY")) {
		SHA256((const unsigned char *)ENV_KEY, strlen(ENV_KEY), said);
		BUG_ON(memcmp(said, c->sha256, 32));
	} else {
		BUG_ON(!*c->key_env && !*c->key_file);
	}
	BUG_ON(!*c->key_sha256 + !*c->key_env + !*c->key_file != 2);
}

static void check_list(const struct conf *conf)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_dump(conf, out);
	fclose(out);
	for (unsigned i = 0; i < conf->nclients; i++) {
		const struct conf_client *c = &conf->clients[i];

		BUG_ON(!*c->name || strlen(c->name) > 40 || strpbrk(c->name, " \n\"'/"));
		BUG_ON(c->weight < 1 || c->weight > 100 || c->max_connections > 1000000 ||
			c->concurrent_requests > 1000000 || c->requests_per_minute > 1000000 ||
			c->tokens_per_minute > 1000000000);
		check_hash(c);
		BUG_ON(*c->key_sha256 && strstr(text, c->key_sha256));
		for (unsigned k = 0; k < i; k++)
			BUG_ON(!strcmp(conf->clients[k].name, c->name) ||
				!memcmp(conf->clients[k].sha256, c->sha256, 32));
	}
	free(text);
}

static void try_list(const char *text, size_t len)
{
	char *whole = xmalloc(sizeof(HEAD) + len);
	struct conf_texts errors;
	struct conf *conf;

	memcpy(whole, HEAD, sizeof(HEAD) - 1);
	memcpy(whole + sizeof(HEAD) - 1, text, len);
	setenv("FUZZ_KEY", ENV_KEY, 1);
	conf = conf_load_bytes("fuzz", whole, sizeof(HEAD) - 1 + len, &errors);
	if (conf)
		check_list(conf);
	else
		check_errors(&errors);
	conf_texts_release(&errors);
	conf_free(conf);
	free(whole);
}

/* ---- a key file ---- */

/* The key, if there is one: between from and to. */
static bool plain_key(const char *text, size_t len, size_t *from, size_t *to)
{
	const char *end = memchr(text, '\n', len);

	*from = 0;
	*to = end ? (size_t)(end - text) : len;
	while (*from < *to && strchr(" \t\r", text[*from]) && text[*from])
		++*from;
	while (*to > *from && strchr(" \t\r", text[*to - 1]) && text[*to - 1])
		--*to;
	for (size_t i = *from; i < *to; i++)
		if (text[i] < '!' || text[i] > '~')
			return false;
	return *to > *from;
}

static void try_file(const char *text, size_t len)
{
	int fd = memfd_create("key", MFD_CLOEXEC);
	struct conf_texts errors;
	unsigned char said[32];
	struct conf *conf;
	size_t from, to;
	char *yaml;

	BUG_ON(fd < 0 || write(fd, text, len) != (ssize_t)len);
	yaml = xasprintf(HEAD "    - name: a\n      key_file: /proc/self/fd/%d\n", fd);
	conf = conf_load_bytes("fuzz", yaml, strlen(yaml), &errors);
	BUG_ON(!conf == plain_key(text, len, &from, &to));
	if (conf) {
		SHA256((const unsigned char *)text + from, to - from, said);
		BUG_ON(memcmp(said, conf->clients[0].sha256, 32));
	} else {
		check_errors(&errors);
	}
	conf_texts_release(&errors);
	conf_free(conf);
	free(yaml);
	close(fd);
}

/* ---- a request ---- */

static const char *const keys[] = { "k", "alice-key,0123456789", "bob-key-0123456789abcdef" };

static int plain_find(const char *key, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (strlen(keys[i]) == len && !memcmp(keys[i], key, len))
			return (int)i;
	return -1;
}

/* The key's number; -1: a wrong one; -2: none. */
static int plain_who(const struct exchange_request *r, bool *offered_r)
{
	static const char prefix[] = "openai-insecure-api-key.";
	int who = -2;

	*offered_r = false;
	for (unsigned i = 0; i < r->nheaders; i++) {
		const char *value = r->headers[i].value;

		if (strcasecmp(r->headers[i].name, "Authorization"))
			continue;
		if (!strncasecmp(value, "bearer ", 7)) {
			value += 7 + strspn(value + 7, " ");
			return plain_find(value, strlen(value));
		}
		break;
	}
	for (unsigned i = 0; i < r->nheaders && r->websocket; i++) {
		char *copy = xstrdup(r->headers[i].value), *save = NULL;

		if (!strcasecmp(r->headers[i].name, "Sec-WebSocket-Protocol"))
			for (char *w = strtok_r(copy, ", \t", &save); w; w = strtok_r(NULL, ", \t", &save))
				if (!strncmp(w, prefix, strlen(prefix)) && w[strlen(prefix)]) {
					who = plain_find(w + strlen(prefix), strlen(w + strlen(prefix)));
					*offered_r = true;
				}
		free(copy);
	}
	return who;
}

static void try_request(char *text, bool websocket, bool anonymous)
{
	static struct conf_client clients[ARRAY_SIZE(keys)];
	struct conf conf = { .clients = clients, .nclients = ARRAY_SIZE(keys), .allow_anonymous = anonymous };
	struct admit admit = { .conf = &conf };
	struct exchange_header fields[FIELDS_MAX];
	struct exchange x = { .request = { .peer = "fuzz", .headers = fields, .websocket = websocket } };
	char *save = NULL, *line, *value;
	bool offered;
	int who;

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		clients[i].name = (char *)keys[i];
		clients[i].place = i;
		clients[i].weight = 1 + i;
		SHA256((const unsigned char *)keys[i], strlen(keys[i]), clients[i].sha256);
	}
	for (line = strtok_r(text, "\n", &save); line && x.request.nheaders < FIELDS_MAX; line = strtok_r(NULL, "\n", &save)) {
		value = strstr(line, ": ");
		if (!value)
			continue;
		*value = 0;
		fields[x.request.nheaders++] = (struct exchange_header){ line, value + 2 };
	}
	who = plain_who(&x.request, &offered);
	switch (admit_identify(&admit, &x)) {
	case END_COMPLETE:
		BUG_ON(who == -1 || (who == -2 && (!anonymous || x.client.name)));
		BUG_ON(who >= 0 && (x.client.name != keys[who] || x.client.place != (unsigned)who));
		break;
	case END_NO_KEY:
		BUG_ON(who != -2 || anonymous);
		break;
	case END_WRONG_KEY:
		BUG_ON(who != -1);
		break;
	default:
		BUG_ON("another ending");
	}
	BUG_ON(x.client.name && who < 0);
	BUG_ON(x.subprotocol && (!offered || !*x.subprotocol || strpbrk(x.subprotocol, ", \t") || strlen(x.subprotocol) > 63));
	free(x.subprotocol);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	log_setup(STDERR_FILENO, LOG_ERROR, LOG_CONSOLE);
	text = xmemdup0(data + 1, size - 1);
	switch (data[0] & 3) {
	case 0:
		try_list(text, size - 1);
		break;
	case 1:
		try_file(text, size - 1);
		break;
	default:
		try_request(text, data[0] & 1, data[0] & 4);
		break;
	}
	free(text);
	return 0;
}
