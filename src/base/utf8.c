/* SPDX-License-Identifier: BSD-2-Clause */
/* utf8.c - see utf8.h. */
#include "base/base.h"
#include "base/utf8.h"

static bool is_ascii8(const unsigned char *p)
{
	uint64_t eight;

	memcpy(&eight, p, sizeof(eight));
	return !(eight & 0x8080808080808080);
}

/* The first byte of a character of several: the forms of RFC 3629, section 4. */
static bool begin(struct utf8 *u, unsigned char byte)
{
	if (byte < 0xc2 || byte > 0xf4)
		return false;
	u->missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
	u->low = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
	u->high = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
	return true;
}

bool utf8_push(struct utf8 *u, const char *bytes, size_t len)
{
	const unsigned char *p = (const unsigned char *)bytes, *end = p + len;

	while (p < end) {
		if (u->missing) {
			if (*p < u->low || *p > u->high)
				return false;
			u->missing--;
			u->low = 0x80;
			u->high = 0xbf;
			p++;
		} else if (end - p >= 8 && is_ascii8(p)) {
			p += 8;
		} else if (*p < 0x80) {
			p++;
		} else if (!begin(u, *p++)) {
			return false;
		}
	}
	return true;
}
