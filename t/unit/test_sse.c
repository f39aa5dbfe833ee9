/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: the event stream parser, at every split of the stream. */
#include "base/base.h"
#include "base/buf.h"
#include "unit.h"
#include "worker/provider/sse.h"

#define TEXT(s) s, sizeof(s) - 1

/* Events are written down as "name|data;", and the parser stopped at data "STOP". */
static const struct {
	const char *stream;
	size_t len;
	const char *events;
	unsigned comments;
	enum sse_result result;
	bool at_boundary; /* at the end */
} streams[] = {
        {TEXT(""), "", 0, SSE_MORE, true},
        {TEXT("data: one\n\n"), "|one;", 0, SSE_MORE, true},
        {TEXT("data: one\r\n\r\ndata: two\r\n\r\n"), "|one;|two;", 0, SSE_MORE, true},
        {TEXT("data: one\r\rdata: two\r\r"), "|one;|two;", 0, SSE_MORE, true},
        {TEXT("data: a\r\ndata: b\n\rdata: c\n\r\n"), "|a\nb;|c;", 0, SSE_MORE, true},
        {TEXT("\n\r\n\r\n\ndata:x\n\n\n\n"), "|x;", 0, SSE_MORE, true},
        {TEXT("data: one\ndata: two\ndata\ndata:\ndata: five\n\n"), "|one\ntwo\n\n\nfive;", 0,
                SSE_MORE, true},
        {TEXT("data\n\ndata:\n\ndata: \n\ndata:  \n\n"), "|;|;|;| ;", 0, SSE_MORE, true},
        {TEXT("data:no space\n\ndata:  two\n\ndata:\ttab\n\n"), "|no space;| two;|\ttab;", 0,
                SSE_MORE, true},
        {TEXT("event: error\ndata: {\"e\":1}\n\ndata: plain\n\n"), "error|{\"e\":1};|plain;", 0,
                SSE_MORE, true},
        {TEXT("data: d\nevent: late\n\n"), "late|d;", 0, SSE_MORE, true},
        {TEXT("event: a\nevent: b\ndata: d\n\n"), "b|d;", 0, SSE_MORE, true},
        {TEXT("event: a\nevent\ndata: d\n\n"), "|d;", 0, SSE_MORE, true},
        {TEXT("event: lost\n\ndata: d\n\n"), "|d;", 0, SSE_MORE, true},
        {TEXT(": OPENROUTER PROCESSING\n\ndata: d\n: in it\ndata: e\n\n:\n:x\n"), "|d\ne;", 4,
                SSE_MORE, true},
        {TEXT("error: {\"x\":1}\nDATA: no\n data: no\ndatax: no\ndat: no\n\ndata: yes\n\n"),
                "|yes;", 0, SSE_MORE, true},
        {TEXT("data: a:b: c\n\n"), "|a:b: c;", 0, SSE_MORE, true},
        {TEXT("\xef\xbb\xbf"
              "data: bom\n\n"),
                "|bom;", 0, SSE_MORE, true},
        {TEXT("\xef\xbb\xbf\xef\xbb\xbf"
              "data: no\n\ndata: y\n\n"),
                "|y;", 0, SSE_MORE, true},
        {TEXT("\xef\xbb"
              "data: no\n\ndata: y\n\n"),
                "|y;", 0, SSE_MORE, true},
        {TEXT("\xef\ndata: y\n\n"), "|y;", 0, SSE_MORE, true},
        {TEXT("data: y\n\n\xef\xbb\xbf"
              "data: no\n\n"),
                "|y;", 0, SSE_MORE, true},
        {TEXT("data: \xf0\x9f\x98\x80\xe2\x82\xac\n\n"), "|\xf0\x9f\x98\x80\xe2\x82\xac;", 0,
                SSE_MORE, true},
        {TEXT("data: one\n\ndata: unfinished"), "|one;", 0, SSE_MORE, false},
        {TEXT("data: one\n\ndata: unfinished\n"), "|one;", 0, SSE_MORE, false},
        {TEXT("data: one\n\ndata: unfinished\r\n"), "|one;", 0, SSE_MORE, false},
        {TEXT("data: one\n\n: comm"), "|one;", 0, SSE_MORE, false},
        {TEXT("data: one\n\nignored\n"), "|one;", 0, SSE_MORE, false},
        {TEXT("data: one\n\ndata: STOP\n\ndata: after\n\n"), "|one;|STOP;", 0, SSE_STOPPED,
                true},
        {TEXT("id: 7\nretry: 50\ndata: d\n\nid\nretry: 5x\ndata: e\n\n"), "|d;|e;", 0, SSE_MORE,
                true},
        /* the bound of these tests is 64 bytes */
        {TEXT("data: 6789012345678901234567890123456789012345678901234567890123\n\n"
              "data: ok\n\n"),
                "|6789012345678901234567890123456789012345678901234567890123;|ok;", 0, SSE_MORE,
                true},
        {TEXT("data: ok\n\n"
              "data: 67890123456789012345678901234567890123456789012345678901234\n\n"),
                "|ok;", 0, SSE_TOO_LONG, false},
        {TEXT("data: 6789012345678901234567890\ndata: 6789012345678901234567890\n"
              "xx\n\ndata: 2\n\n"),
                "|6789012345678901234567890\n6789012345678901234567890;|2;", 0, SSE_MORE, true},
        {TEXT("data: 6789012345678901234567890\ndata: 6789012345678901234567890\n"
              "event: x\ndata: 1\n\ndata: 2\n\n"),
                "", 0, SSE_TOO_LONG, false},
        {TEXT("unfinished: 89012345678901234567890123456789012345678901234567890"), "", 0,
                SSE_TOO_LONG, false},
        {TEXT("data: x\n: 4567890123456789012345678901234567890123456789012345678\n"
              ": 4567890123456789012345678901234567890123456789012345678\n\n"),
                "|x;", 2, SSE_MORE, true},
        {TEXT(": 234567890123456789012345678901234567890123456789012345678901234\n\n"), "", 0,
                SSE_TOO_LONG, false},
};
#define EVENT_MAX 64

