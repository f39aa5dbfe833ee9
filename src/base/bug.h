/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bug.h - assertions that stay on in production.
 *
 * A worker that finds itself in an impossible state stops at once: the master
 * replaces it and takes back what it held. Its last words go to stderr and to a
 * buffer (in the shared segment, once bug_last_words() was called), where the
 * master finds them for the obituary.
 */
#ifndef BASE_BUG_H
#define BASE_BUG_H

#include "base/base.h"

#define EXIT_BUG 70 /* sysexits: an internal error */

#define BUG_ON(condition)                                                                       \
	do {                                                                                    \
		if (__builtin_expect(!!(condition), 0))                                         \
			bug_die(#condition, __FILE__, __LINE__);                                \
	} while (0)

/* Write "BUG: file:line: what" where it will be found, then abort(). */
void bug_die(const char *what, const char *file, int line) NORETURN;

/* Where last words go, besides stderr: `bytes` bytes that outlive the process. */
void bug_last_words(char *buffer, size_t bytes);
/* Leave these words there, unless others stand there already; may be called from a signal handler. */
void bug_say_last(const char *words);

/*
 * Named crash points: in DEVELOPER builds, the process kills itself with
 * SIGKILL the n-th time it passes the point that HEADGATE_CRASH names:
 *
 *	HEADGATE_CRASH=gate.dispatch.claimed,slot=1,count=3
 *
 * Only the first life of that worker slot does so, so that its successor lives.
 * crash_point_arm() tells which worker this is; until then no point fires.
 */
#ifdef HEADGATE_DEVELOPER
void crash_point_arm(unsigned slot, unsigned generation);
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define crash_point_arm(slot, generation) ((void)(slot), (void)(generation))
#define CRASH_POINT(name) ((void)0)
#endif

#endif
