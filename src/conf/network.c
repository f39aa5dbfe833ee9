/* SPDX-License-Identifier: BSD-2-Clause */
/* network.c - see network.h. */
#include "base/base.h"
#include "conf/network.h"

#include <arpa/inet.h>

#define MAPPED_BITS 96

bool network_address(const char *text, size_t len, uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };
	char copy[INET6_ADDRSTRLEN];

	if (len >= sizeof(copy) || memchr(text, '\0', len))
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	memcpy(address, mapped, sizeof(mapped));
	return inet_pton(AF_INET, copy, address + sizeof(mapped)) == 1 ||
		inet_pton(AF_INET6, copy, address) == 1;
}

bool network_parse(const char *text, struct conf_network *network)
{
	size_t len = strcspn(text, "/");
	unsigned shift = memchr(text, ':', len) ? 0 : MAPPED_BITS;
	char *end;
	unsigned long bits;

	if (!network_address(text, len, network->address))
		return false;
	network->bits = 128;
	if (!text[len])
		return true;
	if (text[len + 1] < '0' || text[len + 1] > '9')
		return false;
	bits = strtoul(text + len + 1, &end, 10);
	if (*end || bits > 128 - shift)
		return false;
	network->bits = (unsigned)bits + shift;
	return true;
}

static bool is_in(const struct conf_network *network, const uint8_t address[16])
{
	unsigned whole = network->bits / 8, rest = network->bits % 8;

	if (memcmp(network->address, address, whole))
		return false;
	return !rest || !((network->address[whole] ^ address[whole]) >> (8 - rest));
}

bool network_has(const struct conf_network *networks, unsigned n, const uint8_t address[16])
{
	for (unsigned i = 0; i < n; i++)
		if (is_in(&networks[i], address))
			return true;
	return false;
}
