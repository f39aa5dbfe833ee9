/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws.c - WebSocket over a connection that was taken over from libevhtp.
 *
 * Receiving: wslay unmasks, joins fragments, checks UTF-8 and the rules of RFC 6455, and writes pongs. It gets
 * one frame at a time, whose header is looked at here first: what wslay lets pass is refused here, and
 * the length of a message is judged before its bytes are taken. Its context (8.8 kB) lives from
 * the first byte of a message to the last one.
 *
 * Sending: frames of a server are unmasked and unfragmented, a few bytes in front of the text;
 * they go straight into the socket.
 */
#include "base/base.h"
#include "worker/http/conn.h"
#include "base/bug.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/http/ws_handshake.h"

#include <event2/buffer.h>
#include <wslay/wslay.h>

#define FIN 0x80
#define MASKED 0x80
#define CONTROL 0x08
#define CONTROL_PAYLOAD_MAX 125
#define REASON_MAX 123

struct ws {
	wslay_event_context_ptr context; /* NULL between messages */
	uint64_t frame_left;		 /* bytes of this frame that wslay has not taken */
	bool frame_is_control;
	bool frame_is_last; /* FIN */
	bool in_message;    /* fragments are missing */
	bool has_message;   /* `message` is whole */
	bool binary;	    /* ... and no text */
	bool close_sent;
	struct buf message; /* what came of it so far */
	struct buf reply;   /* what wslay wants to send */
};

/* ---- sending ---- */

static struct conn *conn_of(const struct exchange *x)
{
	return container_of(x, struct conn, x);
}

static void send_frame(struct conn *c, unsigned opcode, const void *payload, size_t len)
{
	unsigned char header[10] = { (unsigned char)(FIN | opcode) };
	unsigned size = len < 126 ? 0 : len <= 0xffff ? 2 : 8;

	header[1] = (unsigned char)(size == 0 ? len : size == 2 ? 126 : 127);
	for (unsigned i = 0; i < size; i++)
		header[2 + i] = (unsigned char)((uint64_t)len >> 8 * (size - 1 - i));
	conn_send(c, (struct iovec[]){ { header, 2 + size }, { (void *)payload, len } }, 2);
}

/* The start of a reason that fits, not cut inside a character. */
static size_t reason_len(const char *reason)
{
	size_t len = strlen(reason);

	if (len > REASON_MAX) {
		len = REASON_MAX;
		while (len && ((unsigned char)reason[len] & 0xc0) == 0x80)
			len--;
	}
	return len;
}

static void send_close(struct conn *c, unsigned code, const char *reason)
{
	char payload[2 + REASON_MAX] = { (char)(code >> 8), (char)code };
	size_t len = reason_len(reason);

	if (c->ws->close_sent)
		return;
	c->ws->close_sent = true;
	memcpy(payload + 2, reason, len);
	send_frame(c, WSLAY_CONNECTION_CLOSE, payload, 2 + len);
}

void ws_send(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	stat_add(STAT_WS_MESSAGES_OUT, 1);
	send_frame(conn_of(x), binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME, bytes, len);
}

/* The app is done: the client has a while to answer our close. */
void ws_close(struct exchange *x, unsigned code, const char *reason)
{
	struct conn *c = conn_of(x);

	send_close(c, code, reason);
	conn_timer(c, c->http->farewell_timeout);
	conn_settle_later(c);
}

/* ---- upgrade and end ---- */

void ws_accept(struct exchange *x, const struct exchange_header *h, unsigned n)
{
	struct conn *c = conn_of(x);
	struct buf head = BUF_INIT;
	char accept[WS_ACCEPT_SIZE];

	ws_handshake_accept(&c->head, accept);
	buf_addf(&head,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s\r\nX-Request-Id: %s\r\n",
		accept, x->id);
	for (unsigned i = 0; i < n; i++)
		buf_addf(&head, "%s: %s\r\n", h[i].name, h[i].value);
	buf_adds(&head, "\r\n");
	conn_take_over(c);
	c->ws = xcalloc(1, sizeof(*c->ws));
	c->phase = CONN_WEBSOCKET;
	conn_send(c, &(struct iovec){ head.data, head.len }, 1);
	buf_release(&head);
	conn_settle_later(c); /* bytes behind the handshake may be here already */
}

