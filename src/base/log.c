/* SPDX-License-Identifier: BSD-2-Clause */
/* log.c - see log.h. */
#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/log_sink.h"
#include "base/log_syslog.h"

static struct log_sink out = { .given = STDERR_FILENO, .own = -1 };
static struct log_sink standard_error = { .given = STDERR_FILENO, .own = -1 }; /* for when a file is full */
static void (*on_loss)(void);
static uint64_t lost; /* lines, since the last one that went */
static enum log_level room_level[LOG_ROOM_COUNT + 1]; /* the last one: of all others */
static enum log_level most_level = LOG_INFO;	      /* of all of them */
static bool set_up;
static enum log_format log_format = LOG_CONSOLE;
static const char *log_process = "headgate";
static const char *const level_names[] = { "error", "warning", "info", "debug" };
static const char *const room_names[] = {
#define X(room) #room,
	LOG_ROOMS(X)
#undef X
};

void log_setup(int fd, enum log_level level, enum log_format format)
{
	log_sink_set(&out, fd);
	log_sink_set(&standard_error, STDERR_FILENO);
	log_format = format;
	set_up = true;
	most_level = level;
	for (unsigned i = 0; i <= LOG_ROOM_COUNT; i++)
		room_level[i] = level;
}

void log_set_room(enum log_room room, enum log_level level)
{
	room_level[room] = level;
	most_level = LOG_ERROR;
	for (unsigned i = 0; i <= LOG_ROOM_COUNT; i++)
		if (room_level[i] > most_level)
			most_level = room_level[i];
}

void log_reopened(void)
{
	log_sink_set(&out, out.given);
	log_sink_set(&standard_error, STDERR_FILENO);
}

void log_reopen(int fd, const char *path, const char *room)
{
	int error = fd < 0 ? 0 : fd_reopen_log(fd, path, false);

	log_reopened();
	if (error)
		log_error(room, "'%s': cannot open logging.file again: %s; lines go on into the old one", path, strerror(-error));
}

void log_on_loss(void (*fn)(void))
{
	on_loss = fn;
}

void log_syslog(const char *path)
{
	log_syslog_open(path);
}

void log_who(const char *who)
{
	log_process = who;
}

bool log_wanted(enum log_level level)
{
	return level <= most_level;
}

static bool room_wants(const char *room, enum log_level level)
{
	unsigned i = 0;

	if (!set_up || level > most_level)
		return log_wanted(level);
	while (i < LOG_ROOM_COUNT && strcmp(room_names[i], room) != 0)
		i++;
	return level <= room_level[i];
}

/* Control bytes must not break the line. */
static void add_escaped(struct buf *line, const char *text, bool in_quotes)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f || (in_quotes && c == '"'))
			buf_addf(line, "\\x%02x", c);
		else
			buf_add(line, text, 1);
	}
}

/* ---- a line: begin, message or facts, end ------------------------------------------- */

/* What stands in front of the message; where syslog begins to read is returned. */
static size_t begin(struct buf *line, enum log_level level, const char *room)
{
	char when[32];
	size_t head = 0;

	if (log_format == LOG_JSON) {
		buf_addf(line,
			"{\"time\":\"%s\",\"level\":\"%s\",\"process\":\"%s\",\"pid\":%d,\"room\":\"%s\","
			"\"message\":",
			clock_wall_text(when), level_names[level], log_process, (int)getpid(), room);
	} else {
		buf_addf(line, "%s %s ", clock_wall_text(when), level_names[level]);
		head = line->len;
		buf_addf(line, "[%s] %s: ", log_process, room);
	}
	return head;
}

/* A full disk stops nobody from serving; standard error hears of it, now and then. */
static void complain(int error)
{
	static struct log_rate rate;
	uint64_t missed;
	char text[200];
	int n;

	if (out.given == STDERR_FILENO || !log_rate_ok(&rate, &missed))
		return;
	n = snprintf(text, sizeof(text),
		"headgate: cannot write to the log: %s; lines are lost until there is room for them, or the "
		"log is opened elsewhere (USR1)\n",
		strerror(error));
	(void)!log_sink_write(&standard_error, text, (size_t)n);
}

static void put(const struct buf *line)
{
	int error = log_sink_write(&out, line->data, line->len);

	if (!error)
		return;
	lost++;
	if (on_loss)
		on_loss();
	complain(-error);
}

/* There is room again, it seems: how many lines are missing here? */
static void tell_losses(void)
{
	char text[120];
	struct buf line = BUF_INIT;

	snprintf(text, sizeof(text),
		"%" PRIu64 " lines are missing here: there was no room for them, and nobody waits for the log", lost);
	begin(&line, LOG_WARNING, "log");
	if (log_format == LOG_JSON) {
		json_add_string(&line, text, strlen(text));
		buf_adds(&line, "}");
	} else {
		buf_adds(&line, text);
	}
	buf_adds(&line, "\n");
	if (log_sink_write(&out, line.data, line.len) == 0)
		lost = 0;
	buf_release(&line);
}

static void end(struct buf *line, enum log_level level, size_t head)
{
	log_syslog_send(level, line->data + head, line->len - head);
	buf_adds(line, "\n");
	if (lost)
		tell_losses();
	put(line);
	buf_release(line);
}

void log_line(enum log_level level, const char *room, const char *fmt, ...)
{
	struct buf text = BUF_INIT, line = BUF_INIT;
	va_list ap;
	size_t head;

	if (!room_wants(room, level))
		return;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	head = begin(&line, level, room);
	if (log_format == LOG_JSON) {
		json_add_string(&line, text.data, text.len);
		buf_adds(&line, "}");
	} else {
		add_escaped(&line, text.data, false);
	}
	end(&line, level, head);
	buf_release(&text);
}

static void add_json_fact(struct buf *line, const struct log_fact *fact)
{
	buf_addf(line, ",\"%s\":", fact->key);
	if (fact->text)
		json_add_string(line, fact->text, strlen(fact->text));
	else
		buf_addf(line, "%.*f", (int)fact->places, fact->number);
}

static void add_console_fact(struct buf *line, const struct log_fact *fact, const char *space)
{
	bool quotes = fact->text && !fact->bare && (!*fact->text || strpbrk(fact->text, " \"="));

	buf_adds(line, space);
	if (!fact->bare)
		buf_addf(line, "%s=", fact->key);
	if (!fact->text) {
		buf_addf(line, "%.*f", (int)fact->places, fact->number);
		return;
	}
	buf_adds(line, quotes ? "\"" : "");
	add_escaped(line, fact->text, quotes);
	buf_adds(line, quotes ? "\"" : "");
}

void log_facts(enum log_level level, const char *room, const char *message,
	const struct log_fact *facts, unsigned n)
{
	struct buf line = BUF_INIT;
	size_t head;

	if (!room_wants(room, level))
		return;
	head = begin(&line, level, room);
	if (log_format == LOG_JSON) {
		json_add_string(&line, message, strlen(message));
		for (unsigned i = 0; i < n; i++)
			add_json_fact(&line, &facts[i]);
		buf_adds(&line, "}");
	} else {
		for (unsigned i = 0; i < n; i++)
			add_console_fact(&line, &facts[i], i ? " " : "");
	}
	end(&line, level, head);
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
