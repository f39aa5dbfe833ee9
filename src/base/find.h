/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * find.h - is one of a few names in this text? For texts that hold none of them, as a rule, and are looked at for each
 * token: several times as fast as a memmem() for each.
 */
#ifndef BASE_FIND_H
#define BASE_FIND_H

#include "base/base.h"

/*
 * The first place in [at, end) where a double quote is followed by one of four bytes; NULL: there is none.
 */
const char *find_quoted(const char *at, const char *end, const char initials[4]);

#endif
