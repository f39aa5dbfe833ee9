/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload.h - a changed configuration file in a running daemon.
 *
 * Validated first: a bad file changes nothing. Limits are stored into the segment, and so hold at
 * once for all workers. The rest comes with the next generation of workers (plan.h); what
 * takes a restart stays as it is, and the log says so.
 */
#ifndef MASTER_RELOAD_H
#define MASTER_RELOAD_H

#include "base/base.h"

struct master;

/* HUP came. True: a new generation of workers is wanted (plan_in.reload). */
bool reload(struct master *m) MUST_CHECK;
/* The next generation begins: it has the latest configuration from now on. */
void reload_begin(struct master *m, unsigned generation);
/* All of it is ready. */
void reload_done(struct master *m, unsigned generation);
/* It could not start: the limits are those of before again. */
void reload_undo(struct master *m, unsigned generation);

#endif
