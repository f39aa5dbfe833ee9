/* SPDX-License-Identifier: BSD-2-Clause */
/* nearest.h - which of the known names was probably meant. */
#ifndef CONF_NEAREST_H
#define CONF_NEAREST_H

#include "base/base.h"

#define NAME_MAX_BYTES 64 /* longer names are nobody's typing mistake */

struct nearest {
	const char *wanted;
	char best[NAME_MAX_BYTES + 1]; /* "" while nothing is near enough */
	size_t distance;
};

/* Begin to look for what was meant by wanted (kept by reference). */
void nearest_begin(struct nearest *n, const char *wanted);
/* One of the known names: the first len bytes. */
void nearest_offer(struct nearest *n, const char *name, size_t len);

#endif
