/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.h - one request and its answer, whatever protocol carries it.
 *
 * The port is the client's side (h1, WebSocket, later h2): it fills in the request
 * and carries out what the app says. The app is the endpoint: it answers. They know
 * each other only through this header.
 *
 *	port: exchange_begin() -> route -> app set -> app->on_start()
 *	app:  exchange_respond()                         one whole answer, or
 *	      exchange_start(), exchange_write()..., exchange_finish()   a stream, or
 *	      exchange_accept_ws(), exchange_send_text()..., exchange_close_ws()
 *	port: app->on_close()                            once, always, last
 *
 * Ownership: the port owns the exchange; the app owns app_data and frees it in
 * on_close(), which the port calls at the end of a loop turn, whatever came first: the
 * answer is complete, the client left, or the app gave up. on_close() is how an app learns that
 * its client is gone: what hangs below (a provider call) must end in that call.
 * App callbacks are never called from inside an exchange_*() function, so an app may call those from anywhere.
 */
#ifndef WORKER_EXCHANGE_EXCHANGE_H
#define WORKER_EXCHANGE_EXCHANGE_H

#include "base/base.h"
#include "base/buf.h"
#include "shm/endings.h"
#include "shm/flow.h"

struct exchange;

struct exchange_header {
	const char *name;
	const char *value;
};

/*
 * What the client asked. The body is there until on_start() has returned; all other texts live as long as the exchange,
 * but for headers and query of a WebSocket: once that is accepted, there is only "traceparent".
 */
struct exchange_request {
	const char *method; /* "GET" */
	const char *path;   /* "/v1/models", percent-encoding as sent, without the query */
	const char *query;  /* behind the "?"; "" if none */
	const struct exchange_header *headers;
	unsigned nheaders;
	const char *body; /* whole, decoded from chunks; NULL if none */
	size_t body_len;
	const char *peer;	 /* "127.0.0.1:4711" */
	bool admin;		 /* came to admin.listen */
	const uint8_t *address;	 /* the same as an IPv6 address (of IPv4: mapped), 16 bytes; NULL: not known */
	bool websocket;		 /* a correct upgrade to WebSocket 13: exchange_accept_ws() may be called */
};

struct exchange_app {
	const char *name; /* "chat_completions", for logs */
	bool always;	  /* it answers also when no more connections are taken in */
	/* The request is here, whole. */
	void (*on_start)(struct exchange *x);
	/* There is room again after exchange_room() was 0. May be NULL. */
	void (*on_room)(struct exchange *x);
	/* A whole text message of the client (WebSocket only). */
	void (*on_message)(struct exchange *x, const char *text, size_t len);
	/* A whole binary one. NULL: not spoken, who sends one is closed with 1003. */
	void (*on_binary)(struct exchange *x, const char *bytes, size_t len);
	/* The worker drains: end what is idle now, take nothing new. May be NULL. */
	void (*on_drain)(struct exchange *x);
	/* It has lost its place among those of `limit`: end with END_LEASE_LOST, as a stream does. NULL: it has none. */
	void (*on_lost)(struct exchange *x, const char *limit);
	/* The end: free app_data and all that hangs below. */
	void (*on_close)(struct exchange *x);
};

struct exchange_port {
	void (*respond)(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
		const char *body, size_t len);
	void (*start)(struct exchange *x, int status, const struct exchange_header *h, unsigned n);
	void (*write)(struct exchange *x, const char *bytes, size_t len);
	void (*finish)(struct exchange *x);
	void (*abort)(struct exchange *x);
	size_t (*room)(const struct exchange *x);
	void (*accept_ws)(struct exchange *x, const struct exchange_header *h, unsigned n);
	void (*send_message)(struct exchange *x, bool binary, const char *bytes, size_t len);
	void (*close_ws)(struct exchange *x, unsigned code, const char *reason);
	/* See exchange_admitted(). May be NULL. */
	void (*admitted)(struct exchange *x, bool yes);
};

enum exchange_state {
	EXCHANGE_ASKED,	    /* nothing answered yet */
	EXCHANGE_STREAMING, /* start() went out */
	EXCHANGE_WEBSOCKET, /* upgraded */
	EXCHANGE_ENDED	    /* answered, finished, aborted or closed: on_close() follows */
};

/* What the access log tells beyond the request; apps fill in what they know. Texts are not owned. */
struct exchange_note {
	enum ending ending; /* END_COUNT: not decided yet (a whole answer below 400 decides COMPLETE) */
	const char *model;
	const char *provider;
	uint64_t queue_wait_us;
	uint64_t first_token_us;
	uint64_t tokens;
};

