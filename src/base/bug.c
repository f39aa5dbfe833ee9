/* SPDX-License-Identifier: BSD-2-Clause */
/* bug.c - the last thing a process does, and the points where tests make it die. */
#include "base/base.h"
#include "base/bug.h"

#include <signal.h>

static char *last_words;
static size_t last_words_bytes;

void bug_last_words(char *buffer, size_t bytes)
{
	last_words = buffer;
	last_words_bytes = bytes;
}

void bug_say_last(const char *words)
{
	size_t len = strlen(words);

	if (!last_words || last_words[0])
		return;
	if (len > last_words_bytes - 1)
		len = last_words_bytes - 1;
	memcpy(last_words, words, len);
	last_words[len] = 0;
}

void bug_die(const char *what, const char *file, int line)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "BUG: %s:%d: %s\n", file, line, what);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;

	if (write(STDERR_FILENO, text, len) < 0)
		len = len; /* nobody is left to tell */
	if (last_words && len) {
		size_t keep = len - 1 < last_words_bytes - 1 ? len - 1 : last_words_bytes - 1;

		memcpy(last_words, text, keep);
		last_words[keep] = 0;
	}
	abort();
}

#ifdef HEADGATE_DEVELOPER

static char *armed_name;
static unsigned armed_count;

void crash_point_arm(unsigned slot, unsigned generation)
{
	const char *want = getenv("HEADGATE_CRASH");
	unsigned want_slot = 0, count = 1;
	const char *option;

	if (!want || generation != 1)
		return;
	if ((option = strstr(want, ",slot=")))
		want_slot = (unsigned)strtoul(option + 6, NULL, 10);
	if ((option = strstr(want, ",count=")))
		count = (unsigned)strtoul(option + 7, NULL, 10);
	if (slot != want_slot)
		return;
	free(armed_name);
	armed_name = xmemdup0(want, strcspn(want, ","));
	armed_count = count;
}

void crash_point(const char *name)
{
	if (__builtin_expect(armed_name == NULL, 1) || strcmp(name, armed_name) != 0)
		return;
	if (--armed_count == 0)
		kill(getpid(), SIGKILL);
}

#endif
