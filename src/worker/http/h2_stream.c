/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2_stream.c - from HEADERS and DATA to a request that an app is given, and its end.
 *
 * nghttp2 has checked what RFC 9113, 8.1-8.3 says about fields and the length of the body; here is what it
 * leaves to us: sizes, times, which host is asked.
 */
#include "base/base.h"
#include "worker/http/h2.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/http/ws_handshake.h"

#include <strings.h>

/* What each field adds to the size of a header list (RFC 9113, 6.5.2). */
#define FIELD_OVERHEAD 32

/* ---- life ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct h2_stream *s = arg;

	s->timed_out = true;
	h2_touch(s);
	conn_settle_later(s->h2->c);
}

static void set_timer(struct h2_stream *s, const struct timeval *duration)
{
	s->timed_out = false;
	s->moved = false;
	s->watch = duration;
	if (duration)
		event_add(&s->timer, duration);
	else
		event_del(&s->timer);
}

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
	struct h2_stream *s = xcalloc(1, sizeof(*s));

	s->h2 = h2;
	s->id = id;
	evtimer_assign(&s->timer, h2->c->http->base, on_timer, s);
	TAILQ_INSERT_TAIL(&h2->streams, s, entry);
	h2->nstreams++;
	return s;
}

static void release_body(struct h2_stream *s)
{
	s->h2->held -= s->body.len;
	s->x.request.body = NULL;
	buf_release(&s->body);
}

static void release_request(struct h2_stream *s)
{
	release_body(s);
	buf_release(&s->text);
	free(s->fields);
	s->fields = NULL;
}

void h2_stream_end(struct h2_stream *s, enum ending ending)
{
	if (!s->x_open)
		return;
	if (s->x.state != EXCHANGE_ENDED)
		s->x.note.ending = ending;
	s->x_open = false;
	s->phase = H2_ANSWERED;
	exchange_close(&s->x);
	release_request(s);
}

void h2_stream_free(struct h2_stream *s, enum ending ending)
{
	struct h2 *h2 = s->h2;

	s->closed = true; /* what the app may still write in on_close() goes nowhere */
	h2_stream_end(s, ending);
	h2_ws_free(s);
	release_request(s);
	buf_release(&s->out);
	event_del(&s->timer);
	if (s->touched)
		TAILQ_REMOVE(&h2->touched, s, touch);
	TAILQ_REMOVE(&h2->streams, s, entry);
	h2->nstreams--;
	free(s);
}

/* ---- what nghttp2 hands over ---- */

void h2_stream_add_field(struct h2_stream *s, nghttp2_vec name, nghttp2_vec value)
{
	s->head_bytes += name.len + value.len + FIELD_OVERHEAD;
	if (s->nfields == HEAD_FIELDS_MAX || s->head_bytes > s->h2->c->http->conf->max_header_bytes)
		s->head_large = true;
	if (s->head_large)
		return;
	/* to the first NUL: nghttp2 lets none pass, but what is read again by NULs should not depend on that */
	buf_add(&s->text, name.base, strnlen((char *)name.base, name.len));
	buf_add(&s->text, "", 1);
	buf_add(&s->text, value.base, strnlen((char *)value.base, value.len));
	buf_add(&s->text, "", 1);
	s->nfields++;
}

bool h2_stream_add_body(struct h2_stream *s, const uint8_t *bytes, size_t len)
{
	if (s->ws && s->x_open) {
		h2_ws_add(s, bytes, len);
		return false; /* not yet */
	}
	if (s->phase > H2_BODY || s->body_large)
		return false;
	if (len > s->h2->c->http->conf->max_body_bytes - s->body.len) {
		s->body_large = true;
		h2_touch(s);
		return false;
	}
	buf_add(&s->body, bytes, len);
	s->h2->held += len;
	return true;
}

/* ---- the head ---- */

/* What the fields say that begin with a colon, and what decides who is asked. */
struct meaning {
	const char *method;
	const char *protocol; /* of an extended CONNECT (RFC 8441) */
	const char *scheme;
	const char *authority;
	const char *host;
	char *path;
	const char *expect;
	const char *length;
};

