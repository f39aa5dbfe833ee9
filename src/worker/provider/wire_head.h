/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire_head.h - the head of an HTTP/1.1 answer: its status, how its body ends (RFC 9112, 6.3), and
 * whether the connection can serve another request behind it (RFC 9112, 9.3).
 */
#ifndef WORKER_PROVIDER_WIRE_HEAD_H
#define WORKER_PROVIDER_WIRE_HEAD_H

#include "base/base.h"

#define WIRE_HEAD_MAX_BYTES (64u << 10)

enum wire_framing { WIRE_NO_BODY, WIRE_LENGTH, WIRE_CHUNKED, WIRE_UNTIL_CLOSE };

struct wire_head {
	int status;
	enum wire_framing framing;
	uint64_t length; /* WIRE_LENGTH */
	bool keep_alive; /* the connection can be used again when the body has ended */
	bool closes;
};

/*
 * Where the head at the start of bytes[len] ends, or 0: it is not whole yet. Lines end in CRLF, or in LF alone
 * (RFC 9112, 2.2). The first `seen` bytes had no end in them, when they were all there was.
 */
size_t wire_head_end(const char *bytes, size_t len, size_t seen);

/*
 * Read a whole head. Folded lines are unfolded in place. NULL, or why it is no head of HTTP/1.x or cannot be
 * relied on.
 */
const char *wire_head_parse(char *bytes, size_t len, struct wire_head *head) MUST_CHECK;

/* The value of the first such field of a head that was parsed, without blanks around it; or NULL. */
const char *wire_head_find(const char *bytes, size_t len, const char *name, size_t *len_r);

#endif
