/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listening.h - to close a listening TCP socket without losing a client.
 *
 * close() resets what waits in the socket's queue, and there is always a moment between the last
 * accept() and it. So a socket is shut first: the kernel drops what would begin another connection (its
 * client tries again after a second, and finds who listens then), while those that have begun still
 * come in. Being shut is the socket's own state, so every process that shares it sees it. A
 * connection that is accepted from one keeps the filter, which does nothing to it.
 */
#ifndef BASE_LISTENING_H
#define BASE_LISTENING_H

#include "base/base.h"

/* Time for a handshake that has begun to end; a client that was dropped comes back later than this. */
#define LISTENING_LINGER_MS 500

/* No new connection from now on. 0 or -errno. */
int listening_shut(int fd);
/* Take it back. */
void listening_open(int fd);
bool listening_is_shut(int fd);
/*
 * Of the SO_REUSEPORT sockets at the address of fd, the first n alone, in the order in which they began to
 * listen, get new connections; 0: all of them. 0 or -errno.
 */
int listening_share(int fd, unsigned n);

#endif
