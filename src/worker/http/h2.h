/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2.h - HTTP/2 (RFC 9113), as the files of it share it.
 *
 * A connection that begins with the preface is taken from libevhtp and gets an nghttp2 session. Callbacks of
 * nghttp2 only note; streams that were noted something are "touched", and what follows happens in
 * h2_step(), outside of the library: calling apps, answering, freeing.
 *
 *	h2.c         the session: bytes in and out, timers, farewell
 *	h2_flood.c   what a client may do, but not all the time
 *	h2_stream.c  one stream: from HEADERS to a request, and its end
 *	h2_port.c    the answer of a stream's exchange
 *	h2_ws.c      a stream that carries a WebSocket
 */
#ifndef WORKER_HTTP_H2_H
#define WORKER_HTTP_H2_H

#include "base/base.h"
#include "worker/http/conn.h"

#include <nghttp2/nghttp2.h>

enum h2_phase {
	H2_HEAD,    /* its header block is not here, or not looked at */
	H2_BODY,    /* the head is fine, the body is on its way */
	H2_RUNNING, /* an app has it */
	H2_ANSWERED /* nothing is expected of an app any more; bytes may wait to be sent */
};

struct h2_ws;

struct h2_stream {
	TAILQ_ENTRY(h2_stream) entry;
	TAILQ_ENTRY(h2_stream) touch;
	struct h2 *h2;
	int32_t id;
	enum h2_phase phase;
	bool touched; /* in h2->touched */
	/* what callbacks noted */
	bool head_whole;
	bool whole;	/* END_STREAM was seen */
	bool head_large;
	bool body_large;
	bool closed;	/* nghttp2 has forgotten it */
	bool timed_out;
	bool moved;	/* bytes of the answer went out since the stall timer was set */
	/* the answer */
	bool answering; /* its head was given to nghttp2 */
	bool bodyless;	/* HEAD, 204, 304 */
	bool finished;	/* `out` is the last of it */
	bool cut;	/* reset behind `out`, so that nobody takes it for whole */
	bool answer_out; /* all of it */
	bool want_room;
	bool x_open; /* x is begun and not closed */
	struct buf out;
	size_t out_sent; /* of out */
	/* the request */
	struct buf text; /* of its fields: name NUL value NUL */
	unsigned nfields;
	size_t head_bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113, 6.5.2) */
	struct exchange_header *fields;
	struct buf body;
	struct exchange x;
	struct h2_ws *ws; /* NULL: it carries none */
	bool drain_told; /* it carries one, which has heard that we drain */
	const struct timeval *watch; /* what the timer was last started with */
	struct event timer;	     /* of the body's arrival, then of a client that takes nothing */
};

/* A budget for what is harmless now and then. */
struct h2_bucket {
	unsigned left;
	uint64_t filled_ms;
};

enum h2_farewell {
	H2_STAYING,
	H2_NOTICED, /* the client was told to open no more streams; some may be on their way */
	H2_LEAVING  /* it was told which was the last one */
};

struct h2 {
	struct conn *c;
	nghttp2_session *session;
	TAILQ_HEAD(, h2_stream) streams;
	TAILQ_HEAD(, h2_stream) touched;
	unsigned nstreams;
	uint64_t served;
	unsigned continuations; /* of the header block that is on its way */
	uint64_t opened;
	int32_t last_id; /* of the stream opened last */
	bool in_head; /* a header block is not complete */
	size_t held;  /* bytes of request bodies in memory */
	size_t owed;  /* of the connection's window, taken and not given back yet */
	struct h2_bucket bucket[2];
	const char *flood; /* what the client overdid; NULL: nothing */
	uint32_t error;	   /* why the connection is at an end: the code of its GOAWAY */
	enum h2_farewell farewell;
	const struct timeval *timer; /* what conn_timer() was last started with */
};

/* What a client may do, but not all the time. */
enum h2_nuisance { H2_RESET, H2_STALL, H2_REFUSED, H2_CONTROL, H2_EMPTY, H2_NUISANCE_COUNT };

/* ---- h2.c ---- */

/* Something was noted about it. */
void h2_touch(struct h2_stream *s);

/* ---- h2_flood.c ---- */

void h2_floods_begin(struct h2 *h2);
/* False: this was once too often; the connection is to be closed (h2_step() does). */
bool h2_tolerates(struct h2 *h2, enum h2_nuisance what);
/* The same for a frame that begins. */
bool h2_tolerates_frame(struct h2 *h2, const nghttp2_frame_hd *hd);
/* A frame of ours went out that may be answered by two (windows). */
void h2_expect_answers(struct h2 *h2);

/* ---- h2_stream.c ---- */

/* NULL: id is 0, or it is closed. */
static inline struct h2_stream *h2_stream_at(nghttp2_session *session, int32_t id)
{
	return id ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_add_field(struct h2_stream *s, nghttp2_vec name, nghttp2_vec value);
/* False: it is not wanted. */
bool h2_stream_add_body(struct h2_stream *s, const uint8_t *bytes, size_t len);
/* Do what can be done now. It may be gone afterwards. */
void h2_stream_work(struct h2_stream *s);
/* End its exchange, if one is open: with this ending, unless its app has ended it already. */
void h2_stream_end(struct h2_stream *s, enum ending ending);
/* End and free it; nghttp2 must have forgotten it, or be about to be freed. */
void h2_stream_free(struct h2_stream *s, enum ending ending);

/* ---- h2_port.c ---- */

extern const struct exchange_port h2_port;
/* Bytes of the answer that nghttp2 has not taken. */
size_t h2_stream_unsent(const struct h2_stream *s);
/* The head of an answer whose body follows. */
void h2_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n);
/* A part of its body; its end. */
void h2_stream_append(struct h2_stream *s, const struct iovec *parts, unsigned n);
void h2_finish(struct exchange *x);
size_t h2_room(const struct exchange *x);
/* One whole answer; x gives the common fields. */
void h2_answer(struct h2_stream *s, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len);

/* ---- h2_ws.c: h2_port's part of it, and the stream's ---- */

void h2_accept_ws(struct exchange *x, const struct exchange_header *h, unsigned n);
void h2_send_message(struct exchange *x, bool binary, const char *bytes, size_t len);
void h2_close_ws(struct exchange *x, unsigned code, const char *reason);
/* Bytes came for it. */
void h2_ws_add(struct h2_stream *s, const uint8_t *bytes, size_t len);
/* Take what came, as far as that can be done now. */
void h2_ws_work(struct h2_stream *s);
/* Harmless if it carries none. */
void h2_ws_free(struct h2_stream *s);

#endif
