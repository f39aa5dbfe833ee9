/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flow.h - whose turn it is: requests of one client are a flow, and lines serve flows by weighted
 * fair queueing (gate.h).
 *
 * A client with a key is its key's flow. One without is that of its address, in a table of fixed size that
 * remembers whose each flow is: 8-way set associative, as in CAKE (Hoiland-Jorgensen, Taht, Morton: "Piece of
 * CAKE", 2018). Of two addresses that are hashed into one set each has a flow of its own; the ninth takes over
 * the flow that was not asked for longest, and is for a while served with its owner as one client is. The hash
 * is seeded anew with each segment, so nobody can choose whom to meet.
 */
#ifndef SHM_FLOW_H
#define SHM_FLOW_H

#include "base/base.h"

struct shm;

#define FLOW_ADDRESSES 1024u /* flows of clients without a key; a multiple of FLOW_WAYS */
#define FLOW_WAYS 8u /* of them an address may be in: a cache line */
#define FLOW_WEIGHT_MAX 100u

struct flow {
	uint32_t number;
	uint32_t weight; /* 1..FLOW_WEIGHT_MAX; 0 stands for 1 */
};

/* Everybody's in common: for those of whom nothing is known, and for lines without fairness. */
#define FLOW_COMMON ((struct flow){ 0 })

/* place: of the key in the segment. */
struct flow flow_of_key(unsigned place, uint64_t weight);
/*
 * An IPv6 address, or an IPv4 one mapped into one (::ffff:0:0/96): an IPv4 address or an IPv6 /64 is a client.
 * For one that asks now: with now_ms its flow is kept from others. All of the machine's workers find the same.
 */
struct flow flow_of_address(struct shm *shm, const uint8_t address[16], uint64_t now_ms);

#endif
