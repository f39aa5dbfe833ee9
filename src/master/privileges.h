/* SPDX-License-Identifier: BSD-2-Clause */
/* privileges.h - as whom workers run, and what a process may use. */
#ifndef MASTER_PRIVILEGES_H
#define MASTER_PRIVILEGES_H

#include "base/base.h"

#include <sys/types.h>

struct conf;

/* Whom workers become; `drop` is false when they stay who the master is. */
struct privileges {
	bool drop;
	uid_t uid;
	gid_t gid;
	const char *user; /* the configuration's */
};

/* Look user and group up. False: error_r (256 bytes) says what is wrong. */
bool privileges_find(const struct conf *conf, struct privileges *p, char *error_r) MUST_CHECK;
/* The group may enter this directory, or read this file. */
void privileges_share(const struct privileges *p, const char *path);
/* In a worker: become that user, for good; no program it starts gets more rights. False: the log says why. */
bool privileges_drop(const struct privileges *p, bool core_dumps) MUST_CHECK;
/* Core files: as large as they are, or none. */
void privileges_limit_core(bool core_dumps);

#endif
