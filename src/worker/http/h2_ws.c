/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2_ws.c - a WebSocket over a stream of HTTP/2 (RFC 8441): the stream as the carrier of ws.c.
 *
 * Its bytes come as DATA and wait here until ws.c takes them; only then is the stream's window opened again, so
 * a client that does not read our answers is not read either. END_STREAM is the end of a TCP connection, a reset
 * its loss.
 */
#include "base/base.h"
#include "worker/http/h2.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "worker/http/ws.h"
#include "worker/http/ws_deflate.h"
#include "worker/http/ws_handshake.h"

#include <event2/buffer.h>

/* Frames of one WebSocket in one turn; then the others have theirs. */
#define STEPS_MAX 64

struct h2_ws {
	struct h2_stream *stream;
	struct ws *ws;
	struct evbuffer *in;
	struct event timer; /* ws.c's */
	struct event again; /* in the next turn */
	bool timed_out;
	bool resting; /* until `again` */
};

static void wake(struct h2_ws *w)
{
	h2_touch(w->stream);
	conn_settle_later(w->stream->h2->c);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct h2_ws *w = arg;

	w->resting = false;
	wake(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct h2_ws *w = arg;

	w->timed_out = true;
	wake(w);
}

/* ---- the carrier ---- */

static void carrier_send(void *arg, const struct iovec *parts, unsigned n)
{
	struct h2_ws *w = arg;

	h2_stream_append(w->stream, parts, n);
}

static size_t carrier_queued(const void *arg)
{
	const struct h2_ws *w = arg;

	return h2_stream_unsent(w->stream) + conn_queued(w->stream->h2->c);
}

static bool carrier_delivered(const void *arg, uint64_t *acked_r)
{
	const struct h2_ws *w = arg;

	return conn_delivered(w->stream->h2->c, acked_r);
}

static void carrier_timer(void *arg, const struct timeval *duration)
{
	struct h2_ws *w = arg;

	w->timed_out = false;
	if (duration)
		event_add(&w->timer, duration);
	else
		event_del(&w->timer);
}

/* ---- the port ---- */

void h2_accept_ws(struct exchange *x, const struct exchange_header *h, unsigned n)
{
	static const struct ws_carrier carrier = { .send = carrier_send,
		.queued = carrier_queued,
		.delivered = carrier_delivered,
		.timer = carrier_timer };
	struct h2_stream *s = container_of(x, struct h2_stream, x);
	struct http *http = s->h2->c->http;
	struct exchange_header *all = xcalloc(n + WS_AGREED_MAX, sizeof(*all));
	struct buf extensions = BUF_INIT;
	struct ws_terms terms;
	struct h2_ws *w;

	if (n)
		memcpy(all, h, n * sizeof(*all));
	n += ws_handshake_agree(x, http->conf, &terms, &extensions, all + n);
	h2_start(x, 200, all, n);
	buf_release(&extensions);
	free(all);
	w = s->ws = xcalloc(1, sizeof(*w));
	w->stream = s;
	w->in = evbuffer_new();
	BUG_ON(!w->in);
	evtimer_assign(&w->timer, http->base, on_timer, w);
	evtimer_assign(&w->again, http->base, on_again, w);
	w->ws = ws_new(&http->ws_common, x, &terms, &carrier, w);
}

void h2_send_message(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	ws_send(container_of(x, struct h2_stream, x)->ws->ws, binary, bytes, len);
}

void h2_close_ws(struct exchange *x, unsigned code, const char *reason)
{
	ws_close(container_of(x, struct h2_stream, x)->ws->ws, code, reason);
}

/* ---- the stream ---- */

void h2_ws_add(struct h2_stream *s, const uint8_t *bytes, size_t len)
{
	BUG_ON(evbuffer_add(s->ws->in, bytes, len) < 0);
	s->h2->held += len;
	h2_touch(s);
}

/* All is said: END_STREAM behind it. */
static void leave(struct h2_stream *s, enum ending ending)
{
	h2_stream_end(s, ending);
	h2_finish(&s->x);
}

static enum ws_result take(struct h2_ws *w)
{
	struct h2_stream *s = w->stream;
	enum ws_result result = WS_MORE;
	unsigned steps = 0;

	if (w->timed_out) {
		w->timed_out = false;
		result = ws_timeout(w->ws, w->in);
		if (result != WS_OVER)
			result = WS_MORE;
	}
	/* who does not read our answers gets no more of them */
	while (result == WS_MORE && h2_room(&s->x)) {
		result = ws_take(w->ws, w->in);
		if (result == WS_MORE && ++steps == STEPS_MAX)
			result = WS_LATER;
	}
	return result;
}

void h2_ws_work(struct h2_stream *s)
{
	struct h2_ws *w = s->ws;
	size_t before = evbuffer_get_length(w->in), taken;
	enum ws_result result;

	if (w->resting)
		return;
	result = take(w);
	taken = before - evbuffer_get_length(w->in);
	s->h2->held -= taken;
	if (taken && !s->closed)
		nghttp2_session_consume_stream(s->h2->session, s->id, taken);
	w->resting = result == WS_LATER;
	if (w->resting)
		event_active(&w->again, EV_TIMEOUT, 0);
	else if (result == WS_OVER)
		leave(s, ws_ending(w->ws));
	else if (result == WS_WAIT && s->whole)
		leave(s, END_CLIENT_GONE);
}

void h2_ws_free(struct h2_stream *s)
{
	struct h2_ws *w = s->ws;

	if (!w)
		return;
	s->h2->held -= evbuffer_get_length(w->in);
	event_del(&w->timer);
	event_del(&w->again);
	ws_free(w->ws);
	evbuffer_free(w->in);
	free(w);
	s->ws = NULL;
}
