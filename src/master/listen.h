/* SPDX-License-Identifier: BSD-2-Clause */
/* listen.h - single listening sockets: how one is opened, and what is known of one (doors.h says which there are). */
#ifndef MASTER_LISTEN_H
#define MASTER_LISTEN_H

#include "base/base.h"

#define LISTEN_URL_BYTES 96

/*
 * A socket (non-blocking, close-on-exec, SO_REUSEPORT) bound to host ("*": all addresses, IPv6 and IPv4) and
 * port (0: any free one); nobody can connect to it yet. -1: error_r (256 bytes) says why; key is how
 * the configuration calls the address.
 *
 * SO_REUSEPORT would let two headgates of the same user share an address without a word, so an
 * address on which somebody listens already is refused, unless shared: we do so ourselves.
 */
int listen_bind(const char *key, const char *host, uint64_t port, bool shared, char *error_r) MUST_CHECK;
/* Another one at the address of fd, which was made by listen_bind(); or -errno. */
int listen_bind_beside(int fd) MUST_CHECK;
/* Let clients connect; may be said again with another backlog. 0 or -errno. */
int listen_start(int fd, uint64_t backlog) MUST_CHECK;
/* A descriptor that somebody else has opened: does it listen? It is made non-blocking and close-on-exec. */
bool listen_take(int fd);
/* "http://127.0.0.1:8000" with the true port; host: as the configuration has it, or NULL. */
void listen_url(int fd, const char *host, char url[LISTEN_URL_BYTES]);
/* Is this socket at host and port (0: any)? */
bool listen_is_at(int fd, const char *host, uint64_t port);
uint16_t listen_port(int fd);
void listen_close(int *fds, unsigned n);
/* Can nobody but this machine reach the address? */
bool listen_is_local(const char *host);

#endif
