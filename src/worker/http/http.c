/* SPDX-License-Identifier: BSD-2-Clause */
/* http.c - the listener, and all connections together; see http.h. */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/listening.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/admit/admit.h"
#include "worker/http/ws_deflate.h"

#include <event2/buffer.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

/* How long a client has to close after we did, or to answer a WebSocket close. */
#define FAREWELL_MS 2000
/* One beyond connection_queue_size has this long to say what it wants ... */
#define OVER_MS 1000
/* ... after another worker had this long to make room for it. */
#define PATIENCE_MS 100
/*
 * Connections accepted in one turn: what each begins costs as much as a few tokens, and would keep the streams that run waiting,
 * and pile up. So the more of a turn went to those, the more newcomers it bears.
 */
#define ACCEPTS_MIN 4
#define ACCEPTS_MAX 32
#define WRITES_PER_ACCEPT 8
/* Out of descriptors: try again after this, or when a connection closes. */
#define ACCEPT_PAUSE_MS 100
/* How often some WebSockets hear that we drain. */
#define DRAIN_TICK_MS 100
/* A shortage is over, and the next one is worth a new line in the log, after this long without one. */
#define SHORTAGE_OVER_MS 10000
/* Unread bytes of one connection: at least this, and a whole head. */
#define INPUT_MIN (64u << 10)

/* ---- accepting ---- */

static void set_accepting(struct http *http, bool on)
{
	int (*set)(struct evconnlistener *) = on ? evconnlistener_enable : evconnlistener_disable;
	struct extra_listener *extra;

	if (http->htp->server)
		set(http->htp->server);
	if (http->admin_htp && http->admin_htp->server)
		set(http->admin_htp->server);
	TAILQ_FOREACH(extra, &http->extras, entry)
		set(extra->listener);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct http *http = arg;

	if (!http->accept_paused)
		return;
	http->accept_paused = false;
	set_accepting(http, true);
}

/* libevent tells us of failed accepts; left alone it would try again at once, for ever. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval pause = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };
	struct http *http = ((evhtp_t *)arg)->arg; /* the listener is libevhtp's */
	int error = errno;
	uint64_t now_ms = clock_ms();

	evconnlistener_disable(listener);
	http->accept_paused = true;
	event_add(http->accept_again, &pause);
	stat_add(STAT_ACCEPT_PAUSED, 1);
	if (!http->accept_failed_ms || now_ms - http->accept_failed_ms > SHORTAGE_OVER_MS)
		log_warning("http", "not accepting for a while: %s; %u connections are open",
			strerror(error), http->nconns);
	http->accept_failed_ms = now_ms;
}

/*
 * libevhtp accepted a socket, and asks whether it may make a bufferevent for it. We take the socket, and it
 * frees its connection again, with a parser of 8 kB, which clients that wait do not need. But for the first
 * one, which stays, without a socket, as the reader of all messages.
 */
static evhtp_res take_socket(struct http *http, evhtp_connection_t *evhtp, bool admin)
{
	conn_new(http, evhtp->sock, evhtp->saddr, admin);
	evhtp->sock = -1;
	if (++http->accepted == http->accepts_due)
		set_accepting(http, false); /* until the end of the turn: libevent would go on as long as there is one */
	if (http->reader)
		return EVHTP_RES_ERROR;
	http->reader = evhtp;
	return EVHTP_RES_OK;
}

static evhtp_res on_accepted(evhtp_connection_t *evhtp, void *arg)
{
	return take_socket(arg, evhtp, false);
}

static evhtp_res on_admin_accepted(evhtp_connection_t *evhtp, void *arg)
{
	return take_socket(arg, evhtp, true);
}

/* Accepted sockets inherit these from the listening one. */
static void set_socket_options(int fd)
{
	static const struct {
		int level;
		int name;
		int value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		/* a client that vanished without a word is found out after two minutes */
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 15 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)))
			log_debug("http", "socket option %d: %s", options[i].name, strerror(errno));
}

static int start_listening(evhtp_t *htp, int listen_fd)
{
	int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0); /* libevhtp closes what it is given */

	if (fd < 0)
		return -errno;
	set_socket_options(fd);
	if (evhtp_accept_socket(htp, fd, 0) != 0) {
		fd_close(&fd);
		return -EINVAL;
	}
	evconnlistener_set_error_cb(htp->server, on_accept_error);
	return 0;
}

static void stop_extra(struct http *http, struct extra_listener *extra)
{
	TAILQ_REMOVE(&http->extras, extra, entry);
	evconnlistener_free(extra->listener);
	free(extra);
}