/* Who asks, as far as it is known: for limits, fairness and the access log. */
struct exchange_client {
	const char *name; /* of its key; NULL: it came without. Lives as long as the worker */
	unsigned place;	  /* of the key in the segment; only with a name */
	struct flow flow; /* whose turn it is where clients wait */
};

/* What request.peer and .address point to then. */
struct exchange_forwarded {
	char peer[56];
	uint8_t address[16];
};

struct exchange {
	const struct exchange_port *port;
	const struct exchange_app *app;
	void *app_data;
	struct exchange_request request;
	enum exchange_state state;
	int status;
	uint64_t started_us;
	uint64_t sent_bytes; /* of bodies and messages */
	char id[40];	     /* X-Request-Id: the client's if it is sane, else ours */
	struct exchange_client client;
	struct exchange_forwarded *forwarded; /* where a proxy told; freed with the exchange */
	char *subprotocol; /* that a WebSocket is accepted with; NULL: none; freed with the exchange */
	const char *cors_origin; /* the allowed Origin to name in answers, or NULL; set by the router */
	struct exchange_note note;
};

/* Finds the app for a request: sets x->app (and cors_origin), then the port calls on_start(). */
typedef void (*exchange_route_fn)(struct exchange *x, void *arg);

/* ---- for apps ---- */

/* A header of the request, by name in any case; NULL if absent. */
const char *exchange_header(const struct exchange *x, const char *name);

/* One whole answer; headers may be NULL. Content-Length, Date, X-Request-Id and CORS are added. */
void exchange_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len);
void exchange_respond_json(struct exchange *x, int status, const struct buf *json);

/* The head of a stream (chunked in h1.1). Goes out at once. */
void exchange_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n);
/* A part of the stream, sent at the end of the loop turn together with what else it has. All of it is taken;
 * apps look at exchange_room() before they ask for more. Ignored once ENDED. */
void exchange_write(struct exchange *x, const char *bytes, size_t len);
/* The stream is complete. */
void exchange_finish(struct exchange *x);
/* The answer cannot be completed: the connection is cut so that the client can tell. */
void exchange_abort(struct exchange *x);
/* Bytes that may be written before stream_buffer is full; 0: stop, on_room() will be called. */
size_t exchange_room(const struct exchange *x);

/* Complete the upgrade (only if request.websocket). */
void exchange_accept_ws(struct exchange *x);
void exchange_send_text(struct exchange *x, const char *text, size_t len);
void exchange_send_binary(struct exchange *x, const char *bytes, size_t len);
/* Close with this code after what was sent; on_close() follows when the client has answered or
 * its time is up. */
void exchange_close_ws(struct exchange *x, unsigned code, const char *reason);

/*
 * Refuse with OpenAI's error object, the ending's status and headers. Any of the texts may be
 * NULL: message (default: the ending's text), param, limit (configuration path of the limit that was
 * hit, also sent as X-Headgate-Limit). retry_after_ms > 0 becomes Retry-After (whole seconds, rounded up).
 */
struct exchange_error {
	enum ending ending;
	const char *message;
	const char *param;
	const char *limit;
	uint64_t retry_after_ms;
	bool give_up; /* a client that tries again by itself would do harm: "x-should-retry: false" */
};
void exchange_refuse(struct exchange *x, const struct exchange_error *error);
/* The same object as text: {"error":{"message":...,"type":...,"param":...,"code":...}}. */
void exchange_error_json(struct buf *out, const struct exchange_error *error);

/* ---- for admission ---- */

/* It has one of max_connections now, or no longer: its connection is not among the pending ones meanwhile. */
void exchange_admitted(struct exchange *x, bool yes);

/* ---- for ports ---- */

/* Zeroes x, stamps the time. The port then fills request. */
void exchange_begin(struct exchange *x, const struct exchange_port *port);
/* Chooses x->id from the X-Request-Id of the request or makes one. */
void exchange_identify(struct exchange *x);
/* Counts the ending (if one was decided), writes the access log line, then calls on_close() (if there
 * is an app): texts of the note may die in it. A second call does nothing. */
void exchange_close(struct exchange *x);

/* ---- access.c ---- */

/* Whether each request is logged. */
void exchange_access_log(bool on);
/* Its line; without an access log one for each request that was at fault itself, and no flood of them. */
void exchange_log(const struct exchange *x);
/*
 * A request within a WebSocket is over: its line for the access log. id is the client's own name for
 * it; the note is the request's, not the socket's.
 */
void exchange_log_message(const struct exchange *x, const char *id, const struct exchange_note *note,
	uint64_t started_us);

#endif
