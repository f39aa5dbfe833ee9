/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h1_ws.c - a WebSocket over a connection of its own: the handshake's answer, and the connection as the
 * carrier of ws.c.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "conf/conf.h"
#include "worker/http/ws.h"
#include "worker/http/ws_deflate.h"
#include "worker/http/ws_handshake.h"

#include <event2/buffer.h>

static struct conn *conn_of(const struct exchange *x)
{
	return container_of(x, struct conn, x);
}

/* ---- the carrier ---- */

static void carrier_send(void *arg, const struct iovec *parts, unsigned n)
{
	conn_send(arg, parts, n);
}

static size_t carrier_queued(const void *arg)
{
	return conn_queued(arg);
}

static bool carrier_delivered(const void *arg, uint64_t *acked_r)
{
	return conn_delivered(arg, acked_r);
}

static void carrier_timer(void *arg, const struct timeval *duration)
{
	conn_timer(arg, duration);
}

static const struct ws_carrier carrier = { .send = carrier_send,
	.queued = carrier_queued,
	.delivered = carrier_delivered,
	.timer = carrier_timer };

/* ---- the port ---- */

static void add_fields(struct buf *head, const struct exchange_header *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		buf_addf(head, "%s: %s\r\n", h[i].name, h[i].value);
}

/* Of the head, which may be some kilobytes of a browser's, only this is asked for again. */
static void shrink_head(struct conn *c)
{
	static const char name[] = "traceparent";
	struct exchange_request *r = &c->x.request;
	const char *trace = exchange_header(&c->x, name);
	size_t path = strlen(r->path) + 1, tail = trace ? strlen(trace) + 1 : 0;
	char *text = memcpy(xmalloc(path + tail), r->path, path);

	if (trace)
		memcpy(text + path, trace, tail);
	head_release(&c->head);
	buf_release(&c->text);
	c->text = (struct buf){ .data = text, .len = path + tail, .size = path + tail };
	if (trace) {
		c->head.fields = xmalloc(sizeof(*c->head.fields));
		c->head.fields[c->head.nfields++] = (struct exchange_header){ name, text + path };
	}
	c->head.method = r->method = "GET";
	c->head.path = r->path = text;
	c->head.query = r->query = "";
	r->headers = c->head.fields;
	r->nheaders = c->head.nfields;
	c->x.cors_origin = NULL;
}

void h1_accept_ws(struct exchange *x, const struct exchange_header *h, unsigned n)
{
	struct conn *c = conn_of(x);
	struct buf head = BUF_INIT, extensions = BUF_INIT;
	struct exchange_header agreed[WS_AGREED_MAX];
	char accept[WS_ACCEPT_SIZE];
	struct ws_terms terms;

	ws_handshake_accept(&c->head, accept);
	buf_addf(&head,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\nX-Request-Id: %s\r\n",
		accept, x->id);
	add_fields(&head, h, n);
	add_fields(
		&head, agreed, ws_handshake_agree(x, c->http->conf, &terms, &extensions, agreed));
	buf_adds(&head, "\r\n");
	c->ws = ws_new(&c->http->ws_common, x, &terms, &carrier, c);
	c->phase = CONN_WEBSOCKET;
	c->drain_told = false; /* what was told was a connection without an exchange */
	conn_send(c, &(struct iovec){ head.data, head.len }, 1);
	buf_release(&head);
	buf_release(&extensions);
	shrink_head(c);
	conn_settle_later(c); /* bytes behind the handshake may be here already */
}

void h1_send_message(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	ws_send(conn_of(x)->ws, binary, bytes, len);
}

void h1_close_ws(struct exchange *x, unsigned code, const char *reason)
{
	ws_close(conn_of(x)->ws, code, reason);
	conn_settle_later(conn_of(x));
}

/* ---- the step ---- */

/* All is said: close the TCP connection behind our last frame. */
static bool leave(struct conn *c)
{
	conn_end_exchange(c, ws_ending(c->ws));
	c->last = true;
	c->phase = CONN_FLUSH;
	return true;
}

bool h1_ws_step(struct conn *c)
{
	/* who does not read our answers gets no more of them */
	bool hear = conn_room(c) > 0;
	enum ws_result result = WS_WAIT;

	if (conn_offer_room(c))
		return true;
	if (c->timed_out) {
		c->timed_out = false;
		result = ws_timeout(c->ws, conn_input(c));
	}
	if (result == WS_WAIT && hear)
		result = ws_take(c->ws, conn_input(c));
	if (result == WS_OVER)
		return leave(c);
	if (result == WS_MORE)
		return true;
	if (result == WS_LATER) {
		c->again = true;
		return false;
	}
	if (!c->eof && (hear || !c->departed))
		return false;
	conn_end_exchange(c, END_CLIENT_GONE);
	c->phase = CONN_DEAD;
	return true;
}
