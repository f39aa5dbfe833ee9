/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: HTTP/1.1 to plain providers: heads, how bodies end, and which connections are used again. */
#include "test_provider.h"

#include "worker/provider/wire_head.h"

/* ---- heads ---- */

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *text;
	const char *wrong; /* part of why; NULL: it is fine, and */
	int status;
	enum wire_framing framing;
	uint64_t length;
	bool keep_alive;
} heads[] = {
	{ OK "Content-Length: 5\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, true },
	{ "HTTP/1.1 200\r\ncontent-length:5\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, true },
	{ "HTTP/1.1 200 \nContent-Length: 5\n\n", NULL, 200, WIRE_LENGTH, 5, true },
	{ OK "Content-Length: 5, 5\r\nContent-Length: 5\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, true },
	{ OK "Content-Length: 0\r\n\r\n", NULL, 200, WIRE_LENGTH, 0, true },
	{ OK "Transfer-Encoding: chunked\r\n\r\n", NULL, 200, WIRE_CHUNKED, 0, true },
	{ OK "transfer-encoding:\t CHUNKED \r\n\r\n", NULL, 200, WIRE_CHUNKED, 0, true },
	{ OK "Transfer-Encoding:\r\n chunked\r\n\r\n", NULL, 200, WIRE_CHUNKED, 0, true },
	{ OK "Transfer-Encoding : chunked\r\n\r\n", NULL, 200, WIRE_CHUNKED, 0, true },
	{ OK "Transfer-Encoding: identity, chunked\r\n\r\n", NULL, 200, WIRE_CHUNKED, 0, true },
	{ OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", NULL, 200, WIRE_CHUNKED, 5, false },
	{ OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", NULL, 200,
		WIRE_CHUNKED, 5, false },
	{ OK "Connection: close\r\nContent-Length: 5\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, false },
	{ OK "Connection: x, CLOSE\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", NULL, 200, WIRE_LENGTH,
		5, false },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, false },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n", NULL, 200, WIRE_LENGTH, 5, true },
	{ OK "\r\n", NULL, 200, WIRE_UNTIL_CLOSE, 0, false },
	{ "HTTP/1.1 204 No Content\r\n\r\n", NULL, 204, WIRE_NO_BODY, 0, true },
	{ "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", NULL, 304, WIRE_NO_BODY, 5, true },
	{ "HTTP/1.1 100 Continue\r\n\r\n", NULL, 100, WIRE_NO_BODY, 0, true },
	{ "HTTP/2 200 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ "HTTP/1.2 200 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ "HTTP/1.1 20 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ "HTTP/1.1 2000 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ "HTTP/1.1 099 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ "ICY 200 OK\r\n\r\n", "does not begin", 0, 0, 0, false },
	{ OK "nothing\r\n\r\n", "without a colon", 0, 0, 0, false },
	{ OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "two lengths", 0, 0, 0, false },
	{ OK "Content-Length: 5, 6\r\n\r\n", "two lengths", 0, 0, 0, false },
	{ OK "Content-Length: +5\r\n\r\n", "Content-Length is none", 0, 0, 0, false },
	{ OK "Content-Length: \r\n\r\n", NULL, 200, WIRE_UNTIL_CLOSE, 0, false },
	{ OK "Content-Length: 9999999999999999999\r\n\r\n", "Content-Length is none", 0, 0, 0, false },
	{ OK "Transfer-Encoding: gzip, chunked\r\n\r\n", "not chunked", 0, 0, 0, false },
	{ OK "Transfer-Encoding: chunked, chunked\r\n\r\n", "not chunked", 0, 0, 0, false },
};

START_TEST(heads_are_read_as_the_rfc_says)
{
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		size_t len = strlen(heads[i].text);
		char *text = xmemdup0(heads[i].text, len);
		struct wire_head head;
		const char *wrong;

		for (size_t cut = 0; cut < len; cut++)
			ck_assert_msg(!wire_head_end(text, cut, cut ? cut - 1 : 0), "'%s' cut at %zu", text, cut);
		ck_assert_uint_eq(wire_head_end(text, len, len - 1), len);
		wrong = wire_head_parse(text, len, &head);
		if (heads[i].wrong) {
			ck_assert_msg(wrong && strstr(wrong, heads[i].wrong), "'%s': %s", heads[i].text,
				wrong ? wrong : "accepted");
		} else {
			ck_assert_msg(!wrong, "'%s': %s", heads[i].text, wrong);
			ck_assert_int_eq(head.status, heads[i].status);
			ck_assert_msg(head.framing == heads[i].framing, "'%s': %d", heads[i].text, head.framing);
			ck_assert_uint_eq(head.length, heads[i].length);
			ck_assert_msg(head.keep_alive == heads[i].keep_alive, "'%s'", heads[i].text);
		}
		free(text);
	}
}
END_TEST

START_TEST(headers_are_found_by_name)
{
	char text[] = OK "Retry-After:  7 \r\nX-Long: a\r\n\tb\r\nempty:\r\n\r\n";
	struct wire_head head;
	size_t len = strlen(text), n;

	ck_assert_ptr_null(wire_head_parse(text, len, &head));
	ck_assert_mem_eq(wire_head_find(text, len, "retry-after", &n), "7", 1);
	ck_assert_uint_eq(n, 1);
	ck_assert_ptr_nonnull(wire_head_find(text, len, "x-long", &n));
	ck_assert_uint_eq(n, 5);
	ck_assert_ptr_nonnull(wire_head_find(text, len, "Empty", &n));
	ck_assert_uint_eq(n, 0);
	ck_assert_ptr_null(wire_head_find(text, len, "Retry", &n));
}
END_TEST

/* ---- whole answers ---- */

#define DOCUMENT "Content-Type: application/json\r\n"
#define STREAM "Content-Type: text/event-stream\r\n"

static const struct row {
	struct fake_raw raw;
	enum ending ending;
	bool again; /* the connection is used for the next request */
	const char *body; /* that the asker got */
	const char *message; /* part of it */
} rows[] = {
	{ { OK DOCUMENT "Content-Length: 2\r\n\r\n{}", false }, END_COMPLETE, true, "{}", "" },
	{ { OK DOCUMENT "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: t\r\n\r\n", false }, END_COMPLETE, true,
		"{}", "" },
	{ { OK DOCUMENT "\r\n{}", true }, END_COMPLETE, false, "{}", "" },
	{ { "HTTP/1.0 200 OK\r\n" DOCUMENT "\r\n{}", true }, END_COMPLETE, false, "{}", "" },
	{ { OK DOCUMENT "Connection: close\r\nContent-Length: 2\r\n\r\n{}", false }, END_COMPLETE, false, "{}", "" },
	{ { OK DOCUMENT "Content-Length: 2\r\n\r\n{}surplus", false }, END_COMPLETE, false, "{}", "" },
	{ { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK DOCUMENT "Content-Length: 2\r\n\r\n{}", false },
		END_COMPLETE, true, "{}", "" },
	{ { OK DOCUMENT "Content-Length: 9\r\n\r\n{}", true }, END_PROVIDER_RESET, false, NULL, "outstanding" },
	{ { OK DOCUMENT "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", true }, END_PROVIDER_RESET, false, NULL,
		"outstanding" },
	{ { OK STREAM "Transfer-Encoding: chunked\r\n\r\n3\r\n: a\r\n5\r\n\n\n: b\r\nxyz", false }, END_PROVIDER_RESET, false,
		": a\n\n: b", "chunked coding is broken" },
	{ { OK DOCUMENT "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", false }, END_PROVIDER_GARBAGE, false, NULL,
		"two lengths" },
	{ { "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", false }, END_PROVIDER_GARBAGE, false, NULL, "another protocol" },
	{ { "HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", false }, END_PROVIDER_STATUS, true, NULL, "429" },
	{ { "HTTP/1.1 503 No\r\n\r\nbusy", true }, END_PROVIDER_STATUS, false, NULL, "503" },
	{ { OK, true }, END_PROVIDER_RESET, false, NULL, "outstanding" },
	{ { OK STREAM "Transfer-Encoding: chunked\r\n\r\n10\r\ndata: [DONE]\n\n\n\n\r\n0\r\n\r\n", false }, END_COMPLETE, true,
		"data: [DONE]\n\n\n\n", "" },
};

static const struct fake_raw *raw_of(unsigned n)
{
	return &rows[n].raw;
}

static void check_row(struct rig *rig, unsigned i, const char *how)
{
	unsigned before = atomic_load(&rig->fake->connections), after;
	struct asked a = { 0 }, next = { 0 };
	char path[32];

	snprintf(path, sizeof(path), "/%s/%u", how, i);
	ask_and_wait(&a, rig, path);
	ck_assert_msg(a.result.ending == rows[i].ending, "%s ended as %s: %s", path,
		ending_facts[a.result.ending].code, a.message);
	ck_assert_msg(strstr(a.message, rows[i].message) != NULL, "%s: '%s'", path, a.message);
	ck_assert_str_eq(a.bytes.data ? a.bytes.data : "", rows[i].body ? rows[i].body : "");
	ask_and_wait(&next, rig, "/json");
	ck_assert_int_eq(next.result.ending, END_COMPLETE);
	after = atomic_load(&rig->fake->connections);
	ck_assert_msg(after == before + !rows[i].again, "%s: %u connections after %u", path, after, before);
	asked_release(&a);
	asked_release(&next);
}

START_TEST(answers_end_where_they_end)
{
	struct asked first = { 0 };
	struct rig rig;

	fake_raw_of = raw_of;
	rig_open(&rig, &(struct rig_options){ 0 });
	ask_and_wait(&first, &rig, "/json");
	asked_release(&first);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		check_row(&rig, i, "raw");
		check_row(&rig, i, "bits");
	}
	rig_close(&rig);
}
END_TEST

/* A connection that the provider closes while it is idle is closed at once, and not tried. */
START_TEST(idle_ones_that_are_closed_are_not_used)
{
	struct asked a = { 0 };
	struct rig rig;

	fake_raw_of = raw_of;
	rig_open(&rig, &(struct rig_options){ 0 });
	ask_and_wait(&a, &rig, "/stream");
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_IDLE), 1);
	asked_release(&a);
	kill(rig.fake_pid, SIGKILL); /* and with it those who serve its connections */
	waitpid(rig.fake_pid, NULL, 0);
	RUN_UNTIL(&rig, !rig_stat(&rig, PSTAT_SOCKETS_IDLE));
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
	rig.fake_pid = fake_start(rig.fake);
	rig_close(&rig);
}
END_TEST

/* An answer may come, and end, before all of the request is sent: that connection is of no more use. */
START_TEST(refused_while_it_is_sent)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask_at_length(&a, &rig, "/refuses", 32 << 20);
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_PROVIDER_STATUS);
	ck_assert_int_eq(a.result.status, 413);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

int main(void)
{
	UNIT_RUN("wire", heads_are_read_as_the_rfc_says, headers_are_found_by_name, answers_end_where_they_end,
		idle_ones_that_are_closed_are_not_used, refused_while_it_is_sent);
}
