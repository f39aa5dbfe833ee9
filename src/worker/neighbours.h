/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * neighbours.h - who takes the connections of a worker that hangs or is not there yet.
 *
 * Each worker has a listening socket of its own, and the kernel spreads clients over
 * them whether their worker answers or not. So each looks at the one that follows it
 * (and, where that is away, at the next): whose heart stands still, or whose door is without a
 * ready worker, for its socket another one accepts until it is back. (A door is such a socket; a
 * worker stands at one.)
 */
#ifndef WORKER_NEIGHBOURS_H
#define WORKER_NEIGHBOURS_H

#include "base/base.h"
#include "worker/heritage.h"

struct http;
struct neighbours;

/* Both stay the caller's and live longer. */
struct neighbours *neighbours_open(const struct heritage *heritage, struct http *http);
/* Look at their hearts; to be called a few times a second, not while draining. */
void neighbours_watch(struct neighbours *n, uint64_t now_ms);
void neighbours_close(struct neighbours *n);

#endif
