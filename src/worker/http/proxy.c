/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.c - see proxy.h. The PROXY protocol is haproxy's doc/proxy-protocol.txt. It is read from
 * those connections only that come from chat.websocket.trusted_proxies, and there it must come: whether
 * it is there is never guessed, or a client could forge it.
 */
#include "base/base.h"
#include "worker/http/proxy.h"

#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/http/conn.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <strings.h>

#define V1_MAX 107
#define V2_HEAD 16
#define V2_MAX 4096 /* with what it may tell beyond addresses */

static const uint8_t mapped[12] = { [10] = 0xff, 0xff };

/* ---- version 1: one line of text ---- */

/* The next word; false: there is none. */
static bool word(const char **at, const char *end, const char **word_r, size_t *len_r)
{
	const char *space = memchr(*at, ' ', (size_t)(end - *at));

	*word_r = *at;
	*len_r = (size_t)((space ? space : end) - *at);
	*at = space ? space + 1 : end;
	return *len_r > 0;
}

static bool port_of(const char *text, size_t len, unsigned *port_r)
{
	*port_r = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*port_r = *port_r * 10 + (unsigned)(text[i] - '0');
	}
	return len >= 1 && len <= 5 && *port_r <= 65535;
}

/* An address of the family that the line names: '4' or '6'. */
static bool address_of(char family, const char *text, size_t len, uint8_t address[16])
{
	return (memchr(text, ':', len) != NULL) == (family == '6') && network_address(text, len, address);
}

static enum proxy_result parse_v1(const char *bytes, size_t len, struct proxy_peer *peer, size_t *used_r)
{
	const char *end = memchr(bytes, '\n', len < V1_MAX ? len : V1_MAX), *at = bytes + 6, *part[5];
	size_t size[5];
	uint8_t to[16];
	unsigned to_port;

	if (!end)
		return len < V1_MAX ? PROXY_MORE : PROXY_BAD;
	*used_r = (size_t)(end + 1 - bytes);
	if (end[-1] != '\r')
		return PROXY_BAD;
	end--;
	if (end - at >= 7 && !memcmp(at, "UNKNOWN", 7))
		return PROXY_DONE;
	for (unsigned i = 0; i < 5; i++)
		if (!word(&at, end, &part[i], &size[i]))
			return PROXY_BAD;
	if (part[4] + size[4] != end || size[0] != 4 || (memcmp(part[0], "TCP4", 4) && memcmp(part[0], "TCP6", 4)) ||
		!address_of(part[0][3], part[1], size[1], peer->address) ||
		!address_of(part[0][3], part[2], size[2], to) ||
		!port_of(part[3], size[3], &peer->port) || !port_of(part[4], size[4], &to_port))
		return PROXY_BAD;
	peer->known = true;
	return PROXY_DONE;
}

/* ---- version 2: binary ---- */

static enum proxy_result parse_v2(const uint8_t *b, size_t len, struct proxy_peer *peer, size_t *used_r)
{
	enum { V4 = 0x11, V6 = 0x21, LOCAL = 0x20, PROXY = 0x21 };
	size_t more;

	if (len < V2_HEAD)
		return PROXY_MORE;
	more = (size_t)b[14] << 8 | b[15];
	if ((b[12] != LOCAL && b[12] != PROXY) || more > V2_MAX)
		return PROXY_BAD;
	if (len < V2_HEAD + more)
		return PROXY_MORE;
	*used_r = V2_HEAD + more;
	if (b[12] == LOCAL)
		return PROXY_DONE;
	if (b[13] == V4 && more >= 12) {
		memcpy(peer->address, mapped, sizeof(mapped));
		memcpy(peer->address + sizeof(mapped), b + V2_HEAD, 4);
		peer->port = (unsigned)b[V2_HEAD + 8] << 8 | b[V2_HEAD + 9];
		peer->known = true;
	} else if (b[13] == V6 && more >= 36) {
		memcpy(peer->address, b + V2_HEAD, 16);
		peer->port = (unsigned)b[V2_HEAD + 32] << 8 | b[V2_HEAD + 33];
		peer->known = true;
	} else if (b[13] == V4 || b[13] == V6) {
		return PROXY_BAD;
	}
	return PROXY_DONE;
}

enum proxy_result proxy_parse(const char *bytes, size_t len, struct proxy_peer *peer, size_t *used_r)
{
	static const char v1[] = "PROXY ", v2[] = "\r\n\r\n\0\r\nQUIT\n";
	const size_t v1_len = sizeof(v1) - 1, v2_len = sizeof(v2) - 1;

