/* SPDX-License-Identifier: BSD-2-Clause */
/* mem.c - allocation that succeeds or ends the process. */
#include "base/base.h"
#include "base/bug.h"

static void *or_die(void *p, size_t bytes)
{
	if (!p && bytes)
		bug_die("out of memory", __FILE__, __LINE__);
	return p;
}

void *xmalloc(size_t bytes)
{
	return or_die(malloc(bytes), bytes);
}

void *xcalloc(size_t n, size_t bytes)
{
	return or_die(calloc(n, bytes), n && bytes);
}

void *xrealloc(void *old, size_t bytes)
{
	return or_die(realloc(old, bytes), bytes);
}

char *xstrdup(const char *text)
{
	return or_die(strdup(text), 1);
}

char *xmemdup0(const void *bytes, size_t len)
{
	char *p = xmalloc(len + 1);

	if (len)
		memcpy(p, bytes, len);
	p[len] = 0;
	return p;
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;

	va_start(ap, fmt);
	if (vasprintf(&p, fmt, ap) < 0)
		bug_die("out of memory", __FILE__, __LINE__);
	va_end(ap);
	return p;
}
