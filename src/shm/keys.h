/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.h - which API keys of a provider are parked (refused, or told to wait), for all workers.
 *
 * A parking is a time at which it ends, so nobody has to undo it.
 */
#ifndef SHM_KEYS_H
#define SHM_KEYS_H

#include "base/base.h"

#define SHM_KEYS 16u /* keys that a provider may have */

struct shm;

/* Nobody shall use the key before until_ms (clock_ms()); a later end that is known already stays. */
void key_park(struct shm *shm, unsigned provider, unsigned key, uint64_t until_ms);
/* When the parking ends; 0, or in the past: it is not parked. */
uint64_t key_parked_until(const struct shm *shm, unsigned provider, unsigned key);
/* The number stands for another key now (a reload): forget its parking. */
void key_unpark(struct shm *shm, unsigned provider, unsigned key);

#endif
