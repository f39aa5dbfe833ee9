/* SPDX-License-Identifier: BSD-2-Clause */
/* The guard's pure parts: heads right and wrong, chunked bodies cut anywhere, the WebSocket handshake. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "unit.h"
#include "base/chunked.h"
#include "worker/http/head.h"
#include "worker/http/ws_handshake.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST

/* Parses a copy; texts of *h live until the next call. */
static enum ending parse(const char *text, size_t len, struct head *h)
{
	static char *copy;
	const char *why;
	enum ending verdict;

	free(copy);
	copy = xmemdup0(text, len);
	verdict = head_parse(copy, len, h, &why);
	ck_assert(verdict == END_COMPLETE || (why && *why));
	return verdict;
}

static const struct {
	enum ending ending;
	size_t len; /* 0: a string */
	const char *text;
} refused[] = {
	/* the request line */
	{ END_BAD_REQUEST, 0, "GET /\r\n\r\n" },
	{ END_BAD_REQUEST, 0, "GET / \r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET  / HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET /  HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET / HTTP/1.1 \r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET / x HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "G(T / HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, " GET / HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET\t/\tHTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET / http/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET / HTTP/1.\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET / HTTP/1.11\r\n" HOST "\r\n" },
	{ END_VERSION_NOT_SUPPORTED, 0, "GET / HTTP/9.9\r\n" HOST "\r\n" },
	{ END_VERSION_NOT_SUPPORTED, 0, "GET / HTTP/1.2\r\n" HOST "\r\n" },
	{ END_VERSION_NOT_SUPPORTED, 0, "PRI * HTTP/2.0\r\n\r\n" },
	/* the target */
	{ END_BAD_REQUEST, 0, "GET /a\tb HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET /\xc3\xbc HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET /a#b HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET a HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET * HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET ftp://a/b HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET http:///b HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "GET http://u@a/b HTTP/1.1\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n" },
	/* fields */
	{ END_BAD_REQUEST, 0, GET "\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST HOST "\r\n" },
	{ END_BAD_REQUEST, 0, GET "Host:\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET "Host: a/b\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET "Host: a b\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET "Host : a\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A\t: b\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST ": b\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A b: c\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "nothing\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\r\n c\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\r\n\tc\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET " A: b\r\n" HOST "\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\rc\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\nc: d\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\x01\r\n\r\n" },
	{ END_BAD_REQUEST, 0, GET HOST "A: b\x7f\r\n\r\n" },
	{ END_BAD_REQUEST, sizeof(GET HOST "A: b\0c\r\n\r\n") - 1, GET HOST "A: b\0c\r\n\r\n" },
	{ END_BAD_REQUEST, sizeof(GET HOST "A\0: b\r\n\r\n") - 1, GET HOST "A\0: b\r\n\r\n" },
	{ END_EXPECTATION_FAILED, 0, GET HOST "Expect: miracles\r\n\r\n" },
	/* the length of the body */
	{ END_BAD_REQUEST, 0, POST "Content-Length: 4\r\nContent-Length: 4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 31\r\nContent-Length: 0\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 4, 4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: +4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: -4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 0x4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 4 4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length:\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 18446744073709551616\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: identity\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: xchunked\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: chunked, gzip\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding:\r\n\r\n" },
	{ END_BAD_REQUEST, 0, POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n" },
	{ END_NOT_IMPLEMENTED, 0, POST "Transfer-Encoding: gzip, chunked\r\n\r\n" },
	{ END_BAD_REQUEST, 0, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" },
};

START_TEST(wrong_heads_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		size_t len = refused[i].len ? refused[i].len : strlen(refused[i].text);
		struct head h;
		enum ending verdict = parse(refused[i].text, len, &h);

		ck_assert_msg(verdict == refused[i].ending, "'%s': %s", refused[i].text,
			ending_facts[verdict].code);
		ck_assert_ptr_null(h.fields);
	}
}
END_TEST

/* What was understood, in one line. */
static const struct {
	const char *text;
	const char *means;
} accepted[] = {
	{ GET HOST "\r\n", "GET / ? 1.1 Host=a" },
	{ "GET / HTTP/1.0\r\n\r\n", "GET / ? 1.0" },
	{ "G!~T /a%20b?c=d?e HTTP/1.1\r\n" HOST "\r\n", "G!~T /a%20b ?c=d?e 1.1 Host=a" },
	{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS * ? 1.1 Host=a" },
	{ "GET http://b:8/p?q HTTP/1.1\r\n" HOST "\r\n", "GET /p ?q 1.1 Host=b:8" },
	{ "GET HTTPS://b HTTP/1.1\r\n" HOST "\r\n", "GET / ? 1.1 Host=b" },
	{ "GET http://b?q HTTP/1.1\r\n" HOST "\r\n", "GET / ?q 1.1 Host=b" },
	{ "GET /http://b HTTP/1.1\r\n" HOST "\r\n", "GET /http://b ? 1.1 Host=a" },
	{ GET "Host: [::1]:80\r\nA:\r\nB: \t c d\t \r\n\r\n", "GET / ? 1.1 Host=[::1]:80 A= B=c d" },
	{ GET HOST "A: \xc3\xbc\r\n\r\n", "GET / ? 1.1 Host=a A=\xc3\xbc" },
	{ POST "content-length: 007\r\n\r\n", "POST / ? 1.1 Host=a content-length=007 body=7" },
	{ POST "Content-Length: 0\r\n\r\n", "POST / ? 1.1 Host=a Content-Length=0" },
	{ POST "Content-Length: 18446744073709551615\r\n\r\n",
		"POST / ? 1.1 Host=a Content-Length=18446744073709551615 body=18446744073709551615" },
	{ POST "Transfer-Encoding: ChunKed\r\n\r\n", "POST / ? 1.1 Host=a Transfer-Encoding=ChunKed chunked" },
	{ POST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
		"POST / ? 1.1 Host=a Expect=100-Continue Content-Length=1 body=1 continue" },
	{ "GET / HTTP/1.0\r\nExpect: miracles\r\n\r\n", "GET / ? 1.0 Expect=miracles" },
	{ GET HOST "Connection: TE,\tCLOSE\r\n\r\n", "GET / ? 1.1 Host=a Connection=TE,\tCLOSE close" },
	{ GET HOST "Connection: closer, keep-alive2\r\n\r\n",
		"GET / ? 1.1 Host=a Connection=closer, keep-alive2" },
	{ GET HOST "Connection: a\r\nConnection: keep-alive ,upGrade\r\n\r\n",
		"GET / ? 1.1 Host=a Connection=a Connection=keep-alive ,upGrade keep-alive upgrade" },
};

static void tell(const struct head *h, struct buf *out)
{
	buf_clear(out);
	buf_addf(out, "%s %s ?%s 1.%u", h->method, h->path, h->query, h->minor);
	for (unsigned i = 0; i < h->nfields; i++)
		buf_addf(out, " %s=%s", h->fields[i].name, h->fields[i].value);
	if (h->has_body)
		buf_adds(out, h->chunked ? " chunked" : " body=");
	if (h->has_body && !h->chunked)
		buf_addf(out, "%" PRIu64, h->length);
	buf_addf(out, "%s%s%s%s", h->expects_continue ? " continue" : "", h->close ? " close" : "",
		h->keep_alive ? " keep-alive" : "", h->upgrade ? " upgrade" : "");
}

START_TEST(right_heads_are_understood)
{
	struct buf told = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(accepted); i++) {
		struct head h;
		enum ending verdict = parse(accepted[i].text, strlen(accepted[i].text), &h);

		ck_assert_msg(verdict == END_COMPLETE, "'%s': %s", accepted[i].text,
			ending_facts[verdict].code);
		tell(&h, &told);
		ck_assert_str_eq(told.data, accepted[i].means);
		head_release(&h);
	}
	buf_release(&told);
}
END_TEST

START_TEST(fields_are_counted)
{
	for (unsigned n = HEAD_FIELDS_MAX - 1; n <= HEAD_FIELDS_MAX; n++) {
		struct buf text = BUF_INIT;
		struct head h;

		buf_adds(&text, GET HOST);
		for (unsigned i = 0; i < n; i++)
			buf_addf(&text, "X-%u: y\r\n", i);
		buf_adds(&text, "\r\n");
		ck_assert_int_eq(parse(text.data, text.len, &h),
			n < HEAD_FIELDS_MAX ? END_COMPLETE : END_HEAD_TOO_LARGE);
		head_release(&h);
		buf_release(&text);
	}
}
END_TEST

START_TEST(the_end_of_a_head_is_found_at_every_split)
{
	static const char text[] = GET HOST "A: b\r\n\r\nrest\r\n\r\n";
	size_t head = strlen(GET HOST "A: b\r\n\r\n");

	for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
		size_t scanned = 0;

		ck_assert_int_eq(head_scan(text, cut, &scanned), cut < head ? HEAD_UNFINISHED : HEAD_WHOLE);
		if (cut < head)
			ck_assert_int_eq(head_scan(text, sizeof(text) - 1, &scanned), HEAD_WHOLE);
		ck_assert_uint_eq(scanned, head);
		ck_assert_uint_eq(head_first_line(text, cut), cut < 14 ? cut : 14);
	}
}
END_TEST

START_TEST(what_can_never_become_a_head_is_broken_at_once)
{
	static const char *const texts[] = { "\n", "GET / HTTP/1.1\n", GET "Host: a\n", GET "\n", "\x16\x03\x01", "\r",
		" GET", GET HOST "\n" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		size_t scanned = 0;

		ck_assert_msg(head_scan(texts[i], strlen(texts[i]), &scanned) == HEAD_BROKEN, "%zu", i);
	}
}
END_TEST

static const struct {
	enum chunked_result result;
	const char *text;
	const char *body;
	const char *rest;
} chunks[] = {
	{ CHUNKED_DONE, "0\r\n\r\n", "", "" },
	{ CHUNKED_DONE, "5\r\nhallo\r\n0\r\n\r\nGET", "hallo", "GET" },
	{ CHUNKED_DONE, "a\r\n0123456789\r\n00B\r\nabcdefghijk\r\n000\r\n\r\n", "0123456789abcdefghijk", "" },
	{ CHUNKED_DONE, "2;a\r\n\r\n\r\n1 \t;b=\"c\"\r\n\n\r\n0;z\r\n\r\n\r\n", "\r\n\n", "\r\n" },
	{ CHUNKED_DONE, "1\r\na\r\n0\r\nT: u\r\nV:\r\n\r\nGET /SMUGGLED", "a", "GET /SMUGGLED" },
	{ CHUNKED_MORE, "", "", "" },
	{ CHUNKED_MORE, "5\r\nhal", "hal", "" },
	{ CHUNKED_MORE, "0\r\nT: u\r\n", "", "" },
	{ CHUNKED_BAD, "\r\n", "", NULL },
	{ CHUNKED_BAD, ";a\r\n", "", NULL },
	{ CHUNKED_BAD, " 5\r\n", "", NULL },
	{ CHUNKED_BAD, "+5\r\n", "", NULL },
	{ CHUNKED_BAD, "-5\r\n", "", NULL },
	{ CHUNKED_BAD, "0x5\r\n", "", NULL },
	{ CHUNKED_BAD, "5\nhallo", "", NULL },
	{ CHUNKED_BAD, "5\rhallo", "", NULL },
	{ CHUNKED_BAD, "5 5\r\n", "", NULL },
	{ CHUNKED_BAD, "5;a\nhallo", "", NULL },
	{ CHUNKED_BAD, "5;a\x01\r\n", "", NULL },
	{ CHUNKED_BAD, "5\r\nhallo!", "hallo", NULL },
	{ CHUNKED_BAD, "5\r\nhallo\n0\r\n\r\n", "hallo", NULL },
	{ CHUNKED_BAD, "10000000000000005\r\n", "", NULL },
	{ CHUNKED_BAD, "00000000000000005\r\n", "", NULL },
	{ CHUNKED_BAD, "0\r\n\rX", "", NULL },
	{ CHUNKED_BAD, "0\r\n: v\r\n\r\n", "", NULL },
	{ CHUNKED_BAD, "0\r\nT : v\r\n\r\n", "", NULL },
	{ CHUNKED_BAD, "0\r\nnothing\r\n\r\n", "", NULL },
	{ CHUNKED_BAD, "0\r\nT: v\n\r\n", "", NULL },
	{ CHUNKED_BAD, "0\r\n T: v\r\n\r\n", "", NULL },
	{ CHUNKED_TOO_LARGE, "65\r\n", "", NULL },
	{ CHUNKED_TOO_LARGE, "ffffffffffffffff\r\n", "", NULL },
	{ CHUNKED_TOO_LARGE, "1\r\na\r\n64\r\n", "a", NULL },
};
#define BODY_MAX 100

static enum chunked_result push_some(struct chunked *c, const char *text, size_t len, struct buf *body, size_t *used)
{
	char *copy = xmemdup0(text, len);
	size_t there;
	enum chunked_result result = chunked_decode(c, copy, len, BODY_MAX - body->len, &there, used);

	buf_add(body, copy, there);
	free(copy);
	return result;
}

/* Push a text in two parts, the second as single bytes; tells the same whatever the cut. */
static enum chunked_result push(const char *text, size_t cut, struct buf *body, size_t *used)
{
	struct chunked c = { 0 };
	size_t len = strlen(text);
	enum chunked_result result = push_some(&c, text, cut, body, used);

	while (result == CHUNKED_MORE && *used < len) {
		size_t one;

		result = push_some(&c, text + *used, 1, body, &one);
		*used += one;
	}
	return result;
}

START_TEST(chunked_bodies_are_decoded_at_every_split)
{
	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++)
		for (size_t cut = 0; cut <= strlen(chunks[i].text); cut++) {
			struct buf body = BUF_INIT;
			size_t used = 0;
			enum chunked_result result = push(chunks[i].text, cut, &body, &used);

			ck_assert_msg(result == chunks[i].result, "'%s' cut at %zu: %d", chunks[i].text, cut, result);
			ck_assert_str_eq(body.data ? body.data : "", chunks[i].body);
			if (chunks[i].rest)
				ck_assert_str_eq(chunks[i].text + used, chunks[i].rest);
			buf_release(&body);
		}
}
END_TEST

START_TEST(a_body_may_be_as_large_as_allowed)
{
	struct buf text = BUF_INIT, body = BUF_INIT;
	size_t used = 0;

	for (unsigned i = 0; i < BODY_MAX / 4; i++)
		buf_adds(&text, "4\r\nabcd\r\n");
	buf_adds(&text, "0\r\n\r\n");
	ck_assert_int_eq(push(text.data, text.len, &body, &used), CHUNKED_DONE);
	ck_assert_uint_eq(body.len, BODY_MAX);
	buf_release(&text);
	buf_release(&body);
}
END_TEST

START_TEST(extensions_and_trailers_have_an_end)
{
	static const char *const starts[] = { "1;", "0\r\nT:" };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		struct buf text = BUF_INIT, body = BUF_INIT;
		size_t used = 0;

		buf_adds(&text, starts[i]);
		memset(buf_reserve(&text, CHUNKED_EXTRA_MAX), 'x', CHUNKED_EXTRA_MAX);
		text.len += CHUNKED_EXTRA_MAX;
		buf_adds(&text, "x");
		ck_assert_int_eq(push(text.data, text.len - CHUNKED_EXTRA_MAX / 2, &body, &used), CHUNKED_BAD);
		buf_release(&text);
		buf_release(&body);
	}
}
END_TEST

#define UPGRADE GET HOST "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"

static const struct {
	const char *text;
	bool asked;
	enum ending ending;
} handshakes[] = {
	{ UPGRADE V13 KEY "\r\n", true, END_COMPLETE },
	{ GET HOST "Upgrade: h2c, websocket\r\nConnection: upgrade\r\n" V13 KEY "\r\n", true, END_COMPLETE },
	{ GET HOST "Upgrade: h2c\r\nConnection: upgrade\r\n" V13 KEY "\r\n", false, END_COMPLETE },
	{ GET HOST "Upgrade: foo, bar/2\r\nConnection: upgrade\r\n\r\n", false, END_UPGRADE_REQUIRED },
	{ POST "Upgrade: foo\r\nConnection: upgrade\r\n\r\n", false, END_UPGRADE_REQUIRED },
	{ GET HOST "Upgrade: foo\r\n\r\n", false, END_COMPLETE },
	{ "GET / HTTP/1.0\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n", false, END_COMPLETE },
	{ GET HOST "Upgrade: websocket\r\n" V13 KEY "\r\n", false, END_COMPLETE },
	{ GET HOST "Connection: upgrade\r\n" V13 KEY "\r\n", false, END_COMPLETE },
	{ POST "Upgrade: websocket\r\nConnection: upgrade\r\n" V13 KEY "\r\n", false, END_COMPLETE },
	{ "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" V13 KEY "\r\n", false, END_COMPLETE },
	{ UPGRADE KEY "\r\n", true, END_UPGRADE_REQUIRED },
	{ UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", true, END_UPGRADE_REQUIRED },
	{ UPGRADE KEY V13 V13 "\r\n", true, END_UPGRADE_REQUIRED },
	{ UPGRADE V13 KEY "Sec-WebSocket-Extensions: a; b=\r\n\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 KEY "Sec-WebSocket-Extensions: a; b=\"c\", d\r\n\r\n", true, END_COMPLETE },
	{ UPGRADE V13 "\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 KEY KEY "\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=\r\n\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 "Sec-WebSocket-Key: dGhlIHNhbXB*ZSBub25jZQ==\r\n\r\n", true, END_BAD_REQUEST },
	{ UPGRADE V13 "Sec-WebSocket-Key: ========================\r\n\r\n", true, END_BAD_REQUEST },
};

START_TEST(websocket_handshakes)
{
	for (size_t i = 0; i < ARRAY_SIZE(handshakes); i++) {
		const char *why = NULL;
		struct head h;
		enum ending verdict;

		ck_assert_int_eq(parse(handshakes[i].text, strlen(handshakes[i].text), &h), END_COMPLETE);
		ck_assert_msg(ws_handshake_asked(&h) == handshakes[i].asked, "%zu", i);
		verdict = ws_handshake_check(&h, &why);
		ck_assert_msg(verdict == handshakes[i].ending, "%zu: %s", i, ending_facts[verdict].code);
		ck_assert((why != NULL) == (verdict != END_COMPLETE));
		head_release(&h);
	}
}
END_TEST

/* The example of RFC 6455, 1.3. */
START_TEST(websocket_accept)
{
	char accept[WS_ACCEPT_SIZE];
	struct head h;

	ck_assert_int_eq(parse(UPGRADE V13 KEY "\r\n", strlen(UPGRADE V13 KEY "\r\n"), &h), END_COMPLETE);
	ws_handshake_accept(&h, accept);
	ck_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	head_release(&h);
}
END_TEST

START_TEST(websocket_subprotocols)
{
	static char one[] = "chat.v1", two[] = "realtime";
	static char *texts[] = { one, two };
	const struct conf_texts spoken = { texts, 2 }, none = { NULL, 0 };
	static const struct {
		const char *offered, *more, *chosen;
	} rows[] = {
		{ "chat.v1", NULL, "chat.v1" },
		{ "realtime, openai-insecure-api-key.sk-1", NULL, "realtime" },
		{ "openai-insecure-api-key.sk-1,realtime", NULL, "realtime" },
		{ "x,\trealtime ,chat.v1", NULL, "realtime" },
		{ "x", "chat.v1", "chat.v1" },
		{ "Chat.v1, chat.v, chat.v12, realtim", NULL, NULL },
		{ "", ",, ,", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct exchange_header fields[] = { { "X", "chat.v1" },
			{ "sec-websocket-protocol", rows[i].offered },
			{ "Sec-WebSocket-Protocol", rows[i].more } };
		unsigned n = rows[i].more ? 3 : 2;

		ck_assert_pstr_eq(ws_handshake_subprotocol(fields, n, &spoken), rows[i].chosen);
		ck_assert_ptr_null(ws_handshake_subprotocol(fields, n, &none));
	}
}
END_TEST

int main(void)
{
	UNIT_RUN("guard", wrong_heads_are_refused, right_heads_are_understood, fields_are_counted,
		the_end_of_a_head_is_found_at_every_split,
		what_can_never_become_a_head_is_broken_at_once,
		chunked_bodies_are_decoded_at_every_split, a_body_may_be_as_large_as_allowed,
		extensions_and_trailers_have_an_end, websocket_handshakes, websocket_accept,
		websocket_subprotocols);
}
