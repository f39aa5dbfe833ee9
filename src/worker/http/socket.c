/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket.c - a client's socket: what came and nobody has taken yet, and what it has not taken yet.
 *
 * Callbacks only note, as everywhere in this room. There are buffers only while there is something in
 * them: between two messages a connection has none. (A bufferevent of libevent has two, and two events, at
 * all times, which is most of what an idle connection would cost; it also asks before each read how much there
 * is, and then reads 4 kB of it.)
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/bug.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "shm/stats.h"

#include <event2/buffer.h>
#include <sys/socket.h>

#define READ_BYTES (16 << 10) /* at a time: then others have their turn */

/* What the socket does not take at once. */
struct outgoing {
	struct event event;
	struct evbuffer *bytes;
};

/* ---- in ---- */

static struct evbuffer *new_buffer(void)
{
	struct evbuffer *buffer = evbuffer_new();

	BUG_ON(!buffer);
	return buffer;
}

static void receive(struct conn *c)
{
	static char bytes[READ_BYTES];
	ssize_t n;

	do
		n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		evbuffer_add(socket_input(c), bytes, (size_t)n);
		return;
	}
	event_del(&c->incoming);
	if (n < 0)
		c->lost = true;
	else
		c->eof = true;
}

static void on_incoming(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	if (what & EV_CLOSED) {
		c->departed = true;
		event_del(&c->incoming);
	}
	if (what & EV_READ)
		receive(c);
	conn_settle_later(c);
}

static void watch(struct conn *c, short what)
{
	event_assign(&c->incoming, c->http->base, c->fd, what | EV_PERSIST, on_incoming, c);
	event_add(&c->incoming, NULL);
}

void socket_open(struct conn *c)
{
	watch(c, EV_READ);
}

struct evbuffer *socket_input(struct conn *c)
{
	if (!c->in)
		c->in = new_buffer();
	return c->in;
}

size_t socket_unread(const struct conn *c)
{
	return c->in ? evbuffer_get_length(c->in) : 0;
}

void socket_hold_back(struct conn *c, bool hold)
{
	if (c->held_back == hold)
		return;
	c->held_back = hold;
	c->departed = false;
	event_del(&c->incoming);
	watch(c, hold ? EV_CLOSED : EV_READ);
}

void socket_settled(struct conn *c)
{
	if (c->in && !evbuffer_get_length(c->in)) {
		evbuffer_free(c->in);
		c->in = NULL;
	}
	if (c->again)
		event_active(&c->incoming, EV_TIMEOUT, 1); /* neither EV_READ nor EV_CLOSED */
	c->again = false;
}

/* ---- out ---- */

static void forget_outgoing(struct conn *c)
{
	if (!c->out)
		return;
	event_del(&c->out->event);
	evbuffer_free(c->out->bytes);
	free(c->out);
	c->out = NULL;
}

size_t socket_queued(const struct conn *c)
{
	return c->out ? evbuffer_get_length(c->out->bytes) : 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	int n = what & EV_TIMEOUT ? -1 : evbuffer_write(c->out->bytes, fd);

	if (n > 0) {
		stat_add(STAT_CLIENT_BYTES_OUT, n);
	} else if (what & EV_TIMEOUT || (errno != EAGAIN && errno != EINTR)) {
		c->stalled = what & EV_TIMEOUT;
		c->lost = true;
	}
	if (!socket_queued(c))
		forget_outgoing(c);
	if (c->lost || socket_queued(c) <= c->http->conf->stream_buffer_bytes / 2)
		conn_settle_later(c);
}

static void queue(struct conn *c, const struct iovec *parts, unsigned n, size_t skip)
{
	if (!c->out) {
		c->out = xmalloc(sizeof(*c->out));
		c->out->bytes = new_buffer();
		event_assign(&c->out->event, c->http->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
		event_add(&c->out->event, c->http->stall_timeout);
	}
	for (unsigned i = 0; i < n; i++) {
		size_t part = parts[i].iov_len;

		if (skip < part)
			evbuffer_add(c->out->bytes, (char *)parts[i].iov_base + skip, part - skip);
		skip -= skip < part ? skip : part;
	}
	if (!conn_room(c))
		c->want_room = true;
}

/* One part is the rule, and send(2) the cheaper call. */
static ssize_t write_parts(int fd, const struct iovec *parts, unsigned n)
{
	struct msghdr message = { .msg_iov = (struct iovec *)parts, .msg_iovlen = n };

	if (n == 1)
		return send(fd, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void socket_send(struct conn *c, const struct iovec *parts, unsigned n)
{
	size_t total = 0;
	ssize_t sent = 0;

	c->http->writes++;
	for (unsigned i = 0; i < n; i++)
		total += parts[i].iov_len;
	if (!c->out) {
		do
			sent = write_parts(c->fd, parts, n);
		while (sent < 0 && errno == EINTR);
		if (sent < 0 && errno != EAGAIN) {
			c->lost = true;
			conn_settle_later(c);
			return;
		}
		if (sent > 0) {
			stat_add(STAT_DIRECT_WRITES, 1);
			stat_add(STAT_CLIENT_BYTES_OUT, sent);
		}
		sent = sent < 0 ? 0 : sent;
	}
	if ((size_t)sent < total)
		queue(c, parts, n, (size_t)sent);
}

/* ---- the end ---- */

void socket_close(struct conn *c)
{
	event_del(&c->incoming);
	forget_outgoing(c);
	if (c->in)
		evbuffer_free(c->in);
	if (c->reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	fd_close(&c->fd);
}
