/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.h - who is really there, where a trusted proxy stands in front: the PROXY protocol
 * (versions 1 and 2) ahead of a connection, X-Forwarded-For ahead of a request.
 */
#ifndef WORKER_HTTP_PROXY_H
#define WORKER_HTTP_PROXY_H

#include "base/base.h"

struct conf;
struct conn;
struct exchange;

enum proxy_result {
	PROXY_MORE, /* it is not whole */
	PROXY_BAD,
	PROXY_DONE
};
struct proxy_peer {
	bool known; /* false: the proxy speaks for itself (a health check of its own) */
	uint8_t address[16];
	unsigned port;
};
/* Read the header in bytes[len]; *used_r: how long it is. No state, no I/O. */
enum proxy_result proxy_parse(const char *bytes, size_t len, struct proxy_peer *peer, size_t *used_r);

/* A connection of CONN_PROXY: takes the header from it, and goes on with c->after_proxy. */
bool proxy_step(struct conn *c);

/* "127.0.0.1:4711", "[::1]:4711"; without the port if it is 0. */
void proxy_name(char name[56], const uint8_t address[16], unsigned port);

/*
 * If the request comes from a trusted proxy and names whom it is forwarded for, that is its peer: the
 * last one of the list that is no trusted proxy itself.
 */
void proxy_forwarded(const struct conf *conf, struct exchange *x);

#endif
