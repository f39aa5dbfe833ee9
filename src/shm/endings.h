/* SPDX-License-Identifier: BSD-2-Clause */
/* endings.h - how things end: the enum and the facts of endings.def. */
#ifndef SHM_ENDINGS_H
#define SHM_ENDINGS_H

#include "base/base.h"
#include "base/log.h"

enum ending {
#define X(symbol, http, ws, type, code, level, again, text) END_##symbol,
#include "shm/endings.def"
#undef X
	END_COUNT
};

/* May another attempt follow? What may be tried HERE may be tried ELSEWHERE as well. */
enum again { AGAIN_NOT, AGAIN_ELSEWHERE, AGAIN_HERE };

struct ending_facts {
	const char *code; /* machine-readable; error.code on the wire */
	const char *type; /* OpenAI's error.type */
	const char *text;
	enum log_level level;
	unsigned short http;
	unsigned short ws; /* close code, 0: the socket may stay open */
	enum again again;
};

extern const struct ending_facts ending_facts[END_COUNT];

#endif
