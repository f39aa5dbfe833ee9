/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_deflate.c - messages through zlib; see ws_deflate.h. */
#include "base/base.h"
#include "base/bug.h"
#include "worker/http/ws_deflate.h"

#include <zlib.h>

/* Windows that zlib can do for raw deflate; it cannot do 8. */
#define WINDOW_MIN 9
#define WINDOW_MAX 15
#define MEM_LEVEL 8
/* What we read may use any window: the client is not asked to use a smaller one. */
#define READ_WINDOW 15
/* A message grows by at least this much while it is inflated. */
#define STEP (16u << 10)
/* Deflate streams in one message; a new one costs as much as a window of bytes, however short it is. */
#define STREAMS_MAX 1000

/* What ends each compressed message and is not sent (7.2.1). */
static const unsigned char tail[] = { 0x00, 0x00, 0xff, 0xff };

struct ws_inflater {
	z_stream stream;
	bool ended; /* by a block that says it is the last one */
	unsigned nstreams;
};

struct ws_zlib {
	z_stream *compressors[WINDOW_MAX + 1]; /* by window bits */
	struct buf packed;
	struct ws_inflater *spare;
};

struct ws_zlib *ws_zlib_open(void)
{
	return xcalloc(1, sizeof(struct ws_zlib));
}

static void inflater_destroy(struct ws_inflater *i)
{
	inflateEnd(&i->stream);
	free(i);
}

void ws_zlib_close(struct ws_zlib *z)
{
	for (unsigned bits = WINDOW_MIN; bits <= WINDOW_MAX; bits++) {
		if (!z->compressors[bits])
			continue;
		deflateEnd(z->compressors[bits]);
		free(z->compressors[bits]);
	}
	if (z->spare)
		inflater_destroy(z->spare);
	buf_release(&z->packed);
	free(z);
}

/* ---- out ---- */

static z_stream *compressor(struct ws_zlib *z, unsigned bits)
{
	z_stream *s = z->compressors[bits];

	if (s) {
		deflateReset(s);
		return s;
	}
	s = z->compressors[bits] = xcalloc(1, sizeof(*s));
	/* the fastest level: the others would wait for a better one */
	BUG_ON(deflateInit2(s, Z_BEST_SPEED, Z_DEFLATED, -(int)bits, MEM_LEVEL,
		       Z_DEFAULT_STRATEGY) != Z_OK);
	return s;
}

bool ws_deflate(struct ws_zlib *z, const struct ws_terms *terms, const char *bytes, size_t len,
	struct iovec *packed_r)
{
	z_stream *s = compressor(z, terms->window_bits);

	buf_clear(&z->packed);
	s->next_in = (unsigned char *)bytes;
	s->avail_in = (unsigned)len;
	s->next_out = (unsigned char *)buf_reserve(&z->packed, len);
	s->avail_out = (unsigned)len; /* if it needs more than that, it does not pay */
	if (deflate(s, Z_SYNC_FLUSH) != Z_OK || s->avail_in || !s->avail_out)
		return false;
	*packed_r = (struct iovec){ z->packed.data, len - s->avail_out - sizeof(tail) };
	return true;
}

/* ---- in ---- */

struct ws_inflater *ws_inflater_new(struct ws_zlib *z)
{
	struct ws_inflater *i = z->spare;

	z->spare = NULL;
	if (i) {
		inflateReset(&i->stream);
		i->ended = false;
		i->nstreams = 0;
		return i;
	}
	i = xcalloc(1, sizeof(*i));
	BUG_ON(inflateInit2(&i->stream, -READ_WINDOW) != Z_OK);
	return i;
}

void ws_inflater_free(struct ws_zlib *z, struct ws_inflater *i)
{
	if (!z->spare)
		z->spare = i;
	else
		inflater_destroy(i);
}

/* A block was the last one of its deflate stream, but the message goes on (7.2.3.5): so does the window. */
static bool begin_again(struct ws_inflater *i, const struct buf *to)
{
	const size_t window = 1u << READ_WINDOW;
	size_t known = to->len < window ? to->len : window;

	if (++i->nstreams >= STREAMS_MAX)
		return false;
	inflateReset(&i->stream);
	if (known)
		inflateSetDictionary(
			&i->stream, (unsigned char *)to->data + to->len - known, (unsigned)known);
	i->ended = false;
	return true;
}

enum ws_inflated ws_inflate(
	struct ws_inflater *i, const unsigned char *bytes, size_t len, struct buf *to, size_t max)
{
	z_stream *s = &i->stream;
	int result;

	s->next_in = (unsigned char *)bytes;
	s->avail_in = (unsigned)len;
	do {
		/* one byte more than allowed is enough to know */
		size_t room = max - to->len < STEP ? max - to->len + 1 : STEP;

		if (i->ended && s->avail_in && !begin_again(i, to))
			return WS_INFLATE_BAD;
		s->next_out = (unsigned char *)buf_reserve(to, room);
		s->avail_out = (unsigned)room;
		result = inflate(s, Z_SYNC_FLUSH);
		to->len += room - s->avail_out;
		to->data[to->len] = 0;
		i->ended |= result == Z_STREAM_END;
		if (to->len > max) {
			to->len = max;
			return WS_INFLATE_TOO_LARGE;
		}
		if (result != Z_OK && result != Z_BUF_ERROR && result != Z_STREAM_END)
			return WS_INFLATE_BAD;
	} while (s->avail_in || !s->avail_out);
	return WS_INFLATED;
}

enum ws_inflated ws_inflate_end(struct ws_inflater *i, struct buf *to, size_t max)
{
	enum ws_inflated result;

	if (i->ended)
		return WS_INFLATED;
	result = ws_inflate(i, tail, sizeof(tail), to, max);
	/* right behind a block, on the border of a byte: else the tail was taken for something else */
	if (result == WS_INFLATED && (i->ended || (i->stream.data_type & ~64) != 128))
		result = WS_INFLATE_BAD;
	return result;
}
