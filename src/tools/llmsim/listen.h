/* SPDX-License-Identifier: BSD-2-Clause */
/* listen.h - a listening TCP socket. */
#ifndef TOOLS_LLMSIM_LISTEN_H
#define TOOLS_LLMSIM_LISTEN_H

#include "base/base.h"

/* A non-blocking socket that listens; -1 and *why_r (a message for people) on failure. */
int listen_open(const char *host, const char *port, const char **why_r) MUST_CHECK;
/*
 * Listen no more: closes the socket, and returns one that has its address and can listen again
 * (so that nobody else takes the port); -1 with errno.
 */
int listen_hold(int fd) MUST_CHECK;
int listen_again(int fd) MUST_CHECK;
/* Where it listens: "127.0.0.1:8900" or "[::1]:8900". */
void listen_address(int fd, char *out, size_t size);

#endif
