/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that speaks HTTP/2 after a fashion: the preface, then anything, in pieces of any size, against a
 * whole connection (h2*.c, nghttp2, out.c) with an app of each kind behind it.
 *
 * Held to be true: a request that reaches an app is well-formed and within the limits; each app is started once
 * and closed once, whatever comes; what we send is frames of a legal size; nothing is left when the client leaves.
 */
#include "base/base.h"
#include "base/bug.h"
#include "base/defer.h"
#include "conf/conf.h"
#include "worker/admit/admit.h"
#include "worker/http/h2.h"
#include "worker/http/ws_deflate.h"

#include <event2/buffer.h>
#include <sys/socket.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HEAD_MAX 2000
#define BODY_MAX 3000
#define STREAM_BUFFER 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf conf;
static struct http http;
static unsigned started, closed;

/* ---- the house: there is always room ---- */

bool admit_pending(struct admit *admit, struct gate_ticket *ticket)
{
	ticket->state = TICKET_HELD;
	return true;
}

bool admit_pending_wait(struct admit *admit, struct gate_ticket *ticket)
{
	return false;
}

void admit_on_pending(struct admit *admit, void (*granted)(struct gate_ticket *ticket))
{
}

bool admit_pending_wanted(const struct admit *admit)
{
	return false;
}

const char *admit_pending_limit(void)
{
	return "connection_queue_size";
}

void admit_settled(struct admit *admit, struct gate_ticket *ticket)
{
	ticket->state = TICKET_IDLE;
}

/* ---- apps ---- */

static void check_request(const struct exchange *x)
{
	const struct exchange_request *r = &x->request;
	size_t bytes = 0;

	BUG_ON(!*r->method || (*r->path != '/' && strcmp(r->path, "*")) || r->nheaders > HEAD_FIELDS_MAX);
	BUG_ON(strpbrk(r->path, "?# ") || strpbrk(r->query, "# ") || r->body_len > BODY_MAX);
	for (unsigned i = 0; i < r->nheaders; i++) {
		const char *name = r->headers[i].name, *value = r->headers[i].value;

		BUG_ON(!*name || strpbrk(name, ": \r\n\t") || strpbrk(value, "\r\n"));
		for (const char *p = name; *p; p++)
			BUG_ON(*p >= 'A' && *p <= 'Z');
		bytes += strlen(name) + strlen(value);
	}
	BUG_ON(bytes > HEAD_MAX || !exchange_header(x, "host"));
}

/* What it does is in the path: answer at once, stream, cut, fill the buffer, or nothing. */
static void on_start(struct exchange *x)
{
	static const char bytes[1000];

	started++;
	check_request(x);
	if (x->request.websocket) {
		exchange_accept_ws(x);
		return;
	}
	switch (x->request.path[1]) {
	case 's':
		exchange_start(x, 200, NULL, 0);
		exchange_write(x, "token", 5);
		exchange_finish(x);
		break;
	case 'a':
		exchange_start(x, 200, NULL, 0);
		exchange_write(x, "token", 5);
		exchange_abort(x);
		break;
	case 'f':
		exchange_start(x, 200, NULL, 0);
		while (exchange_room(x) >= sizeof(bytes))
			exchange_write(x, bytes, sizeof(bytes));
		break;
	case 'n':
		break;
	default:
		exchange_respond(x, 200, NULL, 0, x->request.body, x->request.body_len);
	}
}

static void on_room(struct exchange *x)
{
	BUG_ON(!exchange_room(x));
	exchange_write(x, "more", 4);
	exchange_finish(x);
}

static void on_message(struct exchange *x, const char *text, size_t len)
{
	exchange_send_text(x, text, len);
	if (len > 5)
		exchange_close_ws(x, 1000, "enough");
}

static void on_close(struct exchange *x)
{
	closed++;
	if (x->request.websocket)
		return;
	exchange_write(x, "too late", 8);
}

