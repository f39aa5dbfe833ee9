/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws_frame.h - headers of frames, and what may be in a close frame (RFC 6455, 5.2, 5.4, 5.5, 7.4): pure functions.
 *
 * A frame is judged by its header, before any of its payload is taken: wslay would take the
 * payload first, and lets some of what is wrong pass.
 */
#ifndef WORKER_HTTP_WS_FRAME_H
#define WORKER_HTTP_WS_FRAME_H

#include "base/base.h"
#include "shm/endings.h"

#define WS_HEADER_MAX 10     /* without the mask */
#define WS_CONTROL_MAX 125u  /* bytes of payload of a control frame */
#define WS_CONTROL_BIT 0x08u /* of an opcode */
#define WS_RSV1 0x4u

struct ws_frame {
	unsigned char opcode;
	unsigned char rsv;
	bool last; /* FIN */
	bool masked;
	bool shortest;   /* the length is written in as few bytes as it needs */
	unsigned header; /* bytes, with the mask if there is one */
	uint64_t length; /* of the payload */
};

/* Read a header from bytes[len]. False: not all of it is here. */
MUST_CHECK bool ws_frame_read(const unsigned char *bytes, size_t len, struct ws_frame *frame);

/* What a client may send now. */
struct ws_expected {
	bool in_message; /* fragments are missing */
	bool binary;     /* binary messages are spoken */
	bool compressed; /* RSV1 was agreed upon for the first frame of a message */
	uint64_t room;   /* bytes that this message may still have */
};
/* END_COMPLETE, or the ending to fail the connection with. */
MUST_CHECK enum ending ws_frame_judge(const struct ws_frame *frame, const struct ws_expected *e);

/*
 * The payload of a close frame. *code_r: the close code, 1005 if there is none. END_COMPLETE, or the ending to fail the
 * connection with.
 */
MUST_CHECK enum ending ws_close_judge(const unsigned char *payload, size_t len, unsigned *code_r);

#endif
