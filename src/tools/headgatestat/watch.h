/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch.h - headgatestat -w: what lies between two looks (lately.c), a screen made of lines
 * (screen.c), and the terminal that shows it (watch.c).
 */
#ifndef TOOLS_HEADGATESTAT_WATCH_H
#define TOOLS_HEADGATESTAT_WATCH_H

#include "base/base.h"
#include "base/buf.h"
#include "shm/segment.h"
#include "shm/stats.h"

/* ---- lately.c: rates and waits over the last seconds ---- */

#define LATELY_LOOKS 11 /* of which the oldest is what the newest is compared with: 10 s */

struct lately;

struct lately *lately_open(void);
void lately_close(struct lately *l);
/* One more look; another headgate than at the last one: the first. */
void lately_look(struct lately *l, const struct shm *shm, uint64_t now_ms);
/* Were the looks at this headgate? */
bool lately_is_of(const struct lately *l, const struct shm *shm);
/* How many seconds lie between the oldest look and the newest. */
double lately_span_s(const struct lately *l);
/* How much a second was added to a counter; 0 while there is but one look. */
double lately_rate(const struct lately *l, enum stat_id id);
double lately_provider_rate(const struct lately *l, unsigned provider, enum pstat_id id);
double lately_worker_rate(const struct lately *l, unsigned slot);
/* The wait that this share of the observations did not exceed, in ms; -1: there were none. */
enum lately_wait { LATELY_QUEUE_WAIT, LATELY_FIRST_TOKEN, LATELY_WAITS };
double lately_wait_ms(const struct lately *l, unsigned provider, enum lately_wait wait, double share);

/* ---- screen.c ---- */

enum screen_style { SCREEN_PLAIN, SCREEN_TITLE, SCREEN_HEAD, SCREEN_WARN, SCREEN_BAD };

struct screen {
	unsigned rows, columns;
	bool ansi;     /* a terminal; else plain text, all of it */
	unsigned used; /* rows */
	struct buf out;
};

/* One line, cut to the screen; what does not fit below is left out. */
void screen_line(struct screen *s, enum screen_style style, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* All there is to say of it. */
void screen_show(struct screen *s, const struct shm *shm, const struct lately *l, uint64_t now_ms);

/* ---- watch.c ---- */

/* Look at the segment at `path` once a second until interrupted, or "q" is pressed. The exit status. */
int watch(const char *path);

#endif
