/* SPDX-License-Identifier: BSD-2-Clause */
/* endings.h - how things end: the enum and the facts of endings.def. */
#ifndef SHM_ENDINGS_H
#define SHM_ENDINGS_H

#include "base/base.h"
#include "base/log.h"

enum ending {
#define X(symbol, http, ws, type, code, level, may_retry, text) END_##symbol,
#include "shm/endings.def"
#undef X
	END_COUNT
};

struct ending_facts {
	const char *code; /* machine-readable; error.code on the wire */
	const char *type; /* OpenAI's error.type */
	const char *text;
	enum log_level level;
	unsigned short http;
	unsigned short ws; /* close code, 0: the socket may stay open */
	bool may_retry;
};

extern const struct ending_facts ending_facts[END_COUNT];

#endif
