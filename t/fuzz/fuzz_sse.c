/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_sse.c - the event stream parser against a plain one that has the whole stream
 * before it: pushed as one block, byte by byte, and in blocks of sizes that the first
 * input byte gives, it must hand over the same events and come to the same end; and a
 * comment put in at any boundary must change nothing.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/bug.h"
#include "worker/provider/sse.h"

#define EVENT_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	struct buf events; /* lengths and bytes of names and data */
	uint64_t comments;
	enum sse_result result;
};

static bool write_down(void *arg, const char *name, size_t name_len, const char *data, size_t len)
{
	struct outcome *o = arg;

	buf_addf(&o->events, "%zu,%zu:", name_len, len);
	buf_add(&o->events, name, name_len);
	buf_add(&o->events, data, len);
	return len != 6 || memcmp(data, "[DONE]", 6) != 0;
}

/* The standard's algorithm as it is written, line by line. */
static void parse_plainly(struct outcome *o, const char *p, const char *end)
{
	struct buf data = BUF_INIT, name = BUF_INIT;
	size_t event_bytes = 0;

	if (end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	while (p < end && o->result == SSE_MORE) {
		const char *eol = p, *colon, *value;

		while (eol < end && *eol != '\n' && *eol != '\r')
			eol++;
		if (event_bytes + (size_t)(eol - p) > EVENT_MAX) {
			o->result = SSE_TOO_LONG;
			break;
		}
		if (eol == end)
			break;
		colon = memchr(p, ':', (size_t)(eol - p));
		value = !colon ? eol : colon[1] == ' ' ? colon + 2 : colon + 1;
		if (!colon)
			colon = eol;
		if (eol == p) {
			if (data.len && !write_down(o, name.data ? name.data : "", name.len,
						data.data, data.len - 1))
				o->result = SSE_STOPPED;
			buf_clear(&data);
			buf_clear(&name);
			event_bytes = 0;
		} else if (colon == p) {
			o->comments++;
		} else {
			event_bytes += (size_t)(eol - p);
			if (colon - p == 4 && memcmp(p, "data", 4) == 0) {
				buf_add(&data, value, (size_t)(eol - value));
				buf_add(&data, "\n", 1);
			} else if (colon - p == 5 && memcmp(p, "event", 5) == 0) {
				buf_clear(&name);
				buf_add(&name, value, (size_t)(eol - value));
			}
		}
		p = eol + (eol + 1 < end && eol[0] == '\r' && eol[1] == '\n') + 1;
	}
	buf_release(&data);
	buf_release(&name);
}

static void same(const struct outcome *a, const struct outcome *b, unsigned more_comments)
{
	BUG_ON(a->result != b->result);
	BUG_ON(a->comments + more_comments != b->comments);
	BUG_ON(a->events.len != b->events.len);
	BUG_ON(a->events.len && memcmp(a->events.data, b->events.data, a->events.len) != 0);
}

/* In blocks of `block` bytes, each gone after its push; with a comment at each boundary or not. */
static unsigned parse(
	struct outcome *o, const char *text, size_t size, size_t block, bool with_comments)
{
	unsigned added = 0;
	struct sse sse;

	sse_init(&sse, EVENT_MAX, write_down, o);
	for (size_t at = 0; at < size && o->result == SSE_MORE; at += block) {
		size_t n = size - at < block ? size - at : block;
		char *copy = xmalloc(n);

		memcpy(copy, text + at, n);
		o->result = sse_push(&sse, copy, n);
		free(copy);
		if (with_comments && o->result == SSE_MORE && sse_at_boundary(&sse)) {
			o->result = sse_push(&sse, ": keepalive\n\n", 13);
			added++;
		}
	}
	o->comments = sse.comments;
	sse_release(&sse);
	return added;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct outcome plain = { 0 };
	size_t blocks[3] = { 1 };

	if (size < 2)
		return 0;
	size--;
	blocks[1] = 1 + data[0] % 64;
	blocks[2] = size;
	parse_plainly(&plain, text, text + size);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(blocks); i++) {
		struct outcome o = { 0 };
		unsigned added = parse(&o, text, size, blocks[i / 2], i % 2);

		same(&plain, &o, added);
		buf_release(&o.events);
	}
	buf_release(&plain.events);
	return 0;
}
