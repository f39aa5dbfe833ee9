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

struct flow flow_of_address(const struct shm *shm, const uint8_t address[16])
{
	static const uint8_t v4[12] = { [10] = 0xff, 0xff };
	const uint64_t seed = shm->header->flow_seed;
	uint64_t half[2] = { 0 };

	/* of IPv6 the first half, of IPv4 all */
	memcpy(half, address, memcmp(address, v4, sizeof(v4)) ? 8 : 16);
	return (struct flow){
		.number = 1 + (uint32_t)(mix(mix(half[0] ^ seed) ^ half[1] ^ (seed << 1)) % FLOW_ADDRESSES),
		.weight = 1
	};
}
