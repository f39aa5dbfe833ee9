/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: a stream's usage chunk is withheld, and nothing else, wherever the stream is cut into blocks. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "unit.h"
#include "worker/provider/room.h"
#include <event2/event.h>

#define TOKEN "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],\"usage\":null}"
#define FINISH "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}"
#define USAGE "{\"choices\": [ ],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}"
#define WITH_CHOICE "{\"choices\":[{}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}"
#define FILTER "{\"choices\":[],\"prompt_filter_results\":[]}"
#define LF(data) "data: " data "\n\n"
#define CRLF(data) "data: " data "\r\n\r\n"
#define CR(data) "data: " data "\r\r"

static struct buf got;

static void on_bytes(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	buf_add(&got, bytes, len);
}

/* Of a CR LF at the end of an event, the LF may go with the next one: empty lines say nothing. */
static char *without_line_ends(const char *text)
{
	char *copy = xstrdup(text), *to = copy;

	for (; *text; text++)
		if (*text != '\r' && *text != '\n')
			*to++ = *text;
	*to = '\0';
	return copy;
}

static bool same(const char *a, const char *b)
{
	char *p, *q;
	bool equal;

	if (!strstr(b, "\r\n"))
		return strcmp(a, b) == 0;
	p = without_line_ends(a);
	q = without_line_ends(b);
	equal = strcmp(p, q) == 0;
	free(p);
	free(q);
	return equal;
}

/* What comes of a stream that is cut into blocks of `step` bytes. */
static void check_cut(const char *stream, size_t step, const char *want, bool usage)
{
	static const struct provider_asker asker = { .on_bytes = on_bytes };
	struct event_base *base = event_base_new();
	struct conf_provider conf = { .read_timeout_ms = 60000 };
	struct provider provider = { .conf = &conf };
	struct provider_call *call = xcalloc(1, sizeof(*call));
	size_t len = strlen(stream);
	const char *detail = NULL;

	*call = (struct provider_call){ .provider = &provider, .asker = &asker,
		.strip_usage = true, .state = CALL_ANSWERING };
	evtimer_assign(&call->timer, base, NULL, NULL);
	buf_clear(&got);
	answer_begin(call, 200, "text/event-stream");
	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step;
		/* A block of its own: what is read behind it is found. */
		char *block = xmalloc(n);

		memcpy(block, stream + at, n);
		ck_assert_int_eq(answer_bytes(call, block, n), ANSWER_TAKEN);
		free(block);
	}
	(void)answer_ending(call, END_COMPLETE, &detail);
	buf_add(&got, "", 1);
	ck_assert_msg(same(got.data, want), "blocks of %zu:\n%s\nwant:\n%s", step, got.data, want);
	ck_assert_int_eq(call->usage.known, usage);
	ck_assert_uint_eq(call->usage.completion_tokens, usage ? 3 : 0);
	event_del(&call->timer);
	answer_release(&call->answer);
	free(call);
	event_base_free(base);
}

static void check_stream(const char *stream, const char *want, bool usage)
{
	for (size_t step = 1; step <= strlen(stream); step++)
		check_cut(stream, step, want, usage);
	buf_release(&got);
}

START_TEST(only_the_usage_chunk_is_withheld)
{
	check_stream(LF(TOKEN) LF(FINISH) LF(USAGE) LF("[DONE]"),
		LF(TOKEN) LF(FINISH) LF("[DONE]"), true);
	check_stream(LF(USAGE) ": c\n\n" LF(TOKEN) LF("[DONE]"), ": c\n\n" LF(TOKEN) LF("[DONE]"),
		true);
	check_stream(LF(TOKEN) LF(WITH_CHOICE) LF("[DONE]"),
		LF(TOKEN) LF(WITH_CHOICE) LF("[DONE]"), true);
	check_stream(LF(FILTER) LF(TOKEN) LF("[DONE]"), LF(FILTER) LF(TOKEN) LF("[DONE]"), false);
}
END_TEST

START_TEST(every_line_end_is_understood)
{
	check_stream(CR(TOKEN) CR(USAGE) CR("[DONE]"), CR(TOKEN) CR("[DONE]"), true);
	check_stream(CRLF(TOKEN) CRLF(USAGE) LF("[DONE]"), CRLF(TOKEN) LF("[DONE]"), true);
}
END_TEST

START_TEST(what_is_unfinished_goes_on_at_the_end)
{
	check_stream(LF(TOKEN) LF(FINISH) LF(USAGE) "data: [DO", LF(TOKEN) LF(FINISH) "data: [DO",
		true);
	check_stream(LF(TOKEN) LF(FINISH) ": comment", LF(TOKEN) LF(FINISH) ": comment", false);
}
END_TEST

int main(void)
{
	UNIT_RUN("strip_usage", only_the_usage_chunk_is_withheld, every_line_end_is_understood,
		what_is_unfinished_goes_on_at_the_end);
}
