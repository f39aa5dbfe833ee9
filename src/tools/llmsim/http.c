/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.c - see http.h. A connection's memory outlives the turn in which it is
 * closed, so that whoever is on the stack may still look at it.
 */
#include "base/base.h"
#include "tools/llmsim/http.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/defer.h"
#include "base/fd.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/listen.h"
#include "tools/llmsim/wheel.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define READ_BYTES 65536
#define PIPELINE_MAX_BYTES (1 << 20)
#define ACCEPTS_A_TURN 256
#define ACCEPT_PAUSE_MS 100

enum conn_state {
	CONN_HEAD, /* waiting for a head, or in it */
	CONN_BODY,
	CONN_ANSWERING,
	CONN_FINISHING, /* all was said; the queue goes out, then the next request */
	CONN_CUTTING,   /* the queue goes out, then FIN */
	CONN_CLOSED,    /* its memory goes at the end of the turn */
};

struct http_conn {
	struct http_request req;
	LIST_ENTRY(http_conn) entry;
	struct http_server *server;
	int fd;
	enum conn_state state;
	struct event readable, writable;
	struct buf in;
	size_t scanned;  /* of `in`, for the end of a head */
	struct buf head; /* what req.head points into */
	struct buf out;
	size_t out_sent; /* of `out` */
	struct body body;
	size_t slow_bytes; /* 0: read as fast as it comes */
	uint64_t slow_ms;
	struct wheel_timer timer; /* slow reading, or settling while idle */
	struct defer end;
	struct defer advance;
	bool advancing, idle, settled;
	bool uncounted;
	uint64_t raised_max; /* to how many connections, by coming; 0: not at all */
};

LIST_HEAD(http_conns, http_conn);

struct http_server {
	struct event_base *base;
	struct wheel *wheel;
	const struct http_handler *handler;
	int fd;
	struct event acceptable;
	struct wheel_timer accept_again;
	struct http_counts counts;
	struct http_conns conns;
	uint64_t serial;
};

static void conn_advance(struct http_conn *c);

/* ---- the end of a connection -------------------------------------------- */

static void conn_free(void *arg)
{
	struct http_conn *c = arg;

	buf_release(&c->in);
	buf_release(&c->head);
	buf_release(&c->out);
	buf_release(&c->req.body);
	free(c);
}

static void conn_not_idle(struct http_conn *c)
{
	wheel_disarm(&c->timer);
	if (c->idle)
		c->server->counts.idle--;
	if (c->settled)
		c->server->counts.settled--;
	c->idle = c->settled = false;
}

/* Closes and tells the handler, if it has a request here. */
static void conn_close(struct http_conn *c, enum http_end how)
{
	bool tell = c->state != CONN_HEAD;

	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	c->req.failed = true;
	conn_not_idle(c);
	event_del(&c->readable);
	event_del(&c->writable);
	LIST_REMOVE(c, entry);
	if (!c->uncounted)
		c->server->counts.open--;
	events_write("close", "\"conn\":%" PRIu64, c->req.conn);
	fd_close(&c->fd);
	defer_cancel(&c->advance);
	defer_cancel(&c->end);
	defer_call(&c->end, conn_free, c);
	if (tell)
		c->server->handler->finished(&c->req, how);
}

static void conn_broken(void *arg)
{
	conn_close(arg, HTTP_GONE);
}

/* ---- sending ------------------------------------------------------------ */

/* How much the kernel took; a broken connection ends at the end of the turn. Who has an answer finds his request in the events. */
static size_t conn_send(struct http_conn *c, const char *bytes, size_t len)
{
	ssize_t n;

	events_flush();
	do
		n = send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (size_t)n;
	if (errno != EAGAIN && errno != EWOULDBLOCK) {
		c->req.failed = true;
		defer_call(&c->end, conn_broken, c);
	}
	return 0;
}

void http_send(struct http_request *req, const void *bytes, size_t len)
{
	struct http_conn *c = container_of(req, struct http_conn, req);
	size_t sent = 0;

	if (req->failed)
		return;
	if (!c->out.len)
		sent = conn_send(c, bytes, len);
	if (req->failed || sent == len)
		return;
	if (!c->out.len)
		event_add(&c->writable, NULL);
	buf_add(&c->out, (const char *)bytes + sent, len - sent);
}

size_t http_queued(const struct http_request *req)
{
	const struct http_conn *c = container_of(req, struct http_conn, req);

	return c->out.len - c->out_sent;
}

static void conn_wait_idle(struct http_conn *c);

/* The answer is out: on to the next request, or the end. */
static void conn_answered(struct http_conn *c)
{
	if (!c->req.head.keep_alive) {
		shutdown(c->fd, SHUT_WR);
		conn_close(c, HTTP_COMPLETE);
		return;
	}
	c->server->handler->finished(&c->req, HTTP_COMPLETE);
	buf_release(&c->req.body);
	buf_release(&c->head);
	c->req.head = (struct head){0};
	c->req.owner = NULL;
	c->slow_bytes = 0;
	c->state = CONN_HEAD;
	conn_wait_idle(c);
	event_add(&c->readable, NULL);
	conn_advance(c);
}

