/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fields.h - header fields that every answer has besides those of its app, whatever protocol carries it.
 */
#ifndef WORKER_HTTP_FIELDS_H
#define WORKER_HTTP_FIELDS_H

#include "base/base.h"
#include "base/buf.h"
#include "worker/exchange/exchange.h"

#define FIELDS_COMMON_MAX 5

/*
 * Date, and those of an exchange (x may be NULL): X-Request-Id, CORS. Returns how many were put into out.
 * Texts live as long as x, the date to the end of the loop turn.
 */
unsigned fields_common(const struct exchange *x, struct exchange_header out[FIELDS_COMMON_MAX]);

/* Append a value. Nothing in it may end its line, or what comes from elsewhere could forge fields: control
 * bytes become spaces. */
void fields_add_value(struct buf *out, const char *value);

#endif