static void free_context(struct ws *ws)
{
	if (ws->context)
		wslay_event_context_free(ws->context);
	ws->context = NULL;
	buf_release(&ws->message);
	buf_release(&ws->reply);
}

void ws_free(struct conn *c)
{
	if (!c->ws)
		return;
	free_context(c->ws);
	free(c->ws);
	c->ws = NULL;
}

/* Both have said goodbye, or one does not know how to: close the TCP connection behind our last frame. */
static bool leave(struct conn *c, enum ending ending)
{
	conn_end_exchange(c, ending);
	c->last = true;
	c->phase = CONN_FLUSH;
	conn_timer(c, NULL);
	return true;
}

/* Fail the connection (RFC 6455, 7.1.7) with the close code of this ending. */
static bool fail(struct conn *c, enum ending ending)
{
	send_close(c, ending_facts[ending].ws, "");
	return leave(c, ending);
}

/* ---- wslay ---- */

static ssize_t take_bytes(wslay_event_context_ptr context, uint8_t *to, size_t len, int flags, void *arg)
{
	struct conn *c = arg;
	int n;

	if (len > c->ws->frame_left)
		len = (size_t)c->ws->frame_left;
	n = len ? evbuffer_remove(conn_input(c), to, len) : 0;
	if (n <= 0) {
		wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	c->ws->frame_left -= (uint64_t)n;
	return n;
}

static ssize_t take_reply(
	wslay_event_context_ptr context, const uint8_t *bytes, size_t len, int flags, void *arg)
{
	struct conn *c = arg;

	buf_add(&c->ws->reply, bytes, len);
	return (ssize_t)len;
}

static void on_chunk(
	wslay_event_context_ptr context, const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *arg)
{
	struct conn *c = arg;

	if (!c->ws->frame_is_control)
		buf_add(&c->ws->message, chunk->data, chunk->data_length);
}

static void on_message(
	wslay_event_context_ptr context, const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
	struct conn *c = arg;

	if (message->opcode != WSLAY_TEXT_FRAME && message->opcode != WSLAY_BINARY_FRAME)
		return;
	c->ws->has_message = true;
	c->ws->binary = message->opcode == WSLAY_BINARY_FRAME;
}

static void need_context(struct conn *c)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = take_bytes,
		.send_callback = take_reply,
		.on_frame_recv_chunk_callback = on_chunk,
		.on_msg_recv_callback = on_message,
	};
	struct ws *ws = c->ws;

	if (ws->context)
		return;
	BUG_ON(wslay_event_context_server_init(&ws->context, &callbacks, c) != 0);
	wslay_event_config_set_no_buffering(ws->context, 1);
	wslay_event_config_set_max_recv_msg_length(
		ws->context, c->http->conf->max_message_size_bytes);
}

/* ---- frames ---- */

/* What wslay does not refuse, or not in time. */
static enum ending judge_frame(const struct conn *c, unsigned opcode, bool masked, uint64_t len)
{
	const struct ws *ws = c->ws;

	if (!masked)
		return END_WS_PROTOCOL;
	if (ws->frame_is_control) {
		if (len > CONTROL_PAYLOAD_MAX || !ws->frame_is_last)
			return END_WS_PROTOCOL;
		if (opcode == WSLAY_CONNECTION_CLOSE && len == 1)
			return END_WS_PROTOCOL;
		return END_COMPLETE;
	}
	if (opcode == WSLAY_BINARY_FRAME && !ws->in_message && c->x.app && !c->x.app->on_binary)
		return END_WS_UNSUPPORTED;
	if (len > c->http->conf->max_message_size_bytes - ws->message.len)
		return END_MESSAGE_TOO_BIG;
	return END_COMPLETE;
}

/* Look at the header of the next frame. END_COUNT: it is not here yet. */
static enum ending next_frame(struct conn *c)
{
	struct ws *ws = c->ws;
	unsigned char h[10];
	ssize_t have = evbuffer_copyout(conn_input(c), h, sizeof(h));
	unsigned size;
	uint64_t len;

