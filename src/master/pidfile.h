/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pidfile.h - the file with the master's pid.
 *
 * It is locked (flock) as long as its master runs, so a file without a lock is a stale one, whatever pid it
 * names. A new binary inherits the locked descriptor.
 */
#ifndef MASTER_PIDFILE_H
#define MASTER_PIDFILE_H

#include "base/base.h"

/*
 * Open and lock it; *stale_r is the pid that a master without a grave left in it, or 0. The
 * descriptor, or -1: error_r (256 bytes) says why.
 */
int pidfile_open(const char *path, int *stale_r, char *error_r) MUST_CHECK;
/* Is this descriptor that file? */
bool pidfile_is(int fd, const char *path);
/* Write our pid into it. */
bool pidfile_write(int fd) MUST_CHECK;
/* Remove it, if it is still that file and names us; the lock goes with the descriptor. */
void pidfile_remove(int fd, const char *path);
/* The pid of the running master; 0: none runs; -1: error_r says why it cannot be known. */
int pidfile_read(const char *path, char *error_r) MUST_CHECK;

#endif
