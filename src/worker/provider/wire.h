/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h - HTTP/1.1 to a provider over plain TCP: one request at a time on each connection, and the connection
 * kept for the next.
 *
 * libcurl resolves names and makes the connections (transfer.c), and speaks TLS and HTTP/2; it costs more for each
 * block that it reads than all else that headgate does with it, so where there is neither, the relay path is ours: one
 * recv() for a block, decoded in place. A connection is watched as long as it is open, so one that the provider
 * closes while it is idle is closed at once.
 */
#ifndef WORKER_PROVIDER_WIRE_H
#define WORKER_PROVIDER_WIRE_H

#include "base/base.h"

struct provider;
struct provider_call;
struct wire;
struct wires;

/* The connections to a provider whose base_url is http:; NULL: it is not. */
struct wires *wires_open(struct provider *provider);
/* Closes them; no call has one. Harmless for NULL. */
void wires_close(struct wires *wires);

/*
 * The call's request goes out on an idle connection, or transfer_dial() makes one. What ends before this returns is
 * told later.
 */
void wire_start(struct provider_call *call);
/* transfer_dial() has made this connection for it. */
void wire_connected(struct provider_call *call, int fd);
/* The call lets go of its connection: idle, if the answer was complete, or else closed. Harmless if it has none. */
void wire_stop(struct provider_call *call);
/* The asker has room again and has been given all that was kept: read on. */
void wire_read_on(struct provider_call *call);
/* The first such header of the answer, or NULL. */
const char *wire_header(const struct provider_call *call, const char *name, size_t *len_r);

#endif
