/* SPDX-License-Identifier: BSD-2-Clause */
/* fd.h - small things about descriptors. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/base.h"

/* 0 or -errno. */
int fd_set_nonblocking(int fd);
int fd_set_cloexec(int fd);
/*
 * Let fd, which appends to the file `path`, append to what has that name now; create: make it (mode
 * 0640) if it is not there. One step: every write goes to the old file or the new one. 0 or -errno,
 * then fd is as it was.
 */
int fd_reopen_log(int fd, const char *path, bool create);
/* Close if open (>= 0), and remember it: *fd = -1. */
void fd_close(int *fd);
/*
 * Set RLIMIT_NOFILE to n (root may go beyond the hard limit), or, if n is 0 or more than is allowed,
 * to its hard limit; returns what is in force now.
 */
uint64_t fd_set_limit(uint64_t n);

#endif
