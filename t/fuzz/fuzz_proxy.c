/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_proxy.c - who is behind a proxy. The first byte chooses.
 *
 * A header of the PROXY protocol: it does not matter how it is cut, nothing behind it changes it, and a plain reader
 * that has all of it before it says the same.
 *
 * Lines: the peer's address, a list of trusted networks, then fields X-Forwarded-For. A plain reader makes one list
 * of all fields and goes through it from the right.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "conf/network.h"
#include "worker/exchange/exchange.h"
#include "worker/http/conn.h"
#include "worker/http/proxy.h"

#include <arpa/inet.h>

#define NETWORKS_MAX 8
#define FIELDS_MAX 8
#define HOPS_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Connections are not what is tried here. */
struct evbuffer *socket_input(struct conn *c)
{
	return NULL;
}

/* ---- a plain reader of addresses ---- */

static bool plain_address(const char *text, size_t len, uint8_t address[16])
{
	char copy[64] = "";
	struct in_addr v4;

	if (len >= 46 || strnlen(text, len) != len)
		return false;
	memcpy(copy, text, len);
	if (inet_pton(AF_INET6, copy, address) == 1)
		return true;
	if (inet_pton(AF_INET, copy, &v4) != 1)
		return false;
	memset(address, 0, 10);
	memset(address + 10, 0xff, 2);
	memcpy(address + 12, &v4, 4);
	return true;
}

static bool plain_port(const char *text, size_t len, unsigned *port_r)
{
	if (!len || len > 5)
		return false;
	*port_r = 0;
	for (size_t i = 0; i < len; i++) {
		if (!strchr("0123456789", text[i]) || !text[i])
			return false;
		*port_r = *port_r * 10 + (unsigned)(text[i] - '0');
	}
	return *port_r < 65536;
}

/* ---- PROXY ---- */

static enum proxy_result cut_at(const char *bytes, size_t len, struct proxy_peer *peer, size_t *used_r)
{
	char *exact = xmalloc(len + !len); /* so that reading past it is noticed */
	enum proxy_result result;

	memcpy(exact, bytes, len);
	result = proxy_parse(exact, len, peer, used_r);
	free(exact);
	return result;
}