/* libevhtp knows one listener; the further one is made by it, too, so that it accepts in the same way. */
static void start_extra(struct http *http, int listen_fd)
{
	struct evconnlistener *own = http->htp->server;
	struct extra_listener *extra;
	int error = start_listening(http->htp, listen_fd);

	if (error) {
		log_warning("http", "cannot accept for another worker: %s", strerror(-error));
	} else {
		extra = xmalloc(sizeof(*extra));
		extra->listen_fd = listen_fd;
		extra->listener = http->htp->server;
		TAILQ_INSERT_TAIL(&http->extras, extra, entry);
	}
	http->htp->server = own;
}

void http_accept_also(struct http *http, int listen_fd, bool on)
{
	struct extra_listener *extra;

	TAILQ_FOREACH(extra, &http->extras, entry)
		if (extra->listen_fd == listen_fd)
			break;
	if (on && !extra && !http->draining)
		start_extra(http, listen_fd);
	else if (!on && extra)
		stop_extra(http, extra);
}

/* Stays, for there may be clients in it that would be lost. */
static bool is_to_be_emptied(const struct evconnlistener *listener)
{
	return listening_is_shut(evconnlistener_get_fd((struct evconnlistener *)listener));
}

static void unbind(evhtp_t *htp, bool all)
{
	if (!htp || !htp->server || (!all && is_to_be_emptied(htp->server)))
		return;
	evhtp_unbind_socket(htp);
	htp->server = NULL;
}

static void stop_listening(struct http *http, bool all)
{
	struct extra_listener *extra, *next;

	TAILQ_FOREACH_SAFE(extra, &http->extras, entry, next)
		if (all || !is_to_be_emptied(extra->listener))
			stop_extra(http, extra);
	unbind(http->htp, all);
	unbind(http->admin_htp, all);
}

void http_stop_listening(struct http *http)
{
	stop_listening(http, true);
}

/* ---- draining ---- */

static void tell_drain(struct conn *c)
{
	if (!c->drain_told && c->x_open && c->x.state != EXCHANGE_ENDED && c->x.app->on_drain)
		c->x.app->on_drain(&c->x);
	if (!c->drain_told && c->h2)
		c->http->drain_websockets += h2_drain(c);
	c->drain_told = true;
	if (!c->http->drain_gently && conn_is_new(c))
		conn_timer(c, conn_patience(c));
	conn_settle_later(c);
}

/*
 * Tell as many of the WebSockets as their share of the time that has passed; at its end, all. One whose handshake came when
 * we were draining already is among them.
 */
static void on_drain_tick(evutil_socket_t fd, short what, void *arg)
{
	struct http *http = arg;
	uint64_t passed_ms = clock_ms() - http->drain_from_ms;
	uint64_t due = passed_ms >= http->drain_spread_ms ? UINT64_MAX
							  : http->drain_websockets * passed_ms / http->drain_spread_ms;
	struct conn *c, *next;

	TAILQ_FOREACH_SAFE(c, &http->conns, entry, next) {
		if (http->drain_told >= due)
			return;
		if (c->phase == CONN_WEBSOCKET && !c->drain_told) {
			tell_drain(c);
			http->drain_told++;
		} else if (c->h2) {
			http->drain_told += h2_drain_websockets(c, due - http->drain_told);
		}
	}
}

/* ---- the request callback of libevhtp: h1.c goes on from its request object ---- */

static void on_evhtp_request(evhtp_request_t *request, void *arg)
{
	BUG_ON(request->conn->request != request);
}

/* ---- open and close ---- */

static const struct timeval *common_timeout(struct event_base *base, uint64_t ms)
{
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };
	const struct timeval *common = event_base_init_common_timeout(base, &tv);

	BUG_ON(!common);
	return common;
}

static void set_sizes_and_times(struct http *http)
{
	const struct conf *conf = http->conf;
	size_t head = conf->max_header_bytes > conf->max_incomplete_event_bytes
			      ? conf->max_header_bytes
			      : conf->max_incomplete_event_bytes;

	http->input_max = head + 4096 > INPUT_MIN ? head + 4096 : INPUT_MIN;
	http->header_timeout = common_timeout(http->base, conf->header_timeout_ms);
	http->idle_timeout = common_timeout(http->base, conf->keepalive_timeout_ms);
	http->stall_timeout = common_timeout(http->base, conf->client_stall_timeout_ms);
	http->farewell_timeout = common_timeout(http->base, FAREWELL_MS);
	http->over_timeout = common_timeout(http->base, OVER_MS);
	http->patience_timeout = common_timeout(http->base, PATIENCE_MS);
	http->ws_common = (struct ws_common){
		.conf = conf, .zlib = ws_zlib_open(), .farewell = http->farewell_timeout };
	if (conf->ping_interval_ms)
		http->ws_common.ping_interval = common_timeout(http->base, conf->ping_interval_ms);
	if (conf->ping_timeout_ms)
		http->ws_common.ping_timeout = common_timeout(http->base, conf->ping_timeout_ms);
}

