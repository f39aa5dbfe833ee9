/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_frame.c - see ws_frame.h. */
#include "base/base.h"
#include "worker/http/ws_frame.h"
#include "base/utf8.h"

#include <wslay/wslay.h>

#define NO_STATUS 1005

bool ws_frame_read(const unsigned char *bytes, size_t len, struct ws_frame *frame)
{
	unsigned size, length;

	if (len < 2)
		return false;
	length = bytes[1] & 0x7f;
	size = length == 126 ? 2 : length == 127 ? 8 : 0;
	if (len < 2 + size)
		return false;
	*frame = (struct ws_frame){ .opcode = bytes[0] & 0x0f,
		.rsv = bytes[0] >> 4 & 7,
		.last = bytes[0] & 0x80,
		.masked = bytes[1] & 0x80,
		.length = size ? 0 : length };
	for (unsigned i = 0; i < size; i++)
		frame->length = frame->length << 8 | bytes[2 + i];
	frame->header = 2 + size + (frame->masked ? 4 : 0);
	frame->shortest = !size || frame->length > (size == 2 ? WS_CONTROL_MAX : UINT16_MAX);
	return true;
}

static bool opcode_known(unsigned opcode)
{
	return opcode <= WSLAY_BINARY_FRAME ||
	       (opcode >= WSLAY_CONNECTION_CLOSE && opcode <= WSLAY_PONG);
}

static bool control_ok(const struct ws_frame *f)
{
	return f->last && !f->rsv && f->length <= WS_CONTROL_MAX &&
	       (f->opcode != WSLAY_CONNECTION_CLOSE || f->length != 1);
}

static bool data_ok(const struct ws_frame *f, const struct ws_expected *e)
{
	bool first = f->opcode != WSLAY_CONTINUATION_FRAME;

	return first != e->in_message && (!f->rsv || (f->rsv == WS_RSV1 && first && e->compressed));
}

enum ending ws_frame_judge(const struct ws_frame *f, const struct ws_expected *e)
{
	bool control = f->opcode & WS_CONTROL_BIT;

	if (!f->masked || !f->shortest || f->length >> 63 || !opcode_known(f->opcode))
		return END_WS_PROTOCOL;
	if (control ? !control_ok(f) : !data_ok(f, e))
		return END_WS_PROTOCOL;
	if (f->opcode == WSLAY_BINARY_FRAME && !e->binary)
		return END_WS_UNSUPPORTED;
	if (!control && f->length > e->room)
		return END_MESSAGE_TOO_BIG;
	return END_COMPLETE;
}

/* Codes that may be sent (7.4 and IANA's registry). wslay knows none above 1011. */
static bool code_ok(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

enum ending ws_close_judge(const unsigned char *payload, size_t len, unsigned *code_r)
{
	struct utf8 reason = { 0 };

	*code_r = NO_STATUS;
	if (!len)
		return END_COMPLETE;
	if (len < 2)
		return END_WS_PROTOCOL;
	*code_r = (unsigned)payload[0] << 8 | payload[1];
	if (!code_ok(*code_r))
		return END_WS_PROTOCOL;
	if (!utf8_push(&reason, (const char *)payload + 2, len - 2) || !utf8_whole(&reason))
		return END_WS_BAD_UTF8;
	return END_COMPLETE;
}
