/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.c - see wire.h. */
#include "base/base.h"
#include "worker/provider/wire.h"

#include "base/bug.h"
#include "base/chunked.h"
#include "conf/conf.h"
#include "worker/provider/room.h"
#include "worker/provider/transfer.h"
#include "worker/provider/wire_head.h"

#include <event2/event.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define BLOCK_BYTES (16u << 10)
#define HEAD_BYTES 500 /* most heads of requests are shorter */

enum wire_state {
	WIRE_IDLE,    /* of no call */
	WIRE_HEAD,    /* its request goes out, or has gone out */
	WIRE_BODY,
	WIRE_COMPLETE /* the answer has ended */
};

struct wire {
	struct event readable;
	struct event *writable; /* while the request waits for room in the socket */
	struct wires *wires;
	struct provider_call *call;
	enum wire_state state;
	int fd;
	bool reused;   /* it has served a request before */
	bool answered; /* a byte of the answer has come */
	struct wire_head head;
	struct chunked chunked;
	uint64_t left;	   /* WIRE_LENGTH: of the body */
	struct buf head_out; /* of the request, while it is sent; */
	size_t head_at;	     /* so much of it was */
	TAILQ_ENTRY(wire) entry;
};

struct wires {
	struct provider *provider;
	char *host;    /* "Host: ...\r\n" */
	char *path;    /* of base_url, without a slash at its end */
	bool kept;     /* connections are */
	TAILQ_HEAD(, wire) all;
};

/* What is read goes through here, one block at a time. */
static char block[BLOCK_BYTES];

/* All of the request is sent, or the rest is not wanted. */
static void stop_sending(struct wire *wire)
{
	if (wire->writable)
		event_free(wire->writable);
	wire->writable = NULL;
	buf_release(&wire->head_out);
}

static void close_wire(struct wire *wire)
{
	struct wires *wires = wire->wires;

	event_del(&wire->readable);
	stop_sending(wire);
	TAILQ_REMOVE(&wires->all, wire, entry);
	(void)pool_socket_close(wires->provider->pool, wire->fd);
	free(wire);
}

/* The call has lost its connection, and goes on without, or ends. */
static void drop_wire(struct provider_call *call)
{
	struct wire *wire = call->wire;

	call->wire = NULL;
	close_wire(wire);
}

/* The transfer is over; the call may be gone afterwards. What was kept ahead goes out first. */
static void over(struct provider_call *call, CURLcode code, const char *detail)
{
	if (detail)
		snprintf(call->detail, sizeof(call->detail), "%s", detail);
	call->over = true;
	call->over_code = code;
	if (!call->ahead.len || call->cancelled || call->fell_behind)
		call_transfer_done(call, code);
}

/* ---- the request ------------------------------------------------------------------ */

static void write_head(struct wire *wire, const struct provider_call *call)
{
	struct buf *out = &wire->head_out;

	buf_reserve(out, HEAD_BYTES);
	buf_adds(out, call->body ? "POST " : "GET ");
	buf_adds(out, wire->wires->path);
	buf_adds(out, call->path);
	buf_adds(out, " HTTP/1.1\r\n");
	buf_adds(out, wire->wires->host);
	for (const struct curl_slist *h = call->headers; h; h = h->next) {
		if (h->data[strlen(h->data) - 1] == ':')
			continue; /* libcurl's way to say: without that one */
		buf_adds(out, h->data);
		buf_adds(out, "\r\n");
	}
	if (call->body) {
		buf_adds(out, "Content-Length: ");
		buf_addu(out, call->body_len);
		buf_adds(out, "\r\n");
	}
	buf_adds(out, "\r\n");
	wire->head_at = 0;
}

/*
 * As much of it as the socket takes. False: the rest must wait. When the connection is broken, nothing waits: what can be
 * read says why.
 */
