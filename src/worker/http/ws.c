/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws.c - messages over WebSocket; see ws.h.
 *
 * Receiving: each frame is judged by its header (ws_frame.c); then wslay's frame layer unmasks the payload, and the
 * message is put together here. (Not by wslay's event layer, which checks the reason of a close that
 * comes in pieces wrongly, knows no close code above 1011, and queues pongs without bound.) The frame
 * context (4.3 kB) lives from the first byte of a message to the last one.
 *
 * Sending: frames of a server are unmasked and unfragmented, a few bytes in front of the text.
 */
#include "base/base.h"
#include "worker/http/ws.h"
#include "base/buf.h"
#include "base/bug.h"
#include "base/utf8.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/exchange/exchange.h"
#include "worker/http/ws_deflate.h"
#include "worker/http/ws_frame.h"

#include <event2/buffer.h>
#include <wslay/wslay.h>

#define FIN 0x80
#define REASON_MAX 123
/* Longer messages are not compressed: nobody else would be served meanwhile (a millisecond for this many bytes). */
#define DEFLATE_MAX (128u << 10)
/*
 * A few bytes can inflate to a thousand times as many. They are taken in small pieces, so that the limit stops
 * them soon; after so many bytes the other clients have their turn.
 */
#define DEFLATED_PIECE 512u
#define INFLATED_PER_TURN (256u << 10)
/* What cannot be compressed may become a little longer. */
#define DEFLATED_SLACK 1024u

/* A message, and a frame of it or in between, as far as they are here. */
struct incoming {
	struct evbuffer *in; /* what wslay reads from, in ws_take() */
	bool *heard;         /* the WebSocket's */
	wslay_frame_context_ptr context;
	struct ws_frame frame;
	bool in_frame;
	uint64_t unread;       /* bytes of the frame that wslay has not taken */
	uint64_t payload_left; /* bytes of its payload that we have not got from wslay */
	bool in_message;       /* its last frame is not whole */
	bool binary;
	struct utf8 utf8;
	struct buf message;
	struct ws_inflater *inflater; /* NULL: it is not compressed */
	uint64_t wire_bytes;          /* of its frames, this one included */
	unsigned char control[WS_CONTROL_MAX];
};

struct ws {
	const struct ws_common *common;
	struct exchange *x;
	const struct ws_carrier *carrier;
	void *arg;
	struct incoming *incoming; /* NULL between messages */
	struct ws_terms terms;
	unsigned inflated; /* bytes in this turn */
	enum ending ending;
	bool close_sent;
	bool pinged;	/* and not answered */
	bool heard;	/* something, since then */
	uint64_t acked; /* by the client's host, before then */
};

/* ---- sending ---- */

/* first: FIN and RSV1 as they are on the wire, and the opcode. */
static void send_bytes(struct ws *ws, unsigned first, const void *payload, size_t len)
{
	unsigned char header[WS_HEADER_MAX] = { (unsigned char)first };
	unsigned size = len <= WS_CONTROL_MAX ? 0 : len <= UINT16_MAX ? 2 : 8;

	header[1] = (unsigned char)(size == 0 ? len : size == 2 ? 126 : 127);
	for (unsigned i = 0; i < size; i++)
		header[2 + i] = (unsigned char)((uint64_t)len >> 8 * (size - 1 - i));
	ws->carrier->send(
		ws->arg, (struct iovec[]){ { header, 2 + size }, { (void *)payload, len } }, 2);
}

static void send_frame(struct ws *ws, unsigned opcode, const void *payload, size_t len)
{
	send_bytes(ws, FIN | opcode, payload, len);
}

/* Tokens go out as they are; what is long enough and becomes shorter goes out compressed. */
static bool send_deflated(struct ws *ws, unsigned opcode, const char *bytes, size_t len)
{
	struct iovec packed;

	if (!ws->terms.window_bits || len < ws->common->conf->compression_min_bytes ||
		len > DEFLATE_MAX || !ws_deflate(ws->common->zlib, &ws->terms, bytes, len, &packed))
		return false;
	stat_add(STAT_WS_DEFLATED, 1);
	stat_add(STAT_WS_DEFLATE_SAVED, (int64_t)(len - packed.iov_len));
	send_bytes(ws, FIN | WS_RSV1 << 4 | opcode, packed.iov_base, packed.iov_len);
	return true;
}

