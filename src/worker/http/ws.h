/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws.h - one WebSocket (RFC 6455) after its handshake, whatever carries its bytes: an HTTP/1.1 connection that
 * was taken over (h1_ws.c), or a stream of an HTTP/2 one (RFC 8441).
 *
 * The carrier hands over what came (ws_take) and tells of its timer (ws_timeout), at the end of a loop turn;
 * the WebSocket calls the exchange's app, and sends through the carrier. Between messages it
 * holds no buffers: an idle one is a few words.
 */
#ifndef WORKER_HTTP_WS_H
#define WORKER_HTTP_WS_H

#include "base/base.h"
#include "shm/endings.h"

#include <sys/time.h>
#include <sys/uio.h>

struct conf;
struct evbuffer;
struct exchange;
struct ws;
struct ws_terms;
struct ws_zlib;

struct ws_carrier {
	/* Send the parts; all of it is taken. */
	void (*send)(void *arg, const struct iovec *parts, unsigned n);
	/* Bytes that the client has not taken yet. */
	size_t (*queued)(const void *arg);
	/* Has all that was sent reached the client's host? *acked_r grows with what has. */
	bool (*delivered)(const void *arg, uint64_t *acked_r);
	/* Start the carrier's one timer (NULL: stop it); ws_timeout() when it has run out. */
	void (*timer)(void *arg, const struct timeval *duration);
};

/* What all WebSockets of a worker share; the durations are libevent's common timeouts. */
struct ws_common {
	const struct conf *conf;
	struct ws_zlib *zlib;
	const struct timeval *farewell;      /* for the client to answer our close */
	const struct timeval *ping_interval; /* NULL: no pings */
	const struct timeval *ping_timeout;  /* for the answer; NULL: none is awaited */
};

/* For an exchange whose handshake was answered, on these terms; its app takes the messages. */
struct ws *ws_new(const struct ws_common *common, struct exchange *x, const struct ws_terms *terms,
	const struct ws_carrier *carrier, void *arg);
void ws_free(struct ws *ws);

enum ws_result {
	WS_WAIT,  /* nothing to do until more comes */
	WS_MORE,  /* something was done: call again */
	WS_LATER, /* call again in the next turn: others have theirs first */
	WS_OVER /* all is said: end the exchange with ws_ending(), close the carrier behind our last frame */
};

/* Take of `in` what is there of one frame. */
MUST_CHECK enum ws_result ws_take(struct ws *ws, struct evbuffer *in);
/* The carrier's timer has run out; `in` is what would be given to ws_take(). */
MUST_CHECK enum ws_result ws_timeout(struct ws *ws, const struct evbuffer *in);
enum ending ws_ending(const struct ws *ws);

/* A whole message. */
void ws_send(struct ws *ws, bool binary, const char *bytes, size_t len);
/* Say goodbye with this code; the client has a while to answer. */
void ws_close(struct ws *ws, unsigned code, const char *reason);

#endif
