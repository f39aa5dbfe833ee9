/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h1.c - a message as an exchange, its answer as HTTP/1.1, and libevhtp's part in it.
 *
 * libevhtp accepts connections, and one connection object of it, without a socket, is the worker's reader: it
 * is shown method and path of each message that the guard has found clean, and makes a request of them. It is
 * not shown what its parser gets wrong or has no room for: query, long targets, fields, body; those stay in our
 * own buffers. (An object for each connection would be 9 kB for a client that waits.) Answers are written by
 * us: libevhtp's chunk functions break HEAD and HTTP/1.0, set no Connection: close, and cost two epoll_ctl a
 * token.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/bug.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/admit/admit.h"
#include "worker/http/fields.h"
#include "worker/http/ws_handshake.h"

#include <event2/buffer.h>

/* Longest path that libevhtp is shown: its buffer has 8192 bytes. */
#define SHOWN_PATH_MAX 4096
#define HEAD_BYTES 500 /* most heads of answers are shorter */

/* ---- heads of answers ---- */

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 422, "Unprocessable Content" },
		{ 426, "Upgrade Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

static void add_fields(struct buf *out, const struct exchange_header *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		buf_adds(out, h[i].name);
		buf_adds(out, ": ");
		fields_add_value(out, h[i].value);
		buf_adds(out, "\r\n");
	}
}

static bool has_no_body(const struct conn *c, int status)
{
	return status == 204 || status == 304 ||
	       (c->head.method && !strcmp(c->head.method, "HEAD"));
}

/* All but the fields that frame the body and the blank line. */
static void add_head(struct conn *c, struct buf *out, int status, const struct exchange_header *h,
	unsigned n)
{
	struct exchange_header common[FIELDS_COMMON_MAX];

	buf_reserve(out, HEAD_BYTES);
	buf_adds(out, "HTTP/1.1 ");
	buf_addu(out, (unsigned)status);
	buf_adds(out, " ");
	buf_adds(out, reason_of(status));
	buf_adds(out, "\r\n");
	add_fields(out, h, n);
	add_fields(out, common, fields_common(c->x_open ? &c->x : NULL, common));
	c->last |= c->http->last_answers;
	if (status == 426)
		buf_adds(out, c->last ? "Connection: upgrade, close\r\n" : "Connection: upgrade\r\n");
	else if (c->last)
		buf_adds(out, "Connection: close\r\n");
	else if (c->head.minor == 0)
		buf_adds(out, "Connection: keep-alive\r\n");
}

static void send_whole(struct conn *c, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	struct buf head = BUF_INIT;

	add_head(c, &head, status, h, n);
	if (status != 204) {
		buf_adds(&head, "Content-Length: ");
		buf_addu(&head, len);
		buf_adds(&head, "\r\n");
	}
	buf_adds(&head, "\r\n");
	if (has_no_body(c, status))
		len = 0;
	conn_send(c, (struct iovec[]){ { head.data, head.len }, { (char *)body, len } }, 2);
	buf_release(&head);
}

/* ---- the port ---- */

static struct conn *conn_of(const struct exchange *x)
{
	return container_of(x, struct conn, x);
}

static void h1_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	struct conn *c = conn_of(x);

	send_whole(c, status, h, n, body, len);
	conn_settle_later(c);
}

static void h1_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n)
{
	struct conn *c = conn_of(x);
	struct buf head = BUF_INIT;

	c->bodyless = has_no_body(c, status);
	c->chunked = c->head.minor == 1 && status != 204;
	if (!c->chunked)
		c->last = true; /* the end of the stream is the end of the connection */
	add_head(c, &head, status, h, n);
	if (c->chunked)
		buf_adds(&head, "Transfer-Encoding: chunked\r\n");
	buf_adds(&head, "\r\n");
	conn_send(c, &(struct iovec){ head.data, head.len }, 1);
	buf_release(&head);
}

/* "1f\r\n", written so that it ends at `end`; returns where it begins. */
static char *chunk_size(char *end, size_t len)
{
	*--end = '\n';
	*--end = '\r';
	do
		*--end = "0123456789abcdef"[len & 15];
	while (len >>= 4);
	return end;
}

static void h1_write(struct exchange *x, const char *bytes, size_t len)
{
	struct conn *c = conn_of(x);
	struct iovec parts[3] = { { NULL, 0 }, { (char *)bytes, len }, { (void *)"\r\n", 2 } };
	char size[24];

	if (c->bodyless)
		return;
	if (!c->chunked) {
		conn_send(c, &parts[1], 1);
		return;
	}
	parts[0].iov_base = chunk_size(size + sizeof(size), len);
	parts[0].iov_len = (size_t)(size + sizeof(size) - (char *)parts[0].iov_base);
	conn_send(c, parts, 3);
}

static void h1_finish(struct exchange *x)
{
	struct conn *c = conn_of(x);

	if (c->chunked && !c->bodyless)
		conn_send(c, &(struct iovec){ (void *)"0\r\n\r\n", 5 }, 1);
	conn_settle_later(c);
}

/* What is queued goes out, but the end that would make it whole does not. */
static void h1_abort(struct exchange *x)
{
	struct conn *c = conn_of(x);

	c->last = true;
	c->reset = !c->chunked;
	conn_settle_later(c);
}

static size_t h1_room(const struct exchange *x)
{
	return conn_room(conn_of(x));
}

static void h1_admitted(struct exchange *x, bool yes)
{
	pending_admitted(conn_of(x), yes);
}

