/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.h - one client connection, as the files of this room share it.
 *
 * Callbacks of libraries only note what has happened; everything that follows from
 * it happens in conn_settle(), at the end of the loop turn: reading messages,
 * calling apps, freeing. So no library ever finds its own object gone behind its
 * back, and no app is called from inside another one's call.
 *
 *	conn.c     birth, callbacks, settle, lingering close, death
 *	guard.c    HEAD, BODY: bytes to one clean message at a time
 *	h1.c       RUNNING: the message as an exchange, and its answer; libevhtp's part
 *	h1_ws.c    WEBSOCKET: a connection that carries one; ws.c is the WebSocket itself
 *	h2.c       H2: see h2.h
 *	tls.c      TLS: the handshake; and underneath of all others
 *	socket.c   the client's socket, and what waits in front of it and behind it
 *	out.c      bytes to the client
 *	proxy.c    PROXY: who is behind a proxy
 *	pending.c  the bound of connections that are not admitted
 */
#ifndef WORKER_HTTP_CONN_H
#define WORKER_HTTP_CONN_H

#include "base/base.h"
#include "base/buf.h"
#include "base/defer.h"
#include "base/log.h"
#include "worker/exchange/exchange.h"
#include "base/chunked.h"
#include "worker/http/head.h"
#include "worker/http/http.h"
#include "worker/http/pending.h"
#include "worker/http/proxy.h"
#include "worker/http/ws.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <evhtp.h>
#include <sys/uio.h>

struct h2;
struct outgoing;
struct tls;
struct tls_common;
struct nghttp2_option;
struct nghttp2_session_callbacks;

/* A listening socket of another worker that we accept from for a while. */
struct extra_listener {
	TAILQ_ENTRY(extra_listener) entry;
	int listen_fd; /* as the caller names it */
	struct evconnlistener *listener;
};

/* What this loop turn has for one client: see out.c. */
struct gather {
	struct conn *owner; /* NULL: nothing is gathered */
	struct buf bytes;
	struct defer defer;
};

struct http {
	struct event_base *base;
	const struct conf *conf;
	struct admit *admit;
	exchange_route_fn route;
	void *route_arg;
	evhtp_t *htp;
	evhtp_t *admin_htp; /* of admin.listen; NULL: there is none */
	evhtp_connection_t *reader; /* reads all clean messages: see h1.c. NULL: before the first connection */
	TAILQ_HEAD(, extra_listener) extras;
	struct event *accept_again;
	bool accept_paused;
	unsigned accepted;	   /* in this turn, */
	unsigned accepts_due;	   /* of so many at most */
	unsigned writes;	   /* to clients in this turn */
	uint64_t accept_failed_ms; /* the last time; 0: never */
	bool draining;
	bool last_answers; /* each is the last on its connection */
	bool drain_gently;	   /* clients that do nothing have time */
	uint64_t drain_from_ms;	   /* since when, */
	uint64_t drain_spread_ms;  /* how much, */
	uint64_t drain_websockets; /* how many share it, */
	uint64_t drain_told;	   /* and how many of them have heard */
	struct event *drain_tick;
	/* durations with a queue each (common timeouts) */
	const struct timeval *header_timeout;
	const struct timeval *idle_timeout;
	const struct timeval *stall_timeout;
	const struct timeval *farewell_timeout;
	const struct timeval *over_timeout;	/* for the head of one beyond connection_queue_size, or of any when all drain, */
	const struct timeval *patience_timeout; /* after the time in which another worker may make room */
	TAILQ_HEAD(, conn) idle;  /* between two requests; longest first */
	TAILQ_HEAD(, conn) overs; /* beyond connection_queue_size; oldest first */
	unsigned novers;
	struct log_rate queue_full;
	struct log_rate bad_proxy;
	struct ws_common ws_common;
	struct gather gather;
	struct tls_common *tls; /* NULL: plain sockets */
	struct nghttp2_session_callbacks *h2_callbacks;
	struct nghttp2_option *h2_option;
	struct log_rate h2_floods;
	size_t input_max; /* unread bytes of one connection that we hold */
	unsigned nconns;
	TAILQ_HEAD(, conn) conns;
};

