/* SPDX-License-Identifier: BSD-2-Clause */
/* reply.h - heads and whole answers of HTTP. */
#ifndef TOOLS_LLMSIM_REPLY_H
#define TOOLS_LLMSIM_REPLY_H

#include "base/base.h"
#include "base/buf.h"
#include "tools/llmsim/http.h"

#define REPLY_JSON "application/json"
#define REPLY_CHUNKED (-1) /* a length: not known, chunked (until FIN for HTTP/1.0) */

/* The head only. `extra` is further header lines, each with CR LF, or NULL. */
void reply_head(struct http_request *req, int status, const char *type, int64_t length,
        const char *extra);
/* Append the framing of one chunk around `len` bytes to out; none for HTTP/1.0. */
void reply_chunk(
        const struct http_request *req, const char *bytes, size_t len, struct buf *out);
/* Append the end of a chunked body. */
void reply_last_chunk(const struct http_request *req, struct buf *out);

/* A whole answer; the last thing to be done with req. */
void reply(struct http_request *req, int status, const char *type, const char *extra,
        const char *body, size_t len);
/* The same for an error in OpenAI's shape; code and param may be NULL. */
void reply_error(struct http_request *req, int status, const char *type, const char *code,
        const char *param, const char *extra, const char *message);

/* How many answers had each status, as the members of a JSON object. */
void reply_statuses(struct buf *out);
void reply_statuses_reset(void);

#endif
