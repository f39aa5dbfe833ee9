/* SPDX-License-Identifier: BSD-2-Clause */
/* conn.c - a client connection's life; see conn.h. */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/stats.h"

#include <event2/buffer.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Steps of one connection in one turn; then the others have theirs. */
#define STEPS_MAX 64
/* What a client that we have finished with may still send before we stop listening. */
#define LINGER_BYTES_MAX (8u << 20)

/* ---- what is noted ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	c->timed_out = true;
	conn_settle_later(c);
}

void conn_timer(struct conn *c, const struct timeval *duration)
{
	c->timed_out = false;
	if (duration)
		event_add(&c->timer, duration);
	else
		event_del(&c->timer);
}

bool conn_is_new(const struct conn *c)
{
	return !c->served && !c->started && (c->phase == CONN_PROXY || c->phase == CONN_TLS || c->phase == CONN_HEAD);
}

const struct timeval *conn_patience(const struct conn *c)
{
	return c->http->draining && !c->http->drain_gently ? c->http->over_timeout : c->http->header_timeout;
}

struct evbuffer *conn_input(struct conn *c)
{
	return c->tls ? tls_clear(c) : socket_input(c);
}

size_t conn_unread(const struct conn *c)
{
	return socket_unread(c) + (c->tls ? evbuffer_get_length(tls_clear(c)) : 0);
}

/* ---- birth ---- */

static void name_peer(struct conn *c, const struct sockaddr *addr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };
	const struct sockaddr_in *in = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;

	if (addr->sa_family == AF_INET) {
		memcpy(c->address, mapped, sizeof(mapped));
		memcpy(c->address + sizeof(mapped), &in->sin_addr, 4);
		proxy_name(c->peer, c->address, ntohs(in->sin_port));
	} else if (addr->sa_family == AF_INET6) {
		memcpy(c->address, &in6->sin6_addr, 16);
		proxy_name(c->peer, c->address, ntohs(in6->sin6_port));
	} else {
		snprintf(c->peer, sizeof(c->peer), "local");
	}
}

/* From a proxy that says first who it speaks for? */
static bool tells_its_client(const struct conn *c)
{
	const struct conf *conf = c->http->conf;

	return conf->proxy_protocol && !c->admin && network_has(conf->trusted, conf->ntrusted, c->address);
}

void conn_new(struct http *http, int fd, const struct sockaddr *address, bool admin)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->http = http;
	c->fd = fd;
	if (fd_set_cloexec(fd) < 0)
		log_warning("http", "cannot set close-on-exec on a client socket");
	c->admin = admin;
	c->phase = http->tls && !admin ? CONN_TLS : CONN_HEAD;
	name_peer(c, address);
	if (tells_its_client(c)) {
		c->after_proxy = c->phase;
		c->phase = CONN_PROXY;
	}
	socket_open(c);
	evtimer_assign(&c->timer, http->base, on_timer, c);
	conn_timer(c, conn_patience(c));
	TAILQ_INSERT_TAIL(&http->conns, c, entry);
	http->nconns++;
	pending_begin(c);
	stat_add(STAT_ACCEPTED, 1);
	stat_add(STAT_SOCKETS, 1);
}

/* ---- death ---- */

void conn_end_exchange(struct conn *c, enum ending ending)
{
	if (!c->x_open)
		return;
	if (c->x.state != EXCHANGE_ENDED)
		c->x.note.ending = ending;
	c->x_open = false;
	exchange_close(&c->x);
	head_release(&c->head);
	buf_release(&c->text);
	buf_release(&c->body);
}

void conn_free(struct conn *c)
{
	struct http *http = c->http;

	c->lost = true; /* what the app may still write in on_close() goes nowhere */
	conn_end_exchange(c, c->stalled ? END_CLIENT_STALLED : END_CLIENT_GONE);
	conn_forget(c);
	if (c->ws)
		ws_free(c->ws);
	h2_free(c, c->stalled ? END_CLIENT_STALLED : END_CLIENT_GONE);
	tls_free(c);
	head_release(&c->head);
	buf_release(&c->text);
	buf_release(&c->body);
	event_del(&c->timer);
	defer_cancel(&c->defer);
	socket_close(c);
	pending_end(c);
	TAILQ_REMOVE(&http->conns, c, entry);
	http->nconns--;
	stat_add(STAT_SOCKETS, -1);
	if (http->accept_paused)
		event_active(http->accept_again, EV_TIMEOUT, 0);
	free(c);
}

/* ---- settle ---- */

/* The last bytes of an answer: out, then the next message or the end. */
static bool flush_step(struct conn *c)
{
	conn_flush(c);
	if (conn_queued(c))
		return false;
	if (c->eof && (c->last || !evbuffer_get_length(conn_input(c)))) {
		c->phase = CONN_DEAD;
	} else if (c->reset) {
		c->phase = CONN_DEAD;
	} else if (c->last || c->http->draining) {
		c->phase = CONN_LINGER;
		if (c->tls)
			tls_say_goodbye(c);
		shutdown(c->fd, SHUT_WR);
		conn_timer(c, c->http->farewell_timeout);
	} else {
		c->phase = CONN_HEAD;
		pending_idle(c, true);
		conn_timer(c, c->http->idle_timeout);
	}
	return true;
}

static bool linger_step(struct conn *c)
{
	struct evbuffer *in = conn_input(c);

	c->lingered += evbuffer_get_length(in);
	evbuffer_drain(in, evbuffer_get_length(in));
	if (!c->eof && !c->timed_out && c->lingered <= LINGER_BYTES_MAX)
		return false;
	c->phase = CONN_DEAD;
	return true;
}

static bool step(struct conn *c)
{
	if (c->tls)
		tls_receive(c);
	if (c->lost)
		c->phase = CONN_DEAD;
	else if (c->pending.evicted)
		pending_carry_out(c);
	switch (c->phase) {
	case CONN_TLS:
		return tls_step(c);
	case CONN_HEAD:
	case CONN_BODY:
		return guard_step(c);
	case CONN_RUNNING:
		return h1_step(c);
	case CONN_FLUSH:
		return flush_step(c);
	case CONN_WEBSOCKET:
		return h1_ws_step(c);
	case CONN_H2:
		return h2_step(c);
	case CONN_LINGER:
		return linger_step(c);
	case CONN_PROXY:
		return proxy_step(c);
	case CONN_DEAD:
		break;
	}
	return false;
}

static void settle(void *arg)
{
	struct conn *c = arg;
	unsigned steps = 0;

	conn_flush(c);
	while (!c->again && step(c))
		c->again = ++steps >= STEPS_MAX;
	if (c->phase == CONN_DEAD) {
		conn_free(c);
		return;
	}
	if (!c->eof)
		socket_hold_back(c, conn_unread(c) >= c->http->input_max);
	socket_settled(c);
}

void conn_settle_later(struct conn *c)
{
	defer_call(&c->defer, settle, c);
}
