/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events.h - what the simulated provider saw, as JSON lines in order:
 *
 *	{"t_us":81234567,"event":"token","req":3,"n":0}
 *
 * t_us is CLOCK_MONOTONIC, the clock of python's time.monotonic().
 */
#ifndef TOOLS_LLMSIM_EVENTS_H
#define TOOLS_LLMSIM_EVENTS_H

#include "base/base.h"

/* Start the file anew. 0 or -errno. Without this call all events go nowhere. */
int events_open(const char *path) MUST_CHECK;
bool events_wanted(void);
/* One line; fmt makes the further members as JSON ("\"req\":%u"), without braces. */
void events_write(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Hand the lines to the kernel: at the end of each turn of the loop. */
void events_flush(void);
void events_close(void);

#endif
