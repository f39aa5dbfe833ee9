/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c - answers as server-sent events, token by token. What stands around
 * a token is made once per stream, so that a token costs a few copies and a send.
 */
#include "base/base.h"
#include "tools/llmsim/answer.h"
#include "base/clock.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/sim.h"

#define QUEUE_MAX_BYTES (1 << 20)
#define BATCH_BYTES 65536
#define DEFAULT_N 3
#define DEFAULT_BIG_BYTES 100000
#define DEFAULT_ENDLESS_BYTES (16 << 20)
#define COMMENT ": LLMSIM PROCESSING"

static struct buf batch; /* what one step sends; empty between steps */
static struct buf event; /* the event being made */

static void stream_step(void *arg);
static void stream_endless(struct answer *a);

/* ---- the form of events --------------------------------------------------- */

static const char *line_end(const struct answer *a)
{
	return a->plan.id == FAULT_CRLF ? "\r\n" : a->plan.id == FAULT_CR ? "\r" : "\n";
}

static void event_start(const struct answer *a, struct buf *out)
{
	const char *end = line_end(a);

	if (a->plan.id == FAULT_COMMENTS)
		buf_addf(out, "%s%s%s", COMMENT, end, end);
	buf_adds(out, "data: ");
}

/* A chunk up to the choices. */
static void chunk_start(const struct answer *a, struct buf *out)
{
	event_start(a, out);
	buf_addf(out, "{\"id\":\"%s\",\"object\":\"%s\",", a->id,
	        a->kind == ANSWER_CHAT ? "chat.completion.chunk" : "text_completion");
	if (a->plan.id == FAULT_MULTI_DATA)
		buf_addf(out, "%sdata: ", line_end(a));
	buf_addf(out,
	        "\"created\":%" PRId64
	        ",\"model\":\"%s\",\"system_fingerprint\":\"fp_llmsim\",\"choices\":[",
	        a->created, a->model);
}

static void chunk_end(const struct answer *a, struct buf *out)
{
	const char *end = line_end(a);
	bool usage = a->include_usage && a->plan.id != FAULT_NO_USAGE;

	buf_addf(out, "]%s}%s%s", usage ? ",\"usage\":null" : "", end, end);
}

static void event_to_batch(const struct answer *a)
{
	reply_chunk(a->req, event.data, event.len, &batch);
	buf_clear(&event);
}

