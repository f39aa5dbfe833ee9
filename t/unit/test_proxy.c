/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is behind a proxy: headers of the PROXY protocol, X-Forwarded-For, and networks. */
#include "base/base.h"
#include "conf/conf.h"
#include "unit.h"
#include "worker/exchange/exchange.h"
#include "worker/http/proxy.h"

static char name[56];

/* What is read of these bytes, as a name ("": the proxy itself); *used_r: how long the header is. */
static enum proxy_result parse(const char *bytes, size_t len, size_t *used_r)
{
	struct proxy_peer peer;
	char *exact = xmemdup0(bytes, len); /* so that a sanitizer sees who reads on */
	enum proxy_result result = proxy_parse(exact, len, &peer, used_r);

	free(exact);
	name[0] = 0;
	if (result == PROXY_DONE && peer.known)
		proxy_name(name, peer.address, peer.port);
	return result;
}

/* Whole with all its bytes, not with fewer, and nothing of what follows belongs to it. */
static void is_header(const char *bytes, size_t len, const char *want)
{
	char *more = xcalloc(1, len + 16);
	size_t used;

	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(parse(bytes, n, &used), PROXY_MORE);
	memcpy(more, bytes, len);
	memcpy(more + len, "GET / HTTP/1.1\r\n", 16);
	ck_assert_int_eq(parse(more, len + 16, &used), PROXY_DONE);
	ck_assert_uint_eq(used, len);
	ck_assert_str_eq(name, want);
	free(more);
}

static void is_bad(const char *bytes, size_t len)
{
	size_t used;

	ck_assert_msg(parse(bytes, len, &used) == PROXY_BAD, "'%.*s'", (int)len, bytes);
}

START_TEST(version_1)
{
	static const char *const bad[] = { "GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n", "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n" };
	static const char nul[] = "PROXY TCP4 1.2.3.4\0x 5.6.7.8 1 2\r\n";
	char longer[200];

	is_bad(nul, sizeof(nul) - 1);
	is_header("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n", 40, "192.0.2.7:4711");
	is_header("PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", 36, "[2001:db8::7]:4711");
	is_header("PROXY UNKNOWN\r\n", 15, "");
	is_header("PROXY UNKNOWN ffff::1 x y z\r\n", 29, "");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		is_bad(bad[i], strlen(bad[i]));
	memset(longer, 'x', sizeof(longer));
	memcpy(longer, "PROXY ", 6);
	is_bad(longer, 107);
}
END_TEST

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

START_TEST(version_2)
{
	static const char v4[] = SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\0\x50";
	static const char more[] = SIGNATURE "\x21\x11\0\x0f\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\0\x50\x04\0\0";
	static const char local[] = SIGNATURE "\x20\0\0\0";
	static const char other[] = SIGNATURE "\x21\x31\0\x02zz";
	static const char cut[] = SIGNATURE "\x21\x11\0\x0b\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\0";
	static const char version[] = SIGNATURE "\x31\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\0\x50";
	static const char huge[] = SIGNATURE "\x21\x11\xff\xff";
	char v6[16 + 36] = SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8";

	v6[16 + 15] = 7;
	v6[16 + 32] = 0x12;
	v6[16 + 33] = 0x67;
	is_header(v4, sizeof(v4) - 1, "192.0.2.7:4711");
	is_header(more, sizeof(more) - 1, "192.0.2.7:4711");
	is_header(v6, sizeof(v6), "[2001:db8::7]:4711");
	is_header(local, sizeof(local) - 1, "");
	is_header(other, sizeof(other) - 1, "");
	is_bad(cut, sizeof(cut) - 1);
	is_bad(version, sizeof(version) - 1);
	is_bad(huge, sizeof(huge) - 1);
}
END_TEST

