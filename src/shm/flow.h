/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flow.h - whose turn it is: requests of one client are a flow, and lines serve flows by weighted
 * fair queueing (gate.h).
 *
 * A client with a key is its key's flow. One without is that of its address, hashed into a table of
 * fixed size: two addresses may share a flow by chance, and are then served as one client is. The
 * hash is seeded anew with each segment, so nobody can choose to share somebody's flow.
 */
#ifndef SHM_FLOW_H
#define SHM_FLOW_H

#include "base/base.h"

struct shm;

#define FLOW_ADDRESSES 1024u /* flows of clients without a key */
#define FLOW_WEIGHT_MAX 100u

struct flow {
	uint32_t number;
	uint32_t weight; /* 1..FLOW_WEIGHT_MAX; 0 stands for 1 */
};

/* Everybody's in common: for those of whom nothing is known, and for lines without fairness. */
#define FLOW_COMMON ((struct flow){ 0 })

/* place: of the key in the segment. */
struct flow flow_of_key(unsigned place, uint64_t weight);
/* An IPv6 address, or an IPv4 one mapped into one (::ffff:0:0/96): an IPv4 address or an IPv6 /64 is a client. */
struct flow flow_of_address(const struct shm *shm, const uint8_t address[16]);

#endif