	if (have < 2)
		return END_COUNT;
	len = h[1] & 0x7f;
	size = len == 126 ? 2 : len == 127 ? 8 : 0;
	if (have < 2 + (ssize_t)size)
		return END_COUNT;
	if (size)
		len = 0;
	for (unsigned i = 0; i < size; i++)
		len = len << 8 | h[2 + i];
	ws->frame_is_control = h[0] & CONTROL;
	ws->frame_is_last = h[0] & FIN;
	ws->frame_left = 2 + size + 4 + len;
	return judge_frame(c, h[0] & 0x0f, h[1] & MASKED, len);
}

static enum ending ending_of_code(unsigned code)
{
	switch (code) {
	case WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA:
		return END_WS_BAD_UTF8;
	case WSLAY_CODE_MESSAGE_TOO_BIG:
		return END_MESSAGE_TOO_BIG;
	}
	return END_WS_PROTOCOL;
}

/* The client's close, or wslay's verdict on what it sent. */
static bool on_close_frame(struct conn *c)
{
	struct ws *ws = c->ws;
	bool received = wslay_event_get_close_received(ws->context);
	unsigned code;

	if (!received)
		return fail(c, ending_of_code(wslay_event_get_status_code_sent(ws->context)));
	code = wslay_event_get_status_code_received(ws->context);
	if (!ws->close_sent)
		conn_send(c, &(struct iovec){ ws->reply.data, ws->reply.len }, 1);
	ws->close_sent = true;
	return leave(c, code == WSLAY_CODE_NORMAL_CLOSURE || code == WSLAY_CODE_GOING_AWAY ||
					code == WSLAY_CODE_NO_STATUS_RCVD
				? END_COMPLETE
				: END_CLIENT_GONE);
}

static void deliver(struct conn *c)
{
	const struct exchange_app *app = c->x.app;
	struct buf message = c->ws->message;

	c->ws->has_message = false;
	c->ws->message = BUF_INIT;
	stat_add(STAT_WS_MESSAGES_IN, 1);
	if (c->x.state == EXCHANGE_WEBSOCKET)
		(c->ws->binary ? app->on_binary : app->on_message)(
			&c->x, message.data ? message.data : "", message.len);
	buf_release(&message);
}

/* All of the frame was taken. */
static void end_frame(struct conn *c)
{
	struct ws *ws = c->ws;

	if (!ws->frame_is_control)
		ws->in_message = !ws->frame_is_last;
	if (ws->has_message)
		deliver(c);
	if (!ws->in_message)
		free_context(ws);
}

/* Take what is here of one frame. True: something was taken. */
static bool take_frame(struct conn *c)
{
	struct ws *ws = c->ws;
	uint64_t before;

	if (!ws->frame_left) {
		enum ending verdict = next_frame(c);

		if (verdict == END_COUNT)
			return false;
		if (verdict != END_COMPLETE)
			return fail(c, verdict);
	}
	need_context(c);
	before = ws->frame_left;
	if (wslay_event_recv(ws->context) != 0)
		return fail(c, END_WS_PROTOCOL);
	if (wslay_event_want_write(ws->context)) {
		BUG_ON(wslay_event_send(ws->context) != 0);
		if (wslay_event_get_close_sent(ws->context))
			return on_close_frame(c);
		if (!ws->close_sent)
			conn_send(c, &(struct iovec){ ws->reply.data, ws->reply.len }, 1);
		buf_clear(&ws->reply);
	}
	if (!ws->frame_left)
		end_frame(c);
	return ws->frame_left < before;
}

bool ws_step(struct conn *c)
{
	/* who does not read our answers gets no more of them */
	bool hear = conn_room(c) > 0;

	if (conn_offer_room(c))
		return true;
	if (c->timed_out)
		return leave(c, END_COMPLETE);
	if (hear && take_frame(c))
		return true;
	if (!c->eof && (hear || !c->departed))
		return false;
	conn_end_exchange(c, END_CLIENT_GONE);
	c->phase = CONN_DEAD;
	return true;
}
