/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.h - the listening sockets: one SO_REUSEPORT socket per worker slot, all the
 * master's, all open for as long as it serves. Worker i accepts from number i and its
 * successor gets the same one, so that what is queued in it is not lost.
 */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include "base/base.h"

#define LISTEN_URL_BYTES 96

/*
 * Open n sockets (non-blocking, close-on-exec) on host ("*": all addresses, IPv6 and IPv4) and port
 * (0: any free one, the same for all) into fds[n]. url_r (LISTEN_URL_BYTES) becomes
 * "http://127.0.0.1:8000" with the true port. False: nothing is open, error_r (256 bytes) says why.
 *
 * SO_REUSEPORT would let two headgates of the same user share an address without a word, so
 * an address on which somebody listens already is refused.
 */
bool listen_open(const char *host, uint64_t port, uint64_t backlog, int *fds, unsigned n,
	char *url_r, char *error_r) MUST_CHECK;
/*
 * Take over ngiven listening sockets that somebody else opened, for n doors: fds[max(n, ngiven)] gets
 * them all and, where there are fewer than doors, further descriptors of the same ones. False:
 * error_r says why.
 */
bool listen_adopt(const int *given, unsigned ngiven, int *fds, unsigned n, char *url_r, char *error_r)
	MUST_CHECK;
/* Does this socket listen on host and port (0: any)? */
bool listen_is_at(int fd, const char *host, uint64_t port);
void listen_close(int *fds, unsigned n);
/* Can nobody but this machine reach the address? */
bool listen_is_local(const char *host);

#endif