static void note_field(struct meaning *m, const char *name, char *value)
{
	const struct {
		const char *name;
		const char **value;
	} rows[] = {
		{ ":method", &m->method },
		{ ":protocol", &m->protocol },
		{ ":scheme", &m->scheme },
		{ ":authority", &m->authority },
		{ "host", &m->host },
		{ "expect", &m->expect },
		{ "content-length", &m->length },
	};

	if (!strcmp(name, ":path"))
		m->path = value;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!strcmp(name, rows[i].name))
			*rows[i].value = value;
}

/* Fields to the exchange, pseudo-header fields to *m; a Host field is made of :authority. */
static unsigned sort_fields(struct h2_stream *s, struct meaning *m)
{
	char *at = s->text.data;
	unsigned n = 0;

	s->fields = xcalloc(s->nfields + 1, sizeof(*s->fields));
	for (unsigned i = 0; i < s->nfields; i++) {
		char *name = at, *value = at + strlen(at) + 1;

		at = value + strlen(value) + 1;
		note_field(m, name, value);
		if (*name != ':')
			s->fields[n++] = (struct exchange_header){ name, value };
	}
	if (m->authority && !m->host)
		s->fields[n++] = (struct exchange_header){ "host", m->authority };
	return n;
}

static enum ending judge_target(const struct h2_stream *s, const struct meaning *m, const char **why)
{
	const struct conf *conf = s->h2->c->http->conf;

	if (m->protocol && strcmp(m->protocol, "websocket")) {
		*why = "of all protocols only websocket is served here";
		return END_NOT_IMPLEMENTED;
	}
	if (!strcmp(m->method, "CONNECT") && !m->protocol) {
		*why = "CONNECT is not served here";
		return END_BAD_REQUEST;
	}
	if (strlen(m->method) + strlen(m->path) > conf->max_request_line_bytes)
		return END_URI_TOO_LONG;
	if (strcasecmp(m->scheme, "http") && strcasecmp(m->scheme, "https"))
		*why = "the request is for a scheme that is not served here";
	else if (!head_target_ok(m->path))
		*why = HEAD_TARGET_WRONG;
	else if (*m->path != '/' && (strcmp(m->path, "*") || strcmp(m->method, "OPTIONS")))
		*why = "the request target is not a path";
	return *why ? END_BAD_REQUEST : END_COMPLETE;
}

/* One host, in one way (8.3.1); a body that is wanted. */
static enum ending judge_fields(const struct h2_stream *s, const struct meaning *m, const char **why)
{
	const char *host = m->authority ? m->authority : m->host;

	if (!host || !head_authority_ok(host))
		*why = host ? "the host is not one" : "no host is named";
	else if (m->authority && m->host && strcasecmp(m->authority, m->host))
		*why = "the Host field and :authority do not agree";
	if (*why)
		return END_BAD_REQUEST;
	if (m->expect && strcasecmp(m->expect, "100-continue"))
		return END_EXPECTATION_FAILED;
	if (m->length && strtoull(m->length, NULL, 10) > s->h2->c->http->conf->max_body_bytes)
		return END_BODY_TOO_LARGE;
	return END_COMPLETE;
}

static void fill_request(struct h2_stream *s, struct meaning *m, unsigned nfields)
{
	struct exchange_request *r = &s->x.request;
	char *query = m->path ? strchr(m->path, '?') : NULL;

	if (query)
		*query++ = 0;
	exchange_begin(&s->x, &h2_port);
	/* a WebSocket is to apps what it is over HTTP/1.1 */
	r->websocket = m->protocol;
	r->method = m->protocol ? "GET" : m->method ? m->method : "-";
	r->path = m->path ? m->path : "-";
	r->query = query ? query : "";
	r->headers = s->fields;
	r->nheaders = nfields;
	r->peer = s->h2->c->peer;
	r->admin = s->h2->c->admin;
	r->address = s->h2->c->address;
	exchange_identify(&s->x);
	s->x_open = true;
	proxy_forwarded(s->h2->c->http->conf, &s->x);
}

/* ---- to the app, or not ---- */

/*
 * Not routed, but told and counted as every request is: an exchange without an app. What is still to come
 * of the request is not wanted: on_frame_sent() in h2.c says so once the answer is out.
 */
