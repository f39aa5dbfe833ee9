/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_handshake.h - the opening handshake of WebSocket (RFC 6455, 4.2): pure functions. */
#ifndef WORKER_HTTP_WS_HANDSHAKE_H
#define WORKER_HTTP_WS_HANDSHAKE_H

#include "base/base.h"
#include "worker/http/head.h"

struct conf;
struct conf_texts;
struct ws_terms;

/* Does this head ask for an upgrade to WebSocket (of any version)? */
bool ws_handshake_asked(const struct head *head);
/*
 * END_COMPLETE if it asks for no upgrade, or correctly for version 13; else why the upgrade is refused. One to
 * h2c is passed over (RFC 9113, 3.1: obsolete, but some clients offer it with every request); any other is
 * refused rather than left to a client that waits for it.
 */
enum ending ws_handshake_check(const struct head *head, const char **why_r);
/* What is left of that for a WebSocket over HTTP/2 (RFC 8441, 5): the version, and well-formed extensions. */
enum ending ws_handshake_check_fields(
	const struct exchange_header *fields, unsigned nfields, const char **why_r);

#define WS_AGREED_MAX 2
/*
 * The fields of the answer that say which subprotocol and which compression was agreed upon: put into out, returns
 * how many. The value of one is kept in `extensions`; a subprotocol that the exchange names already
 * is left to that.
 */
unsigned ws_handshake_agree(const struct exchange *x, const struct conf *conf,
	struct ws_terms *terms, struct buf *extensions, struct exchange_header out[WS_AGREED_MAX]);
/* The first subprotocol offered that is among those spoken (4.2.2), or NULL: answer none. */
const char *ws_handshake_subprotocol(
	const struct exchange_header *fields, unsigned nfields, const struct conf_texts *spoken);

#define WS_ACCEPT_SIZE 29
/* The value of Sec-WebSocket-Accept for the head's key (4.2.2), NUL-terminated. */
void ws_handshake_accept(const struct head *head, char accept[WS_ACCEPT_SIZE]);

#endif