/* A chunk with this choice. */
static void add_choice(const struct answer *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void add_choice(const struct answer *a, const char *fmt, ...)
{
	va_list ap;

	chunk_start(a, &event);
	va_start(ap, fmt);
	buf_vaddf(&event, fmt, ap);
	va_end(ap);
	chunk_end(a, &event);
	event_to_batch(a);
}

static void add_begin(const struct answer *a)
{
	static const char end[] = "},\"logprobs\":null,\"finish_reason\":null}";

	if (a->kind == ANSWER_RESPONSE) {
		native_begin(a, &event);
		event_to_batch(a);
	}
	if (a->kind != ANSWER_CHAT)
		return;
	if (a->tool)
		add_choice(a,
		        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null,"
		        "\"tool_calls\":[{\"index\":0,\"id\":\"call_%016" PRIx64
		        "\",\"type\":\"function\","
		        "\"function\":{\"name\":\"%s\",\"arguments\":\"\"}}]%s",
		        a->serial, a->tool, end);
	else
		add_choice(a,
		        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\","
		        "\"refusal\":null%s",
		        end);
}

static void make_surroundings(struct answer *a)
{
	static const char *const starts[] = {
	        "{\"index\":0,\"delta\":{\"content\":\"",
	        "{\"index\":0,\"text\":\"",
	        "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{"
	        "\"arguments\":\"",
	};
	static const char *const ends[] = {"\"}", "\"", "\"}}]}"};
	unsigned form = a->tool ? 2 : a->kind == ANSWER_COMPLETION;

	if (a->kind == ANSWER_RESPONSE)
		return;
	chunk_start(a, &a->before);
	buf_adds(&a->before, starts[form]);
	buf_addf(&a->after, "%s,\"logprobs\":null,\"finish_reason\":null}", ends[form]);
	chunk_end(a, &a->after);
}

static void add_token(struct answer *a, int64_t special)
{
	if (a->kind == ANSWER_RESPONSE) {
		native_token(a, &event);
		event_to_batch(a);
		a->sent++;
		return;
	}
	buf_add(&event, a->before.data, a->before.len);
	if (a->plan.id == FAULT_BIG_TOKEN && (int64_t)a->sent == special) {
		size_t size = a->plan.bytes > 0 ? (size_t)a->plan.bytes : DEFAULT_BIG_BYTES;

		memset(buf_reserve(&event, size), 'x', size);
		event.len += size;
	} else {
		text_token(&a->text, a->sent, &event);
	}
	if (a->plan.id == FAULT_BAD_UTF8 && (int64_t)a->sent == special)
		buf_adds(&event, "\xc3\x28\xff");
	buf_add(&event, a->after.data, a->after.len);
	event_to_batch(a);
	a->sent++;
}

static void add_end(const struct answer *a)
{
	const char *end = line_end(a);

	if (a->kind == ANSWER_RESPONSE) {
		native_end(a, &event);
		event_to_batch(a);
		reply_last_chunk(a->req, &batch);
		return;
	}
	if (a->kind == ANSWER_CHAT)
		add_choice(a,
		        "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}",
		        answer_finish_reason(a));
	else
		add_choice(a,
		        "{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"%"
		        "s\"}",
		        answer_finish_reason(a));
	if ((a->include_usage && a->plan.id != FAULT_NO_USAGE) ||
	        a->plan.id == FAULT_USAGE_EMPTY_CHOICES) {
		chunk_start(a, &event);
		buf_adds(&event, "],\"usage\":");
		answer_usage(a, &event);
		buf_addf(&event, "}%s%s", end, end);
		event_to_batch(a);
	}
	if (a->plan.id != FAULT_NO_DONE) {
		event_start(a, &event);
		buf_addf(&event, "[DONE]%s%s", end, end);
		event_to_batch(a);
	}
	reply_last_chunk(a->req, &batch);
}

/* ---- faults in the middle ------------------------------------------------- */

/* How many tokens go before a fault in the middle. */
static int64_t fault_n(const struct answer *a)
{
	return a->plan.n >= 0 ? a->plan.n : DEFAULT_N;
}

static bool fault_to_come(const struct answer *a)
{
	switch (a->plan.id) {
	case FAULT_RESET_MID:
	case FAULT_CUT_MID:
	case FAULT_STALL_MID:
	case FAULT_ERROR_MID:
	case FAULT_ENDLESS_EVENT:
		return !a->fired;
	default:
		return false;
	}
}

static void stall_over(void *arg)
{
	struct answer *a = arg;

	a->ended_by_fault = false;
	a->due_us = clock_us();
	stream_step(a);
}

static void stall(struct answer *a)
{
	answer_fired(a);
	if (a->plan.ms > 0)
		wheel_arm(&sim.wheel, &a->timer, clock_us() + (uint64_t)a->plan.ms * 1000,
		        stall_over, a);
}

static void batch_send(struct answer *a)
{
	if (batch.len)
		http_send(a->req, batch.data, batch.len);
	buf_clear(&batch);
}

static void fault_act(struct answer *a)
{
	const char *end = line_end(a);

	answer_fired(a);
	switch (a->plan.id) {
	case FAULT_RESET_MID:
		http_reset(a->req);
		break;
	case FAULT_CUT_MID:
		if (a->plan.ended > 0)
			reply_last_chunk(a->req, &batch);
		batch_send(a);
		http_cut(a->req);
		break;
	case FAULT_STALL_MID:
		stall(a);
		break;
	case FAULT_ERROR_MID:
		event_start(a, &event);
		buf_addf(&event,
		        "{\"error\":{\"message\":\"The server had an error while processing "
		        "your request.\","
		        "\"type\":\"server_error\",\"param\":null,\"code\":%s%s%s}}%s%s",
		        *a->plan.code ? "\"" : "", *a->plan.code ? a->plan.code : "null",
		        *a->plan.code ? "\"" : "", end, end);
		event_to_batch(a);
		reply_last_chunk(a->req, &batch);
		batch_send(a);
		http_finish(a->req);
		break;
	default:
		stream_endless(a);
	}
}

static void stream_endless_step(void *arg)
{
	stream_endless(arg);
}

/* One more piece of an event that never gets its empty line. */
static void stream_endless(struct answer *a)
{
	uint64_t most = a->plan.bytes > 0 ? (uint64_t)a->plan.bytes : DEFAULT_ENDLESS_BYTES;
	size_t piece = BATCH_BYTES;

	if (!a->endless)
		buf_adds(&event, "data: {\"id\":\"");
	if (piece > most - a->endless)
		piece = most - a->endless;
	memset(buf_reserve(&event, piece), 'x', piece);
	event.len += piece;
	a->endless += piece;
	event_to_batch(a);
	batch_send(a);
	if (a->endless == most)
		http_cut(a->req);
	else if (http_queued(a->req) > QUEUE_MAX_BYTES)
		a->paused = true;
	else
		wheel_arm(&sim.wheel, &a->timer, clock_us(), stream_endless_step, a);
}

/* ---- the pace ------------------------------------------------------------- */

/* Send what this step made; then its tokens are on their way and may be noted. */
static void step_send(struct answer *a, unsigned first)
{
	batch_send(a);
	if (!events_wanted() || a->req->failed)
		return;
	for (unsigned i = first; i < a->sent; i++)
		events_write("token", "\"req\":%" PRIu64 ",\"n\":%u", a->serial, i);
}

/* The tokens that go together, usually one. */
static void add_tokens(struct answer *a)
{
	int64_t n = fault_n(a);
	int64_t together = a->plan.id == FAULT_BURST && n > 0 ? n : 1;
	double wait_us = 0;

	while (together-- && a->sent < a->text.tokens) {
		add_token(a, n);
		wait_us += answer_gap_us(a);
	}
	a->due_us += (uint64_t)wait_us;
}

static void stream_step(void *arg)
{
	struct answer *a = arg;
	uint64_t now_us = clock_us();
	unsigned first = a->sent;
	int64_t fault_after = fault_n(a);

	if (fault_after > (int64_t)a->text.tokens)
		fault_after = a->text.tokens;
	if (!a->begun)
		add_begin(a);
	a->begun = true;
	for (;;) {
		if (a->sent == a->text.tokens && !fault_to_come(a)) {
			add_end(a);
			step_send(a, first);
			http_finish(a->req);
			return;
		}
		if (a->due_us > now_us || batch.len > BATCH_BYTES)
			break;
		if (fault_to_come(a) && (int64_t)a->sent == fault_after) {
			step_send(a, first);
			fault_act(a);
			return;
		}
		add_tokens(a);
	}
	step_send(a, first);
	if (http_queued(a->req) > QUEUE_MAX_BYTES)
		a->paused = true;
	else
		wheel_arm(&sim.wheel, &a->timer, a->due_us, stream_step, a);
}

void stream_resume(struct answer *a)
{
	a->paused = false;
	if (a->endless) {
		stream_endless(a);
		return;
	}
	if (a->due_us < clock_us())
		a->due_us = clock_us();
	stream_step(a);
}

void stream_start(struct answer *a)
{
	const char *type = a->plan.id == FAULT_WRONG_TYPE ? "text/plain" : "text/event-stream";

	struct buf extra = BUF_INIT;

	make_surroundings(a);
	events_write("head", "\"req\":%" PRIu64 ",\"status\":200", a->serial);
	buf_adds(&extra, "cache-control: no-cache\r\n");
	answer_headers(a, &extra);
	reply_head(a->req, 200, type, REPLY_CHUNKED, extra.data);
	buf_release(&extra);
	if (a->plan.id == FAULT_RESET_AFTER_HEADERS) {
		answer_fired(a);
		http_reset(a->req);
	} else if (a->plan.id == FAULT_STALL_FIRST) {
		stall(a);
	} else if (a->due_us <= clock_us()) {
		stream_step(a);
	} else {
		wheel_arm(&sim.wheel, &a->timer, a->due_us, stream_step, a);
	}
}
