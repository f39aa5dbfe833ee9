/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chunked.h - the chunked coding of request bodies (RFC 9112, 7.1), decoded strictly.
 *
 * Sizes are hexadecimal digits without sign or prefix and may not overflow; lines
 * end in CRLF; extensions and trailers are bounded, checked for their form, and dropped.
 */
#ifndef WORKER_HTTP_CHUNKED_H
#define WORKER_HTTP_CHUNKED_H

#include "base/base.h"
#include "base/buf.h"

/* Bytes of extensions and trailers that a body may have in all. */
#define CHUNKED_EXTRA_MAX 8192

enum chunked_result {
	CHUNKED_MORE,
	CHUNKED_DONE,
	CHUNKED_BAD,	  /* malformed */
	CHUNKED_TOO_LARGE /* more than max bytes of body */
};

/* Zero it to begin. */
struct chunked {
	int state;
	unsigned digits; /* of the chunk size so far */
	uint64_t left;	 /* of the chunk: while its size is read, what was read of it */
	size_t extra;	 /* bytes of extensions and trailers */
};

/*
 * Decode bytes[len], appending the body to `body` (at most max bytes of it in all). *used_r is how much
 * was taken: all of it with CHUNKED_MORE; with CHUNKED_DONE what follows is the next message.
 */
MUST_CHECK enum chunked_result chunked_decode(struct chunked *c, const char *bytes, size_t len,
	struct buf *body, size_t max, size_t *used_r);

#endif