static bool plain_v1(const char *line, size_t len, struct proxy_peer *peer)
{
	char text[108], *word[7], *save = NULL;
	unsigned n = 0, spaces = 0, port;
	uint8_t to[16];

	if (len >= 13 && !memcmp(line + 6, "UNKNOWN", 7))
		return true;
	if (strnlen(line, len) != len)
		return false;
	memcpy(text, line, len);
	text[len] = 0;
	for (size_t i = 0; i < len; i++)
		spaces += text[i] == ' ';
	for (char *w = strtok_r(text, " ", &save); w && n < 7; w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	if (n != 6 || spaces != 5 || (strcmp(word[1], "TCP4") && strcmp(word[1], "TCP6")))
		return false;
	for (unsigned i = 2; i < 4; i++)
		if (!plain_address(word[i], strlen(word[i]), i == 2 ? peer->address : to) ||
			!strchr(word[i], ':') != (word[1][3] == '4'))
			return false;
	peer->known = true;
	return plain_port(word[4], strlen(word[4]), &peer->port) && plain_port(word[5], strlen(word[5]), &port);
}

static bool plain_v2(const uint8_t *b, size_t more, struct proxy_peer *peer)
{
	bool v4 = b[13] == 0x11, v6 = b[13] == 0x21;

	if (b[12] == 0x20 || (b[12] == 0x21 && !v4 && !v6))
		return true;
	if (b[12] != 0x21 || more < (v4 ? 12 : 36))
		return false;
	peer->known = true;
	memset(peer->address, 0, 10);
	memset(peer->address + 10, 0xff, 2);
	memcpy(peer->address + (v4 ? 12 : 0), b + 16, v4 ? 4 : 16);
	peer->port = (unsigned)b[16 + (v4 ? 8 : 32)] * 256 + b[16 + (v4 ? 9 : 33)];
	return true;
}

/* What a header that was taken must have said. */
static void check_taken(const char *bytes, size_t used, const struct proxy_peer *peer)
{
	struct proxy_peer plain = { 0 };
	char name[56];

	if (*bytes == 'P') {
		BUG_ON(used > 107 || used < 15 || memcmp(bytes + used - 2, "\r\n", 2));
		BUG_ON(!plain_v1(bytes, used - 2, &plain));
	} else {
		BUG_ON(used < 16 || memcmp(bytes, "\r\n\r\n\0\r\nQUIT\n", 12));
		BUG_ON((size_t)(uint8_t)bytes[14] * 256 + (uint8_t)bytes[15] != used - 16);
		BUG_ON(!plain_v2((const uint8_t *)bytes, used - 16, &plain));
	}
	BUG_ON(peer->known != plain.known);
	if (!plain.known)
		return;
	BUG_ON(memcmp(peer->address, plain.address, 16) || peer->port != plain.port);
	proxy_name(name, peer->address, peer->port);
	BUG_ON(strlen(name) < 2 || strlen(name) > 50);
}

/* A line that a plain reader takes must be taken. */
static void check_refused(const char *bytes, size_t len)
{
	const char *end = len > 6 && !memcmp(bytes, "PROXY ", 6) ? memchr(bytes, '\n', len < 107 ? len : 107) : NULL;
	struct proxy_peer plain = { 0 };

	if (end && end[-1] == '\r')
		BUG_ON(plain_v1(bytes, (size_t)(end - 1 - bytes), &plain));
}

static void try_header(const char *bytes, size_t len)
{
	struct proxy_peer whole, peer;
	size_t used, used_cut;
	enum proxy_result result = cut_at(bytes, len, &whole, &used), cut = PROXY_MORE;
	size_t n = 0;

	while (n < len && cut == PROXY_MORE)
		cut = cut_at(bytes, ++n, &peer, &used_cut);
	BUG_ON(cut != result && !(len == 0 && result == PROXY_MORE));
	if (result == PROXY_DONE) {
		BUG_ON(used != used_cut || used != n || used > len);
		BUG_ON(memcmp(&whole, &peer, sizeof(peer)));
		check_taken(bytes, used, &whole);
	} else if (result == PROXY_BAD) {
		check_refused(bytes, len);
	}
}

/* ---- X-Forwarded-For ---- */

static bool plain_hop(const char *text, size_t len, uint8_t address[16])
{
	const char *at;
	unsigned port;

	if (plain_address(text, len, address))
		return true;
	if (len > 2 && *text == '[' && (at = memchr(text, ']', len)) != NULL) {
		size_t rest = len - (size_t)(at + 1 - text);

		return plain_address(text + 1, (size_t)(at - text) - 1, address) &&
			(!rest || (at[1] == ':' && plain_port(at + 2, rest - 1, &port)));
	}
	at = memchr(text, ':', len);
	return at && plain_address(text, (size_t)(at - text), address) &&
		plain_port(at + 1, len - (size_t)(at + 1 - text), &port);
}

static bool plain_has(const struct conf_network *networks, unsigned n, const uint8_t address[16])
{
	for (unsigned i = 0; i < n; i++) {
		unsigned bit = 0;

		while (bit < networks[i].bits &&
			!((networks[i].address[bit / 8] ^ address[bit / 8]) & 0x80 >> bit % 8))
			bit++;
		if (bit == networks[i].bits)
			return true;
	}
	return false;
}

/* All hops in one list; the peer if nobody better is found. */
static void plain_forwarded(const struct conf *conf, const struct exchange_request *r, uint8_t found[16])
{
	struct buf list = BUF_INIT;
	const char *hop[HOPS_MAX];
	unsigned n = 0;

	memcpy(found, r->address, 16);
	for (unsigned i = 0; i < r->nheaders; i++)
		buf_addf(&list, "%s%s", i ? "," : "", r->headers[i].value);
	for (const char *at = list.len ? list.data : NULL; at && n < HOPS_MAX; at = at ? at + 1 : NULL) {
		hop[n++] = at;
		at = strchr(at, ',');
	}
	while (n-- && plain_has(conf->trusted, conf->ntrusted, found)) {
		size_t from = strspn(hop[n], " \t"), len = strcspn(hop[n], ",");
		uint8_t next[16];

		while (len > from && strchr(" \t", hop[n][len - 1]))
			len--;
		if (!plain_hop(hop[n] + (from < len ? from : len), len - (from < len ? from : len), next))
			break;
		memcpy(found, next, 16);
	}
	buf_release(&list);
}

static unsigned read_networks(char *line, struct conf_network *networks)
{
	unsigned n = 0;
	char *save = NULL;

	for (char *w = strtok_r(line, " ", &save); w && n < NETWORKS_MAX; w = strtok_r(NULL, " ", &save))
		if (network_parse(w, &networks[n])) {
			BUG_ON(networks[n].bits > 128);
			BUG_ON(!network_has(&networks[n], 1, networks[n].address));
			n++;
		}
	return n;
}

static void try_fields(char *text)
{
	struct conf_network networks[NETWORKS_MAX];
	struct exchange_header fields[FIELDS_MAX];
	uint8_t address[16], wanted[16];
	struct conf conf = { .trusted = networks };
	struct exchange x = { .request = { .peer = "peer", .address = address, .headers = fields } };
	struct exchange_request *r = &x.request;
	char *save = NULL, *line = strtok_r(text, "\n", &save), name[56];
	unsigned hops = 0;

	if (!line || !network_address(line, strlen(line), address))
		return;
	line = strtok_r(NULL, "\n", &save);
	conf.ntrusted = line ? read_networks(line, networks) : 0;
	while (r->nheaders < FIELDS_MAX && (line = strtok_r(NULL, "\n", &save)) != NULL) {
		for (const char *c = line; *c; c++)
			hops += *c == ',';
		fields[r->nheaders++] = (struct exchange_header){ "X-Forwarded-For", line };
	}
	if (hops + FIELDS_MAX >= HOPS_MAX)
		return;
	plain_forwarded(&conf, r, wanted);
	proxy_forwarded(&conf, &x);
	BUG_ON(memcmp(r->address, wanted, 16));
	if (r->address == address) {
		BUG_ON(strcmp(r->peer, "peer"));
		return;
	}
	proxy_name(name, wanted, 0);
	BUG_ON(strcmp(r->peer, name));
	free(x.forwarded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = xmemdup0(data + 1, size - 1);
	if (data[0] & 1)
		try_fields(text);
	else
		try_header(text, size - 1);
	free(text);
	return 0;
}
