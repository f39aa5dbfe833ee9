/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.h - what every file of headgate includes first.
 *
 * Memory: xmalloc and its kin never return NULL; out of memory is the end of a
 * process (its master starts another one and takes back what it held).
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))

/* glibc's TAILQ lacks the form that allows removal of the current element. */
#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next)                                              \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT((var), field), 1);        \
		(var) = (next))
#endif

/* Functions that invite mistakes; what to use instead is in the name. */
#undef strcpy
#define strcpy(a, b) banned_strcpy_use_snprintf
#undef strcat
#define strcat(a, b) banned_strcat_use_buf
#undef sprintf
#define sprintf(...) banned_sprintf_use_snprintf
#undef vsprintf
#define vsprintf(...) banned_vsprintf_use_vsnprintf
#undef strtok
#define strtok(a, b) banned_strtok_use_strcspn

void *xmalloc(size_t bytes) __attribute__((malloc));
/* Zeroed memory for n objects of `bytes` each. */
void *xcalloc(size_t n, size_t bytes) __attribute__((malloc));
void *xrealloc(void *old, size_t bytes);
char *xstrdup(const char *text) __attribute__((malloc));
/* A copy of len bytes with a NUL behind it. */
char *xmemdup0(const void *bytes, size_t len) __attribute__((malloc));
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) __attribute__((malloc));

#endif