static evhtp_t *open_evhtp(struct http *http, evhtp_pre_accept_cb accepted)
{
	evhtp_t *htp = evhtp_new(http->base, http);

	BUG_ON(!htp);
	htp->flags &= (uint16_t)~EVHTP_FLAG_ENABLE_100_CONT;
	evhtp_set_pre_accept_cb(htp, accepted, http);
	evhtp_set_post_accept_cb(htp, h1_reader_accepted, http);
	evhtp_set_gencb(htp, on_evhtp_request, http);
	return htp;
}

bool http_listen_admin(struct http *http, int listen_fd)
{
	int error;

	http->admin_htp = open_evhtp(http, on_admin_accepted);
	error = start_listening(http->admin_htp, listen_fd);
	if (error)
		log_error("http", "cannot accept connections at admin.listen: %s", strerror(-error));
	return !error;
}

struct http *http_open(struct event_base *base, const struct conf *conf, struct admit *admit,
	int listen_fd, exchange_route_fn route, void *route_arg)
{
	struct http *http = xcalloc(1, sizeof(*http));
	int error;

	signal(SIGPIPE, SIG_IGN); /* libevent writes without MSG_NOSIGNAL */
	http->base = base;
	http->conf = conf;
	http->admit = admit;
	admit_on_pending(admit, pending_granted);
	http->route = route;
	http->route_arg = route_arg;
	TAILQ_INIT(&http->conns);
	TAILQ_INIT(&http->idle);
	TAILQ_INIT(&http->overs);
	TAILQ_INIT(&http->extras);
	set_sizes_and_times(http);
	h2_open(http);
	http->accepts_due = ACCEPTS_MIN;
	http->accept_again = evtimer_new(base, on_accept_again, http);
	http->drain_tick = event_new(base, -1, EV_PERSIST, on_drain_tick, http);
	http->htp = open_evhtp(http, on_accepted);
	BUG_ON(!http->accept_again || !http->drain_tick);
	if (!tls_open(http)) {
		http_close(http);
		return NULL;
	}
	error = start_listening(http->htp, listen_fd);
	if (error) {
		log_error("http", "cannot accept connections: %s", strerror(-error));
		http_close(http);
		return NULL;
	}
	return http;
}

void http_announce_drain(struct http *http)
{
	http->last_answers = true;
}

void http_drain(struct http *http, uint64_t spread_ms)
{
	const struct timeval tick = { .tv_usec = DRAIN_TICK_MS * 1000 };
	struct conn *c, *next;

	http->draining = http->last_answers = true;
	http->drain_gently = spread_ms > 0;
	http->drain_spread_ms = spread_ms;
	http->drain_from_ms = clock_ms();
	http->drain_websockets = http->drain_told = 0;
	stop_listening(http, false);
	TAILQ_FOREACH_SAFE(c, &http->conns, entry, next) {
		if (c->phase == CONN_WEBSOCKET)
			http->drain_websockets++;
		else
			tell_drain(c);
	}
	event_add(http->drain_tick, &tick);
	on_drain_tick(-1, 0, http);
}

void http_poll(struct http *http)
{
	const unsigned bearable = http->writes / WRITES_PER_ACCEPT;

	if (http->accepted >= http->accepts_due && !http->accept_paused)
		set_accepting(http, true);
	http->accepted = http->writes = 0;
	http->accepts_due = bearable < ACCEPTS_MIN ? ACCEPTS_MIN : bearable > ACCEPTS_MAX ? ACCEPTS_MAX : bearable;
	pending_poll(http);
}

unsigned http_connections(const struct http *http)
{
	return http->nconns;
}

void http_close(struct http *http)
{
	struct conn *c;

	stop_listening(http, true);
	http->accept_paused = false;
	while ((c = TAILQ_FIRST(&http->conns))) {
		conn_end_exchange(c, END_DRAINING);
		h2_free(c, END_DRAINING);
		conn_flush(c);
		conn_free(c);
	}
	ws_zlib_close(http->ws_common.zlib);
	defer_cancel(&http->gather.defer);
	buf_release(&http->gather.bytes);
	h2_close(http);
	tls_close(http);
	if (http->reader)
		evhtp_connection_free(http->reader);
	evhtp_free(http->htp);
	if (http->admin_htp)
		evhtp_free(http->admin_htp);
	event_free(http->accept_again);
	event_free(http->drain_tick);
	free(http);
}
