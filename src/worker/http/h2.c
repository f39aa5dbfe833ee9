/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2.c - an HTTP/2 connection; see h2.h.
 *
 * In: bytes go to nghttp2 as long as our own output is not stuck, so its answers to them (acknowledgements,
 * resets) stay few. Out: whatever all streams have at the end of a turn is one send. Request bodies:
 * windows are opened by hand, a stream's at once, the connection's while all bodies in memory are within a bound.
 */
#include "base/base.h"
#include "worker/http/h2.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "shm/stats.h"

#include <event2/buffer.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
/* Of each stream and of the connection: 10 MB/s at a round trip of 100 ms. */
#define WINDOW_BYTES (1 << 20)
/* All request bodies of one connection: this many times max_body_size, and one window. */
#define BODIES_MAX 4
/* Taken from the input at once; then streams have their turn. */
#define RECEIVE_BYTES (16u << 10)
#define CONTINUATION_PARTS_MAX 80
#define DRAIN_PING "headgate"

/* ---- callbacks: note and leave ---- */

void h2_touch(struct h2_stream *s)
{
	if (s->touched)
		return;
	s->touched = true;
	TAILQ_INSERT_TAIL(&s->h2->touched, s, touch);
}

/*
 * A new stream with a number below that of an older one (RFC 9113, 5.1.1)? nghttp2 tells it from a frame for a
 * stream that was closed only as long as it remembers those.
 */
static bool is_late(const struct h2 *h2, const nghttp2_frame_hd *hd)
{
	return hd->type == NGHTTP2_HEADERS && hd->stream_id < h2->last_id &&
	       h2->opened <= h2->c->http->conf->h2_max_concurrent_streams &&
	       !nghttp2_session_find_stream(h2->session, hd->stream_id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct h2 *h2 = arg;

	h2->in_head = (hd->type == NGHTTP2_HEADERS || (hd->type == NGHTTP2_CONTINUATION && h2->in_head)) &&
		      !(hd->flags & NGHTTP2_FLAG_END_HEADERS);
	if (is_late(h2, hd)) {
		h2->error = NGHTTP2_PROTOCOL_ERROR;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return h2_tolerates_frame(h2, hd) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	h2->opened++;
	h2->last_id = frame->hd.stream_id;
	nghttp2_session_set_stream_user_data(session, h2->last_id, h2_stream_new(h2, h2->last_id));
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2_stream *s = h2_stream_at(session, frame->hd.stream_id);

	/* fields behind the body are not asked for by anybody */
	if (s && !s->head_whole)
		h2_stream_add_field(s, (nghttp2_vec){ (uint8_t *)name, name_len },
			(nghttp2_vec){ (uint8_t *)value, value_len });
	return 0;
}

/* Left alone, nghttp2 would drop the field and serve the rest. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	struct h2_stream *s = h2_stream_at(session, frame->hd.stream_id);

	if (s && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
		s->head_whole = true;
		s->whole |= frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
		h2_touch(s);
	}
	if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK &&
		!memcmp(frame->ping.opaque_data, DRAIN_PING, 8) && h2->farewell == H2_NOTICED)
		h2->farewell = H2_LEAVING;
	return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct h2 *h2 = arg;

	return h2_tolerates(h2, H2_REFUSED) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len,
	void *arg)
{
	struct h2 *h2 = arg;
	struct h2_stream *s = h2_stream_at(session, id);

	h2->owed += len;
	if (s && h2_stream_add_body(s, bytes, len))
		nghttp2_session_consume_stream(session, id, len);
	return 0;
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	struct h2_stream *s = h2_stream_at(session, frame->hd.stream_id);

	if (frame->hd.type == NGHTTP2_DATA)
		h2_expect_answers(h2);
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code)
		h2->error = frame->goaway.error_code;
	/* the answer to this comes behind all streams that were opened before the client knew */
	if (frame->hd.type == NGHTTP2_GOAWAY && h2->farewell == H2_NOTICED)
		nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, (const uint8_t *)DRAIN_PING);
	if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
		(frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
		s->answer_out = true;
		h2_touch(s);
	}
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct h2_stream *s = h2_stream_at(session, id);

	if (!s)
		return 0;
	s->closed = true;
	h2_touch(s);
	return 0;
}

/* ---- what all sessions share ---- */

