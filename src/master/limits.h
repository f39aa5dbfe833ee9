/* SPDX-License-Identifier: BSD-2-Clause */
/* limits.h - the limits of a configuration in the segment: when it is made, and when a reload changes them. */
#ifndef MASTER_LIMITS_H
#define MASTER_LIMITS_H

#include "base/base.h"

struct conf;
struct shm;

/*
 * Make the segment with all gates and windows, in the fixed places that segment.h names; replace: also
 * where a living master has one of that name. NULL: error_r (256 bytes).
 */
struct shm *limits_segment(const struct conf *conf, unsigned nslots, const char *path, bool replace,
	char *error_r);
/*
 * Give each provider of `next` its place in the segment: the one that has its name or, for a new
 * one, a free place; `busy` has a bit for each place that a process may still use. False:
 * error_r (256 bytes) says what does not fit, and nothing was changed in the segment.
 */
bool limits_place(const struct shm *shm, struct conf *next, uint32_t busy, char *error_r) MUST_CHECK;
/* Store all limits that change at once; providers that are new to their place are installed. */
void limits_apply(struct shm *shm, const struct conf *conf);
/* A bit for the place of each provider. */
uint32_t limits_places(const struct conf *conf);

#endif
