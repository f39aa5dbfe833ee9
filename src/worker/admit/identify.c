/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * identify.c - the key that a client brings. What is kept of keys is their SHA-256, and that of
 * the one brought is compared with all of them, so that the time taken tells nothing.
 *
 * A key comes as "Authorization: Bearer KEY". Web pages cannot set fields of a WebSocket's handshake;
 * they offer it as a subprotocol, as they do to OpenAI. It never comes in a URL: those are logged
 * everywhere.
 */
#include "base/base.h"
#include "worker/admit/admit.h"

#include "base/bug.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "worker/admit/room.h"
#include "worker/exchange/exchange.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <strings.h>

#define SUBPROTOCOL_KEY "openai-insecure-api-key."
#define SUBPROTOCOL_MAX 63
#define SCHEME "Bearer "

/* What was brought, and the subprotocol to answer with; not NUL-terminated, NULL: nothing. */
struct brought {
	const char *key;
	size_t len;
	const char *subprotocol;
	size_t subprotocol_len;
};

static struct brought from_authorization(const struct exchange *x)
{
	const char *value = exchange_header(x, "Authorization");
	struct brought b = { 0 };

	if (!value || strncasecmp(value, SCHEME, strlen(SCHEME)))
		return b;
	b.key = value + strlen(SCHEME);
	b.key += strspn(b.key, " ");
	b.len = strlen(b.key);
	return b;
}

/* One subprotocol that is offered: a key, or the first one that we may answer with. */
static void look_at_offer(const char *token, size_t len, struct brought *b)
{
	const size_t prefix = strlen(SUBPROTOCOL_KEY);

	if (len > prefix && !strncmp(token, SUBPROTOCOL_KEY, prefix)) {
		b->key = token + prefix;
		b->len = len - prefix;
	} else if (len && len <= SUBPROTOCOL_MAX && !b->subprotocol) {
		b->subprotocol = token;
		b->subprotocol_len = len;
	}
}

static struct brought from_subprotocols(struct exchange *x)
{
	struct brought b = { 0 };

	for (unsigned i = 0; i < x->request.nheaders; i++) {
		const char *at = x->request.headers[i].value;

		if (strcasecmp(x->request.headers[i].name, "Sec-WebSocket-Protocol"))
			continue;
		for (; *at; at += strspn(at, ",")) {
			size_t len;

			at += strspn(at, " \t");
			len = strcspn(at, ", \t");
			look_at_offer(at, len, &b);
			at += len;
			at += strspn(at, " \t");
		}
	}
	if (b.key && b.subprotocol) /* without a key it is somebody else's business */
		x->subprotocol = xmemdup0(b.subprotocol, b.subprotocol_len);
	return b;
}

/* Looks at all of them, always. */
static const struct conf_client *find_key(const struct conf *conf, const struct brought *b)
{
	const struct conf_client *found = NULL;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	BUG_ON(!EVP_Digest(b->key, b->len, digest, &len, EVP_sha256(), NULL) ||
		len != sizeof(found->sha256));
	for (unsigned i = 0; i < conf->nclients; i++)
		if (!CRYPTO_memcmp(digest, conf->clients[i].sha256, len))
			found = &conf->clients[i];
	return found;
}

static enum ending turn_away(
	const struct exchange *x, struct log_rate *rate, enum ending ending, const char *why)
{
	char more[48] = "";
	uint64_t missed;

	if (!log_rate_ok(rate, &missed))
		return ending;
	if (missed)
		snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
	log_warning("admit", "client %s rejected: %s%s", x->request.peer, why, more);
	return ending;
}

enum ending admit_identify(struct admit *admit, struct exchange *x)
{
	const struct conf_client *client;
	struct brought b;

	x->client = (struct exchange_client){ 0 };
	if (x->request.address)
		x->client.flow = flow_of_address(admit->shm, x->request.address, clock_ms());
	if (!admit->conf->nclients)
		return END_COMPLETE;
	b = from_authorization(x);
	if (!b.key && x->request.websocket)
		b = from_subprotocols(x);
	if (!b.key)
		return admit->conf->allow_anonymous
			? END_COMPLETE
			: turn_away(x, &admit->no_key, END_NO_KEY, "it sent no API key");
	client = find_key(admit->conf, &b);
	if (!client)
		return turn_away(x, &admit->wrong_key, END_WRONG_KEY, "its API key is not known");
	x->client.name = client->name;
	x->client.place = client->place;
	x->client.flow = flow_of_key(client->place, client->weight);
	return END_COMPLETE;
}