static bool send_some(struct wire *wire, struct provider_call *call)
{
	struct iovec parts[] = { { wire->head_out.data + wire->head_at, wire->head_out.len - wire->head_at },
		{ call->body + call->uploaded, call->body_len - call->uploaded } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
	ssize_t n = sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	size_t of_head;

	if (n < 0)
		return errno != EAGAIN && errno != EINTR;
	of_head = (size_t)n < parts[0].iov_len ? (size_t)n : parts[0].iov_len;
	wire->head_at += of_head;
	call->uploaded += (size_t)n - of_head;
	call_progress(call);
	return (size_t)n == parts[0].iov_len + parts[1].iov_len;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;

	if (!send_some(wire, wire->call))
		return;
	stop_sending(wire);
}

static void send_request(struct wire *wire, struct provider_call *call)
{
	write_head(wire, call);
	if (send_some(wire, call)) {
		stop_sending(wire);
		return;
	}
	wire->writable = event_new(call->provider->all->base, wire->fd, EV_WRITE | EV_PERSIST, on_writable, wire);
	BUG_ON(!wire->writable);
	event_add(wire->writable, NULL);
}

/* The call has its connection. */
static void begin(struct wire *wire, struct provider_call *call)
{
	wire->call = call;
	call->wire = wire;
	wire->state = WIRE_HEAD;
	wire->answered = false;
	if (appoint_keep(call)) {
		send_request(wire, call);
		return;
	}
	wire->state = WIRE_IDLE; /* it has not seen the request */
	call->over = true;
	call->over_code = CURLE_ABORTED_BY_CALLBACK;
	call_later(call);
}

/* ---- the answer ------------------------------------------------------------------- */

/* Asker, pool and line have been told; neither call nor wire may be touched after. */
static void complete(struct wire *wire, struct provider_call *call, size_t surplus)
{
	wire->state = WIRE_COMPLETE;
	if (surplus)
		wire->head.keep_alive = false;
	over(call, CURLE_OK, NULL);
}

/*
 * A run of the body. False: the transfer is over, or the call is. While the asker has no room, nothing is read, and
 * what was read already is kept.
 */
static bool pass(struct wire *wire, struct provider_call *call, const char *bytes, size_t len)
{
	switch (len ? transfer_pass(call, bytes, len) : ANSWER_TAKEN) {
	case ANSWER_TAKEN:
		return true;
	case ANSWER_PAUSE:
		event_del(&wire->readable);
		return true;
	case ANSWER_STOP:
		break;
	}
	over(call, CURLE_WRITE_ERROR, NULL);
	return false;
}

static void take_chunks(struct wire *wire, struct provider_call *call, char *bytes, size_t len)
{
	size_t body, used;

	switch (chunked_decode(&wire->chunked, bytes, len, SIZE_MAX, &body, &used)) {
	case CHUNKED_MORE:
		(void)pass(wire, call, bytes, body);
		return;
	case CHUNKED_DONE:
		if (pass(wire, call, bytes, body))
			complete(wire, call, len - used);
		return;
	case CHUNKED_BAD:
	case CHUNKED_TOO_LARGE:
		if (pass(wire, call, bytes, body))
			over(call, CURLE_RECV_ERROR, "its chunked coding is broken");
		return;
	}
}

static void take_length(struct wire *wire, struct provider_call *call, char *bytes, size_t len)
{
	size_t body = len < wire->left ? len : (size_t)wire->left;

	wire->left -= body;
	if (pass(wire, call, bytes, body) && !wire->left)
		complete(wire, call, len - body);
}

static void take_body(struct wire *wire, struct provider_call *call, char *bytes, size_t len)
{
	switch (wire->head.framing) {
	case WIRE_NO_BODY:
		complete(wire, call, len);
		return;
	case WIRE_LENGTH:
		take_length(wire, call, bytes, len);
		return;
	case WIRE_CHUNKED:
		take_chunks(wire, call, bytes, len);
		return;
	case WIRE_UNTIL_CLOSE:
		(void)pass(wire, call, bytes, len);
		return;
	}
}

enum head_step { HEAD_INTERIM, HEAD_FINAL, HEAD_OVER };

/* There is a whole head in call->head. INTERIM: another one follows. OVER: the transfer is, and the call may be gone. */
static enum head_step take_head(struct wire *wire, struct provider_call *call)
{
	const char *wrong = wire_head_parse(call->head.data, call->head.len, &wire->head), *said;
	char type[256];
	size_t len;

	if (wrong || wire->head.status == 101) {
		over(call, CURLE_WEIRD_SERVER_REPLY, wrong ? wrong : "it switched to another protocol");
		return HEAD_OVER;
	}
	if (wire->head.status < 200) {
		buf_clear(&call->head);
		return HEAD_INTERIM;
	}
	if (wire->writable) { /* answered without having been heard to the end */
		stop_sending(wire);
		wire->head.keep_alive = false;
	}
	wire->state = WIRE_BODY;
	wire->left = wire->head.length;
	wire->chunked = (struct chunked){ 0 };
	said = wire_header(call, "Content-Type", &len);
	if (said)
		snprintf(type, sizeof(type), "%.*s", (int)len, said);
	call_to(call, CALL_ANSWERING);
	answer_begin(call, wire->head.status, said ? type : NULL);
	if (wire->head.status < 300)
		buf_release(&call->head); /* only a refusal's is asked for again */
	if (!call->cancelled)
		return HEAD_FINAL;
	over(call, CURLE_WRITE_ERROR, NULL);
	return HEAD_OVER;
}

/* What the head says of the body's end holds even if no byte follows. */
static bool has_ended(const struct wire *wire)
{
	return wire->head.framing == WIRE_NO_BODY || (wire->head.framing == WIRE_LENGTH && !wire->left);
}

static void take_bytes(struct wire *wire, struct provider_call *call, char *bytes, size_t len)
{
	wire->answered = true;
	while (wire->state == WIRE_HEAD) {
		size_t seen = call->head.len, end;

		buf_add(&call->head, bytes, len);
		end = wire_head_end(call->head.data, call->head.len, seen);
		if (!end) {
			if (call->head.len > WIRE_HEAD_MAX_BYTES)
				over(call, CURLE_WEIRD_SERVER_REPLY, "its head has no end");
			return;
		}
		bytes += end - seen;
		len -= end - seen;
		call->head.len = end;
		if (take_head(wire, call) == HEAD_OVER)
			return;
	}
	if (len || has_ended(wire))
		take_body(wire, call, bytes, len);
}

/* ---- events ----------------------------------------------------------------------- */

/*
 * The provider closed it (error 0), or it broke. One that was idle may have been closed before the request was there: it
 * goes out once more, on a new one.
 */
static void on_end(struct wire *wire, struct provider_call *call, int error)
{
	char text[128];

	if (wire->state == WIRE_HEAD && wire->reused && !wire->answered) {
		drop_wire(call);
		transfer_dial(call);
		return;
	}
	if (error) {
		snprintf(text, sizeof(text), "Recv failure: %s", strerror(error));
		over(call, CURLE_RECV_ERROR, text);
	} else if (!wire->answered) {
		over(call, CURLE_GOT_NOTHING, "Empty reply from server");
	} else if (wire->state == WIRE_BODY && wire->head.framing == WIRE_UNTIL_CLOSE) {
		complete(wire, call, 0);
	} else {
		over(call, CURLE_PARTIAL_FILE, "transfer closed with outstanding read data remaining");
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;
	struct provider_call *call = wire->call;
	ssize_t n = recv(fd, block, sizeof(block), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!call) { /* it is idle: the provider closed it, or talks out of turn */
		close_wire(wire);
		return;
	}
	if (call->over || call->cancelled) { /* what comes now is for nobody */
		wire->head.keep_alive = false;
		event_del(&wire->readable);
		return;
	}
	if (n <= 0) {
		on_end(wire, call, n < 0 ? errno : 0);
		return;
	}
	call_progress(call);
	take_bytes(wire, call, block, (size_t)n);
}

/* ---- wire.h ------------------------------------------------------------------------ */

void wire_start(struct provider_call *call)
{
	struct wire *wire = call->provider->wires->kept ? pool_take_idle(call->provider->pool, &call->seat) : NULL;

	if (wire)
		begin(wire, call);
	else
		transfer_dial(call);
}

void wire_connected(struct provider_call *call, int fd)
{
	struct provider *provider = call->provider;
	struct wire *wire = xcalloc(1, sizeof(*wire));

	wire->fd = fd;
	wire->wires = provider->wires;
	TAILQ_INSERT_TAIL(&provider->wires->all, wire, entry);
	event_assign(&wire->readable, provider->all->base, fd, EV_READ | EV_PERSIST, on_readable, wire);
	event_add(&wire->readable, NULL);
	pool_seat_on(provider->pool, &call->seat, fd, wire);
	begin(wire, call);
}

void wire_stop(struct provider_call *call)
{
	struct wire *wire = call->wire;
	bool unused, done;

	if (!wire)
		return;
	unused = wire->state == WIRE_IDLE;
	done = wire->state == WIRE_COMPLETE && wire->head.keep_alive;
	if (!wire->wires->kept || !(unused || done)) {
		drop_wire(call);
		return;
	}
	if (!event_pending(&wire->readable, EV_READ, NULL))
		event_add(&wire->readable, NULL);
	wire->state = WIRE_IDLE;
	wire->reused = true;
	wire->call = NULL;
	call->wire = NULL;
}

void wire_read_on(struct provider_call *call)
{
	event_add(&call->wire->readable, NULL);
}

const char *wire_header(const struct provider_call *call, const char *name, size_t *len_r)
{
	return call->head.data ? wire_head_find(call->head.data, call->head.len, name, len_r) : NULL;
}

struct wires *wires_open(struct provider *provider)
{
	const struct conf_provider *conf = provider->conf;
	const char *host = conf->base_url + strlen("http://");
	size_t host_len = strcspn(host, "/"), path_len;
	struct wires *wires;

	if (strncasecmp(conf->base_url, "http://", strlen("http://")))
		return NULL;
	wires = xcalloc(1, sizeof(*wires));
	wires->provider = provider;
	wires->kept = conf->keepalive_expiry_ms && conf->max_keepalive;
	path_len = strlen(host + host_len);
	while (path_len && host[host_len + path_len - 1] == '/')
		path_len--;
	wires->host = xasprintf("Host: %.*s\r\n", (int)host_len, host);
	wires->path = xasprintf("%.*s", (int)path_len, host + host_len);
	TAILQ_INIT(&wires->all);
	return wires;
}

void wires_close(struct wires *wires)
{
	struct wire *wire, *next;

	if (!wires)
		return;
	TAILQ_FOREACH_SAFE(wire, &wires->all, entry, next) {
		BUG_ON(wire->call);
		close_wire(wire);
	}
	free(wires->host);
	free(wires->path);
	free(wires);
}
