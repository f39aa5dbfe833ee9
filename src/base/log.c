/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c - see log.h. */
#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

static int log_fd = STDERR_FILENO;
static enum log_level log_level = LOG_INFO;
static enum log_format log_format = LOG_CONSOLE;
static const char *log_process = "headgate";
static const char *const level_names[] = { "error", "warning", "info", "debug" };

void log_setup(int fd, enum log_level level, enum log_format format)
{
	log_fd = fd;
	log_level = level;
	log_format = format;
}

void log_who(const char *who)
{
	log_process = who;
}

bool log_wanted(enum log_level level)
{
	return level <= log_level;
}

/* Control bytes (and, in JSON, quotes) must not break the line. */
static void add_escaped(struct buf *line, const char *text, bool json)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (json && (c == '"' || c == '\\'))
			buf_addf(line, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(line, json ? "\\u%04x" : "\\x%02x", c);
		else
			buf_add(line, text, 1);
	}
}

void log_line(enum log_level level, const char *room, const char *fmt, ...)
{
	struct buf text = BUF_INIT, line = BUF_INIT;
	char when[32];
	va_list ap;

	if (!log_wanted(level))
		return;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	if (log_format == LOG_JSON) {
		buf_addf(&line,
			"{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"room\":\"%s\","
			"\"message\":\"",
			clock_wall_text(when), level_names[level], log_process, (int)getpid(), room);
		add_escaped(&line, text.data, true);
		buf_adds(&line, "\"}\n");
	} else {
		buf_addf(&line, "%s %s [%s] %s: ", clock_wall_text(when), level_names[level],
			log_process, room);
		add_escaped(&line, text.data, false);
		buf_adds(&line, "\n");
	}
	while (write(log_fd, line.data, line.len) < 0 && errno == EINTR)
		;
	buf_release(&text);
	buf_release(&line);
}

bool log_rate_ok(struct log_rate *rate, uint64_t *missed_r)
{
	uint64_t now = clock_ms();

	if (rate->last_ms && now - rate->last_ms < 1000) {
		rate->missed++;
		return false;
	}
	*missed_r = rate->missed;
	rate->missed = 0;
	rate->last_ms = now;
	return true;
}
