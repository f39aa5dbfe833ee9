/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_ws.c - a WebSocket (ws.c) on a carrier that writes everything down.
 *
 * The first byte chooses: are the rest raw bytes, or commands from which masked frames are made (so that more gets
 * past the header); is compression agreed upon; are binary messages spoken; in which pieces it comes. In one
 * piece and in many it must say the same. Without compression, a plain reader that has all of it before it must
 * agree on every message, every answer and the close code; with it, every message is UTF-8 and within the limit.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/bug.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/exchange/exchange.h"
#include "worker/http/ws.h"
#include "worker/http/ws_deflate.h"

#include <event2/buffer.h>

#define MESSAGE_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void stat_add(enum stat_id id, int64_t n)
{
}

/* What was said and heard, in order: "m" or "b" and a message, "s" and a frame sent, each with its length. */
struct record {
	struct exchange x;
	struct buf all;
	struct buf sent;
	bool closed;
};

static void note(struct buf *to, char kind, const char *bytes, size_t len)
{
	buf_addf(to, "%c%zu:", kind, len);
	buf_add(to, bytes, len);
}

static void on_message(struct exchange *x, const char *text, size_t len)
{
	struct record *r = container_of(x, struct record, x);

	BUG_ON(len > MESSAGE_MAX || !json_utf8_valid(text, len) || text[len]);
	note(&r->all, 'm', text, len);
}

static void on_binary(struct exchange *x, const char *bytes, size_t len)
{
	struct record *r = container_of(x, struct record, x);

	BUG_ON(len > MESSAGE_MAX);
	note(&r->all, 'b', bytes, len);
}

/* ws.c sends a frame at once: a header of its own, short, and the payload. */
static void carrier_send(void *arg, const struct iovec *parts, unsigned n)
{
	struct record *r = arg;
	const unsigned char *h = parts[0].iov_base;

	BUG_ON(n != 2 || parts[0].iov_len != 2 || h[1] != parts[1].iov_len || !(h[0] & 0x80) || r->closed);
	r->closed = (h[0] & 15) == 8;
	note(&r->all, (char)('A' + (h[0] & 15)), parts[1].iov_base, parts[1].iov_len);
}

static size_t carrier_queued(const void *arg)
{
	return 0;
}

static bool carrier_delivered(const void *arg, uint64_t *acked_r)
{
	*acked_r = 0;
	return true;
}

static void carrier_timer(void *arg, const struct timeval *duration)
{
}

static const struct ws_carrier carrier = { carrier_send, carrier_queued, carrier_delivered, carrier_timer };

static void feed(struct record *r, const char *bytes, size_t len, size_t piece, bool binary, bool deflate,
	struct ws_zlib *zlib)
{
	static struct conf conf = { .max_message_size_bytes = MESSAGE_MAX, .compression_min_bytes = 64 };
	const struct ws_common common = { .conf = &conf, .zlib = zlib };
	const struct ws_terms terms = { .window_bits = deflate ? 15 : 0 };
	const struct exchange_app app = { .on_message = on_message, .on_binary = binary ? on_binary : NULL };
	struct evbuffer *in = evbuffer_new();
	enum ws_result result = WS_WAIT;
	struct ws *ws;

	r->x.app = &app;
	r->x.state = EXCHANGE_WEBSOCKET;
	ws = ws_new(&common, &r->x, &terms, &carrier, r);
	for (size_t at = 0; at < len && result != WS_OVER; at += piece) {
		evbuffer_add(in, bytes + at, len - at < piece ? len - at : piece);
		do
			result = ws_take(ws, in);
		while (result == WS_MORE || result == WS_LATER);
	}
	if (result == WS_OVER)
		note(&r->all, 'E', ending_facts[ws_ending(ws)].code, strlen(ending_facts[ws_ending(ws)].code));
	ws_free(ws);
	evbuffer_free(in);
	r->x.app = NULL;
}

/* ---- the plain reader: no compression, all bytes are here ---- */

struct plain {
	const unsigned char *at, *end;
	bool binary_ok, in_message, binary;
	struct buf message;
};

static bool closes(struct buf *to, unsigned code, enum ending ending)
{
	char payload[2] = { (char)(code >> 8), (char)code };

	note(to, 'I', payload, 2);
	note(to, 'E', ending_facts[ending].code, strlen(ending_facts[ending].code));
	return false;
}

/* Could this become UTF-8 with more bytes? */
static bool may_become_utf8(const char *text, size_t len)
{
	static const char *const more[] = { "", "\x80", "\x80\x80", "\x80\x80\x80", "\xa0\x80", "\x90\x80\x80", "\xbf", "\xa0", "\x90\x80" };
	char copy[MESSAGE_MAX + 8];

	memcpy(copy, text, len);
	for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
		memcpy(copy + len, more[i], strlen(more[i]));
		if (json_utf8_valid(copy, len + strlen(more[i])))
			return true;
	}
	return false;
}

static bool plain_close(const char *payload, size_t len, struct buf *to)
{
	unsigned code = len ? (unsigned char)payload[0] << 8 | (unsigned char)payload[1] : 1005;
	bool known = (code > 999 && code < 1004) || (code > 1006 && code < 1015) || (code > 2999 && code < 5000);
	const char *ending = code == 1000 || code == 1001 || code == 1005 ? "complete" : "client_gone";

	if (len && !known)
		return closes(to, 1002, END_WS_PROTOCOL);
	if (len && !json_utf8_valid(payload + 2, len - 2))
		return closes(to, 1007, END_WS_BAD_UTF8);
	note(to, 'I', payload, len);
	note(to, 'E', ending, strlen(ending));
	return false;
}