static void refuse(struct h2_stream *s, enum ending ending, const char *why)
{
	const struct exchange_error error = { .ending = ending, .message = why };
	const struct exchange_header type = { "Content-Type", "application/json" };
	struct buf body = BUF_INIT;

	stat_add(STAT_REJECTED_INPUT, 1);
	exchange_error_json(&body, &error);
	s->x.status = ending_facts[ending].http;
	s->x.sent_bytes = body.len;
	set_timer(s, NULL);
	h2_answer(s, s->x.status, &type, 1, body.data, body.len);
	h2_stream_end(s, ending);
	buf_release(&body);
}

static void go_on(struct h2_stream *s)
{
	const nghttp2_nv status = { .name = (uint8_t *)":status", .namelen = 7, .value = (uint8_t *)"100", .valuelen = 3 };

	nghttp2_submit_headers(
		s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, &status, 1, NULL);
}

static void run(struct h2_stream *s)
{
	struct http *http = s->h2->c->http;

	set_timer(s, NULL);
	s->x.request.body = s->body.len ? s->body.data : NULL;
	s->x.request.body_len = s->body.len;
	s->phase = H2_RUNNING;
	s->h2->served++;
	http->route(&s->x, http->route_arg);
	BUG_ON(!s->x.app);
	if (!pending_refuse(s->h2->c, &s->x))
		s->x.app->on_start(&s->x);
	release_body(s);
}

static void take_head(struct h2_stream *s)
{
	struct meaning m = { 0 };
	unsigned nfields = s->head_large ? 0 : sort_fields(s, &m);
	enum ending bad = END_HEAD_TOO_LARGE;
	const char *why = NULL;

	if (!s->head_large)
		bad = judge_target(s, &m, &why);
	if (bad == END_COMPLETE)
		bad = judge_fields(s, &m, &why);
	if (bad == END_COMPLETE && m.protocol)
		bad = ws_handshake_check_fields(s->fields, nfields, &why);
	if (bad == END_UPGRADE_REQUIRED) /* nothing is upgraded here */
		bad = END_BAD_REQUEST;
	fill_request(s, &m, nfields);
	if (bad != END_COMPLETE) {
		refuse(s, bad, why);
		return;
	}
	s->phase = H2_BODY;
	if (m.protocol)
		run(s);
	if (m.protocol || s->whole)
		return;
	set_timer(s, s->h2->c->http->header_timeout);
	if (m.expect && !s->body.len)
		go_on(s);
}

/* ---- work ---- */

/* The body did not come in time, or the client takes nothing of the answer. */
static void on_timeout(struct h2_stream *s)
{
	s->timed_out = false;
	if (s->phase == H2_BODY) {
		refuse(s, END_HEAD_TIMEOUT, NULL);
		return;
	}
	if (s->answer_out) {
		nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
		return;
	}
	nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
	h2_stream_end(s, END_CLIENT_STALLED);
	h2_tolerates(s->h2, H2_STALL);
}

/*
 * A client has to take something of what waits for it within client_stall_timeout. Who has a whole answer to a
 * request that is not whole has a while to read it before his stream is reset: some would drop it.
 */
static void watch_progress(struct h2_stream *s)
{
	const struct http *http = s->h2->c->http;
	const struct timeval *watch = s->answer_out	    ? http->farewell_timeout
				      : h2_stream_unsent(s) ? http->stall_timeout
							    : NULL;

	if (s->phase >= H2_RUNNING && (watch != s->watch || s->moved))
		set_timer(s, watch);
}

static void offer_room(struct h2_stream *s)
{
	if (!s->want_room ||
		h2_stream_unsent(s) > s->h2->c->http->conf->stream_buffer_bytes / 2)
		return;
	s->want_room = false;
	if (s->x_open && s->x.app && s->x.app->on_room && s->x.state != EXCHANGE_ENDED)
		s->x.app->on_room(&s->x);
}

void h2_stream_work(struct h2_stream *s)
{
	if (s->closed) {
		h2_stream_free(s, END_CLIENT_GONE);
		return;
	}
	if (s->timed_out)
		on_timeout(s);
	if (s->phase == H2_HEAD && s->head_whole)
		take_head(s);
	if (s->phase == H2_BODY && s->body_large)
		refuse(s, END_BODY_TOO_LARGE, NULL);
	if (s->phase == H2_BODY && s->whole)
		run(s);
	if (s->ws && s->x_open)
		h2_ws_work(s);
	else if (s->x_open && s->x.state == EXCHANGE_ENDED)
		h2_stream_end(s, END_COMPLETE);
	offer_room(s);
	watch_progress(s);
}
