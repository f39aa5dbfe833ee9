/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * out.c - bytes to the client. What one loop turn has for a client leaves together, in one send
 * into an idle socket; what the socket does not take at once waits in socket.c.
 *
 * A worker handles one provider's bytes after the other, so one buffer for all its clients is
 * enough: it gathers for one of them, until another one's turn comes, it is full, or the turn ends.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "conf/conf.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define GATHER_BYTES (16 << 10) /* longer ones are not worth the copy */

size_t conn_queued(const struct conn *c)
{
	const struct gather *gather = &c->http->gather;

	return socket_queued(c) + (gather->owner == c ? gather->bytes.len : 0);
}

bool conn_delivered(const struct conn *c, uint64_t *acked_r)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	/* what is no TCP leaves it zeroed: delivered */
	getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	*acked_r = info.tcpi_bytes_acked;
	return !info.tcpi_unacked && !info.tcpi_notsent_bytes;
}

size_t conn_room(const struct conn *c)
{
	size_t queued = conn_queued(c), size = c->http->conf->stream_buffer_bytes;

	return queued < size ? size - queued : 0;
}

bool conn_offer_room(struct conn *c)
{
	if (!c->want_room || conn_queued(c) > c->http->conf->stream_buffer_bytes / 2)
		return false;
	c->want_room = false;
	if (c->x.app && c->x.app->on_room && c->x.state != EXCHANGE_ENDED)
		c->x.app->on_room(&c->x);
	return true;
}

static void transmit(struct conn *c, const struct iovec *parts, unsigned n)
{
	if (c->tls)
		tls_send(c, parts, n);
	else
		socket_send(c, parts, n);
}

static void flush(void *arg)
{
	struct gather *gather = arg;
	struct conn *c = gather->owner;

	if (!c)
		return;
	gather->owner = NULL;
	transmit(c, &(struct iovec){ gather->bytes.data, gather->bytes.len }, 1);
	buf_clear(&gather->bytes);
	if (c->want_room)
		conn_settle_later(c);
}

void conn_flush(struct conn *c)
{
	if (c->http->gather.owner == c)
		flush(&c->http->gather);
}

void conn_forget(struct conn *c)
{
	if (c->http->gather.owner == c) {
		c->http->gather.owner = NULL;
		buf_clear(&c->http->gather.bytes);
	}
}

void conn_send(struct conn *c, const struct iovec *parts, unsigned n)
{
	struct gather *gather = &c->http->gather;
	size_t total = 0;

	if (c->lost || c->phase == CONN_DEAD)
		return;
	for (unsigned i = 0; i < n; i++)
		total += parts[i].iov_len;
	if (gather->owner != c || gather->bytes.len + total > GATHER_BYTES)
		flush(gather);
	if (total > GATHER_BYTES) {
		transmit(c, parts, n);
		return;
	}
	gather->owner = c;
	for (unsigned i = 0; i < n; i++)
		buf_add(&gather->bytes, parts[i].iov_base, parts[i].iov_len);
	if (!conn_room(c))
		c->want_room = true;
	defer_call(&gather->defer, flush, gather);
}
