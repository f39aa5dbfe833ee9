/* SPDX-License-Identifier: BSD-2-Clause */
/* The exchange: what reaches the port in which state, what is counted, ids, refusals. */
#include "base/base.h"
#include "base/log.h"
#include "shm_unit.h"
#include "worker/exchange/exchange.h"

#include <jansson.h>

/* ---- a port and an app that write down what they are asked ---- */

static char heard[512];
static struct buf body, fields;
static unsigned closed;

static void hear(const char *what)
{
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s ", what);
}

static void note_fields(const struct exchange_header *h, unsigned n)
{
	buf_clear(&fields);
	for (unsigned i = 0; i < n; i++)
		buf_addf(&fields, "%s: %s\n", h[i].name, h[i].value);
}

static void on_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *bytes, size_t len)
{
	hear("respond");
	note_fields(h, n);
	buf_clear(&body);
	buf_add(&body, bytes, len);
}
static void on_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n)
{
	hear("start");
}
static void on_write(struct exchange *x, const char *bytes, size_t len)
{
	hear("write");
}
static void on_finish(struct exchange *x)
{
	hear("finish");
}
static void on_abort(struct exchange *x)
{
	hear("abort");
}
static size_t on_room(const struct exchange *x)
{
	return 77;
}
static void on_accept(struct exchange *x, const struct exchange_header *h, unsigned n)
{
	hear("accept");
}
static void on_send(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	hear(binary ? "binary" : "text");
}
static void on_close_ws(struct exchange *x, unsigned code, const char *reason)
{
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "close:%u:%s ", code, reason);
}
static const struct exchange_port port = { on_respond, on_start, on_write, on_finish, on_abort, on_room,
	on_accept, on_send, on_close_ws, NULL };

static void on_close(struct exchange *x)
{
	closed++;
	ck_assert_int_eq(x->state, EXCHANGE_ENDED);
	/* a late app may still write: nothing comes of it */
	exchange_write(x, "x", 1);
	exchange_send_text(x, "x", 1);
	exchange_refuse(x, &(struct exchange_error){ .ending = END_INTERNAL });
}
static const struct exchange_app app = { .name = "test", .on_close = on_close };

static struct exchange *begin(bool websocket)
{
	static struct exchange x;

	heard[0] = 0;
	closed = 0;
	exchange_begin(&x, &port);
	x.app = &app;
	x.request = (struct exchange_request){ .method = "GET", .path = "/p", .query = "", .peer = "peer",
		.websocket = websocket };
	exchange_identify(&x);
	return &x;
}

static struct shm *segment(void)
{
	static struct shm *shm; /* until this test's process ends */

	shm = unit_segment(1, 0, 60000);
	stats_bind(shm, 0);
	return shm;
}

static uint64_t endings(const struct shm *shm)
{
	uint64_t sum = 0;

	for (int e = 0; e < END_COUNT; e++)
		sum += stat_of_slot(shm, 0, STAT_ENDING_FIRST + (enum stat_id)e);
	return sum;
}

static uint64_t ended(const struct shm *shm, enum ending e)
{
	return stat_of_slot(shm, 0, STAT_ENDING_FIRST + (enum stat_id)e);
}

/* ---- */

START_TEST(one_answer_and_no_more)
{
	struct shm *shm = segment();
	struct exchange *x = begin(false);

	ck_assert_uint_eq(exchange_room(x), 77);
	exchange_respond(x, 200, NULL, 0, "abc", 3);
	exchange_respond(x, 500, NULL, 0, "", 0);
	exchange_start(x, 200, NULL, 0);
	exchange_write(x, "a", 1);
	exchange_finish(x);
	exchange_abort(x);
	ck_assert_str_eq(heard, "respond ");
	ck_assert_int_eq(x->status, 200);
	ck_assert_uint_eq(x->sent_bytes, 3);
	ck_assert_uint_eq(exchange_room(x), 0);
	ck_assert_uint_eq(closed, 0);
	exchange_close(x);
	exchange_close(x);
	ck_assert_uint_eq(closed, 1);
	ck_assert_str_eq(heard, "respond ");
	ck_assert_uint_eq(ended(shm, END_COMPLETE), 1);
	ck_assert_uint_eq(endings(shm), 1);
	ck_assert_uint_eq(stat_of_slot(shm, 0, STAT_REQUESTS), 1);
}
END_TEST

START_TEST(a_stream)
{
	struct shm *shm = segment();
	struct exchange *x = begin(false);

	exchange_start(x, 200, NULL, 0);
	exchange_write(x, "ab", 2);
	exchange_write(x, "", 0); /* would end a chunked body */
	exchange_write(x, "c", 1);
	exchange_finish(x);
	exchange_write(x, "d", 1);
	exchange_finish(x);
	exchange_close(x);
	ck_assert_str_eq(heard, "start write write finish ");
	ck_assert_uint_eq(x->sent_bytes, 3);
	ck_assert_uint_eq(ended(shm, END_COMPLETE), 1);
}
END_TEST

START_TEST(an_ending_counts_only_if_it_was_decided)
{
	struct shm *shm = segment();
	struct exchange *x = begin(false);

	exchange_abort(x);
	exchange_close(x);
	ck_assert_str_eq(heard, "abort ");
	ck_assert_uint_eq(endings(shm), 0);

	x = begin(false);
	exchange_start(x, 200, NULL, 0);
	x->note.ending = END_READ_TIMEOUT;
	exchange_finish(x);
	exchange_close(x);
	ck_assert_uint_eq(ended(shm, END_READ_TIMEOUT), 1);
	ck_assert_uint_eq(endings(shm), 1);

	x = begin(false);
	exchange_close(x); /* no answer at all, and nobody says why */
	ck_assert_uint_eq(endings(shm), 1);
	ck_assert_uint_eq(closed, 1);
}
END_TEST