static void conn_drained(struct http_conn *c)
{
	switch (c->state) {
	case CONN_FINISHING:
		conn_answered(c);
		break;
	case CONN_CUTTING:
		conn_close(c, HTTP_CUT);
		break;
	default:
		c->server->handler->drained(&c->req);
	}
}

static void conn_writable(evutil_socket_t fd, short what, void *arg)
{
	struct http_conn *c = arg;

	if (c->req.failed)
		return;
	c->out_sent += conn_send(c, c->out.data + c->out_sent, c->out.len - c->out_sent);
	if (c->req.failed || c->out_sent < c->out.len)
		return;
	buf_release(&c->out);
	c->out_sent = 0;
	event_del(&c->writable);
	conn_drained(c);
}

static void conn_end(struct http_request *req, enum conn_state state)
{
	struct http_conn *c = container_of(req, struct http_conn, req);

	if (req->failed)
		return; /* conn_broken tells the handler */
	c->state = state;
	if (!c->out.len)
		conn_drained(c);
}

void http_finish(struct http_request *req)
{
	conn_end(req, CONN_FINISHING);
}

void http_cut(struct http_request *req)
{
	conn_end(req, CONN_CUTTING);
}

static void conn_reset(struct http_conn *c, enum http_end how)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	conn_close(c, how);
}

void http_reset(struct http_request *req)
{
	if (!req->failed)
		conn_reset(container_of(req, struct http_conn, req), HTTP_CUT);
}

/* ---- reading ------------------------------------------------------------ */

static void conn_settled(void *arg)
{
	struct http_conn *c = arg;
	struct http_counts *n = &c->server->counts;

	c->settled = true;
	if (++n->settled > n->max_settled)
		n->max_settled = n->settled;
}

static void conn_wait_idle(struct http_conn *c)
{
	if (c->in.len || c->uncounted)
		return;
	buf_release(&c->in);
	c->idle = true;
	c->server->counts.idle++;
	wheel_arm(c->server->wheel, &c->timer, clock_us() + HTTP_SETTLE_MS * 1000, conn_settled,
	        c);
}

static void conn_refuse(struct http_conn *c, int status, const char *why)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
	        "HTTP/1.1 %d Refused\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n"
	        "connection: close\r\n\r\nllmsim: %s\n",
	        status, strlen(why) + strlen("llmsim: \n"), why);

	c->server->counts.refused++;
	events_write("refused", "\"conn\":%" PRIu64 ",\"status\":%d,\"why\":\"%s\"",
	        c->req.conn, status, why);
	conn_send(c, text, (size_t)n);
	conn_close(c, HTTP_CUT);
}

/* A whole head is in `in`: true if a request starts. */
static bool conn_head(struct http_conn *c)
{
	const char *end, *why;
	size_t len;
	int status;

	end = c->in.len > c->scanned
	              ? memmem(c->in.data + c->scanned, c->in.len - c->scanned, "\r\n\r\n", 4)
	              : NULL;
	len = end ? (size_t)(end - c->in.data) + 4 : c->in.len;
	if (len > HEAD_MAX_BYTES) {
		conn_refuse(c, 431, "head too large");
		return false;
	}
	if (!end) {
		c->scanned = c->in.len > 3 ? c->in.len - 3 : 0;
		return false;
	}
	c->scanned = 0;
	buf_add(&c->head, c->in.data, len);
	buf_drop(&c->in, len);
	status = head_parse(&c->req.head, c->head.data, len, &why);
	if (status) {
		conn_refuse(c, status, why);
		return false;
	}
	body_init(&c->body, &c->req.head);
	c->state = CONN_BODY;
	c->server->handler->head(&c->req);
	if (c->req.head.expects_continue && !c->in.len)
		http_send(&c->req, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return !c->req.failed;
}

static void conn_slow_turn(void *arg);

/* Take what there is of the body: true when it is complete. */
static bool conn_body(struct http_conn *c)
{
	size_t take = c->in.len;
	size_t used;
	enum body_state state;

	if (c->slow_bytes && c->timer.fn)
		return false;
	if (c->slow_bytes && take > c->slow_bytes)
		take = c->slow_bytes;
	state = body_feed(&c->body, c->in.data ? c->in.data : "", take, &c->req.body, &used);
	if (used)
		buf_drop(&c->in, used);
	if (state == BODY_BAD || state == BODY_TOO_LARGE) {
		conn_refuse(c, state == BODY_BAD ? 400 : 413,
		        state == BODY_BAD ? "chunked body is not well-formed"
		                          : "body too large");
		return false;
	}
	if (state == BODY_MORE && c->slow_bytes) {
		event_del(&c->readable);
		wheel_arm(c->server->wheel, &c->timer, clock_us() + c->slow_ms * 1000,
		        conn_slow_turn, c);
	}
	return state == BODY_DONE;
}

/* As far as the bytes in `in` go. The handler may end the request, even the connection. */
static void conn_advance(struct http_conn *c)
{
	if (c->advancing)
		return;
	c->advancing = true;
	for (;;) {
		if (c->state == CONN_HEAD && c->in.len && conn_head(c))
			continue;
		if (c->state != CONN_BODY || c->req.failed || !conn_body(c))
			break;
		c->state = CONN_ANSWERING;
		event_add(&c->readable, NULL);
		c->server->handler->request(&c->req);
	}
	c->advancing = false;
}

/*
 * At the end of the turn, when every departure that came before these bytes has been seen: a client
 * that ends one request and then starts another never has two in flight, however late we look.
 */
static void conn_advance_late(void *arg)
{
	struct http_conn *c = arg;
	char byte;

	if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		conn_close(c, HTTP_GONE);
	else
		conn_advance(c);
}

static void conn_readable(evutil_socket_t fd, short what, void *arg)
{
	static char bytes[READ_BYTES];
	struct http_conn *c = arg;
	size_t want = c->slow_bytes && c->state == CONN_BODY ? c->slow_bytes : sizeof(bytes);
	ssize_t n = recv(c->fd, bytes, want < sizeof(bytes) ? want : sizeof(bytes), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c, HTTP_GONE);
		return;
	}
	conn_not_idle(c);
	buf_add(&c->in, bytes, (size_t)n);
	if (c->state >= CONN_ANSWERING && c->in.len > PIPELINE_MAX_BYTES)
		event_del(&c->readable);
	defer_call(&c->advance, conn_advance_late, c);
}

