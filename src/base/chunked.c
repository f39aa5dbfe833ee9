/* SPDX-License-Identifier: BSD-2-Clause */
/* chunked.c - see chunked.h. A machine of one state per place in the grammar, one byte at a time; data as runs. */
#include "base/base.h"
#include "base/chunked.h"

enum {
	SIZE,		/* chunk-size, at least one digit */
	EXTENSION_SPACE, /* behind the size: blanks that only an extension may follow */
	EXTENSION,	/* chunk-ext, up to CR */
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	TRAILER_START,	/* a field or the last line */
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	LAST_LF,
	BAD
};

#define SIZE_DIGITS_MAX 16

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What a field value or an extension may hold. */
static bool is_text(unsigned char c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

static int in_size(struct chunked *c, unsigned char byte)
{
	int digit = hex_value(byte);

	if (digit >= 0) {
		/* leading zeros count as digits: a size has no use for 17 of them */
		if (++c->digits > SIZE_DIGITS_MAX)
			return BAD;
		c->left = c->left << 4 | (unsigned)digit;
		return SIZE;
	}
	if (!c->digits)
		return BAD;
	switch (byte) {
	case '\r':
		return SIZE_LF;
	case ';':
		return EXTENSION;
	case ' ':
	case '\t':
		return EXTENSION_SPACE;
	}
	return BAD;
}

static int in_extension(struct chunked *c, unsigned char byte)
{
	if (c->state == EXTENSION_SPACE && byte != ';')
		return byte == ' ' || byte == '\t' ? EXTENSION_SPACE : BAD;
	if (byte == '\r')
		return SIZE_LF;
	return is_text(byte) ? EXTENSION : BAD;
}

static int in_trailer(struct chunked *c, unsigned char byte)
{
	if (byte == '\r' && c->state != TRAILER_NAME)
		return c->state == TRAILER_START ? LAST_LF : TRAILER_LF;
	if (c->state == TRAILER_VALUE)
		return is_text(byte) ? TRAILER_VALUE : BAD;
	if (byte == ':')
		return c->state == TRAILER_NAME ? TRAILER_VALUE : BAD;
	return byte > ' ' && byte < 0x7f ? TRAILER_NAME : BAD;
}

/* The state after this byte. */
static int step(struct chunked *c, unsigned char byte)
{
	switch (c->state) {
	case SIZE:
		return in_size(c, byte);
	case EXTENSION_SPACE:
	case EXTENSION:
		return ++c->extra > CHUNKED_EXTRA_MAX ? BAD : in_extension(c, byte);
	case SIZE_LF:
		c->digits = 0;
		return byte != '\n' ? BAD : c->left ? DATA : TRAILER_START;
	case DATA_CR:
		return byte == '\r' ? DATA_LF : BAD;
	case DATA_LF:
		return byte == '\n' ? SIZE : BAD;
	case TRAILER_START:
	case TRAILER_NAME:
	case TRAILER_VALUE:
		return ++c->extra > CHUNKED_EXTRA_MAX ? BAD : in_trailer(c, byte);
	case TRAILER_LF:
		return byte == '\n' ? TRAILER_START : BAD;
	}
	return BAD;
}

/* Until the end of the bytes, of the body, or of all sense; *at and *body are where that is, and what came of it. */
static enum chunked_result decode(struct chunked *c, char *bytes, size_t len, size_t max, size_t *at,
	size_t *body)
{
	while (*at < len) {
		if (c->state == DATA) {
			size_t run = len - *at < c->left ? len - *at : (size_t)c->left;

			memmove(bytes + *body, bytes + *at, run);
			*body += run;
			*at += run;
			c->left -= run;
			if (!c->left)
				c->state = DATA_CR;
			continue;
		}
		if (c->state == LAST_LF)
			return bytes[(*at)++] == '\n' ? CHUNKED_DONE : CHUNKED_BAD;
		c->state = step(c, (unsigned char)bytes[(*at)++]);
		if (c->state == BAD)
			return CHUNKED_BAD;
		/* the size is known: no need to wait for bytes that are too many */
		if (c->state == DATA && c->left > max - *body)
			return CHUNKED_TOO_LARGE;
	}
	return CHUNKED_MORE;
}

enum chunked_result chunked_decode(struct chunked *c, char *bytes, size_t len, size_t max, size_t *body_r,
	size_t *used_r)
{
	*used_r = *body_r = 0;
	return decode(c, bytes, len, max, used_r, body_r);
}