START_TEST(a_websocket)
{
	struct shm *shm = segment();
	struct exchange *x = begin(true);

	exchange_accept_ws(x);
	exchange_send_text(x, "abc", 3);
	exchange_send_binary(x, "abc", 3);
	exchange_close_ws(x, 1000, NULL);
	exchange_send_text(x, "abc", 3);
	exchange_close_ws(x, 1001, "again");
	ck_assert_str_eq(heard, "accept text binary close:1000: ");
	ck_assert_int_eq(x->status, 101);
	exchange_close(x);
	ck_assert_uint_eq(ended(shm, END_COMPLETE), 1);
}
END_TEST

START_TEST(a_refusal_fits_the_state)
{
	struct shm *shm = segment();
	const struct exchange_error full = { .ending = END_HOUSE_FULL };
	const struct exchange_error failed = { .ending = END_READ_TIMEOUT };
	struct exchange *x = begin(true);

	exchange_accept_ws(x);
	exchange_refuse(x, &full);
	exchange_close(x);
	ck_assert_str_eq(heard, "accept close:1013:Server at maximum capacity ");
	x = begin(false);
	exchange_start(x, 200, NULL, 0);
	exchange_refuse(x, &failed);
	exchange_close(x);
	ck_assert_str_eq(heard, "start abort ");
	ck_assert_uint_eq(ended(shm, END_HOUSE_FULL), 1);
	ck_assert_uint_eq(ended(shm, END_READ_TIMEOUT), 1);
	ck_assert_uint_eq(endings(shm), 2);
}
END_TEST

START_TEST(a_refusal_says_all)
{
	const struct exchange_error error = { .ending = END_RATE_LIMITED,
		.message = "not \"now\"\n",
		.param = "model",
		.limit = "llm.x",
		.retry_after_ms = 1001 };
	struct exchange *x = begin(false);
	const char *message, *type, *param, *code;
	json_t *json;

	exchange_refuse(x, &error);
	ck_assert_int_eq(x->status, 429);
	ck_assert_str_eq(fields.data,
		"Content-Type: application/json\nX-Content-Type-Options: nosniff\nRetry-After: 2\nX-Headgate-Limit: llm.x\n");
	json = json_loadb(body.data, body.len, 0, NULL);
	ck_assert_int_eq(json_unpack(json, "{s:{s:s,s:s,s:s,s:s !} !}", "error", "message", &message, "type",
				 &type, "param", &param, "code", &code),
		0);
	ck_assert_str_eq(message, error.message);
	ck_assert_str_eq(type, "rate_limit_error");
	ck_assert_str_eq(param, "model");
	ck_assert_str_eq(code, "requests_per_minute");
	json_decref(json);
	exchange_close(x);

	x = begin(false);
	exchange_refuse(x, &(struct exchange_error){ .ending = END_UPGRADE_REQUIRED });
	ck_assert_ptr_nonnull(strstr(fields.data, "Sec-WebSocket-Version: 13\n"));
	ck_assert_ptr_nonnull(strstr(body.data, "\"param\":null,\"code\":\"upgrade_required\""));
	exchange_close(x);
	buf_release(&body);
	buf_release(&fields);
}
END_TEST

START_TEST(ids_are_sane_and_differ)
{
	static const struct {
		const char *given;
		bool kept;
	} ids[] = { { "abc-1.2_3", true }, { "123456789012345678901234567890123456", true },
		{ "1234567890123456789012345678901234567", false }, { "", false }, { "a b", false },
		{ "a\"b", false }, { "\xc3\xbc", false } };
	char before[40] = "";

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		const struct exchange_header h[] = { { "Host", "x" }, { "x-REQUEST-id", ids[i].given } };
		struct exchange *x = begin(false);

		x->request.headers = h;
		x->request.nheaders = 2;
		exchange_identify(x);
		ck_assert_msg(!strcmp(x->id, ids[i].given) == ids[i].kept, "'%s': '%s'", ids[i].given, x->id);
		ck_assert_str_ne(x->id, before);
		ck_assert_uint_ge(strlen(x->id), ids[i].kept ? 1 : 16);
		snprintf(before, sizeof(before), "%s", x->id);
	}
}
END_TEST

START_TEST(the_access_log_tells_what_is_known)
{
	int pipe_fds[2];
	char line[512] = "";
	struct exchange *x;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	log_setup(pipe_fds[1], LOG_INFO, LOG_CONSOLE);
	x = begin(false);
	exchange_respond(x, 200, NULL, 0, "", 0);
	exchange_close(x); /* off: no line */
	exchange_access_log(true);
	x = begin(false);
	exchange_start(x, 200, NULL, 0);
	exchange_write(x, "abc", 3);
	x->note.model = "m-1";
	x->note.provider = "sim";
	x->note.tokens = 9;
	x->note.queue_wait_us = 1500;
	exchange_finish(x);
	exchange_close(x);
	ck_assert_int_gt(read(pipe_fds[0], line, sizeof(line) - 1), 0);
	ck_assert_ptr_nonnull(strstr(line, " access: "));
	ck_assert_ptr_nonnull(strstr(line, " peer GET /p 200 complete bytes=3 ms="));
	ck_assert_ptr_nonnull(strstr(line, " provider=sim model=m-1 tokens=9 queue_wait_ms=1.5\n"));
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	exchange_access_log(false);
}
END_TEST

int main(void)
{
	UNIT_RUN("exchange", one_answer_and_no_more, a_stream, an_ending_counts_only_if_it_was_decided,
		a_websocket, a_refusal_fits_the_state, a_refusal_says_all, ids_are_sane_and_differ,
		the_access_log_tells_what_is_known);
}
