/* SPDX-License-Identifier: BSD-2-Clause */
/* fd.h - small things about descriptors. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/base.h"

/* 0 or -errno. */
int fd_set_nonblocking(int fd);
int fd_set_cloexec(int fd);
/* Close if open (>= 0), and remember it: *fd = -1. */
void fd_close(int *fd);
/* Raise RLIMIT_NOFILE to its hard limit; returns what is in force now. */
uint64_t fd_raise_limit(void);

#endif
