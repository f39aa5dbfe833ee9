/* SPDX-License-Identifier: BSD-2-Clause */
/* cors.h - which web pages may talk to us (Fetch standard, RFC 6454; RFC 6455 section 10.2). */
#ifndef WORKER_ENDPOINT_CORS_H
#define WORKER_ENDPOINT_CORS_H

#include "base/base.h"
#include "worker/exchange/exchange.h"

/*
 * The request's Origin if it is allowed: it is in chat.websocket.allowed_origins (or "*"
 * is), or it names the host that was asked. NULL if there is none or it is not allowed.
 */
const char *cors_allowed_origin(const struct exchange *x);
/* Answer OPTIONS: 204 with the path's methods and, for an allowed Origin, what may be sent. */
void cors_respond_preflight(struct exchange *x, const char *methods);

#endif
