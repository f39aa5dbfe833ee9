/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.h - what a dead worker held comes back; the books can be proven.
 */
#ifndef SHM_RECLAIM_H
#define SHM_RECLAIM_H

#include "base/base.h"

struct shm;

/*
 * Master, after waitpid(): the worker of this slot is dead. Clears its cells in every gate, retires
 * its statistics, frees the slot. Then shm_reclaim_audit() must be called (after ALL dead workers
 * known so far were passed here) until it returns true.
 */
void shm_reclaim(struct shm *shm, unsigned slot);

/*
 * Give back what dead workers had in their hands, dispatch, wake everybody. False: some gate
 * found no quiet moment; call again at the next tick. *recovered_r grows by the permits found.
 */
bool shm_reclaim_audit(struct shm *shm, uint64_t *recovered_r) MUST_CHECK;

/*
 * Do the books balance? Reads only. 0: yes; 1: no, text (512 bytes) says which gate and by how much;
 * -EAGAIN: no quiet moment was found in `tries` readings.
 */
int shm_check(const struct shm *shm, unsigned tries, char *text);

#endif