void h2_open(struct http *http)
{
	nghttp2_session_callbacks *all;

	BUG_ON(nghttp2_session_callbacks_new(&all) != 0);
	nghttp2_session_callbacks_set_on_begin_frame_callback(all, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(all, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(all, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(all, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(all, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(all, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(all, on_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(all, on_frame_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(all, on_stream_close);
	http->h2_callbacks = all;
	BUG_ON(nghttp2_option_new(&http->h2_option) != 0);
	nghttp2_option_set_no_auto_window_update(http->h2_option, 1);
	/* It counts a frame again each time that a part of its header arrives; h2_flood.c counts frames. */
	nghttp2_option_set_max_continuations(http->h2_option, CONTINUATION_PARTS_MAX);
}

void h2_close(struct http *http)
{
	nghttp2_session_callbacks_del(http->h2_callbacks);
	nghttp2_option_del(http->h2_option);
}

/* ---- birth and death of a session ---- */

bool h2_is_preface(const char *bytes, size_t len, bool *whole_r)
{
	size_t n = sizeof(PREFACE) - 1;

	*whole_r = len >= n;
	return !memcmp(bytes, PREFACE, len < n ? len : n);
}

static void send_settings(struct h2 *h2)
{
	const struct conf *conf = h2->c->http->conf;
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)conf->h2_max_concurrent_streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)conf->max_header_bytes },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};

	BUG_ON(nghttp2_submit_settings(
		h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_SIZE(settings)) != 0);
	BUG_ON(nghttp2_session_set_local_window_size(
		h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) != 0);
}

void h2_begin(struct conn *c)
{
	struct h2 *h2 = c->h2 = xcalloc(1, sizeof(*h2));

	h2->c = c;
	TAILQ_INIT(&h2->streams);
	TAILQ_INIT(&h2->touched);
	h2_floods_begin(h2);
	BUG_ON(nghttp2_session_server_new2(
		&h2->session, c->http->h2_callbacks, h2, c->http->h2_option) != 0);
	c->phase = CONN_H2;
	h2->timer = c->http->header_timeout; /* it runs */
	stat_add(STAT_H2_CONNECTIONS, 1);
	send_settings(h2);
}

void h2_free(struct conn *c, enum ending ending)
{
	struct h2 *h2 = c->h2;

	if (!h2)
		return;
	while (!TAILQ_EMPTY(&h2->streams))
		h2_stream_free(TAILQ_FIRST(&h2->streams), ending);
	nghttp2_session_del(h2->session);
	c->h2 = NULL;
	free(h2);
}

/* ---- farewell ---- */

static void give_notice(struct h2 *h2)
{
	if (h2->farewell != H2_STAYING)
		return;
	h2->farewell = H2_NOTICED;
	nghttp2_submit_shutdown_notice(h2->session);
}

static void tell_drain(struct h2_stream *s)
{
	if (s->x_open && s->x.state != EXCHANGE_ENDED && s->x.app && s->x.app->on_drain)
		s->x.app->on_drain(&s->x);
}

unsigned h2_drain(struct conn *c)
{
	struct h2_stream *s;
	unsigned websockets = 0;

	TAILQ_FOREACH(s, &c->h2->streams, entry) {
		if (s->ws)
			websockets++;
		else
			tell_drain(s);
	}
	give_notice(c->h2);
	return websockets;
}

uint64_t h2_drain_websockets(struct conn *c, uint64_t most)
{
	struct h2_stream *s;
	uint64_t n = 0;

	TAILQ_FOREACH(s, &c->h2->streams, entry) {
		if (n == most)
			break;
		if (!s->ws || s->drain_told)
			continue;
		s->drain_told = true;
		n++;
		tell_drain(s);
	}
	if (n)
		conn_settle_later(c);
	return n;
}

static void say_goodbye(struct h2 *h2)
{
	h2->farewell = H2_LEAVING;
	nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
		nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR, NULL, 0);
}

/* No more HTTP/2 here; the last bytes go out, then the connection is closed. */
static bool leave(struct conn *c, enum ending ending)
{
	h2_free(c, ending);
	c->last = true;
	c->phase = CONN_FLUSH;
	conn_timer(c, NULL);
	return true;
}

/* A GOAWAY ahead of all that is queued: who floods us gets no more answers. */
static bool give_up(struct conn *c, uint32_t error)
{
	struct h2 *h2 = c->h2;
	uint32_t last = (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->session);
	uint8_t frame[17] = { 0, 0, 8, NGHTTP2_GOAWAY };
	uint64_t missed;

	for (int i = 0; i < 4; i++) {
		frame[9 + i] = (uint8_t)(last >> (24 - 8 * i));
		frame[13 + i] = (uint8_t)(error >> (24 - 8 * i));
	}
	conn_send(c, &(struct iovec){ frame, sizeof(frame) }, 1);
	if (error == NGHTTP2_ENHANCE_YOUR_CALM) {
		stat_add(STAT_H2_FLOODS, 1);
		if (log_rate_ok(&c->http->h2_floods, &missed))
			log_warning("http", "%s: HTTP/2 connection closed: too many %s (%" PRIu64 " more like this)",
				c->peer, h2->flood ? h2->flood : "frames", missed);
	} else {
		stat_add(STAT_H2_ERRORS, 1);
	}
	return leave(c, END_H2_PROTOCOL);
}

/* ---- in and out ---- */

static bool fail(struct conn *c, ssize_t verdict)
{
	struct h2 *h2 = c->h2;

	switch (verdict) {
	case NGHTTP2_ERR_FLOODED:
		h2->flood = "control frames";
		break;
	case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
		h2->flood = "CONTINUATION frames";
		break;
	case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
		h2->error = NGHTTP2_PROTOCOL_ERROR;
		break;
	}
	if (h2->flood)
		return give_up(c, NGHTTP2_ENHANCE_YOUR_CALM);
	return give_up(c, h2->error ? h2->error : NGHTTP2_INTERNAL_ERROR);
}

/* True: bytes were taken; if the connection failed over them, c->h2 is NULL. */
static bool receive(struct conn *c)
{
	struct evbuffer *in = conn_input(c);
	size_t there = evbuffer_get_length(in), n = there < RECEIVE_BYTES ? there : RECEIVE_BYTES;
	ssize_t taken;

	if (!n)
		return false;
	taken = nghttp2_session_mem_recv(c->h2->session, evbuffer_pullup(in, (ev_ssize_t)n), n);
	if (taken < 0)
		return fail(c, taken);
	evbuffer_drain(in, n);
	return true;
}

/* Bytes of all streams, as far as the socket (and what may wait for it) takes them. */
static bool send_all(struct conn *c)
{
	const uint8_t *bytes;
	ssize_t n = 0;
	bool sent = false;

	while (conn_room(c) && (n = nghttp2_session_mem_send(c->h2->session, &bytes)) > 0) {
		conn_send(c, &(struct iovec){ (void *)bytes, (size_t)n }, 1);
		sent = true;
	}
	if (n < 0)
		return fail(c, n);
	return sent;
}

static bool work(struct h2 *h2)
{
	struct h2_stream *s;
	size_t bound = BODIES_MAX * h2->c->http->conf->max_body_bytes;
	bool worked = false;

	while ((s = TAILQ_FIRST(&h2->touched))) {
		TAILQ_REMOVE(&h2->touched, s, touch);
		s->touched = false;
		h2_stream_work(s);
		worked = true;
	}
	if (h2->owed && h2->held <= bound) {
		nghttp2_session_consume_connection(h2->session, h2->owed);
		h2->owed = 0;
	}
	return worked;
}

/* ---- the end ---- */

/* Without streams a connection may stay for a while; a header block has to end in time. */
static void watch_time(struct conn *c)
{
	struct h2 *h2 = c->h2;
	const struct timeval *timer = NULL;

	if (h2->in_head)
		timer = c->http->header_timeout;
	else if (h2->farewell == H2_NOTICED)
		timer = c->http->farewell_timeout;
	else if (!h2->nstreams)
		timer = h2->served ? c->http->idle_timeout : c->http->header_timeout;
	pending_idle(c, h2->served && !h2->nstreams && !h2->in_head && h2->farewell == H2_STAYING);
	if (timer == h2->timer)
		return;
	h2->timer = timer;
	conn_timer(c, timer);
}

static bool on_time_out(struct conn *c)
{
	struct h2 *h2 = c->h2;

	if (h2->in_head) {
		h2->flood = "header blocks that do not end";
		return give_up(c, NGHTTP2_ENHANCE_YOUR_CALM);
	}
	c->timed_out = false;
	say_goodbye(h2);
	return true;
}

/* Is there a reason to say or do something about the connection as a whole? */
static bool look_around(struct conn *c)
{
	struct h2 *h2 = c->h2;
	bool wants = nghttp2_session_want_read(h2->session) || nghttp2_session_want_write(h2->session);

	if (h2->flood)
		return give_up(c, NGHTTP2_ENHANCE_YOUR_CALM);
	if (c->timed_out && (h2->in_head || h2->farewell != H2_LEAVING))
		return on_time_out(c);
	if (h2->farewell == H2_STAYING &&
		(c->http->draining || c->pending.over ||
			h2->served >= c->http->conf->max_keepalive_requests)) {
		give_notice(h2);
		return true;
	}
	if (!wants && h2->error) {
		stat_add(STAT_H2_ERRORS, 1);
		return leave(c, END_H2_PROTOCOL);
	}
	if (!wants && h2->farewell != H2_NOTICED)
		return leave(c, END_CLIENT_GONE);
	return false;
}

void h2_goodbye(struct conn *c)
{
	say_goodbye(c->h2);
	send_all(c);
}

bool h2_step(struct conn *c)
{
	/* who does not read our answers gets no more of them */
	bool hear = conn_room(c) > 0;
	bool left_us = c->eof ? !hear || !evbuffer_get_length(conn_input(c)) : !hear && c->departed;
	enum h2_farewell farewell = c->h2->farewell;
	bool moved = false;

	c->want_room = false; /* send_all() looks by itself */
	if (left_us) {
		h2_free(c, END_CLIENT_GONE);
		c->phase = CONN_DEAD;
		return true;
	}
	if (hear)
		moved = receive(c);
	if (!c->h2)
		return true;
	if (farewell == H2_NOTICED && c->h2->farewell == H2_LEAVING)
		say_goodbye(c->h2);
	moved |= send_all(c);
	if (!c->h2)
		return true;
	moved |= work(c->h2);
	moved |= look_around(c);
	if (c->h2 && !moved)
		watch_time(c);
	return moved;
}
