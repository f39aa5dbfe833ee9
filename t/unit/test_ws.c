/* SPDX-License-Identifier: BSD-2-Clause */
/* WebSocket: headers of frames, close frames, UTF-8 in pieces. */
#include "base/base.h"
#include "unit.h"
#include "base/json_scan.h"
#include "base/utf8.h"
#include "worker/http/ws_deflate.h"
#include "worker/http/ws_frame.h"

/* Every text of up to four of these bytes, at every cut, gets the verdict of json_utf8_valid(). */
START_TEST(utf8_in_pieces_is_judged_as_the_whole)
{
	static const unsigned char bytes[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
		0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff };
	const unsigned n = ARRAY_SIZE(bytes);
	char text[4];
	unsigned wrong = 0;

	for (unsigned i = 0; i < n * n * n * n; i++) {
		bool want;

		for (unsigned k = 0, rest = i; k < 4; k++, rest /= n)
			text[k] = (char)bytes[rest % n];
		want = json_utf8_valid(text, 4);
		for (size_t cut = 0; cut < 4; cut++) {
			struct utf8 u = { 0 };
			bool good = utf8_push(&u, text, cut) && utf8_push(&u, text + cut, 4 - cut);

			wrong += (good && utf8_whole(&u)) != want;
		}
	}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(utf8_is_refused_at_the_first_wrong_byte)
{
	static const char *const wrong[] = { "\x80", "\xc0", "\xc1", "\xe0\x9f", "\xed\xa0", "\xf0\x8f", "\xf4\x90",
		"\xf5", "\xff", "\xe2\x82\x41", "0123456789\xe2\x28" };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct utf8 u = { 0 };
		size_t len = strlen(wrong[i]);

		for (size_t k = 0; k < len; k++)
			ck_assert_msg(utf8_push(&u, wrong[i] + k, 1) == (k < len - 1), "%zu: byte %zu", i, k);
	}
}
END_TEST

START_TEST(headers_are_read_when_they_are_whole)
{
	static const unsigned char longest[] = { 0xc2, 0xff, 0, 0, 0, 0, 0, 1, 0, 0 };
	struct ws_frame f;

	for (size_t n = 0; n < sizeof(longest); n++)
		ck_assert(!ws_frame_read(longest, n, &f));
	ck_assert(ws_frame_read(longest, sizeof(longest), &f));
	ck_assert(f.last && f.masked && f.shortest);
	ck_assert_uint_eq(f.rsv, WS_RSV1);
	ck_assert_uint_eq(f.opcode, 2);
	ck_assert_uint_eq(f.header, 14);
	ck_assert_uint_eq(f.length, 65536);
	ck_assert(ws_frame_read((const unsigned char *)"\x01\x05", 2, &f));
	ck_assert(!f.last && !f.masked && f.header == 2 && f.length == 5);
}
END_TEST

/* opcode, rsv, last, length; in a message?; compression agreed?: verdict */
static const struct {
	unsigned char opcode, rsv;
	bool last;
	uint64_t length;
	bool in_message, compressed;
	enum ending verdict;
} frames[] = {
	{ 1, 0, true, 5, false, false, END_COMPLETE },
	{ 1, 0, false, 100, false, false, END_COMPLETE },
	{ 1, 0, true, 101, false, false, END_MESSAGE_TOO_BIG },
	{ 1, 4, true, 5, false, false, END_WS_PROTOCOL },
	{ 1, 4, true, 5, false, true, END_COMPLETE },
	{ 1, 5, true, 5, false, true, END_WS_PROTOCOL },
	{ 1, 2, true, 5, false, true, END_WS_PROTOCOL },
	{ 1, 0, true, 5, true, false, END_WS_PROTOCOL },
	{ 2, 0, true, 5, false, false, END_WS_UNSUPPORTED },
	{ 0, 0, true, 5, false, false, END_WS_PROTOCOL },
	{ 0, 0, true, 5, true, false, END_COMPLETE },
	{ 0, 0, true, 101, true, false, END_MESSAGE_TOO_BIG },
	{ 0, 4, true, 5, true, true, END_WS_PROTOCOL },
	{ 3, 0, true, 0, false, false, END_WS_PROTOCOL },
	{ 7, 0, true, 0, false, false, END_WS_PROTOCOL },
	{ 11, 0, true, 0, false, false, END_WS_PROTOCOL },
	{ 15, 0, true, 0, false, false, END_WS_PROTOCOL },
	{ 9, 0, true, 125, true, true, END_COMPLETE },
	{ 9, 4, true, 1, false, true, END_WS_PROTOCOL },
	{ 9, 0, false, 1, false, false, END_WS_PROTOCOL },
	{ 10, 0, true, 126, false, false, END_WS_PROTOCOL },
	{ 8, 0, true, 0, false, false, END_COMPLETE },
	{ 8, 0, true, 1, false, false, END_WS_PROTOCOL },
	{ 8, 0, true, 2, true, false, END_COMPLETE },
};

START_TEST(frames_are_judged_by_their_headers)
{
	for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
		struct ws_frame f = { .opcode = frames[i].opcode, .rsv = frames[i].rsv, .last = frames[i].last,
			.length = frames[i].length, .masked = true, .shortest = true };
		const struct ws_expected e = { .in_message = frames[i].in_message,
			.compressed = frames[i].compressed, .room = 100 };

		ck_assert_msg(ws_frame_judge(&f, &e) == frames[i].verdict, "%zu", i);
		f.masked = false;
		ck_assert_int_eq(ws_frame_judge(&f, &e), END_WS_PROTOCOL);
		f.masked = true;
		f.shortest = false;
		ck_assert_int_eq(ws_frame_judge(&f, &e), END_WS_PROTOCOL);
	}
}
END_TEST

