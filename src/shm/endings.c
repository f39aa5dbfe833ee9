/* SPDX-License-Identifier: BSD-2-Clause */
/* endings.c - the table of endings.def as data. */
#include "base/base.h"
#include "shm/endings.h"

const struct ending_facts ending_facts[END_COUNT] = {
#define X(symbol, http, ws, type, code, level, again, text)                                     \
	[END_##symbol] = { code, type, text, LOG_##level, http, ws, AGAIN_##again },
#include "shm/endings.def"
#undef X
};
