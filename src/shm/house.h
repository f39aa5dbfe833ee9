/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * house.h - the part of the segment that is about clients: pending connections, keys with their caps, and
 * the flows of fair lines; private to this room. What others see of it is in segment.h.
 *
 * Fair are the lines of the places (gate 0) and of the providers' permits. For each there is the end of each
 * flow in virtual time, and for each worker what its waiters cost their flows.
 */
#ifndef SHM_HOUSE_H
#define SHM_HOUSE_H

#include "base/base.h"
#include "shm/layout.h"

/* Lay the part out from `at` on; returns where it ends. Counts of gates and providers stand in h already. */
uint64_t house_plan(struct shm_header *h, const struct shm_spec *spec, uint64_t at);
/* Fill it, zeroed as it is. */
void house_fill(struct shm *shm, const struct shm_spec *spec);

/* The words of a gate's flows, header.nflows of each; NULL: it is not fair. */
_Atomic uint64_t *house_ends(const struct shm *shm, unsigned gate);
_Atomic uint64_t *house_places(const struct shm *shm, unsigned gate, unsigned slot);

/* All gates there are, of providers and of the house: how many, and the number of the i-th. */
unsigned house_gates(const struct shm *shm);
unsigned house_gate(const struct shm *shm, unsigned i);

#endif