static void conn_slow_turn(void *arg)
{
	struct http_conn *c = arg;

	event_add(&c->readable, NULL);
	if (c->in.len)
		conn_advance(c);
}

void http_read_slowly(struct http_request *req, size_t bytes, uint64_t every_ms)
{
	struct http_conn *c = container_of(req, struct http_conn, req);
	/* Less than two segments of the loopback would make the kernel drop them. */
	int size = 2 * READ_BYTES;

	c->slow_bytes = bytes;
	c->slow_ms = every_ms;
	setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

void http_uncount(struct http_request *req)
{
	struct http_conn *c = container_of(req, struct http_conn, req);
	struct http_counts *n = &c->server->counts;

	if (c->uncounted)
		return;
	c->uncounted = true;
	n->open--;
	if (c->raised_max && c->raised_max == n->max_open)
		n->max_open--;
	events_write("spectator", "\"conn\":%" PRIu64, req->conn);
}

/* ---- listening ---------------------------------------------------------- */

static void conn_new(struct http_server *s, int fd)
{
	struct http_conn *c = xcalloc(1, sizeof(*c));
	int yes = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	c->server = s;
	c->fd = fd;
	c->req.conn = ++s->serial;
	event_assign(&c->readable, s->base, fd, EV_READ | EV_PERSIST, conn_readable, c);
	event_assign(&c->writable, s->base, fd, EV_WRITE | EV_PERSIST, conn_writable, c);
	event_add(&c->readable, NULL);
	LIST_INSERT_HEAD(&s->conns, c, entry);
	if (++s->counts.open > s->counts.max_open)
		c->raised_max = s->counts.max_open = s->counts.open;
	events_write("open", "\"conn\":%" PRIu64, c->req.conn);
}

static void server_accept_again(void *arg)
{
	struct http_server *s = arg;

	event_add(&s->acceptable, NULL);
}

static void server_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;

	for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
		int got = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (got >= 0) {
			conn_new(s, got);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			event_del(&s->acceptable);
			wheel_arm(s->wheel, &s->accept_again,
			        clock_us() + ACCEPT_PAUSE_MS * 1000, server_accept_again, s);
		}
		return;
	}
}

static void server_listen(struct http_server *s)
{
	event_assign(&s->acceptable, s->base, s->fd, EV_READ | EV_PERSIST, server_acceptable, s);
	event_add(&s->acceptable, NULL);
}

void http_server_down(struct http_server *server)
{
	struct http_conn *c, *next;

	wheel_disarm(&server->accept_again);
	event_del(&server->acceptable);
	server->fd = listen_hold(server->fd);
	BUG_ON(server->fd < 0);
	for (c = LIST_FIRST(&server->conns); c; c = next) {
		next = LIST_NEXT(c, entry);
		if (!c->uncounted)
			conn_reset(c, HTTP_OUTAGE);
	}
}

void http_server_up(struct http_server *server)
{
	int err = listen_again(server->fd);

	BUG_ON(err);
	server_listen(server);
}

struct http_server *http_server_new(struct event_base *base, struct wheel *wheel, int fd,
        const struct http_handler *handler)
{
	struct http_server *s = xcalloc(1, sizeof(*s));

	s->base = base;
	s->wheel = wheel;
	s->handler = handler;
	s->fd = fd;
	LIST_INIT(&s->conns);
	server_listen(s);
	return s;
}

struct http_counts *http_counts(struct http_server *server)
{
	return &server->counts;
}

void http_server_free(struct http_server *server)
{
	struct http_conn *c;

	while ((c = LIST_FIRST(&server->conns)))
		conn_close(c, HTTP_STOPPED);
	defer_run();
	wheel_disarm(&server->accept_again);
	event_del(&server->acceptable);
	close(server->fd);
	free(server);
}