enum conn_phase {
	CONN_TLS,	/* in the handshake */
	CONN_HEAD,	/* between messages, or in the head of one */
	CONN_BODY,
	CONN_RUNNING,	/* an exchange over HTTP */
	CONN_FLUSH,	/* the exchange is over, its last bytes are not out */
	CONN_WEBSOCKET,
	CONN_H2,
	CONN_LINGER,	/* we said all; waiting for the client to close, so that no reset destroys it */
	CONN_PROXY,	/* a header of the PROXY protocol comes before all */
	CONN_DEAD	/* to be freed at the end of this settle */
};

struct conn {
	TAILQ_ENTRY(conn) entry;
	struct http *http;
	struct pending pending;
	bool drain_told; /* its app has heard on_drain() */
	int fd;
	/* of socket.c */
	struct event incoming;
	struct evbuffer *in;  /* NULL: nothing */
	struct outgoing *out; /* NULL: nothing */
	bool held_back;
	bool again;	/* settle again in the next turn */
	enum conn_phase phase;
	enum conn_phase after_proxy;
	/* what callbacks noted */
	bool eof;	/* the client will send no more, and all it sent was read */
	bool departed;	/* the same, seen while the socket is held back */
	bool lost;	/* the connection is broken */
	bool stalled;	/* ... because the client took nothing for too long */
	bool timed_out; /* conn_timer() ran out */
	/* where we are */
	bool started;	/* bytes of a head are here */
	bool last;	/* close after this answer */
	bool want_room; /* the app waits for on_room() */
	bool x_open;	/* x is begun and not closed */
	bool chunked;	/* of the answer */
	bool bodyless;	/* the answer may have no body (HEAD, 204, 304) */
	bool admin;	/* came to admin.listen */
	bool reset;	/* end by RST: only that tells an HTTP/1.0 client that a stream is not whole */
	unsigned served;
	unsigned blank_bytes; /* of empty lines before the head */
	size_t scanned;	      /* of the head */
	size_t lingered;      /* bytes thrown away while lingering */
	struct buf text;      /* of the head; owns the texts of the request */
	struct head head;
	struct buf body;
	struct chunked decoder;
	struct exchange x;
	struct ws *ws;
	struct h2 *h2;
	struct tls *tls; /* NULL: plain, or nothing has come yet */
	struct defer defer;
	struct event timer;
	char peer[56];
	uint8_t address[16]; /* the same as an IPv6 address, of IPv4 mapped */
};

/* ---- conn.c ---- */

/* A connection on this socket, which it owns. admin: it came to admin.listen, where no TLS is spoken. */
void conn_new(struct http *http, int fd, const struct sockaddr *address, bool admin);
/* Settle at the end of this turn. */
void conn_settle_later(struct conn *c);
/* It has not begun to send a request, and never did. */
bool conn_is_new(const struct conn *c);
/* How long it may take to do so. */
const struct timeval *conn_patience(const struct conn *c);
/* Start the connection's one timer (NULL: stop it). */
void conn_timer(struct conn *c, const struct timeval *duration);
/* What the client has sent and nobody has taken yet. */
struct evbuffer *conn_input(struct conn *c);
/* Bytes of it that we hold, encrypted ones included. */
size_t conn_unread(const struct conn *c);
/* End the exchange, if one is open: with this ending, unless its app has ended it already. */
void conn_end_exchange(struct conn *c, enum ending ending);
/* Cut the connection and free it, with an on_close() before. Not from inside a callback. */
void conn_free(struct conn *c);

/*
 * Each phase has a step: do one thing that can be done now. True: something changed, step again;
 * false: nothing to do until a callback notes something.
 */
bool guard_step(struct conn *c);
bool h1_step(struct conn *c);
bool h1_ws_step(struct conn *c);
bool h2_step(struct conn *c);

/* ---- socket.c ---- */

