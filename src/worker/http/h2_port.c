/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * h2_port.c - what an app says, as HTTP/2.
 *
 * Bytes wait in the stream's own buffer until nghttp2 asks for them, which it does as the client's two windows
 * allow: a stream that is not read fills its own buffer and pauses its own provider. Nothing is sent from
 * here; h2_step() sends what all streams have at the end of the loop turn.
 */
#include "base/base.h"
#include "worker/http/h2.h"
#include "conf/conf.h"
#include "worker/http/fields.h"

#include <strings.h>

static struct h2_stream *stream_of(const struct exchange *x)
{
	return container_of(x, struct h2_stream, x);
}

size_t h2_stream_unsent(const struct h2_stream *s)
{
	return s->out.len - s->out_sent;
}

/* ---- nghttp2 asks ---- */

static ssize_t take_out(nghttp2_session *session, int32_t id, uint8_t *to, size_t max, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct h2_stream *s = source->ptr;
	size_t there = h2_stream_unsent(s), n = there < max ? there : max;

	if (n) {
		memcpy(to, s->out.data + s->out_sent, n);
		s->out_sent += n;
		s->moved = true;
		h2_touch(s);
	}
	if (n < there)
		return (ssize_t)n;
	buf_clear(&s->out);
	s->out_sent = 0;
	if (s->finished && !s->cut)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (!n)
		return s->cut ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : NGHTTP2_ERR_DEFERRED;
	return (ssize_t)n;
}

/* There is more, or the end has come. */
static void resume(struct h2_stream *s)
{
	nghttp2_session_resume_data(s->h2->session, s->id); /* an error: it is not waiting */
	h2_touch(s);
	conn_settle_later(s->h2->c);
}

/* ---- heads ---- */

/* Fields that speak of an HTTP/1.1 connection (RFC 9113, 8.2.2). */
static bool is_hop_by_hop(const char *name)
{
	static const char *const names[] = { "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return false;
}

/* The fields that go out, :status first. Returns how many were put into all. */
static unsigned collect(const struct h2_stream *s, const char *status, const struct exchange_header *h,
	unsigned n, const char *length, struct exchange_header *all)
{
	unsigned count = 0;

	all[count++] = (struct exchange_header){ ":status", status };
	for (unsigned i = 0; i < n; i++)
		if (!is_hop_by_hop(h[i].name))
			all[count++] = h[i];
	count += fields_common(&s->x, all + count);
	if (length)
		all[count++] = (struct exchange_header){ "content-length", length };
	return count;
}

static void submit(struct h2_stream *s, int status, const struct exchange_header *h, unsigned n,
	const char *length)
{
	struct exchange_header *all = xcalloc(n + FIELDS_COMMON_MAX + 2, sizeof(*all));
	nghttp2_data_provider provider = { .source.ptr = s, .read_callback = take_out };
	struct buf values = BUF_INIT;
	char text[16];
	size_t bytes = 0;
	unsigned count;
	nghttp2_nv *nv;

	snprintf(text, sizeof(text), "%d", status);
	count = collect(s, text, h, n, length, all);
	for (unsigned i = 0; i < count; i++)
		bytes += strlen(all[i].value);
	buf_reserve(&values, bytes); /* it does not move from here on */
	nv = xcalloc(count, sizeof(*nv));
	for (unsigned i = 0; i < count; i++) {
		nv[i] = (nghttp2_nv){ .name = (uint8_t *)all[i].name,
			.namelen = strlen(all[i].name),
			.value = (uint8_t *)values.data + values.len,
			.valuelen = strlen(all[i].value) };
		fields_add_value(&values, all[i].value);
	}
	s->answering = true;
	s->bodyless = status == 204 || status == 304 || !strcmp(s->x.request.method, "HEAD");
	/* nghttp2 copies it, names in small letters */
	nghttp2_submit_response(s->h2->session, s->id, nv, count, s->bodyless ? NULL : &provider);
	buf_release(&values);
	free(nv);
	free(all);
	conn_settle_later(s->h2->c);
}

void h2_answer(struct h2_stream *s, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	char length[24];

	if (s->closed)
		return;
	snprintf(length, sizeof(length), "%zu", len);
	s->finished = true;
	submit(s, status, h, n, status == 204 ? NULL : length);
	if (!s->bodyless)
		buf_add(&s->out, body, len);
	h2_touch(s);
}

/*
 * A success in answer to an extended CONNECT would be taken for an open WebSocket (RFC 8441, 5): who asked for one
 * where there is none learns so.
 */
static bool is_mistaken(const struct exchange *x, int status)
{
	return x->request.websocket && x->status != 101 && status < 300;
}

static void deny_websocket(struct exchange *x)
{
	const struct exchange_error error = { .ending = END_METHOD_NOT_ALLOWED,
		.message = "this path speaks no WebSocket" };
	const struct exchange_header type = { "Content-Type", "application/json" };
	struct buf json = BUF_INIT;

	exchange_error_json(&json, &error);
	x->status = ending_facts[error.ending].http;
	x->note.ending = error.ending;
	x->sent_bytes = json.len;
	h2_answer(stream_of(x), x->status, &type, 1, json.data, json.len);
	buf_release(&json);
}

/* ---- the port ---- */

static void h2_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	if (is_mistaken(x, status)) {
		deny_websocket(x);
		return;
	}
	h2_answer(stream_of(x), status, h, n, body, len);
}

void h2_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n)
{
	struct h2_stream *s = stream_of(x);

	if (!s->closed)
		submit(s, status, h, n, NULL);
}

size_t h2_room(const struct exchange *x)
{
	const struct h2_stream *s = stream_of(x);
	size_t unsent = h2_stream_unsent(s), size = s->h2->c->http->conf->stream_buffer_bytes;

	return unsent < size ? size - unsent : 0;
}

void h2_stream_append(struct h2_stream *s, const struct iovec *parts, unsigned n)
{
	if (s->closed || s->bodyless)
		return;
	if (s->out_sent > s->out.len / 2) {
		buf_drop(&s->out, s->out_sent);
		s->out_sent = 0;
	}
	for (unsigned i = 0; i < n; i++)
		buf_add(&s->out, parts[i].iov_base, parts[i].iov_len);
	if (!h2_room(&s->x))
		s->want_room = true;
	resume(s);
}

static void h2_write(struct exchange *x, const char *bytes, size_t len)
{
	h2_stream_append(stream_of(x), &(struct iovec){ (void *)bytes, len }, 1);
}

void h2_finish(struct exchange *x)
{
	struct h2_stream *s = stream_of(x);

	s->finished = true;
	if (!s->closed)
		resume(s);
}

/* What is queued goes out, but the END_STREAM that would make it whole does not. */
static void h2_abort(struct exchange *x)
{
	struct h2_stream *s = stream_of(x);

	if (s->closed)
		return;
	s->cut = s->finished = true;
	if (!s->answering)
		nghttp2_submit_rst_stream(
			s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	resume(s);
}

static void h2_admitted(struct exchange *x, bool yes)
{
	pending_admitted(stream_of(x)->h2->c, yes);
}

const struct exchange_port h2_port = {
	.respond = h2_respond,
	.start = h2_start,
	.write = h2_write,
	.finish = h2_finish,
	.abort = h2_abort,
	.room = h2_room,
	.accept_ws = h2_accept_ws,
	.send_message = h2_send_message,
	.close_ws = h2_close_ws,
	.admitted = h2_admitted,
};