	*peer = (struct proxy_peer){ 0 };
	*used_r = 0;
	if (!memcmp(bytes, v1, len < v1_len ? len : v1_len))
		return len < v1_len ? PROXY_MORE : parse_v1(bytes, len, peer, used_r);
	if (!memcmp(bytes, v2, len < v2_len ? len : v2_len))
		return len < v2_len ? PROXY_MORE : parse_v2((const uint8_t *)bytes, len, peer, used_r);
	return PROXY_BAD;
}

/* ---- connections ---- */

void proxy_name(char name[56], const uint8_t address[16], unsigned port)
{
	bool v4 = !memcmp(address, mapped, sizeof(mapped));
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(v4 ? AF_INET : AF_INET6, address + (v4 ? sizeof(mapped) : 0), text, sizeof(text));
	if (port)
		snprintf(name, 56, v4 ? "%s:%u" : "[%s]:%u", text, port);
	else
		snprintf(name, 56, "%s", text);
}

static bool give_up(struct conn *c, const char *why)
{
	char more[48] = "";
	uint64_t missed;

	stat_add(STAT_REJECTED_INPUT, 1);
	if (log_rate_ok(&c->http->bad_proxy, &missed)) {
		if (missed)
			snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
		log_warning("http", "connection of the proxy %s cut: %s%s", c->peer, why, more);
	}
	c->phase = CONN_DEAD;
	return true;
}

bool proxy_step(struct conn *c)
{
	struct evbuffer *in = socket_input(c);
	size_t len = evbuffer_get_length(in), used;
	struct proxy_peer peer;

	switch (proxy_parse(len ? (const char *)evbuffer_pullup(in, -1) : "", len, &peer, &used)) {
	case PROXY_BAD:
		return give_up(c, "it does not begin with a header of the PROXY protocol");
	case PROXY_MORE:
		if (c->timed_out)
			return give_up(c, "no header of the PROXY protocol came in time");
		if (c->eof)
			c->phase = CONN_DEAD;
		return c->eof;
	case PROXY_DONE:
		break;
	}
	evbuffer_drain(in, used);
	if (peer.known) {
		memcpy(c->address, peer.address, sizeof(c->address));
		proxy_name(c->peer, peer.address, peer.port);
	}
	c->phase = c->after_proxy;
	return true;
}

/* ---- requests ---- */

/* "1.2.3.4", "1.2.3.4:5", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5". */
static bool read_hop(const char *text, size_t len, uint8_t address[16])
{
	const char *end = text + len, *to, *colon;
	unsigned port;

	if (network_address(text, len, address))
		return true;
	if (len && *text == '[') {
		to = memchr(text, ']', len);
		if (!to || !network_address(text + 1, (size_t)(to - text - 1), address))
			return false;
		colon = to + 1;
	} else {
		colon = memchr(text, ':', len);
		if (!colon || !network_address(text, (size_t)(colon - text), address))
			return false;
	}
	return colon == end || (*colon == ':' && port_of(colon + 1, (size_t)(end - colon - 1), &port));
}

/*
 * Go through one field from its end. True: go on with the field before it. What names no address ends the
 * walk: whoever stands before it was told of by nobody whom we know.
 */
static bool read_field(const struct conf *conf, const char *value, uint8_t address[16], bool *found)
{
	const char *end = value + strlen(value), *comma;
	uint8_t hop[16];

	do {
		const char *from, *to = end;

		comma = memrchr(value, ',', (size_t)(end - value));
		from = comma ? comma + 1 : value;
		while (from < to && (*from == ' ' || *from == '\t'))
			from++;
		while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
			to--;
		if (!read_hop(from, (size_t)(to - from), hop))
			return false;
		memcpy(address, hop, sizeof(hop));
		*found = true;
		if (!network_has(conf->trusted, conf->ntrusted, hop))
			return false;
		end = comma;
	} while (comma);
	return true;
}

void proxy_forwarded(const struct conf *conf, struct exchange *x)
{
	struct exchange_request *r = &x->request;
	uint8_t address[16];
	bool found = false;

	if (!conf->ntrusted || !network_has(conf->trusted, conf->ntrusted, r->address))
		return;
	for (unsigned i = r->nheaders; i-- > 0;)
		if (!strcasecmp(r->headers[i].name, "X-Forwarded-For") &&
			!read_field(conf, r->headers[i].value, address, &found))
			break;
	if (!found)
		return;
	x->forwarded = xmalloc(sizeof(*x->forwarded));
	memcpy(x->forwarded->address, address, sizeof(address));
	proxy_name(x->forwarded->peer, address, 0);
	r->address = x->forwarded->address;
	r->peer = x->forwarded->peer;
}
