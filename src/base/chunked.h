/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chunked.h - the chunked coding of HTTP/1.1 bodies (RFC 9112, 7.1), decoded strictly and in place.
 *
 * Sizes are hexadecimal digits without sign or prefix and may not overflow; lines
 * end in CRLF; extensions and trailers are bounded, checked for their form, and dropped.
 */
#ifndef BASE_CHUNKED_H
#define BASE_CHUNKED_H

#include "base/base.h"

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
 * Decode bytes[len]; the body, at most max bytes of it, is moved to the front: bytes[*body_r]. *used_r is how
 * much was taken: all of it with CHUNKED_MORE; with CHUNKED_DONE what follows is the next message. What came before
 * something malformed is in the body, too.
 */
MUST_CHECK enum chunked_result chunked_decode(struct chunked *c, char *bytes, size_t len, size_t max,
	size_t *body_r, size_t *used_r);

#endif
