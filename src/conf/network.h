/* SPDX-License-Identifier: BSD-2-Clause */
/* network.h - networks as in 10.0.0.0/8 and 2001:db8::/32, and whether an address is in one. */
#ifndef CONF_NETWORK_H
#define CONF_NETWORK_H

#include "base/base.h"

struct conf_network {
	uint8_t address[16]; /* of IPv4: mapped, ::ffff:0:0/96 */
	unsigned bits;
};

/* "address" or "address/bits". False: it is none. */
bool network_parse(const char *text, struct conf_network *network) MUST_CHECK;
bool network_has(const struct conf_network *networks, unsigned n, const uint8_t address[16]);
/* len bytes as an IPv4 or IPv6 address, IPv4 mapped. False: they are none. */
bool network_address(const char *text, size_t len, uint8_t address[16]) MUST_CHECK;

#endif
