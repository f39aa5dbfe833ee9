/* SPDX-License-Identifier: BSD-2-Clause */
/* boot.h - what must be there before the first worker starts. */
#ifndef MASTER_BOOT_H
#define MASTER_BOOT_H

#include "base/base.h"

struct conf;
struct master;

/*
 * Log, limits, run directory, sockets, segment, wake descriptors: all that workers inherit. 0, or the
 * exit status after a line in the log that says what is wrong; boot_undo() is due in both cases.
 */
int boot(struct master *m) MUST_CHECK;
/* Every worker is ready: the lines that say what is served where; the last one is the ready line. */
void boot_announce(const struct master *m);
/* Of these lines, those that say where. */
void boot_announce_doors(const struct master *m);
/* Warn of an address that others reach without a key. */
void boot_say_who_reaches(const struct conf *conf);
/* USR1: append to what is now at logging.file; the workers hear it, too. */
void boot_reopen_log(struct master *m);
/* Give all of it back, and remove the segment. */
void boot_undo(struct master *m);

#endif
