/* SPDX-License-Identifier: BSD-2-Clause */
/* proc.h - worker processes: starting them, hearing that they are ready, burying them. */
#ifndef MASTER_PROC_H
#define MASTER_PROC_H

#include "base/base.h"

struct master;

/* Fork a worker into an empty slot, at the door that the plan remembers. A fork that fails counts as a death before it was ready. */
void proc_spawn(struct master *m, unsigned slot);
/* Its ready pipe can be read: the byte, or its end. */
void proc_hear(struct master *m, unsigned slot);
/*
 * Collect all that died: every one of them is reclaimed before the first audit (m->audit_owed then
 * says whether it must be repeated), then each gets its obituary.
 */
void proc_reap(struct master *m);
/* Another try of the audit that is owed. */
void proc_audit(struct master *m);
/* Look at the heartbeats in the segment. */
void proc_feel_hearts(struct master *m);
void proc_signal(const struct master *m, unsigned slot, int signo);

#endif
