/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_guard.c - the guard's parsers. The first byte chooses which.
 *
 * A head: found the same however it is cut; when it is accepted, writing it down again and parsing
 * that gives the same, nothing in it could be read as more than one line, and a naive search of the
 * original for what frames a body finds no second opinion.
 *
 * A chunked body: one block, single bytes and blocks of some size give the same as a plain
 * decoder that has all of it before it.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/bug.h"
#include "base/chunked.h"
#include "worker/http/head.h"

#include <strings.h>

#define BODY_MAX 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- heads ---- */

static unsigned lines_that_start(const char *text, size_t len, const char *name)
{
	unsigned n = 0;

	for (size_t i = 0; i + strlen(name) <= len; i++)
		n += i && text[i - 1] == '\n' && !strncasecmp(text + i, name, strlen(name));
	return n;
}

static void check_text(const char *text)
{
	for (; *text; text++)
		BUG_ON(((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f);
}

static void write_down(const struct head *h, struct buf *out)
{
	buf_addf(out, "%s %s%s%s HTTP/1.%u\r\n", h->method, h->path, *h->query ? "?" : "", h->query,
		h->minor);
	for (unsigned i = 0; i < h->nfields; i++)
		buf_addf(out, "%s: %s\r\n", h->fields[i].name, h->fields[i].value);
	buf_adds(out, "\r\n");
}

static void check_same(const struct head *a, const struct head *b)
{
	BUG_ON(strcmp(a->method, b->method) || strcmp(a->path, b->path) || strcmp(a->query, b->query));
	BUG_ON(a->minor != b->minor || a->nfields != b->nfields || a->has_body != b->has_body);
	BUG_ON(a->chunked != b->chunked || a->length != b->length || a->close != b->close);
	BUG_ON(a->expects_continue != b->expects_continue || a->keep_alive != b->keep_alive);
	for (unsigned i = 0; i < a->nfields; i++)
		BUG_ON(strcmp(a->fields[i].name, b->fields[i].name) ||
			strcmp(a->fields[i].value, b->fields[i].value));
}

static void check_accepted(const struct head *h, const char *original, size_t len)
{
	unsigned lengths = lines_that_start(original, len, "content-length");
	unsigned codings = lines_that_start(original, len, "transfer-encoding");
	struct buf again = BUF_INIT;
	struct head second;
	const char *why;

	check_text(h->method);
	check_text(h->path);
	check_text(h->query);
	BUG_ON(*h->path != '/' && strcmp(h->path, "*"));
	for (unsigned i = 0; i < h->nfields; i++) {
		check_text(h->fields[i].name);
		check_text(h->fields[i].value);
		lengths -= strlen(h->fields[i].name) > 14 &&
			   !strncasecmp(h->fields[i].name, "content-length", 14);
		codings -= strlen(h->fields[i].name) > 17 &&
			   !strncasecmp(h->fields[i].name, "transfer-encoding", 17);
	}
	BUG_ON(lengths + codings > 1 || h->chunked != (codings == 1));
	BUG_ON(h->chunked && h->minor == 0);
	write_down(h, &again);
	BUG_ON(head_parse(again.data, again.len, &second, &why) != END_COMPLETE);
	check_same(h, &second);
	head_release(&second);
	buf_release(&again);
}

static void try_head(const char *text, size_t len)
{
	size_t whole = 0, step = 0;
	enum head_state state = head_scan(text, len, &whole), stepped = HEAD_UNFINISHED;
	struct head h;
	const char *why;
	char *copy;

	for (size_t n = 0; n <= len && stepped == HEAD_UNFINISHED; n++)
		stepped = head_scan(text, n, &step);
	BUG_ON(state != stepped);
	if (state != HEAD_WHOLE)
		return;
	BUG_ON(whole != step || whole > len || head_first_line(text, whole) >= whole);
	copy = xmemdup0(text, whole);
	if (head_parse(copy, whole, &h, &why) == END_COMPLETE) {
		check_accepted(&h, text, whole);
		head_release(&h);
	} else {
		BUG_ON(!why || h.fields);
	}
	free(copy);
}

/* ---- chunked bodies ---- */

static size_t line_end(const char *text, size_t len, size_t at)
{
	while (at + 1 < len && !(text[at] == '\r' && text[at + 1] == '\n'))
		at++;
	return at + 1 < len ? at : len;
}

/* The body, if all of it is here and right: true, and in *end_r what was used of the text. */
static bool decode_plainly(const char *text, size_t len, struct buf *body, size_t *end_r)
{
	size_t at = 0;

	for (;;) {
		size_t eol = line_end(text, len, at), digits = 0;
		uint64_t size;

		while (at + digits < eol && strchr("0123456789abcdefABCDEF", text[at + digits]) &&
			text[at + digits])
			digits++;
		if (eol == len || !digits || digits > 16)
			return false;
		size = strtoull(text + at, NULL, 16);
		at = eol + 2;
		if (!size)
			break;
		if (size > BODY_MAX - body->len || size + 2 > len - at || memcmp(text + at + size, "\r\n", 2))
			return false;
		buf_add(body, text + at, size);
		at += size + 2;
	}
	for (size_t eol; (eol = line_end(text, len, at)) != at; at = eol + 2)
		if (eol == len || !memchr(text + at, ':', eol - at))
			return false;
	*end_r = at + 2;
	return at + 2 <= len;
}

static enum chunked_result decode_by(size_t block, const char *text, size_t len, struct buf *body, size_t *used_r)
{
	struct chunked c = { 0 };
	enum chunked_result result = CHUNKED_MORE;

	*used_r = 0;
	while (result == CHUNKED_MORE && *used_r < len) {
		size_t n = len - *used_r < block ? len - *used_r : block, used, there;
		/* a block of its own, so that reading past it is noticed */
		char *bytes = xmalloc(n);

		memcpy(bytes, text + *used_r, n);
		result = chunked_decode(&c, bytes, n, BODY_MAX - body->len, &there, &used);
		BUG_ON(used > n || there > used || (result == CHUNKED_MORE && used != n));
		buf_add(body, bytes, there);
		*used_r += used;
		free(bytes);
	}
	return result;
}

static void try_chunks(const char *text, size_t len, size_t block)
{
	struct buf whole = BUF_INIT, cut = BUF_INIT, plain = BUF_INIT;
	size_t used, used_cut, used_plain = 0;
	enum chunked_result result = decode_by(len + 1, text, len, &whole, &used);

	BUG_ON(whole.len > BODY_MAX);
	BUG_ON(decode_by(block, text, len, &cut, &used_cut) != result);
	BUG_ON(cut.len != whole.len || (cut.len && memcmp(cut.data, whole.data, cut.len)));
	if (result == CHUNKED_DONE) {
		BUG_ON(used != used_cut);
		BUG_ON(!decode_plainly(text, len, &plain, &used_plain) || used_plain != used);
		BUG_ON(plain.len != whole.len || (plain.len && memcmp(plain.data, whole.data, plain.len)));
	}
	buf_release(&whole);
	buf_release(&cut);
	buf_release(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = xmemdup0(data + 1, size - 1);
	if (data[0] & 1)
		try_chunks(text, size - 1, 1 + (data[0] >> 1));
	else
		try_head(text, size - 1);
	free(text);
	return 0;
}
