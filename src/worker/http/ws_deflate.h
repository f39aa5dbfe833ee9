/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ws_deflate.h - permessage-deflate (RFC 7692): what is agreed upon, and messages through zlib.
 *
 * No message ever refers to one before it: we always answer server_no_context_takeover and
 * client_no_context_takeover. Kept windows would cost up to 300 kB for each socket, also for idle ones; so
 * one compressor (per window size) serves all sockets of a worker, and an inflater exists only while
 * a compressed message is coming in.
 */
#ifndef WORKER_HTTP_WS_DEFLATE_H
#define WORKER_HTTP_WS_DEFLATE_H

#include "base/base.h"
#include "base/buf.h"
#include "worker/exchange/exchange.h"

#include <sys/uio.h>

/* ---- the handshake ---- */

enum ws_offer {
	WS_OFFER_NONE, /* none that we take, go on without */
	WS_OFFER_TAKEN,
	WS_OFFER_MALFORMED /* RFC 6455, 9.1: the handshake fails */
};

/* Zeroed: no compression. */
struct ws_terms {
	unsigned char window_bits; /* of what we send; 0: nothing agreed */
	bool window_asked;         /* the client set window_bits */
};

/*
 * Choose among what Sec-WebSocket-Extensions offers: the first offer of permessage-deflate whose
 * parameters are all known, right, and met by zlib.
 */
enum ws_offer ws_deflate_choose(
	const struct exchange_header *fields, unsigned nfields, struct ws_terms *terms);
/* The value of Sec-WebSocket-Extensions that agrees to it. */
void ws_deflate_answer(const struct ws_terms *terms, struct buf *out);

/* ---- messages ---- */

/* The compressors and a spare inflater of a worker; made as they are needed. */
struct ws_zlib;

struct ws_zlib *ws_zlib_open(void);
void ws_zlib_close(struct ws_zlib *z);

/*
 * Compress a message. True: it became smaller; *packed_r is valid until the next call. False: send it as it
 * is.
 */
MUST_CHECK bool ws_deflate(struct ws_zlib *z, const struct ws_terms *terms, const char *bytes,
	size_t len, struct iovec *packed_r);

/* One message that is coming in. */
struct ws_inflater;

struct ws_inflater *ws_inflater_new(struct ws_zlib *z);
void ws_inflater_free(struct ws_zlib *z, struct ws_inflater *i);

enum ws_inflated {
	WS_INFLATED,
	WS_INFLATE_BAD,      /* this is no deflate data, or it is cut short */
	WS_INFLATE_TOO_LARGE /* more than max bytes: `to` holds that many */
};
/* Inflate a piece of the message behind what `to` holds of it, to at most max bytes in all. */
MUST_CHECK enum ws_inflated ws_inflate(
	struct ws_inflater *i, const unsigned char *bytes, size_t len, struct buf *to, size_t max);
/* The message ends here. */
MUST_CHECK enum ws_inflated ws_inflate_end(struct ws_inflater *i, struct buf *to, size_t max);

#endif
