/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - one line, one write(2).
 *
 * Console: "2026-11-23T11:20:24.123Z warning [worker 1] admit: text"; JSON: the same facts
 * as one object a line. Text is lower-case without a full stop, says what went
 * wrong first, and quotes its subject: "'app.yaml': no such file". Never pass a
 * secret; bytes from outside are escaped here.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_CONSOLE, LOG_JSON };

/* Who logs: X(room). Each may have a level of its own. */
#define LOG_ROOMS(X)                                                                            \
	X(access) X(admit) X(cluster) X(conf) X(endpoint) X(exchange) X(http) X(master) X(provider) X(shm) X(worker)

enum log_room {
#define X(room) LOG_ROOM_##room,
	LOG_ROOMS(X)
#undef X
	LOG_ROOM_COUNT
};

/*
 * Where lines go: a descriptor that stays the caller's (2 at first). All rooms get this level. From here on
 * nobody waits for a pipe, terminal or socket that is full: the line is lost, counted, and a later one
 * says how many were.
 */
void log_setup(int fd, enum log_level level, enum log_format format);
/* The descriptor, or standard error, leads to another file now. */
void log_reopened(void);
/*
 * Another process has made logging.file (path) anew: let this descriptor of it, which lines go to (-1: none), lead there. A failure
 * is a line of the room into the old one.
 */
void log_reopen(int fd, const char *path, const char *room);
/* To be called for each line that was lost; NULL: nobody. */
void log_on_loss(void (*fn)(void));
/* One room's own level; until the next log_setup(). */
void log_set_room(enum log_room room, enum log_level level);
/*
 * Send the lines to the syslog daemon at this socket as well ("": no longer); the path fits into a
 * sockaddr_un. A daemon that is away or does not keep up loses lines; nobody waits for it.
 */
void log_syslog(const char *path);
/* Who speaks: "master", "worker 2"; kept by reference. */
void log_who(const char *who);
/* Whether any room logs at this level: for who would have to gather what a line says. */
bool log_wanted(enum log_level level);

/* A line of a room, by its name in LOG_ROOMS (another one has the level of log_setup()). */
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
 * A line that is made of facts: in JSON each is a member of its own beside "message"; on the console the
 * bare ones come first, by their values, then the others as key=value (the message is left out).
 */
struct log_fact {
	const char *key;
	const char *text; /* NULL: a number */
	double number;
	unsigned places; /* digits behind its point */
	bool bare;
};
void log_facts(enum log_level level, const char *room, const char *message,
	const struct log_fact *facts, unsigned n);

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
