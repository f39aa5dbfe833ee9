/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_text.c - the insides of JSON strings: what may stand in them, and what it
 * means. See json_text.h, and json_scan.h for the rest.
 */
#include "base/base.h"
#include "base/json_text.h"
#include "base/buf.h"
#include "base/bug.h"
#include "base/json_scan.h"
#include <endian.h>

/* The length of the UTF-8 sequence at p; 0 if it is malformed (RFC 3629, section 4). */
static inline size_t utf8_length(const char *p, size_t left)
{
	const unsigned char *c = (const unsigned char *)p;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (c[0] < 0x80)
		return 1;
	if (c[0] < 0xc2)
		return 0;
	if (c[0] < 0xe0)
		return left >= 2 && (c[1] & 0xc0) == 0x80 ? 2 : 0;
	if (c[0] < 0xf0) {
		n = 3;
		if (c[0] == 0xe0)
			low = 0xa0; /* shorter forms exist */
		else if (c[0] == 0xed)
			high = 0x9f; /* surrogates */
	} else if (c[0] < 0xf5) {
		n = 4;
		if (c[0] == 0xf0)
			low = 0x90;
		else if (c[0] == 0xf4)
			high = 0x8f; /* above U+10FFFF */
	} else {
		return 0;
	}
	if (left < n || c[1] < low || c[1] > high || (c[2] & 0xc0) != 0x80)
		return 0;
	return n == 3 || (c[3] & 0xc0) == 0x80 ? n : 0;
}

#define EACH_BYTE(c) (0x0101010101010101u * (c))

/* Eight bytes, the first one lowest. */
static inline uint64_t load8(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

/*
 * The high bit is set in the first byte that is a quote, a backslash, a control byte or
 * not ASCII. (It may be set in bytes behind that one too, which are not looked at.)
 */
static inline uint64_t special_bytes(uint64_t w)
{
	uint64_t control = w - EACH_BYTE(0x20);
	uint64_t quote = (w ^ EACH_BYTE('"')) - EACH_BYTE(1);
	uint64_t backslash = (w ^ EACH_BYTE('\\')) - EACH_BYTE(1);

	return (w | control | quote | backslash) & EACH_BYTE(0x80);
}

static inline bool is_plain_ascii(char c)
{
	return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

/* The end of what needs no care in a string. */
static inline const char *skip_plain(const char *p, const char *end)
{
	for (;;) {
		while (end - p >= 8) {
			uint64_t special = special_bytes(load8(p));

			if (special) {
				p += __builtin_ctzll(special) / 8;
				break;
			}
			p += 8;
		}
		while (p < end && is_plain_ascii(*p))
			p++;
		if (p == end || (unsigned char)*p < 0x80)
			return p;
		while (p < end && (unsigned char)*p >= 0x80) {
			size_t n = utf8_length(p, (size_t)(end - p));

			if (!n)
				return p;
			p += n;
		}
	}
}

size_t json_plain_run(const char *bytes, size_t len)
{
	return len ? (size_t)(skip_plain(bytes, bytes + len) - bytes) : 0;
}

bool json_utf8_valid(const char *bytes, size_t len)
{
	const char *p = bytes, *end = bytes + len;

	while (p < end) {
		size_t n;

		if (end - p >= 8 && !(load8(p) & EACH_BYTE(0x80))) {
			p += 8;
			continue;
		}
		n = utf8_length(p, (size_t)(end - p));
		if (!n)
			return false;
		p += n;
	}
	return true;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int json_hex4(const char *p, const char *end)
{
	int value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_value(p[i]);

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* ---- reading what was found ------------------------------------------------------- */

static size_t utf8_put(char *to, unsigned c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3f));
		to[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3f));
	to[2] = (char)(0x80 | (c >> 6 & 0x3f));
	to[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* Decode the escape at p, of a string that was scanned, into to[4]; returns what is behind it.
 */
static const char *decode_escape(const char *p, const char *end, char *to, size_t *len_r)
{
	static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
	const char *letter;
	unsigned c;

	if (p[1] != 'u') {
		letter = strchr(letters, p[1]);
		to[0] = letter ? bytes[letter - letters] : p[1];
		*len_r = 1;
		return p + 2;
	}
	c = (unsigned)json_hex4(p + 2, end);
	p += 6;
	if (json_is_high_surrogate((int)c)) {
		c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned)json_hex4(p + 2, end) - 0xdc00);
		p += 6;
	}
	*len_r = utf8_put(to, c);
	return p;
}

/*
 * The next run of decoded bytes of [*p, end), which is not empty: either a part of the
 * text itself or one escape, decoded into scratch[4].
 */
static const char *next_run(const char **p, const char *end, char *scratch, size_t *len_r)
{
	const char *from = *p, *backslash;

	if (*from == '\\') {
		*p = decode_escape(from, end, scratch, len_r);
		return scratch;
	}
	backslash = memchr(from, '\\', (size_t)(end - from));
	*p = backslash ? backslash : end;
	*len_r = (size_t)(*p - from);
	return from;
}

bool json_find_equals(const char *text, const struct json_find *find, const char *expected)
{
	const char *p = text + find->offset, *end = p + find->len;
	size_t left = strlen(expected), n;
	char scratch[4];

	if (find->kind != JSON_IS_STRING)
		return false;
	p++;
	end--;
	while (p < end) {
		const char *run = next_run(&p, end, scratch, &n);

		if (n > left || memcmp(run, expected, n) != 0)
			return false;
		expected += n;
		left -= n;
	}
	return left == 0;
}

bool json_text_decode(const char *p, const char *end, char *to, size_t size, size_t *len_r)
{
	size_t len = 0, n;
	char scratch[4];

	while (p < end) {
		const char *run = next_run(&p, end, scratch, &n);

		if (n >= size - len)
			return false;
		memcpy(to + len, run, n);
		len += n;
	}
	to[len] = 0;
	*len_r = len;
	return true;
}

bool json_find_copy(const char *text, const struct json_find *find, char *to, size_t size)
{
	const char *from = text + find->offset;
	size_t len;

	BUG_ON(size == 0);
	if (find->kind == JSON_IS_STRING &&
	        json_text_decode(from + 1, from + find->len - 1, to, size, &len) &&
	        strlen(to) == len)
		return true;
	to[0] = 0;
	return false;
}

bool json_find_decode(const char *text, const struct json_find *find, struct buf *to)
{
	const char *p = text + find->offset, *end = p + find->len;
	char scratch[4];
	size_t n;

	if (find->kind != JSON_IS_STRING)
		return false;
	p++;
	end--;
	while (p < end) {
		const char *run = next_run(&p, end, scratch, &n);

		buf_add(to, run, n);
	}
	return true;
}

bool json_find_uint(const char *text, const struct json_find *find, uint64_t *value_r)
{
	const char *p = text + find->offset;
	uint64_t value = 0;

	if (find->kind != JSON_IS_NUMBER)
		return false;
	for (size_t i = 0; i < find->len; i++)
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
		        __builtin_add_overflow(value, (uint64_t)(p[i] - '0'), &value))
			return false;
	*value_r = value;
	return true;
}

bool json_find_true(const char *text, const struct json_find *find)
{
	return find->kind == JSON_IS_BOOL && text[find->offset] == 't';
}