static bool write_down(
        void *arg, const char *name, size_t name_len, const char *data, size_t len)
{
	struct buf *seen = arg;

	buf_add(seen, name, name_len);
	buf_adds(seen, "|");
	buf_add(seen, data, len);
	buf_adds(seen, ";");
	return len != 4 || memcmp(data, "STOP", 4) != 0;
}

/* A copy that is gone after the call: whatever still points there is seen under ASan. */
static enum sse_result push_copy(struct sse *sse, const char *bytes, size_t len)
{
	char *copy = xmemdup0(bytes, len);
	enum sse_result result = sse_push(sse, copy, len);

	memset(copy, '#', len);
	free(copy);
	return result;
}

/* Push streams[i] in three parts, or byte by byte, and compare all that can be seen. */
static void check_split(size_t i, size_t first, size_t second, bool bytewise)
{
	const char *text = streams[i].stream;
	struct buf seen = BUF_INIT;
	enum sse_result result;
	struct sse sse;

	sse_init(&sse, EVENT_MAX, write_down, &seen);
	buf_adds(&seen, "");
	if (bytewise) {
		result = SSE_MORE;
		for (size_t at = 0; at < streams[i].len; at++)
			result = push_copy(&sse, text + at, 1);
	} else {
		result = push_copy(&sse, text, first);
		if (result == SSE_MORE)
			result = push_copy(&sse, text + first, second - first);
		if (result == SSE_MORE)
			result = push_copy(&sse, text + second, streams[i].len - second);
	}
	ck_assert_msg(result == streams[i].result && strcmp(seen.data, streams[i].events) == 0,
	        "stream %zu cut at %zu, %zu%s: result %d, events %s", i, first, second,
	        bytewise ? " (bytewise)" : "", result, seen.data);
	ck_assert_uint_eq(sse.comments, streams[i].comments);
	if (result == SSE_MORE)
		ck_assert_msg(sse_at_boundary(&sse) == streams[i].at_boundary, "stream %zu", i);
	ck_assert_int_eq(sse_push(&sse, NULL, 0), result);
	sse_release(&sse);
	buf_release(&seen);
}

START_TEST(same_events_at_every_split)
{
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		check_split(i, 0, 0, true);
		for (size_t first = 0; first <= streams[i].len; first++)
			for (size_t second = first; second <= streams[i].len; second++)
				check_split(i, first, second, false);
	}
}
END_TEST

static void parse_whole(const char *stream, size_t len, struct buf *seen, uint64_t *comments_r)
{
	struct sse sse;

	buf_clear(seen);
	sse_init(&sse, EVENT_MAX, write_down, seen);
	ck_assert_int_eq(sse_push(&sse, stream, len), SSE_MORE);
	*comments_r = sse.comments;
	sse_release(&sse);
}

/* Wherever it says that it is between events, a comment changes nothing and is seen as one. */
START_TEST(a_comment_fits_at_every_boundary)
{
	struct buf seen = BUF_INIT, with = BUF_INIT, expected = BUF_INIT;
	uint64_t comments, more;
	unsigned fitted = 0;

	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		const char *text = streams[i].stream;
		size_t len = streams[i].len;

		if (streams[i].result != SSE_MORE)
			continue;
		parse_whole(text, len, &expected, &comments);
		for (size_t cut = 1; cut <= len; cut++) {
			struct sse sse;

			buf_clear(&seen);
			sse_init(&sse, EVENT_MAX, write_down, &seen);
			ck_assert_int_eq(sse_push(&sse, text, cut), SSE_MORE);
			if (sse_at_boundary(&sse)) {
				buf_clear(&with);
				buf_add(&with, text, cut);
				buf_adds(&with, ": keepalive\n\n");
				buf_add(&with, text + cut, len - cut);
				parse_whole(with.data, with.len, &seen, &more);
				ck_assert_uint_eq(more, comments + 1);
				ck_assert_uint_eq(seen.len, expected.len);
				if (seen.len)
					ck_assert_str_eq(seen.data, expected.data);
				fitted++;
			}
			sse_release(&sse);
		}
	}
	ck_assert_uint_gt(fitted, ARRAY_SIZE(streams));
	buf_release(&seen);
	buf_release(&with);
	buf_release(&expected);
}
END_TEST

