/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - one line, one write(2).
 *
 * Console: "2026-11-23T11:20:24.123Z warning admit: text"; JSON: the same facts
 * as one object a line. Text is lower-case without a full stop, says what went
 * wrong first, and quotes its subject: "'app.yaml': no such file". Never pass a
 * secret; bytes from outside are escaped here.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_CONSOLE, LOG_JSON };

/* Where lines go: a descriptor that stays the caller's (2 at first). */
void log_setup(int fd, enum log_level level, enum log_format format);
/* Who speaks: "master", "worker 2"; kept by reference. */
void log_who(const char *who);
bool log_wanted(enum log_level level);

void log_line(enum log_level level, const char *room, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define log_error(room, ...) log_line(LOG_ERROR, room, __VA_ARGS__)
#define log_warning(room, ...) log_line(LOG_WARNING, room, __VA_ARGS__)
#define log_info(room, ...) log_line(LOG_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)                                                                    \
	do {                                                                                    \
		if (log_wanted(LOG_DEBUG))                                                      \
			log_line(LOG_DEBUG, room, __VA_ARGS__);                                 \
	} while (0)

/*
 * For events that may come in floods: true for the first one, then at most once
 * a second; *missed_r is how many were passed over since the last true.
 */
struct log_rate {
	uint64_t last_ms;
	uint64_t missed;
};
bool log_rate_ok(struct log_rate *rate, uint64_t *missed_r);

#endif
