/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.h - client sockets to exchanges: listener, guard, HTTP/1.1 (libevhtp), HTTP/2
 * (nghttp2), WebSocket (wslay).
 */
#ifndef WORKER_HTTP_HTTP_H
#define WORKER_HTTP_HTTP_H

#include "base/base.h"
#include "worker/exchange/exchange.h"

struct admit;
struct conf;
struct event_base;
struct http; /* all client connections of this worker */

/* Serve the listening socket listen_fd (bound, listening, non-blocking; stays the caller's). */
struct http *http_open(struct event_base *base, const struct conf *conf, struct admit *admit,
	int listen_fd, exchange_route_fn route, void *route_arg);
/* Serve this socket as well: admin.listen, shared by all workers; its requests are marked. Stays the caller's. */
bool http_listen_admin(struct http *http, int listen_fd) MUST_CHECK;
/* At the end of each loop turn: gives up an idle connection when another worker needs one. */
void http_poll(struct http *http);
/*
 * Accept from the listening socket of another worker as well (on: it does not answer), or no longer. The
 * descriptor stays the caller's; saying the same twice is harmless. Ignored once draining.
 */
void http_accept_also(struct http *http, int listen_fd, bool on);
/* We shall drain: answers from now on are the last on their connection, so that proxies keep none of ours. */
void http_announce_drain(struct http *http);
/* Accept no longer from any socket. */
void http_stop_listening(struct http *http);
/*
 * Stop accepting, but for sockets that are shut (base/listening.h), which are to be emptied until
 * http_stop_listening(); every app hears on_drain(); connections close after the answer that is running.
 * spread_ms 0: idle connections are closed at once, and who has not
 * sent a request yet has a second for it. Else others serve in our place: idle
 * WebSockets hear on_drain() spread over that time, so that their clients do not come back all
 * at once, and an idle HTTP connection may still send one request (or its time runs out), so that none
 * is lost on the way. May be said again, in more haste.
 */
void http_drain(struct http *http, uint64_t spread_ms);
/* Client connections open. */
unsigned http_connections(const struct http *http);
/* Cut all that is left, calling each on_close(). */
void http_close(struct http *http);

#endif