/* Listen to it. */
void socket_open(struct conn *c);
/* What came, as it was on the wire, to be drained by who takes it. Goes away at the end of a settle when it is empty. */
struct evbuffer *socket_input(struct conn *c);
/* How much that is. */
size_t socket_unread(const struct conn *c);
/*
 * Who sends more than we take is not read until we take it; and as nobody would then notice his departure,
 * that is watched for: c->departed.
 */
void socket_hold_back(struct conn *c, bool hold);
/* At the end of each settle. */
void socket_settled(struct conn *c);
/* Send the parts as they are to be on the wire, as far as the socket takes them; the rest is queued. */
void socket_send(struct conn *c, const struct iovec *parts, unsigned n);
size_t socket_queued(const struct conn *c);
/* Close it, what is queued is lost. */
void socket_close(struct conn *c);

/* ---- out.c ---- */

/*
 * Send the parts: with all else that this turn has for the client, straight into the socket as far as it
 * takes them, the rest is queued.
 */
void conn_send(struct conn *c, const struct iovec *parts, unsigned n);
/* Do not wait for the end of the turn. */
void conn_flush(struct conn *c);
/* The connection goes: drop what was gathered for it. */
void conn_forget(struct conn *c);
/* Bytes that the socket has not taken yet. */
size_t conn_queued(const struct conn *c);
/* Has the client's host acknowledged all that the socket has taken? *acked_r: bytes that it has. */
bool conn_delivered(const struct conn *c, uint64_t *acked_r);
/* Bytes that may be queued before stream_buffer is full. */
size_t conn_room(const struct conn *c);
/* Call the app's on_room() if it waits for that and there is room again. */
bool conn_offer_room(struct conn *c);

/* ---- tls.c ---- */

/* What all connections share, if there is TLS. False: the reason is in the log. */
bool tls_open(struct http *http) MUST_CHECK;
void tls_close(struct http *http);
bool tls_step(struct conn *c);
/* Decrypt what came, within http->input_max. */
void tls_receive(struct conn *c);
/* What is decrypted. */
struct evbuffer *tls_clear(const struct conn *c);
void tls_send(struct conn *c, const struct iovec *parts, unsigned n);
/* Tell the client that nothing will follow, so that it can tell this from a cut (RFC 8446, 6.1). */
void tls_say_goodbye(struct conn *c);
/* Harmless if there is none. */
void tls_free(struct conn *c);

/* ---- h1.c ---- */

/* A whole message is in head and body: run it. */
void h1_begin(struct conn *c);
/* A refusal that no exchange stands behind; the connection closes after it. */
void h1_refuse(struct conn *c, enum ending ending, const char *why);
/* libevhtp's hooks, arg is the struct http: its connection becomes the reader; it goes. */
evhtp_res h1_reader_accepted(evhtp_connection_t *reader, void *arg);
extern const struct exchange_port h1_port;

/* ---- h2.c ---- */

/* What all sessions share; to be called once, and before the last one ends. */
void h2_open(struct http *http);
void h2_close(struct http *http);
/* The client's next bytes are the preface, whole or in part: from here on it speaks HTTP/2. */
void h2_begin(struct conn *c);
/* Is this the beginning of the preface, or all of it (*whole_r)? */
bool h2_is_preface(const char *bytes, size_t len, bool *whole_r);
/*
 * Let the client know that it should go; running streams end in their own time. The number of its WebSockets, which have
 * not heard of it yet.
 */
unsigned h2_drain(struct conn *c);
/* Tell that to so many of these at most, and to those that were opened since; how many heard it. */
uint64_t h2_drain_websockets(struct conn *c, uint64_t most);
/* It is closed at once: say so. */
void h2_goodbye(struct conn *c);
/* End all exchanges with this ending; free what hangs at c->h2. Harmless if nothing does. */
void h2_free(struct conn *c, enum ending ending);

/* ---- h1_ws.c: h1_port's part of it ---- */

void h1_accept_ws(struct exchange *x, const struct exchange_header *h, unsigned n);
void h1_send_message(struct exchange *x, bool binary, const char *bytes, size_t len);
void h1_close_ws(struct exchange *x, unsigned code, const char *reason);

#endif