const struct exchange_port h1_port = {
	.respond = h1_respond,
	.start = h1_start,
	.write = h1_write,
	.finish = h1_finish,
	.abort = h1_abort,
	.room = h1_room,
	.accept_ws = h1_accept_ws,
	.send_message = h1_send_message,
	.close_ws = h1_close_ws,
	.admitted = h1_admitted,
};

/* ---- libevhtp's part ---- */

/* It frees the reader with its worker, or when its parser fails; the next connection brings another one. */
static evhtp_res on_reader_fini(evhtp_connection_t *reader, void *arg)
{
	struct http *http = arg;

	http->reader = NULL;
	return EVHTP_RES_OK;
}

evhtp_res h1_reader_accepted(evhtp_connection_t *reader, void *arg)
{
	evbuffer_unfreeze(bufferevent_get_input(reader->bev), 0);
	evhtp_connection_set_hook(reader, evhtp_hook_on_connection_fini, (evhtp_hook)on_reader_fini, arg);
	return EVHTP_RES_OK;
}

/* Show it the message. False: its parser refused it. */
static bool show_reader(struct conn *c)
{
	evhtp_connection_t *reader = c->http->reader;
	size_t letters = strspn(c->head.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	bufferevent_data_cb read, write;
	struct evbuffer *in;

	if (!reader)
		return true;
	bufferevent_getcb(reader->bev, &read, &write, NULL, NULL);
	in = bufferevent_get_input(reader->bev);
	evbuffer_add_printf(in, "%s %s HTTP/1.%u\r\n\r\n", c->head.method[letters] ? "GET" : c->head.method,
		strlen(c->head.path) > SHOWN_PATH_MAX || c->head.path[0] != '/' ? "/" : c->head.path,
		c->head.minor);
	read(reader->bev, reader);
	if (!c->http->reader || !reader->request)
		return false;
	evhtp_send_reply_end(reader->request);
	evhtp_request_set_keepalive(reader->request, 1);
	write(reader->bev, reader); /* it closes its books, and is ready for the next one */
	return true;
}

/* ---- messages ---- */

static bool stays_open(const struct conn *c)
{
	const struct conf *conf = c->http->conf;

	return !c->http->last_answers && !c->pending.over && conf->keepalive_timeout_ms &&
	       c->served < conf->max_keepalive_requests && !c->head.close &&
	       (c->head.minor == 1 || c->head.keep_alive);
}

static void fill_request(struct conn *c)
{
	struct exchange_request *r = &c->x.request;

	/* of a head that was refused nothing is known */
	r->method = c->head.method ? c->head.method : "-";
	r->path = c->head.method ? c->head.path : "-";
	r->query = c->head.method ? c->head.query : "";
	r->headers = c->head.fields;
	r->nheaders = c->head.nfields;
	r->body = c->head.has_body ? c->body.data : NULL;
	r->body_len = c->body.len;
	r->peer = c->peer;
	r->admin = c->admin;
	r->address = c->address;
	r->websocket = c->head.method && ws_handshake_asked(&c->head);
	proxy_forwarded(c->http->conf, &c->x);
}

void h1_begin(struct conn *c)
{
	c->started = false;
	c->scanned = 0;
	c->blank_bytes = 0;
	c->served++;
	if (!show_reader(c)) {
		log_warning("http", "libevhtp refused a request that is right: '%s'", c->head.path);
		c->phase = CONN_DEAD;
		return;
	}
	exchange_begin(&c->x, &h1_port);
	fill_request(c);
	exchange_identify(&c->x);
	c->x_open = true;
	c->last = !stays_open(c);
	c->chunked = c->bodyless = false;
	c->phase = CONN_RUNNING;
	c->http->route(&c->x, c->http->route_arg);
	BUG_ON(!c->x.app);
	if (!pending_refuse(c, &c->x))
		c->x.app->on_start(&c->x);
	c->x.request.body = NULL;
	buf_release(&c->body);
}

bool h1_step(struct conn *c)
{
	if (c->x.state == EXCHANGE_ENDED) {
		conn_end_exchange(c, END_COMPLETE);
		c->phase = CONN_FLUSH;
		return true;
	}
	if (conn_offer_room(c))
		return true;
	if (!c->eof && !c->departed)
		return false;
	conn_end_exchange(c, END_CLIENT_GONE);
	c->phase = CONN_DEAD;
	return true;
}

/* Not routed, but told and counted as every request is: an exchange without an app. */
void h1_refuse(struct conn *c, enum ending ending, const char *why)
{
	const struct exchange_error error = { .ending = ending, .message = why };
	struct exchange_header headers[3] = { { "Content-Type", "application/json" } };
	struct buf body = BUF_INIT;
	unsigned n = 1;

	if (ending == END_UPGRADE_REQUIRED) {
		headers[n++] = (struct exchange_header){ "Sec-WebSocket-Version", "13" };
		headers[n++] = (struct exchange_header){ "Upgrade", "websocket" };
	}
	if (ending == END_PENDING_FULL) {
		headers[n++] = (struct exchange_header){ "Retry-After", "1" };
		headers[n++] = (struct exchange_header){ "X-Headgate-Limit", admit_pending_limit() };
	} else {
		stat_add(STAT_REJECTED_INPUT, 1);
	}
	exchange_error_json(&body, &error);
	exchange_begin(&c->x, &h1_port);
	fill_request(c);
	exchange_identify(&c->x);
	c->x.status = ending_facts[ending].http;
	c->x.sent_bytes = body.len;
	c->x_open = true;
	c->last = true;
	c->phase = CONN_FLUSH;
	conn_timer(c, NULL);
	send_whole(c, c->x.status, headers, n, body.data, body.len);
	conn_end_exchange(c, ending);
	buf_release(&body);
}
