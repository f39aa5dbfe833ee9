/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * head.h - the head of a request, checked by RFC 9112 before anybody else looks at it.
 *
 * Pure functions: no I/O, no state but what is passed in. They refuse whatever could
 * be read in two ways (request smuggling), rather than repair it: bare CR or LF,
 * control bytes, folded lines, space before a colon, a second or missing Host, any
 * doubt about the length of the body.
 */
#ifndef WORKER_HTTP_HEAD_H
#define WORKER_HTTP_HEAD_H

#include "base/base.h"
#include "shm/endings.h"
#include "worker/exchange/exchange.h"

#define HEAD_FIELDS_MAX 128

/* What is there of a head so far. */
enum head_state {
	HEAD_UNFINISHED,
	HEAD_WHOLE,
	HEAD_BROKEN /* a line that does not end in CRLF, or no start of a request at all */
};

/*
 * Look for the end of a head in bytes[len]. *scanned (0 at first) says how much of it was looked at
 * before. With HEAD_WHOLE, *scanned is the length of the head, blank line included.
 */
enum head_state head_scan(const char *bytes, size_t len, size_t *scanned);

/* The length of the first line in bytes[len], or len if it has no end yet. */
size_t head_first_line(const char *bytes, size_t len);

/* A head that is right. Texts point into what was parsed, fields is allocated. */
struct head {
	const char *method;
	const char *path;  /* as sent; "*" only for OPTIONS */
	const char *query; /* "" if none */
	struct exchange_header *fields;
	unsigned nfields;
	unsigned minor; /* HTTP/1.minor: 0 or 1 */
	bool has_body;	/* of `length` bytes, or chunked */
	bool chunked;
	uint64_t length;
	bool expects_continue;
	/* tokens of Connection */
	bool close;
	bool keep_alive;
	bool upgrade;
};

/*
 * Check and take apart text[len], a whole head as head_scan() found it (NULs are written into it).
 * END_COMPLETE: *head holds it, release it with head_release(). Else the ending to refuse it with, and
 * *why_r says in English what is wrong (a constant); *head is empty then.
 */
MUST_CHECK enum ending head_parse(char *text, size_t len, struct head *head, const char **why_r);
void head_release(struct head *head);

/* host [ ":" port ], without user information: all of what a Host field may hold. */
bool head_authority_ok(const char *text);
/* Path and query hold only what may stand there; if not, HEAD_TARGET_WRONG says so to the client. */
bool head_target_ok(const char *target);
#define HEAD_TARGET_WRONG "the request target holds a character that must be percent-encoded"

/* Whether a list of tokens ("a, b") has this one in it, in any case. */
bool head_list_has(const char *list, const char *token);

#endif