/* One frame. False: the end, or not all of it is here. */
static bool plain_frame(struct plain *p, struct buf *to)
{
	size_t have = (size_t)(p->end - p->at), size, there;
	unsigned op, rsv;
	bool fin, control;
	uint64_t len = 0;
	char *bytes;

	if (have < 2 || have < 2 + (size = (p->at[1] & 127) == 126 ? 2 : (p->at[1] & 127) == 127 ? 8 : 0))
		return false;
	op = p->at[0] & 15;
	rsv = p->at[0] & 0x70;
	fin = p->at[0] & 0x80;
	control = op & 8;
	for (size_t i = 0; i < size; i++)
		len = len << 8 | p->at[2 + i];
	if (!size)
		len = p->at[1] & 127;
	if (!(p->at[1] & 0x80) || rsv || len >> 63 || (op > 2 && op < 8) || op > 10 || (size == 2 && len < 126) || (size == 8 && len < 65536))
		return closes(to, 1002, END_WS_PROTOCOL);
	if (control ? !fin || len > 125 || (op == 8 && len == 1) : (op == 0) != p->in_message)
		return closes(to, 1002, END_WS_PROTOCOL);
	if (op == 2 && !p->binary_ok)
		return closes(to, 1003, END_WS_UNSUPPORTED);
	if (!control && len > MESSAGE_MAX - p->message.len)
		return closes(to, 1009, END_MESSAGE_TOO_BIG);
	if (have < 2 + size + 4)
		return false;
	there = have - 2 - size - 4 < len ? have - 2 - size - 4 : (size_t)len;
	bytes = xmemdup0(p->at + 2 + size + 4, there);
	for (size_t i = 0; i < there; i++)
		bytes[i] ^= (char)p->at[2 + size + i % 4];
	p->at += 2 + size + 4 + there;
	if (op == 1 || op == 2)
		p->binary = op == 2;
	if (!control) {
		buf_add(&p->message, bytes, there);
		if (!p->binary && !may_become_utf8(p->message.data, p->message.len)) {
			free(bytes);
			return closes(to, 1007, END_WS_BAD_UTF8);
		}
	}
	if (there == len && op == 8) {
		plain_close(bytes, there, to);
		there = (size_t)len + 1; /* nothing follows */
	} else if (there == len && op == 9) {
		note(to, 'K', bytes, there);
	} else if (there == len && !control) {
		p->in_message = !fin;
		if (fin && !p->binary && !json_utf8_valid(p->message.data, p->message.len)) {
			closes(to, 1007, END_WS_BAD_UTF8);
			there = (size_t)len + 1;
		} else if (fin) {
			note(to, p->binary ? 'b' : 'm', p->message.data, p->message.len);
			buf_clear(&p->message);
		}
	}
	free(bytes);
	return there == len;
}

static void check_plainly(const char *bytes, size_t len, bool binary, const struct buf *got)
{
	struct plain p = { .at = (const unsigned char *)bytes, .end = (const unsigned char *)bytes + len, .binary_ok = binary };
	struct buf want = BUF_INIT;

	buf_reserve(&p.message, 1);
	p.message.data[0] = 0;
	while (plain_frame(&p, &want))
		;
	BUG_ON(want.len != got->len || (want.len && memcmp(want.data, got->data, want.len)));
	buf_release(&want);
	buf_release(&p.message);
}

/* Commands to frames: first byte of the header, length, so many bytes of payload; masked with the mask 1 2 3 4. */
static void make_frames(const uint8_t *data, size_t size, struct buf *out)
{
	while (size >= 2) {
		size_t len = data[1] < size - 2 ? data[1] : size - 2;
		unsigned char head[8] = { data[0], (unsigned char)(0x80 | (len < 126 ? len : 126)), (unsigned char)(len >> 8),
			(unsigned char)len };

		buf_add(out, head, len < 126 ? 2 : 4);
		buf_add(out, "\1\2\3\4", 4);
		for (size_t i = 0; i < len; i++)
			buf_add(out, &(char){ (char)(data[2 + i] ^ (i % 4 + 1)) }, 1);
		data += 2 + len;
		size -= 2 + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record whole = { 0 }, cut = { 0 };
	struct buf bytes = BUF_INIT;
	bool deflate, binary;
	struct ws_zlib *zlib;

	if (!size)
		return 0;
	deflate = data[0] & 2;
	binary = data[0] & 4;
	if (data[0] & 1)
		make_frames(data + 1, size - 1, &bytes);
	else
		buf_add(&bytes, data + 1, size - 1);
	buf_reserve(&bytes, 1); /* so that it is no NULL */
	zlib = ws_zlib_open();
	feed(&whole, bytes.data, bytes.len, bytes.len + 1, binary, deflate, zlib);
	feed(&cut, bytes.data, bytes.len, 1 + (data[0] >> 3), binary, deflate, zlib);
	BUG_ON(whole.all.len != cut.all.len || (whole.all.len && memcmp(whole.all.data, cut.all.data, cut.all.len)));
	if (!deflate)
		check_plainly(bytes.data, bytes.len, binary, &whole.all);
	ws_zlib_close(zlib);
	buf_release(&whole.all);
	buf_release(&cut.all);
	buf_release(&bytes);
	return 0;
}
