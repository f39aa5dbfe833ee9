/* SPDX-License-Identifier: BSD-2-Clause */
/* worker.h - a worker process, from fork to exit. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "base/base.h"
#include "worker/heritage.h"

#define WORKER_EXIT_OK 0
#define WORKER_EXIT_SETUP 2 /* could not start: a successor would not either */

/*
 * Runs until drained or told to stop; returns the exit status. Signals: QUIT drains (drain_timeout at
 * most; idle clients at once if the whole server drains, else spread over that time), TERM leaves at once (clients are closed, what is held is given back), USR1 opens
 * logging.file again, INT and HUP are ignored
 * (they are the master's).
 */
int worker_main(const struct heritage *heritage);

#endif
