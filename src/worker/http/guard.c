/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.c - from bytes to one whole, clean message at a time.
 *
 * Nothing is parsed before it is complete, and nothing is passed on that has not
 * passed head.c. Input that comes while an answer is under way stays where it is,
 * up to http->input_max bytes; TCP holds back the rest.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "conf/conf.h"
#include "worker/http/ws_handshake.h"

#include <event2/buffer.h>
#include <sys/ioctl.h>

/* Empty lines before a request are skipped (RFC 9112, 2.2), but not for ever. */
#define BLANK_BYTES_MAX 16

static bool refuse(struct conn *c, enum ending ending, const char *why)
{
	h1_refuse(c, ending, why);
	return true;
}

/* Nothing can be done now: is this the end? */
static bool wait_for_more(struct conn *c)
{
	if (c->eof) {
		c->phase = CONN_DEAD;
		return true;
	}
	if (!c->timed_out)
		return false;
	if (c->started)
		return refuse(c, END_HEAD_TIMEOUT, NULL);
	c->phase = CONN_DEAD;
	return true;
}

/* ---- the body ---- */

static void run(struct conn *c)
{
	conn_timer(c, NULL);
	h1_begin(c);
}

static bool take_plain(struct conn *c, struct evbuffer *in)
{
	size_t there = evbuffer_get_length(in);
	size_t missing = (size_t)c->head.length - c->body.len;
	size_t n = there < missing ? there : missing;

	if (!n)
		return wait_for_more(c);
	evbuffer_remove(in, buf_reserve(&c->body, n), n);
	c->body.len += n;
	c->body.data[c->body.len] = 0;
	if (n == missing)
		run(c);
	return true;
}

static bool take_chunks(struct conn *c, struct evbuffer *in)
{
	size_t there = evbuffer_get_length(in), body, used;
	char *bytes = (char *)evbuffer_pullup(in, -1);
	enum chunked_result result;

	if (!there)
		return wait_for_more(c);
	result = chunked_decode(&c->decoder, bytes, there,
		c->http->conf->max_body_bytes - c->body.len, &body, &used);
	switch (result) {
	case CHUNKED_BAD:
		return refuse(c, END_BAD_REQUEST, "the chunked body is malformed");
	case CHUNKED_TOO_LARGE:
		return refuse(c, END_BODY_TOO_LARGE, NULL);
	case CHUNKED_MORE:
	case CHUNKED_DONE:
		break;
	}
	buf_add(&c->body, bytes, body);
	evbuffer_drain(in, used);
	if (result == CHUNKED_DONE)
		run(c);
	return true;
}

/* The head is fine; is its body wanted? */
static bool begin_body(struct conn *c, struct evbuffer *in)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

	if (c->head.length > c->http->conf->max_body_bytes)
		return refuse(c, END_BODY_TOO_LARGE, NULL);
	if (!c->head.has_body) {
		run(c);
		return true;
	}
	if (pending_no_body(c))
		return refuse(c, END_PENDING_FULL, NULL);
	c->phase = CONN_BODY;
	c->decoder = (struct chunked){ 0 };
	conn_timer(c, c->http->header_timeout);
	/* A client that did not wait needs no leave to send (RFC 9110, 10.1.1). */
	if (c->head.expects_continue && !evbuffer_get_length(in))
		conn_send(c, &(struct iovec){ (void *)go_on, sizeof(go_on) - 1 }, 1);
	return true;
}

/* ---- the head ---- */

static bool take_head(struct conn *c, struct evbuffer *in, size_t len)
{
	const char *why;
	enum ending bad;

	buf_clear(&c->text);
	evbuffer_remove(in, buf_reserve(&c->text, len), len);
	c->text.len = len;
	c->text.data[len] = 0;
	bad = head_parse(c->text.data, len, &c->head, &why);
	if (bad == END_COMPLETE)
		bad = ws_handshake_check(&c->head, &why);
	if (bad != END_COMPLETE)
		return refuse(c, bad, why);
	return begin_body(c, in);
}

/* "Unfinished" means that all that has arrived is not enough, not that we have not read it yet. */
static bool more_is_here(struct conn *c)
{
	int readable = 0;

	return conn_unread(c) > evbuffer_get_length(conn_input(c)) ||
	       (!ioctl(c->fd, FIONREAD, &readable) && readable > 0);
}

static bool check_unfinished(struct conn *c, size_t line, size_t len)
{
	const struct conf *conf = c->http->conf;

	if (line > conf->max_request_line_bytes)
		return refuse(c, END_URI_TOO_LONG, NULL);
	if (len > conf->max_header_bytes ||
		(len > conf->max_incomplete_event_bytes && !more_is_here(c)))
		return refuse(c, END_HEAD_TOO_LARGE, NULL);
	return wait_for_more(c);
}

static bool skip_blank_lines(struct conn *c, struct evbuffer *in)
{
	char two[2];

	while (evbuffer_copyout(in, two, 2) == 2 && two[0] == '\r' && two[1] == '\n') {
		evbuffer_drain(in, 2);
		c->blank_bytes += 2;
	}
	return c->blank_bytes <= BLANK_BYTES_MAX;
}

static bool take_bytes(struct conn *c)
{
	const struct conf *conf = c->http->conf;
	struct evbuffer *in = conn_input(c);
	const char *bytes;
	size_t len, line;
	bool whole;

	if (!skip_blank_lines(c, in))
		return refuse(c, END_BAD_REQUEST, "too many empty lines before the request");
	len = evbuffer_get_length(in);
	if (!len && c->served && c->http->draining && !c->http->drain_gently)
		c->phase = CONN_DEAD;
	bytes = (const char *)evbuffer_pullup(in, -1);
	if (!len || (len == 1 && bytes[0] == '\r'))
		return c->phase == CONN_DEAD || wait_for_more(c);
	if (!c->started) {
		c->started = true;
		pending_idle(c, false);
		conn_timer(c, c->pending.over ? c->http->over_timeout : c->http->header_timeout);
	}
	if (!c->tls && !c->served && !c->blank_bytes && h2_is_preface(bytes, len, &whole)) {
		if (!whole)
			return wait_for_more(c);
		h2_begin(c);
		return true;
	}
	switch (head_scan(bytes, len, &c->scanned)) {
	case HEAD_BROKEN:
		return refuse(c, END_BAD_REQUEST, "this is no HTTP/1.1 request");
	case HEAD_UNFINISHED:
		return check_unfinished(c, head_first_line(bytes, len), len);
	case HEAD_WHOLE:
		break;
	}
	line = head_first_line(bytes, c->scanned);
	if (line > conf->max_request_line_bytes)
		return refuse(c, END_URI_TOO_LONG, NULL);
	if (c->scanned > conf->max_header_bytes)
		return refuse(c, END_HEAD_TOO_LARGE, NULL);
	return take_head(c, in, c->scanned);
}

bool guard_step(struct conn *c)
{
	if (pending_wait(c))
		return false;
	if (c->phase == CONN_HEAD)
		return take_bytes(c);
	return c->head.chunked ? take_chunks(c, conn_input(c))
			       : take_plain(c, conn_input(c));
}
