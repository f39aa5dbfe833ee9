/* SPDX-License-Identifier: BSD-2-Clause */
/* events.c - see events.h. */
#include "base/base.h"
#include "tools/llmsim/events.h"
#include "base/clock.h"

#include <stdio_ext.h>

static FILE *file;

int events_open(const char *path)
{
	file = fopen(path, "we");
	return file ? 0 : -errno;
}

bool events_wanted(void)
{
	return file;
}

void events_write(const char *name, const char *fmt, ...)
{
	va_list ap;

	if (!file)
		return;
	fprintf(file, "{\"t_us\":%" PRIu64 ",\"event\":\"%s\",", clock_us(), name);
	va_start(ap, fmt);
	vfprintf(file, fmt, ap);
	va_end(ap);
	fputs("}\n", file);
}

void events_flush(void)
{
	if (file && __fpending(file))
		fflush(file);
}

void events_close(void)
{
	if (file)
		fclose(file);
	file = NULL;
}
