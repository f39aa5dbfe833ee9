/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * head.h - the head and the body of an HTTP/1.1 request, read strictly by
 * RFC 9112: what a careless client gets away with elsewhere is refused here.
 */
#ifndef TOOLS_LLMSIM_HEAD_H
#define TOOLS_LLMSIM_HEAD_H

#include "base/base.h"
#include "base/buf.h"

#define HEAD_MAX_BYTES 65536
#define BODY_MAX_BYTES (64 << 20)

/* Strings point into the bytes that were parsed. */
struct head {
	char *method;
	char *path;          /* without the query */
	char *authorization; /* NULL: none */
	bool http_1_0;
	bool keep_alive;
	bool expects_continue;
	bool chunked;
	uint64_t content_length; /* 0 if there is none */
};

/*
 * Parse a whole head, the empty line included; writes NULs into it. 0, or the
 * status to refuse it with, *why_r saying what is wrong.
 */
int head_parse(struct head *h, char *bytes, size_t len, const char **why_r);

enum body_state { BODY_MORE, BODY_DONE, BODY_BAD, BODY_TOO_LARGE };

/* Where the reader of a body stands. */
struct body {
	bool chunked;
	uint64_t left; /* bytes of the length or of this chunk */
	enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER } step;
	unsigned line_bytes; /* of a chunk-size line or a trailer */
	unsigned digits;
	bool extension, cr;
};

void body_init(struct body *b, const struct head *h);
/* Take bytes that follow the head; appends content to `out`. *used_r: how many were the body's.
 */
enum body_state body_feed(
        struct body *b, const char *bytes, size_t len, struct buf *out, size_t *used_r);

#endif
