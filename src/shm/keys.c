/* SPDX-License-Identifier: BSD-2-Clause */
/* keys.c - a word per API key: when its parking ends. */
#include "base/base.h"
#include "shm/keys.h"

#include "base/bug.h"
#include "shm/layout.h"

static _Atomic uint64_t *word_of(const struct shm *shm, unsigned provider, unsigned key)
{
	BUG_ON(key >= SHM_KEYS);
	return &shm_standing_at(shm, provider)->parked_until_ms[key];
}

void key_park(struct shm *shm, unsigned provider, unsigned key, uint64_t until_ms)
{
	_Atomic uint64_t *word = word_of(shm, provider, key);
	uint64_t seen = atomic_load(word);

	while (seen < until_ms && !atomic_compare_exchange_strong(word, &seen, until_ms))
		;
}

uint64_t key_parked_until(const struct shm *shm, unsigned provider, unsigned key)
{
	return atomic_load(word_of(shm, provider, key));
}

void key_unpark(struct shm *shm, unsigned provider, unsigned key)
{
	atomic_store(word_of(shm, provider, key), 0);
}
