/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_handshake.c - see ws_handshake.h. */
#include "base/base.h"
#include "worker/http/ws_handshake.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "worker/http/ws_deflate.h"

#include <openssl/evp.h>
#include <strings.h>

#define KEY_LEN 24 /* of 16 bytes in base64 */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* The only field of that name, or NULL. */
static const char *only(const struct exchange_header *fields, unsigned nfields, const char *name)
{
	const char *value = NULL;

	for (unsigned i = 0; i < nfields; i++) {
		if (strcasecmp(fields[i].name, name))
			continue;
		if (value)
			return NULL;
		value = fields[i].value;
	}
	return value;
}

static bool upgrade_has(const struct head *head, const char *protocol)
{
	for (unsigned i = 0; i < head->nfields; i++)
		if (!strcasecmp(head->fields[i].name, "Upgrade") &&
			(!protocol || head_list_has(head->fields[i].value, protocol)))
			return true;
	return false;
}

bool ws_handshake_asked(const struct head *head)
{
	return !strcmp(head->method, "GET") && head->minor == 1 && head->upgrade &&
	       !head->has_body && upgrade_has(head, "websocket");
}

static bool asks_for_another(const struct head *head)
{
	return head->minor == 1 && head->upgrade && upgrade_has(head, NULL) &&
	       !upgrade_has(head, "websocket") && !upgrade_has(head, "h2c");
}

static bool key_ok(const char *key)
{
	unsigned char bytes[KEY_LEN];

	/* 16 bytes end in two signs of padding; the decoder checks the rest */
	return key && strlen(key) == KEY_LEN && key[KEY_LEN - 3] != '=' &&
	       !strcmp(key + KEY_LEN - 2, "==") &&
	       EVP_DecodeBlock(bytes, (const unsigned char *)key, KEY_LEN) == 18;
}

enum ending ws_handshake_check_fields(
	const struct exchange_header *fields, unsigned nfields, const char **why_r)
{
	const char *version = only(fields, nfields, "Sec-WebSocket-Version");
	struct ws_terms terms;

	if (!version || strcmp(version, "13")) {
		*why_r = "only version 13 of WebSocket is spoken here";
		return END_UPGRADE_REQUIRED;
	}
	if (ws_deflate_choose(fields, nfields, &terms) == WS_OFFER_MALFORMED) {
		*why_r = "Sec-WebSocket-Extensions is malformed";
		return END_BAD_REQUEST;
	}
	return END_COMPLETE;
}

enum ending ws_handshake_check(const struct head *head, const char **why_r)
{
	enum ending bad;

	if (asks_for_another(head)) {
		*why_r = "of all upgrades only that to websocket is served here";
		return END_UPGRADE_REQUIRED;
	}
	if (!ws_handshake_asked(head))
		return END_COMPLETE;
	bad = ws_handshake_check_fields(head->fields, head->nfields, why_r);
	if (bad == END_COMPLETE &&
		!key_ok(only(head->fields, head->nfields, "Sec-WebSocket-Key"))) {
		*why_r = "Sec-WebSocket-Key is not 16 bytes in base64";
		bad = END_BAD_REQUEST;
	}
	return bad;
}

void ws_handshake_accept(const struct head *head, char accept[WS_ACCEPT_SIZE])
{
	char text[KEY_LEN + sizeof(GUID)];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	snprintf(text, sizeof(text), "%s%s", only(head->fields, head->nfields, "Sec-WebSocket-Key"),
		GUID);
	BUG_ON(!EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) || len != 20);
	EVP_EncodeBlock((unsigned char *)accept, digest, (int)len);
}

/* The one of `spoken` that item[len] names, letter for letter. */
static const char *find_spoken(const char *item, size_t len, const struct conf_texts *spoken)
{
	for (size_t i = 0; i < spoken->count; i++)
		if (strlen(spoken->text[i]) == len && !memcmp(spoken->text[i], item, len))
			return spoken->text[i];
	return NULL;
}

const char *ws_handshake_subprotocol(
	const struct exchange_header *fields, unsigned nfields, const struct conf_texts *spoken)
{
	for (unsigned i = 0; i < nfields; i++) {
		const char *list = fields[i].value, *found;

		if (strcasecmp(fields[i].name, "Sec-WebSocket-Protocol"))
			continue;
		while (*(list += strspn(list, ", \t"))) {
			size_t len = strcspn(list, ", \t");

			if ((found = find_spoken(list, len, spoken)))
				return found;
			list += len;
		}
	}
	return NULL;
}

unsigned ws_handshake_agree(const struct exchange *x, const struct conf *conf,
	struct ws_terms *terms, struct buf *extensions, struct exchange_header out[WS_AGREED_MAX])
{
	const struct exchange_request *r = &x->request;
	const char *subprotocol = NULL;
	unsigned n = 0;

	if (!x->subprotocol)
		subprotocol =
			ws_handshake_subprotocol(r->headers, r->nheaders, &conf->subprotocols);
	if (subprotocol)
		out[n++] = (struct exchange_header){ "Sec-WebSocket-Protocol", subprotocol };
	*terms = (struct ws_terms){ 0 };
	if (conf->compression &&
		ws_deflate_choose(r->headers, r->nheaders, terms) == WS_OFFER_TAKEN) {
		ws_deflate_answer(terms, extensions);
		out[n++] = (struct exchange_header){ "Sec-WebSocket-Extensions", extensions->data };
	}
	return n;
}
