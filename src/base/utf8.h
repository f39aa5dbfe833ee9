/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * utf8.h - UTF-8 that comes in pieces, checked byte for byte (RFC 3629): no overlong forms, no surrogates,
 * nothing above U+10FFFF. What can no longer become valid is refused at its first wrong byte.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/base.h"

/* Zero it to begin. */
struct utf8 {
	unsigned char missing; /* bytes of the character under way */
	unsigned char low;     /* what the next one may be: low..high */
	unsigned char high;
};

/* The next piece. False: this is no UTF-8, whatever may follow. */
MUST_CHECK bool utf8_push(struct utf8 *u, const char *bytes, size_t len);
/* Does the text end here without a character cut short? */
MUST_CHECK static inline bool utf8_whole(const struct utf8 *u)
{
	return !u->missing;
}

#endif