static void route(struct exchange *x, void *arg)
{
	static const struct exchange_app app = {
		.name = "fuzz", .on_start = on_start, .on_room = on_room, .on_message = on_message, .on_close = on_close
	};

	x->app = &app;
}

/* ---- one connection ---- */

static void set_up(void)
{
	static const struct timeval hour = { 3600, 0 };

	conf.max_header_bytes = HEAD_MAX;
	conf.max_request_line_bytes = 500;
	conf.max_body_bytes = BODY_MAX;
	conf.stream_buffer_bytes = STREAM_BUFFER;
	conf.h2_max_concurrent_streams = 10;
	conf.max_keepalive_requests = 50;
	http.base = event_base_new();
	http.conf = &conf;
	http.route = route;
	http.input_max = 1 << 16;
	http.header_timeout = http.idle_timeout = http.stall_timeout = http.farewell_timeout = &hour;
	TAILQ_INIT(&http.conns);
	TAILQ_INIT(&http.extras);
	TAILQ_INIT(&http.idle);
	TAILQ_INIT(&http.overs);
	conf.max_message_size_bytes = BODY_MAX;
	http.ws_common = (struct ws_common){ .conf = &conf, .zlib = ws_zlib_open(), .farewell = &hour };
	h2_open(&http);
}

static struct conn *new_conn(int fd)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->http = &http;
	c->fd = fd;
	socket_open(c);
	evtimer_assign(&c->timer, http.base, NULL, NULL);
	TAILQ_INSERT_TAIL(&http.conns, c, entry);
	http.nconns++;
	h2_begin(c);
	return c;
}

/* What we sent: whole frames, as long as the connection is one of frames. */
static void read_frames(int fd, struct buf *got)
{
	unsigned char *p;
	ssize_t n;

	while ((n = recv(fd, buf_reserve(got, 1 << 16), 1 << 16, MSG_DONTWAIT)) > 0)
		got->len += (size_t)n;
	while (got->len >= 9) {
		size_t len;

		p = (unsigned char *)got->data;
		len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		BUG_ON(len > 16384 || p[3] > NGHTTP2_CONTINUATION || p[3] == NGHTTP2_PUSH_PROMISE);
		if (got->len < 9 + len)
			break;
		buf_drop(got, 9 + len);
	}
}

/* Turns of the loop until the connection is at rest. False: it is gone. */
static bool settle(struct conn *c)
{
	conn_settle_later(c);
	defer_run();
	return http.nconns > 0;
}

static void run_out_of_time(struct conn *c)
{
	struct h2_stream *s;

	if (!c->h2)
		return;
	c->timed_out = true;
	TAILQ_FOREACH(s, &c->h2->streams, entry) {
		s->timed_out = s->phase != H2_HEAD;
		h2_touch(s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf got = BUF_INIT;
	size_t step, at = 2;
	struct conn *c;
	bool alive = true;
	int pair[2];

	if (size < 3)
		return 0;
	if (!http.base)
		set_up();
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0);
	started = closed = 0;
	step = data[0] ? data[0] : size;
	c = new_conn(pair[0]);
	evbuffer_add(socket_input(c), PREFACE, sizeof(PREFACE) - 1);
	while (alive && at < size) {
		size_t n = size - at < step ? size - at : step;

		evbuffer_add(socket_input(c), data + at, n);
		at += n;
		alive = settle(c);
		read_frames(pair[1], &got);
	}
	if (alive && c->h2 && data[1] & 1) {
		h2_drain(c);
		alive = settle(c);
	}
	if (alive && data[1] & 2) {
		run_out_of_time(c);
		alive = settle(c);
	}
	read_frames(pair[1], &got);
	if (alive) {
		c->eof = true;
		settle(c);
	}
	BUG_ON(http.nconns || started != closed || defer_pending());
	close(pair[1]);
	buf_release(&got);
	return 0;
}
