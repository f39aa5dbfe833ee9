/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listening.h - to close a listening TCP socket without losing a client.
 *
 * close() resets what waits in the socket's queue, and there is always a moment between the last
 * accept() and it. So a socket is shut first: the kernel drops what would begin another connection (its
 * client tries again after a second, and finds who listens then), while those that have begun still
 * come in. For TCP newer kernels demand CAP_NET_ADMIN for that filter; without it the moment stays,
 * some microseconds long, after the socket has been emptied for LISTENING_LINGER_MS. Where others share the
 * address (listening_share()) nothing is lost either way.
 *
 * Being shut is the socket's own state, so every process that shares it sees it. A connection that is accepted
 * from one has the mark and the filter, which do nothing to it.
 */
#ifndef BASE_LISTENING_H
#define BASE_LISTENING_H

#include "base/base.h"

/* Time for a handshake that has begun to end; a client that was dropped comes back later than this. */
#define LISTENING_LINGER_MS 500

/* No new connection from now on. 0, or -errno: it is marked, but without the filter. */
int listening_shut(int fd);
/* Take it back. */
void listening_open(int fd);
bool listening_is_shut(int fd);
/* Does a connection wait in its queue? */
bool listening_has_client(int fd);
/*
 * Of the SO_REUSEPORT sockets at the address of fd, the first n alone, in the order in which they began to
 * listen, get new connections; 0: all of them. 0 or -errno.
 */
int listening_share(int fd, unsigned n);

#endif
