/* SPDX-License-Identifier: BSD-2-Clause */
/* stat.h - headgatestat: what it can show of a segment that it has attached. */
#ifndef TOOLS_HEADGATESTAT_STAT_H
#define TOOLS_HEADGATESTAT_STAT_H

#include "base/base.h"
#include "shm/segment.h"

/* Tables for a person, to stdout. all: also counters that are 0. */
void stat_table(const struct shm *shm, bool all);

/* Everything as one JSON object on one line, to stdout. */
void stat_json(const struct shm *shm, const char *path);

/* Do the books balance? One line to stdout; true if they do. */
bool stat_check(const struct shm *shm);

/* All statistics as mdoc for headgate-stats(7), to stdout. */
void stat_doc(void);


/* "3d04h", "2h05m", "4m10s", "1.234s"; returns out. */
const char *stat_duration(uint64_t ms, char out[32]);

/* Since `then`; 0 if that lies ahead. */
static inline uint64_t stat_age_ms(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

#endif