void ws_send(struct ws *ws, bool binary, const char *bytes, size_t len)
{
	unsigned opcode = binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME;

	stat_add(STAT_WS_MESSAGES_OUT, 1);
	if (!send_deflated(ws, opcode, bytes, len))
		send_frame(ws, opcode, bytes, len);
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

static void send_close(struct ws *ws, unsigned code, const char *reason)
{
	char payload[2 + REASON_MAX] = { (char)(code >> 8), (char)code };
	size_t len = reason_len(reason);

	if (ws->close_sent)
		return;
	ws->close_sent = true;
	memcpy(payload + 2, reason, len);
	send_frame(ws, WSLAY_CONNECTION_CLOSE, payload, 2 + len);
}

void ws_close(struct ws *ws, unsigned code, const char *reason)
{
	send_close(ws, code, reason);
	ws->carrier->timer(ws->arg, ws->common->farewell);
}

/* ---- the end ---- */

static enum ws_result over(struct ws *ws, enum ending ending)
{
	ws->ending = ending;
	ws->carrier->timer(ws->arg, NULL);
	return WS_OVER;
}

/* Fail the connection (7.1.7) with the close code of this ending. */
static enum ws_result fail(struct ws *ws, enum ending ending)
{
	send_close(ws, ending_facts[ending].ws, "");
	return over(ws, ending);
}

enum ending ws_ending(const struct ws *ws)
{
	return ws->ending;
}

/* ---- pings ---- */

/* The client is there: ask again after ping_interval. */
static void rest(struct ws *ws)
{
	ws->pinged = false;
	if (!ws->close_sent)
		ws->carrier->timer(ws->arg, ws->common->ping_interval);
}

/* Is the ping still on its way, behind what was sent before it and is arriving? */
static bool on_its_way(const struct ws *ws)
{
	uint64_t acked;

	return !ws->carrier->delivered(ws->arg, &acked) && acked > ws->acked;
}

/*
 * One ping at a time. Any sign of life is as good as its answer: that may have to wait behind a long message. A
 * client that has not taken yet what was sent before, or whose bytes we have not taken, is slow; how long
 * it may be that is for client_stall_timeout to say.
 */
static enum ws_result ping(struct ws *ws, bool slow)
{
	if (ws->pinged && !ws->heard && !slow && !on_its_way(ws)) {
		send_close(ws, ending_facts[END_PING_TIMEOUT].ws, "keepalive ping timeout");
		return over(ws, END_PING_TIMEOUT);
	}
	if (ws->pinged || slow) {
		rest(ws);
		return WS_WAIT;
	}
	stat_add(STAT_WS_PINGS, 1);
	ws->carrier->delivered(ws->arg, &ws->acked);
	send_frame(ws, WSLAY_PING, "", 0);
	ws->pinged = ws->common->ping_timeout;
	ws->heard = false;
	ws->carrier->timer(
		ws->arg, ws->pinged ? ws->common->ping_timeout : ws->common->ping_interval);
	return WS_WAIT;
}

enum ws_result ws_timeout(struct ws *ws, const struct evbuffer *in)
{
	if (ws->close_sent) /* the app has said how it ended */
		return over(ws, END_COMPLETE);
	return ping(ws, ws->carrier->queued(ws->arg) || evbuffer_get_length(in));
}

/* ---- what is coming ---- */

static ssize_t read_for_wslay(uint8_t *to, size_t len, int flags, void *arg)
{
	struct incoming *m = arg;
	int n;

	if (len > m->unread)
		len = (size_t)m->unread;
	if (m->inflater && len > DEFLATED_PIECE)
		len = DEFLATED_PIECE;
	n = len ? evbuffer_remove(m->in, to, len) : 0;
	if (n <= 0)
		return -1;
	m->unread -= (uint64_t)n;
	*m->heard = true;
	return n;
}

static struct incoming *incoming_new(void)
{
	static const struct wslay_frame_callbacks callbacks = { .recv_callback = read_for_wslay };
	struct incoming *m = xcalloc(1, sizeof(*m));

	BUG_ON(wslay_frame_context_init(&m->context, &callbacks, m) != 0);
	return m;
}

static void incoming_free(struct ws *ws)
{
	struct incoming *m = ws->incoming;

	if (!m)
		return;
	wslay_frame_context_free(m->context);
	if (m->inflater)
		ws_inflater_free(ws->common->zlib, m->inflater);
	buf_release(&m->message);
	free(m);
	ws->incoming = NULL;
}

/* Give the app the message. Its memory is let go first: an app may be long about it. */
static void deliver(struct ws *ws)
{
	const struct exchange_app *app = ws->x->app;
	struct buf message = ws->incoming->message;
	bool binary = ws->incoming->binary;

	ws->incoming->message = BUF_INIT;
	incoming_free(ws);
	stat_add(STAT_WS_MESSAGES_IN, 1);
	if (ws->x->state == EXCHANGE_WEBSOCKET)
		(binary ? app->on_binary : app->on_message)(
			ws->x, message.data ? message.data : "", message.len);
	buf_release(&message);
}

static enum ws_result end_close(struct ws *ws, const unsigned char *payload, size_t len)
{
	unsigned code;
	enum ending verdict = ws_close_judge(payload, len, &code);

	if (verdict != END_COMPLETE)
		return fail(ws, verdict);
	if (!ws->close_sent)
		send_frame(ws, WSLAY_CONNECTION_CLOSE, payload, len);
	ws->close_sent = true;
	return over(ws, code == WSLAY_CODE_NORMAL_CLOSURE || code == WSLAY_CODE_GOING_AWAY ||
					code == WSLAY_CODE_NO_STATUS_RCVD
				? END_COMPLETE
				: END_CLIENT_GONE);
}

static enum ws_result end_control(struct ws *ws)
{
	struct incoming *m = ws->incoming;
	size_t len = (size_t)m->frame.length;

	if (m->frame.opcode == WSLAY_CONNECTION_CLOSE)
		return end_close(ws, m->control, len);
	if (m->frame.opcode == WSLAY_PING && !ws->close_sent)
		send_frame(ws, WSLAY_PONG, m->control, len);
	if (m->frame.opcode == WSLAY_PONG && ws->pinged)
		rest(ws);
	if (!m->in_message)
		incoming_free(ws);
	return WS_MORE;
}

/* What inflating has added to the message, and how it went. */
static enum ending take_inflated(struct ws *ws, enum ws_inflated result, size_t before)
{
	struct incoming *m = ws->incoming;
	size_t added = m->message.len - before;

	ws->inflated += (unsigned)added;
	if (!m->binary && added && !utf8_push(&m->utf8, m->message.data + before, added))
		return END_WS_BAD_UTF8;
	if (result == WS_INFLATE_BAD)
		return END_WS_BAD_DEFLATE;
	return result == WS_INFLATE_TOO_LARGE ? END_MESSAGE_TOO_BIG : END_COMPLETE;
}

/* The last frame of a message is here. */
static enum ending end_message(struct ws *ws)
{
	struct incoming *m = ws->incoming;
	size_t before = m->message.len;
	enum ending verdict = END_COMPLETE;

	if (ws->close_sent)
		return END_COMPLETE;
	if (m->inflater) {
		stat_add(STAT_WS_INFLATED, 1);
		verdict = take_inflated(ws,
			ws_inflate_end(
				m->inflater, &m->message, ws->common->conf->max_message_size_bytes),
			before);
	}
	if (verdict == END_COMPLETE && !m->binary && !utf8_whole(&m->utf8))
		verdict = END_WS_BAD_UTF8;
	return verdict;
}

/* All of a frame is here. */
static enum ws_result end_frame(struct ws *ws)
{
	struct incoming *m = ws->incoming;
	enum ending verdict;

	m->in_frame = false;
	if (m->frame.opcode & WS_CONTROL_BIT)
		return end_control(ws);
	m->in_message = !m->frame.last;
	if (m->in_message)
		return WS_MORE;
	verdict = end_message(ws);
	if (verdict != END_COMPLETE)
		return fail(ws, verdict);
	deliver(ws);
	return WS_MORE;
}

/* Some of a frame's payload, unmasked. */
static enum ending take_payload(struct ws *ws, const unsigned char *bytes, size_t len)
{
	struct incoming *m = ws->incoming;
	size_t before = m->message.len;

	if (m->frame.opcode & WS_CONTROL_BIT) {
		memcpy(m->control + (m->frame.length - m->payload_left), bytes, len);
		return END_COMPLETE;
	}
	if (ws->close_sent)
		return END_COMPLETE; /* nobody will read it */
	if (m->inflater)
		return take_inflated(ws,
			ws_inflate(m->inflater, bytes, len, &m->message,
				ws->common->conf->max_message_size_bytes),
			before);
	buf_add(&m->message, bytes, len);
	if (!m->binary && !utf8_push(&m->utf8, (const char *)bytes, len))
		return END_WS_BAD_UTF8;
	return END_COMPLETE;
}

/* ---- frames ---- */

static enum ending judge(const struct ws *ws, const struct ws_frame *frame)
{
	const struct incoming *m = ws->incoming;
	bool deflated = m ? m->inflater != NULL : frame->rsv != 0;
	uint64_t max = ws->common->conf->max_message_size_bytes;
	struct ws_expected expected = {
		.in_message = m && m->in_message,
		.binary = ws->x->app->on_binary != NULL,
		.compressed = ws->terms.window_bits,
		.room = UINT64_MAX, /* after our close nobody keeps it */
	};

	if (deflated)
		max += max / 64 + DEFLATED_SLACK;
	if (!ws->close_sent)
		expected.room = max - (m ? m->wire_bytes : 0);
	return ws_frame_judge(frame, &expected);
}

/* Look at the header of the next frame. END_COUNT: it is not here yet. */
static enum ending begin_frame(struct ws *ws, struct evbuffer *in)
{
	unsigned char bytes[WS_HEADER_MAX];
	ssize_t have = evbuffer_copyout(in, bytes, sizeof(bytes));
	struct ws_frame frame;
	enum ending verdict;
	struct incoming *m;

	if (have < 0 || !ws_frame_read(bytes, (size_t)have, &frame))
		return END_COUNT;
	verdict = judge(ws, &frame);
	if (verdict != END_COMPLETE)
		return verdict;
	if (!ws->incoming)
		ws->incoming = incoming_new();
	m = ws->incoming;
	m->frame = frame;
	m->in_frame = true;
	m->unread = frame.header + frame.length;
	m->payload_left = frame.length;
	if (frame.opcode & WS_CONTROL_BIT)
		return END_COMPLETE;
	m->wire_bytes += frame.length;
	if (frame.opcode != WSLAY_CONTINUATION_FRAME)
		m->binary = frame.opcode == WSLAY_BINARY_FRAME;
	if (frame.rsv)
		m->inflater = ws_inflater_new(ws->common->zlib);
	return END_COMPLETE;
}

static enum ws_result wait_for_bytes(struct ws *ws)
{
	ws->inflated = 0;
	return WS_WAIT;
}

static enum ws_result take_frame(struct ws *ws)
{
	struct incoming *m = ws->incoming;
	struct wslay_frame_iocb piece;
	enum ending verdict;
	ssize_t n;

	do {
		if (ws->inflated > INFLATED_PER_TURN)
			return WS_MORE; /* or not: ws_take() sees to it */
		n = wslay_frame_recv(m->context, &piece);
		if (n == WSLAY_ERR_WANT_READ)
			return wait_for_bytes(ws);
		if (n < 0)
			return fail(ws, END_WS_PROTOCOL);
		verdict = take_payload(ws, piece.data, piece.data_length);
		if (verdict != END_COMPLETE)
			return fail(ws, verdict);
		m->payload_left -= piece.data_length;
	} while (m->payload_left);
	return end_frame(ws);
}

enum ws_result ws_take(struct ws *ws, struct evbuffer *in)
{
	if (ws->inflated > INFLATED_PER_TURN) {
		ws->inflated = 0;
		return WS_LATER;
	}
	if (!ws->incoming || !ws->incoming->in_frame) {
		enum ending verdict = begin_frame(ws, in);

		if (verdict == END_COUNT)
			return wait_for_bytes(ws);
		if (verdict != END_COMPLETE)
			return fail(ws, verdict);
	}
	ws->incoming->in = in;
	ws->incoming->heard = &ws->heard;
	return take_frame(ws);
}

/* ---- life ---- */

struct ws *ws_new(const struct ws_common *common, struct exchange *x, const struct ws_terms *terms,
	const struct ws_carrier *carrier, void *arg)
{
	struct ws *ws = xcalloc(1, sizeof(*ws));

	ws->common = common;
	ws->x = x;
	ws->terms = *terms;
	ws->carrier = carrier;
	ws->arg = arg;
	rest(ws);
	return ws;
}

void ws_free(struct ws *ws)
{
	incoming_free(ws);
	free(ws);
}
