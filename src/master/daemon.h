/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon.h - into the background (headgate -D). The process that was started stays until the daemon
 * serves, so that its exit status tells whether it does; until then messages go where they went before.
 */
#ifndef MASTER_DAEMON_H
#define MASTER_DAEMON_H

#include "base/base.h"

/*
 * Returns in the daemon only (its parent exits with what it tells): a descriptor for daemon_ready(),
 * or -1: error_r (256 bytes) says why.
 */
int daemon_begin(char *error_r) MUST_CHECK;
/* Standard input, output and error lead nowhere from now on. */
void daemon_be_silent(void);
/* It serves: the parent exits with 0; standard input, output and error lead nowhere from now on. */
void daemon_ready(int *fd);

#endif