START_TEST(networks)
{
	static const char *const bad[] = { "", "/", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/8x",
		"10.0.0.0/-1", "10.0.0.0/ 8", "example.com", "10.0.0.0//8" };
	static const struct {
		const char *network, *in, *out;
	} rows[] = { { "10.0.0.0/8", "10.255.0.1", "11.0.0.0" }, { "192.0.2.1", "192.0.2.1", "192.0.2.2" },
		{ "192.0.2.128/25", "192.0.2.200", "192.0.2.127" }, { "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
		{ "::1", "::1", "::2" }, { "0.0.0.0/0", "8.8.8.8", "2001:db8::1" }, { "::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.1" } };
	struct conf_network n;
	uint8_t address[16];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!network_parse(bad[i], &n), "'%s'", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert(network_parse(rows[i].network, &n));
		ck_assert(network_address(rows[i].in, strlen(rows[i].in), address));
		ck_assert_msg(network_has(&n, 1, address), "%s in %s", rows[i].in, rows[i].network);
		ck_assert(network_address(rows[i].out, strlen(rows[i].out), address));
		ck_assert_msg(!network_has(&n, 1, address), "%s not in %s", rows[i].out, rows[i].network);
	}
}
END_TEST

/* The peer of a request that comes from 10.0.0.1 with these fields. */
static const char *peer_of(const char *first, const char *second)
{
	static struct conf_network trusted[2];
	static struct exchange x;
	static uint8_t address[16];
	static struct exchange_header fields[2];
	const struct conf conf = { .trusted = trusted, .ntrusted = 2 };

	ck_assert(network_parse("10.0.0.0/8", &trusted[0]) && network_parse("2001:db8::/32", &trusted[1]));
	ck_assert(network_address("10.0.0.1", 8, address));
	free(x.forwarded);
	x.forwarded = NULL;
	x.request = (struct exchange_request){ .peer = "10.0.0.1:9", .address = address, .headers = fields };
	if (first)
		fields[x.request.nheaders++] = (struct exchange_header){ "x-forwarded-for", first };
	if (second)
		fields[x.request.nheaders++] = (struct exchange_header){ "X-Forwarded-For", second };
	proxy_forwarded(&conf, &x);
	return x.request.peer;
}

START_TEST(forwarded_for)
{
	ck_assert_str_eq(peer_of(NULL, NULL), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1", NULL), "192.0.2.1");
	ck_assert_str_eq(peer_of("192.0.2.1, 192.0.2.2", NULL), "192.0.2.2"); /* what the client wrote itself is on the left */
	ck_assert_str_eq(peer_of("192.0.2.1 ,\t192.0.2.2 , 10.9.9.9,2001:db8::5", NULL), "192.0.2.2");
	ck_assert_str_eq(peer_of("192.0.2.1", "10.9.9.9"), "192.0.2.1"); /* two fields are one list */
	ck_assert_str_eq(peer_of("192.0.2.1", "192.0.2.3"), "192.0.2.3");
	ck_assert_str_eq(peer_of("192.0.2.1:99, [2001:db8::5]:80", NULL), "192.0.2.1");
	ck_assert_str_eq(peer_of("[2001:dead::1]:4", NULL), "2001:dead::1");
	ck_assert_str_eq(peer_of("10.1.1.1, 10.2.2.2", NULL), "10.1.1.1"); /* all are proxies: the farthest */
	ck_assert_str_eq(peer_of("unknown", NULL), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1, unknown, 10.2.2.2", NULL), "10.2.2.2");
	ck_assert_str_eq(peer_of("", ","), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1", ""), "10.0.0.1:9"); /* nobody knows who wrote what is before */
	ck_assert_str_eq(peer_of("192.0.2.1", ",10.2.2.2"), "10.2.2.2");
	ck_assert_str_eq(peer_of("192.0.2.1", "[2001:db8::5]x"), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1", "10.1.1.1:x"), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1", "10.1.1.1:99999"), "10.0.0.1:9");
	ck_assert_str_eq(peer_of("192.0.2.1,", NULL), "10.0.0.1:9");
}
END_TEST

int main(void)
{
	UNIT_RUN("proxy", version_1, version_2, networks, forwarded_for);
}
