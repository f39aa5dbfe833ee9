/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * buf.h - a growing run of bytes, for texts that are put together (JSON, heads).
 * Always NUL-terminated behind len, so data can be read as a string.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/base.h"

struct buf {
	char *data; /* NULL while empty and never used */
	size_t len;
	size_t size;
};

#define BUF_INIT ((struct buf){ 0 })

/* For buf_reserve() alone, where there is not room enough. */
char *buf_grow(struct buf *b, size_t more);
/* Room for `more` bytes behind len; returns where they go. (Inline, as is what follows: a token is put together from a dozen pieces.) */
static inline char *buf_reserve(struct buf *b, size_t more)
{
	return b->size - b->len > more ? b->data + b->len : buf_grow(b, more);
}
/* Append a copy; bytes may be NULL if len is 0. */
static inline void buf_add(struct buf *b, const void *bytes, size_t len)
{
	char *to = buf_reserve(b, len);

	if (len)
		memcpy(to, bytes, len);
	to[len] = 0;
	b->len += len;
}
/* Inline: the length of a literal is known. */
static inline void buf_adds(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}
/* A number in decimal digits. */
void buf_addu(struct buf *b, uint64_t number);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap);
/* Remove the first n bytes. */
void buf_drop(struct buf *b, size_t n);
/* len = 0; keeps the memory. */
void buf_clear(struct buf *b);
/* Gives the memory back; the buffer may be used again. */
void buf_release(struct buf *b);

#endif
