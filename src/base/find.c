/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * find.c - see find.h. Sixteen bytes at a time, by vectors as gcc and clang have them for every machine:
 * comparing gives 0 or ~0 for each byte.
 */
#include "base/base.h"
#include "base/find.h"

#define STEP 16

typedef uint8_t bytes_v __attribute__((vector_size(STEP)));
typedef uint64_t words_v __attribute__((vector_size(STEP)));

static bool is_one(const char *at, const char initials[4])
{
	return at[0] == '"' && memchr(initials, at[1], 4) != NULL;
}

/* Is there a place in the STEP bytes at `at`, of which one more can be read? */
static bool has_one(const char *at, const char initials[4])
{
	bytes_v here, next, hit;
	words_v words;

	memcpy(&here, at, STEP);
	memcpy(&next, at + 1, STEP);
	hit = (bytes_v)(here == '"') &
		(bytes_v)((next == (uint8_t)initials[0]) | (next == (uint8_t)initials[1]) |
			(next == (uint8_t)initials[2]) | (next == (uint8_t)initials[3]));
	words = (words_v)hit;
	return words[0] | words[1];
}

const char *find_quoted(const char *at, const char *end, const char initials[4])
{
	while (end - at > STEP && !has_one(at, initials))
		at += STEP;
	for (; end - at > 1; at++)
		if (is_one(at, initials))
			return at;
	return NULL;
}
