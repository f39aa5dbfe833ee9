/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_text.h - between json_scan.c and json_text.c; others include json_scan.h.
 */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include "base/base.h"

/* The value of the four digits of a \u escape; -1 if they are not four digits. */
int json_hex4(const char *p, const char *end);

static inline bool json_is_high_surrogate(int unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static inline bool json_is_low_surrogate(int unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

/*
 * Decode [p, end), the inside of a string that was found good, into to[size], with a
 * NUL behind it; its length without that goes to *len_r. False if it does not fit.
 */
MUST_CHECK bool json_text_decode(
        const char *p, const char *end, char *to, size_t size, size_t *len_r);

#endif
