/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_handshake.h - the opening handshake of WebSocket (RFC 6455, 4.2): pure functions. */
#ifndef WORKER_HTTP_WS_HANDSHAKE_H
#define WORKER_HTTP_WS_HANDSHAKE_H

#include "base/base.h"
#include "worker/http/head.h"

/* Does this head ask for an upgrade to WebSocket (of any version)? Other upgrades are not served, so they are ignored. */
bool ws_handshake_asked(const struct head *head);
/* END_COMPLETE if it does not ask, or asks correctly for version 13; else why the upgrade is refused. */
enum ending ws_handshake_check(const struct head *head, const char **why_r);

#define WS_ACCEPT_SIZE 29
/* The value of Sec-WebSocket-Accept for the head's key (4.2.2), NUL-terminated. */
void ws_handshake_accept(const struct head *head, char accept[WS_ACCEPT_SIZE]);

#endif
