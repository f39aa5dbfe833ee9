/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.h - a small strict HTTP/1.1 server on raw libevent events.
 *
 * One request at a time per connection; pipelined ones wait. Bytes are sent
 * with a direct send(2); what the kernel does not take is queued. The head of an
 * answer and its chunks are made by the caller (reply.h).
 */
#ifndef TOOLS_LLMSIM_HTTP_H
#define TOOLS_LLMSIM_HTTP_H

#include "base/base.h"
#include "base/buf.h"
#include "tools/llmsim/head.h"

struct event_base;
struct http_server;
struct wheel;

enum http_end {
	HTTP_COMPLETE, /* all bytes have been handed to the kernel */
	HTTP_CUT,      /* closed or reset on order */
	HTTP_OUTAGE,   /* reset, for the server went down on order */
	HTTP_GONE,     /* the client closed or broke the connection */
	HTTP_STOPPED,  /* the server was freed */
};

struct http_request {
	uint64_t conn; /* number of the connection */
	struct head head;
	struct buf body;
	bool failed; /* the connection is broken or closed: sending is in vain */
	void *owner; /* the handler's */
};

/* finished() is called exactly once for each request that head() was called for. */
struct http_handler {
	/* The head is there; http_read_slowly() is possible here. */
	void (*head)(struct http_request *req);
	/* The body too: answer now or later. */
	void (*request)(struct http_request *req);
	/* The queue of bytes to be sent is empty again. */
	void (*drained)(struct http_request *req);
	/* req is invalid after this call. */
	void (*finished)(struct http_request *req, enum http_end how);
};

/* Moved by the server, read by anybody. */
struct http_counts {
	uint64_t open, max_open;
	uint64_t idle;    /* kept alive, waiting for a further request */
	uint64_t settled; /* idle for HTTP_SETTLE_MS: the client means to keep them */
	uint64_t max_settled;
	uint64_t refused; /* requests that break the rules of HTTP */
};
#define HTTP_SETTLE_MS 200

/* Serve what comes in on a listening socket, which becomes the server's. The handler outlives
 * it. */
struct http_server *http_server_new(struct event_base *base, struct wheel *wheel, int fd,
        const struct http_handler *handler);
struct http_counts *http_counts(struct http_server *server);
/* Listen no more, and reset all connections but the spectators'. */
void http_server_down(struct http_server *server);
void http_server_up(struct http_server *server);
/* Closes everything. */
void http_server_free(struct http_server *server);

/*
 * This connection is a spectator's: from its first such request on it is not
 * in the counts (a maximum that it alone has raised goes back).
 */
void http_uncount(struct http_request *req);

/* Take the body in helpings of `bytes`, one every `every_ms`. */
void http_read_slowly(struct http_request *req, size_t bytes, uint64_t every_ms);

/* In vain on a broken connection (see failed); never calls the handler. */
void http_send(struct http_request *req, const void *bytes, size_t len);
/* Bytes that wait for the client. */
size_t http_queued(const struct http_request *req);

/*
 * The three ways to end an answer. Each may call finished() at once, so it has to
 * be the last thing that is done with req.
 */
/* The answer is complete: keep the connection if both sides like. */
void http_finish(struct http_request *req);
/* FIN once the queue is sent, whatever was promised. */
void http_cut(struct http_request *req);
/* RST now. */
void http_reset(struct http_request *req);

#endif
