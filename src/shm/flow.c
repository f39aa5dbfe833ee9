/* SPDX-License-Identifier: BSD-2-Clause */
/* flow.c - see flow.h; the numbers: 0 in common, then addresses, then keys. */
#include "base/base.h"
#include "shm/flow.h"

#include "shm/layout.h"

struct flow flow_of_key(unsigned place, uint64_t weight)
{
	return (struct flow){ .number = 1 + FLOW_ADDRESSES + place, .weight = (uint32_t)weight };
}

/* splitmix64 */
static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* A word of the table: 32 bits of an address's hash (0: nobody's), and the second of its last request. */
static uint64_t word_of(uint32_t who, uint32_t now_s)
{
	return (uint64_t)who << 32 | now_s;
}

static uint32_t age_of(uint64_t word, uint32_t now_s)
{
	if (!word)
		return UINT32_MAX;
	return (uint32_t)word < now_s ? now_s - (uint32_t)word : 0;
}

/* Its place in the set: the one that is his, or else the one that was not asked for longest, which is his now. */
static uint32_t place_of(_Atomic uint64_t *set, uint32_t who, uint32_t now_s)
{
	for (;;) {
		uint64_t word, oldest_word = 0;
		uint32_t oldest = 0, oldest_age = 0;

		for (uint32_t i = 0; i < FLOW_WAYS; i++) {
			word = atomic_load_explicit(&set[i], memory_order_relaxed);
			if (word >> 32 == who) {
				/* once a second; whoever is faster did it for us, or took it over this moment */
				if (age_of(word, now_s))
					atomic_compare_exchange_strong(&set[i], &word, word_of(who, now_s));
				return i;
			}
			if (!i || age_of(word, now_s) > oldest_age) {
				oldest = i;
				oldest_age = age_of(word, now_s);
				oldest_word = word;
			}
		}
		if (atomic_compare_exchange_strong(&set[oldest], &oldest_word, word_of(who, now_s)))
			return oldest;
	}
}

struct flow flow_of_address(struct shm *shm, const uint8_t address[16], uint64_t now_ms)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
	const uint64_t seed = shm->header->flow_seed;
	_Atomic uint64_t *table = shm_at(shm, shm->header->addresses_at);
	uint64_t half[2] = { 0 }, hash;
	uint32_t set;

	/* of IPv6 the first half, of IPv4 all */
	memcpy(half, address, memcmp(address, v4, sizeof(v4)) ? 8 : 16);
	hash = mix(mix(half[0] ^ seed) ^ half[1] ^ (seed << 1));
	set = (uint32_t)(hash % (FLOW_ADDRESSES / FLOW_WAYS)) * FLOW_WAYS;
	return (struct flow){
		.number = 1 + set + place_of(table + set, (uint32_t)(hash >> 32) | 1, (uint32_t)(now_ms / 1000)),
		.weight = 1
	};
}