START_TEST(lengths_are_in_the_shortest_form)
{
	unsigned wrong = 0;

	for (unsigned size = 2; size <= 8; size += 6)
		for (uint64_t length = 0; length < 70000; length++) {
			unsigned char bytes[10] = { 0x82, size == 2 ? 126 : 127 };
			struct ws_frame f;

			if (size == 2 && length > 65535)
				break;
			for (unsigned i = 0; i < size; i++)
				bytes[2 + i] = (unsigned char)(length >> 8 * (size - 1 - i));
			wrong += !ws_frame_read(bytes, 2 + size, &f) || f.length != length ||
				 f.shortest != (size == 2 ? length > 125 : length > 65535);
		}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

START_TEST(close_codes)
{
	unsigned wrong = 0;

	for (unsigned code = 0; code < 65536; code++) {
		const unsigned char payload[] = { (unsigned char)(code >> 8), (unsigned char)code, 'x' };
		unsigned got;
		bool good = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
			    (code >= 3000 && code < 5000);

		wrong += ws_close_judge(payload, 3, &got) != (good ? END_COMPLETE : END_WS_PROTOCOL);
		wrong += got != code;
		wrong += ws_close_judge(payload, 1, &got) != END_WS_PROTOCOL;
		wrong += ws_close_judge(payload, 0, &got) != END_COMPLETE || got != 1005;
	}
	ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- permessage-deflate ---- */

/* A text that compresses well, with something far back in it. */
static char *some_text(size_t len)
{
	char *text = xmalloc(len + 1);

	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + i * i / 7 % 23);
	text[len] = 0;
	return text;
}

START_TEST(messages_survive_compression_at_every_window)
{
	struct ws_zlib *z = ws_zlib_open();
	char *text = some_text(70000);

	for (unsigned char bits = 9; bits <= 15; bits++)
		for (size_t len = 64; len <= 70000; len *= 3) {
			const struct ws_terms terms = { .window_bits = bits };
			struct ws_inflater *i = ws_inflater_new(z);
			struct buf out = BUF_INIT;
			struct iovec packed;

			ck_assert(ws_deflate(z, &terms, text, len, &packed));
			ck_assert_uint_lt(packed.iov_len, len);
			ck_assert_int_eq(ws_inflate(i, packed.iov_base, packed.iov_len, &out, len), WS_INFLATED);
			ck_assert_int_eq(ws_inflate_end(i, &out, len), WS_INFLATED);
			ck_assert_uint_eq(out.len, len);
			ck_assert_mem_eq(out.data, text, len);
			buf_release(&out);
			ws_inflater_free(z, i);
		}
	free(text);
	ws_zlib_close(z);
}
END_TEST

START_TEST(inflating_stops_at_the_limit)
{
	const struct ws_terms terms = { .window_bits = 15 };
	struct ws_zlib *z = ws_zlib_open();
	char *text = some_text(50000);
	struct iovec packed;

	ck_assert(ws_deflate(z, &terms, text, 50000, &packed));
	for (size_t max = 49990; max <= 50010; max++)
		for (size_t piece = 1; piece < 5000; piece *= 7) {
			struct ws_inflater *i = ws_inflater_new(z);
			enum ws_inflated result = WS_INFLATED;
			struct buf out = BUF_INIT;
			size_t at = 0;

			for (; at < packed.iov_len && result == WS_INFLATED; at += piece) {
				size_t n = packed.iov_len - at < piece ? packed.iov_len - at : piece;

				result = ws_inflate(i, (unsigned char *)packed.iov_base + at, n, &out, max);
			}
			if (result == WS_INFLATED)
				result = ws_inflate_end(i, &out, max);
			ck_assert_int_eq(result, max < 50000 ? WS_INFLATE_TOO_LARGE : WS_INFLATED);
			ck_assert_uint_eq(out.len, max < 50000 ? max : 50000);
			buf_release(&out);
			ws_inflater_free(z, i);
		}
	free(text);
	ws_zlib_close(z);
}
END_TEST

START_TEST(what_does_not_become_shorter_is_not_compressed)
{
	const struct ws_terms terms = { .window_bits = 9 };
	struct ws_zlib *z = ws_zlib_open();
	unsigned char noise[2000];
	struct iovec packed;
	uint32_t state = 1;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (unsigned char)((state = state * 1664525 + 1013904223) >> 24);
	ck_assert(!ws_deflate(z, &terms, (char *)noise, sizeof(noise), &packed));
	ck_assert(ws_deflate(z, &terms, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 40, &packed));
	ws_zlib_close(z);
}
END_TEST

int main(void)
{
	UNIT_RUN("ws", utf8_in_pieces_is_judged_as_the_whole, utf8_is_refused_at_the_first_wrong_byte,
		headers_are_read_when_they_are_whole, frames_are_judged_by_their_headers,
		lengths_are_in_the_shortest_form, close_codes,
		messages_survive_compression_at_every_window, inflating_stops_at_the_limit,
		what_does_not_become_shorter_is_not_compressed);
}
