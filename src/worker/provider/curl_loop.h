/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * curl_loop.h - one libcurl multi on libevent's loop.
 *
 * Nothing ever waits inside libcurl: no limit is set there that queues transfers.
 * libcurl must not be entered again from its own callbacks; curl_loop_inside()
 * tells whether we are in one.
 */
#ifndef WORKER_PROVIDER_CURL_LOOP_H
#define WORKER_PROVIDER_CURL_LOOP_H

#include "base/base.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <event2/event_struct.h>

/*
 * A transfer has ended (libcurl is not inside); the handle is still in the multi:
 * curl_loop_remove() it.
 */
typedef void (*curl_loop_done_fn)(CURL *easy, CURLcode code);

struct curl_socket;

struct curl_loop {
	CURLM *multi;
	struct event_base *base;
	struct event timer;
	struct event sweep_timer;
	CURL *sweeper; /* while it runs */
	curl_loop_done_fn done;
	unsigned inside; /* how deep in libcurl we are */
	TAILQ_HEAD(, curl_socket) sockets;
};

/* After fork. It never closes a connection for there being too many. most_streams: as in pool_open(). */
void curl_loop_open(struct curl_loop *loop, struct event_base *base, unsigned most_streams,
	curl_loop_done_fn done);
/* Closes the pooled connections; no transfer may be left. */
void curl_loop_close(struct curl_loop *loop);

/*
 * Soon let libcurl close what was shut down: it finds that out when a transfer starts (at most once a
 * second), so this starts one that gets no socket and fails.
 */
void curl_loop_sweep(struct curl_loop *loop);

/* True within a callback of libcurl: no function below may be called then. */
bool curl_loop_inside(const struct curl_loop *loop);
/* Start a transfer; its callbacks come from the next turn of the loop on. */
void curl_loop_add(struct curl_loop *loop, CURL *easy);
/* Take it out; one that has not ended loses its socket at once. done() is not called. */
void curl_loop_remove(struct curl_loop *loop, CURL *easy);
/*
 * Let a paused transfer go on: calls its write callback with what it refused. Not
 * CURLE_OK: that callback failed, the transfer has ended, without done().
 */
MUST_CHECK CURLcode curl_loop_resume(struct curl_loop *loop, CURL *easy);
/*
 * Send what waits inside libcurl on this transfer's connection of HTTP/2; the transfer is not paused.
 * False: it has none any more.
 */
MUST_CHECK bool curl_loop_flush(struct curl_loop *loop, CURL *easy);

#endif