START_TEST(says_where_boundaries_are)
{
	/* '+' below each byte behind which there is one */
	static const char stream[] = "data: a\n\n: c\n\nevent: x\r\n\r\n\n";
	static const char expect[] = "        +   ++          +++";
	struct buf seen = BUF_INIT;
	struct sse sse;

	sse_init(&sse, EVENT_MAX, write_down, &seen);
	ck_assert(sse_at_boundary(&sse));
	for (size_t i = 0; stream[i]; i++) {
		ck_assert_int_eq(sse_push(&sse, stream + i, 1), SSE_MORE);
		ck_assert_msg(sse_at_boundary(&sse) == (expect[i] == '+'), "byte %zu", i);
	}
	sse_release(&sse);
	sse_init(&sse, EVENT_MAX, write_down, &seen);
	ck_assert_int_eq(sse_push(&sse, "\xef", 1), SSE_MORE);
	ck_assert(!sse_at_boundary(&sse));
	ck_assert_int_eq(sse_push(&sse, "\xbb\xbf", 2), SSE_MORE);
	ck_assert(sse_at_boundary(&sse));
	sse_release(&sse);
	buf_release(&seen);
}
END_TEST

struct block {
	const char *from, *to;
	unsigned inside;
};

static bool is_inside(
        void *arg, const char *name, size_t name_len, const char *data, size_t len)
{
	struct block *b = arg;

	if (data >= b->from && data + len <= b->to &&
	        (!name_len || (name >= b->from && name + name_len <= b->to)))
		b->inside++;
	return true;
}

START_TEST(whole_events_are_not_copied)
{
	static const char stream[] = "data: one\n\nevent: e\ndata: two\r\n\r\n: c\n\ndata:\n\n";
	struct block b = {stream, stream + strlen(stream), 0};
	struct sse sse;

	sse_init(&sse, EVENT_MAX, is_inside, &b);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(sse_push(&sse, stream, strlen(stream)), SSE_MORE);
	ck_assert_uint_eq(b.inside, 9);
	ck_assert_uint_eq(sse.events, 9);
	ck_assert_ptr_null(sse.line.data);
	ck_assert_ptr_null(sse.data_held.data);
	ck_assert_ptr_null(sse.name_held.data);
	sse_release(&sse);
}
END_TEST

START_TEST(keeps_id_and_retry)
{
	struct buf seen = BUF_INIT;
	struct sse sse;

	sse_init(&sse, EVENT_MAX, write_down, &seen);
	ck_assert_int_eq(sse_push(&sse, TEXT("id: seven\nretry: 1500\ndata: x\n\n")), SSE_MORE);
	ck_assert_str_eq(sse.id.data, "seven");
	ck_assert_uint_eq(sse.retry_ms, 1500);
	ck_assert_int_eq(sse_push(&sse, TEXT("id: a\0b\nretry: -1\nretry\nretry: 1 \n"
	                                     "retry: 99999999999999999999\n\n")),
	        SSE_MORE);
	ck_assert_str_eq(sse.id.data, "seven");
	ck_assert_uint_eq(sse.retry_ms, 1500);
	ck_assert_int_eq(sse_push(&sse, TEXT("id:\nretry:0\n\n")), SSE_MORE);
	ck_assert_uint_eq(sse.id.len, 0);
	ck_assert_uint_eq(sse.retry_ms, 0);
	sse_release(&sse);
	buf_release(&seen);
}
END_TEST

START_TEST(an_ended_parser_stays_ended)
{
	struct buf seen = BUF_INIT;
	struct sse sse;

	sse_init(&sse, EVENT_MAX, write_down, &seen);
	ck_assert_int_eq(sse_push(&sse, TEXT("data: STOP\n\ndata: no\n\n")), SSE_STOPPED);
	ck_assert_int_eq(sse_push(&sse, TEXT("data: no\n\n")), SSE_STOPPED);
	ck_assert_str_eq(seen.data, "|STOP;");
	ck_assert_uint_eq(sse.events, 1);
	sse_release(&sse);

	buf_clear(&seen);
	sse_init(&sse, 4, write_down, &seen);
	ck_assert_int_eq(sse_push(&sse, TEXT("data:")), SSE_TOO_LONG);
	ck_assert_int_eq(sse_push(&sse, TEXT("\n\ndata\n\n")), SSE_TOO_LONG);
	ck_assert_uint_eq(seen.len, 0);
	sse_release(&sse);
	buf_release(&seen);
}
END_TEST

int main(void)
{
	UNIT_RUN("sse", same_events_at_every_split, a_comment_fits_at_every_boundary,
	        says_where_boundaries_are, whole_events_are_not_copied, keeps_id_and_retry,
	        an_ended_parser_stays_ended);
}
