/* SPDX-License-Identifier: BSD-2-Clause */
/* answer.c - see answer.h: the life of a request, and answers that are not streams. */
#include "base/base.h"
#include "tools/llmsim/answer.h"
#include "base/clock.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/outage.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/sim.h"

#include <time.h>

#define SLOW_READ_BYTES 1024
#define SLOW_READ_MS 100
#define EMBEDDING_SIZE 8

struct answer *answer_new(struct http_request *req, enum answer_kind kind)
{
	struct answer *a = xcalloc(1, sizeof(*a));
	struct options *o = &sim.options;
	struct fault *f = outage_fault();

	a->req = req;
	a->kind = kind;
	a->serial = ++sim.serial;
	a->random = (uint64_t)o->seed * UINT64_C(0x9e3779b97f4a7c15) + a->serial;
	fault_init(&a->plan);
	a->account = account_find(o->accounts, o->account_count, req->head.authorization);
	if (!f && a->account)
		f = fault_pick(&a->account->fault, a->account->fault_count, a->serial, &sim.random);
	a->firm = f;
	if (!f)
		f = fault_pick(o->faults, o->fault_count, a->serial, &sim.random);
	if (f)
		a->plan = *f;
	sim.requests++;
	if (++sim.in_flight > sim.max_in_flight)
		sim.max_in_flight = sim.in_flight;
	if (a->plan.id == FAULT_SLOW_READ)
		http_read_slowly(req,
		        a->plan.bytes > 0 ? (size_t)a->plan.bytes : SLOW_READ_BYTES,
		        a->plan.ms > 0 ? (uint64_t)a->plan.ms : SLOW_READ_MS);
	return a;
}

void answer_fired(struct answer *a)
{
	a->fired = true;
	a->ended_by_fault = true;
}

void answer_headers(const struct answer *a, struct buf *out)
{
	if (a->account)
		account_headers(a->account, &sim.options.limits, clock_us(), out);
}

double answer_gap_us(struct answer *a)
{
	double swing = sim.options.jitter_percent / 100;
	double dice = (double)(text_random(&a->random) >> 11) * 0x1p-52 - 1;

	return a->gap_us * (1 + swing * dice);
}

const char *answer_finish_reason(const struct answer *a)
{
	return a->tool ? "tool_calls" : a->cut_short ? "length" : "stop";
}

void answer_usage(const struct answer *a, struct buf *out)
{
	buf_addf(out, "{\"prompt_tokens\":%" PRIu64, a->prompt_tokens);
	if (a->kind != ANSWER_EMBEDDING)
		buf_addf(out, ",\"completion_tokens\":%u", a->text.tokens);
	buf_addf(out, ",\"total_tokens\":%" PRIu64 "}", a->prompt_tokens + a->text.tokens);
}

/* ---- answers in one piece ------------------------------------------------ */

static void add_text(const struct answer *a, struct buf *out)
{
	for (unsigned i = 0; i < a->text.tokens; i++)
		text_token(&a->text, i, out);
}

static void chat_choice(const struct answer *a, struct buf *out)
{
	buf_adds(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
	if (a->tool) {
		buf_addf(out,
		        "null,\"tool_calls\":[{\"id\":\"call_%016" PRIx64
		        "\",\"type\":\"function\","
		        "\"function\":{\"name\":\"%s\",\"arguments\":\"",
		        a->serial, a->tool);
		add_text(a, out);
		buf_adds(out, "\"}}]");
	} else {
		buf_adds(out, "\"");
		add_text(a, out);
		buf_adds(out, "\"");
	}
	buf_addf(out, ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"%s\"}",
	        answer_finish_reason(a));
}

static void embedding(struct answer *a, struct buf *out)
{
	buf_adds(out, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
	              "\"embedding\":[");
	for (unsigned i = 0; i < EMBEDDING_SIZE; i++)
		buf_addf(out, "%s%.6f", i ? "," : "",
		        (double)(text_random(&a->random) >> 11) * 0x1p-52 - 1);
	buf_addf(out, "]}],\"model\":\"%s\",\"usage\":", a->model);
	answer_usage(a, out);
	buf_adds(out, "}");
}

static void whole_json(struct answer *a, struct buf *out)
{
	if (a->kind == ANSWER_EMBEDDING) {
		embedding(a, out);
		return;
	}
	if (a->kind == ANSWER_RESPONSE) {
		native_object(a, true, out);
		return;
	}
	buf_addf(out,
	        "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%" PRId64
	        ",\"model\":\"%s\",\"choices\":[",
	        a->id, a->kind == ANSWER_CHAT ? "chat.completion" : "text_completion",
	        a->created, a->model);
	if (a->kind == ANSWER_CHAT) {
		chat_choice(a, out);
	} else {
		buf_adds(out, "{\"index\":0,\"text\":\"");
		add_text(a, out);
		buf_addf(out, "\",\"logprobs\":null,\"finish_reason\":\"%s\"}",
		        answer_finish_reason(a));
	}
	buf_adds(out, "]");
	if (a->plan.id != FAULT_NO_USAGE) {
		buf_adds(out, ",\"usage\":");
		answer_usage(a, out);
	}
	buf_adds(out, "}");
}

static void head_event(const struct answer *a, int status)
{
	events_write("head", "\"req\":%" PRIu64 ",\"status\":%d", a->serial, status);
}

/* The second half of an answer that stalled in its middle. */
static void whole_rest(void *arg)
{
	struct answer *a = arg;
	struct buf out = BUF_INIT;

	a->ended_by_fault = false;
	whole_json(a, &out);
	http_send(a->req, out.data + out.len / 2, out.len - out.len / 2);
	buf_release(&out);
	http_finish(a->req);
}

static void whole_send(void *arg)
{
	struct answer *a = arg;
	const char *type = a->plan.id == FAULT_WRONG_TYPE ? "text/plain" : REPLY_JSON;
	struct buf out = BUF_INIT, extra = BUF_INIT;
	struct http_request *req = a->req;
	enum fault_id fault = a->plan.id;
	size_t part, length;

	whole_json(a, &out);
	part = length = out.len;
	if (fault == FAULT_HALF_JSON || fault == FAULT_CUT_MID || fault == FAULT_RESET_MID ||
	        fault == FAULT_STALL_MID) {
		part = length / 2;
		answer_fired(a);
	}
	if (fault == FAULT_HALF_JSON && a->plan.ended != 0)
		length = part;
	head_event(a, 200);
	answer_headers(a, &extra);
	reply_head(req, 200, type, (int64_t)length, extra.data);
	http_send(req, out.data, part);
	if (part == length)
		a->sent = a->text.tokens;
	buf_release(&extra);
	buf_release(&out);
	if (fault == FAULT_RESET_MID)
		http_reset(req);
	else if (fault == FAULT_STALL_MID && a->plan.ms > 0)
		wheel_arm(&sim.wheel, &a->timer, clock_us() + (uint64_t)a->plan.ms * 1000,
		        whole_rest, a);
	else if (part < length && fault != FAULT_STALL_MID)
		http_cut(req);
	else if (fault != FAULT_STALL_MID)
		http_finish(req);
}

static void whole_start(struct answer *a)
{
	unsigned gaps = a->text.tokens ? a->text.tokens - 1 : 0;

	if (a->kind != ANSWER_EMBEDDING)
		a->due_us += (uint64_t)(a->gap_us * gaps);
	if (a->due_us <= clock_us())
		whole_send(a);
	else
		wheel_arm(&sim.wheel, &a->timer, a->due_us, whole_send, a);
}

/* ---- faults before the first token --------------------------------------- */

static void status_headers(const struct fault *f, struct buf *out)
{
	if (f->retry_after_s >= 0)
		buf_addf(out, "retry-after: %" PRId64 "\r\n", f->retry_after_s);
	if (f->retry_after_ms >= 0)
		buf_addf(out, "retry-after-ms: %" PRId64 "\r\n", f->retry_after_ms);
	if (f->retry_after_date_s >= 0) {
		time_t when = time(NULL) + (time_t)f->retry_after_date_s;
		char date[48];
		struct tm tm;

		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&when, &tm));
		buf_addf(out, "retry-after: %s\r\n", date);
	}
	if (f->should_retry >= 0)
		buf_addf(out, "x-should-retry: %s\r\n", f->should_retry ? "true" : "false");
}

static void status_reply(struct answer *a)
{
	const struct fault *f = &a->plan;
	const struct fault_status *row = fault_status(f->status);
	const char *code = *f->code ? f->code : row->code;
	const char *type = strcmp(code, "insufficient_quota") ? row->type : code;
	struct buf extra = BUF_INIT;

	answer_fired(a);
	status_headers(f, &extra);
	answer_headers(a, &extra);
	head_event(a, f->status);
	reply_error(a->req, f->status, type, code, NULL, extra.data, row->message);
	buf_release(&extra);
}

static void html_reply(struct answer *a)
{
	static const char page[] =
	        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
	        "<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n";

	answer_fired(a);
	head_event(a, 502);
	reply(a->req, 502, "text/html", NULL, page, sizeof(page) - 1);
}

static bool is_stream(const struct answer *a)
{
	return a->stream && a->plan.id != FAULT_JSON_FOR_STREAM &&
	       a->plan.id != FAULT_HALF_JSON;
}

static void answer_go(struct answer *a)
{
	if (is_stream(a))
		stream_start(a);
	else
		whole_start(a);
}

/* A stall is over. */
static void answer_late(void *arg)
{
	struct answer *a = arg;

	a->ended_by_fault = false;
	a->due_us = clock_us();
	answer_go(a);
}

static void stall(struct answer *a)
{
	answer_fired(a);
	if (a->plan.ms > 0)
		wheel_arm(&sim.wheel, &a->timer, clock_us() + (uint64_t)a->plan.ms * 1000,
		        answer_late, a);
}

void answer_start(struct answer *a)
{
	struct http_request *req = a->req;

	if (!answer_ask(a))
		return;
	switch (a->plan.id) {
	case FAULT_STATUS:
		status_reply(a);
		return;
	case FAULT_HTML_ERROR:
		html_reply(a);
		return;
	case FAULT_RESET_BEFORE_HEADERS:
		answer_fired(a);
		http_reset(req);
		return;
	case FAULT_STALL_HEADERS:
		stall(a);
		return;
	case FAULT_RESET_AFTER_HEADERS:
	case FAULT_STALL_FIRST:
		if (is_stream(a))
			break;
		answer_fired(a);
		head_event(a, 200);
		reply_head(req, 200, REPLY_JSON, 1000, NULL);
		if (a->plan.id == FAULT_RESET_AFTER_HEADERS)
			http_reset(req);
		return;
	default:
		break;
	}
	answer_go(a);
}

void answer_drained(struct answer *a)
{
	if (a->paused)
		stream_resume(a);
}

static void done_event(const struct answer *a, enum http_end how)
{
	static const char *const texts[] = {
		"complete", "refused", "outage", "client_gone", "stopped"};
	bool faulted = *a->refused || a->ended_by_fault || how == HTTP_OUTAGE;
	const char *fault = how == HTTP_OUTAGE ? texts[how]
			    : *a->refused      ? a->refused
					       : a->plan.name;

	if (how == HTTP_GONE || how == HTTP_STOPPED)
		faulted = false;
	events_write("done",
	        "\"req\":%" PRIu64 ",\"how\":\"%s%s\",\"tokens\":%u,\"in_flight\":%" PRIu64,
	        a->serial, faulted ? "fault:" : "", faulted ? fault : texts[how], a->sent,
	        sim.in_flight);
}

void answer_finished(struct answer *a, enum http_end how)
{
	sim.in_flight--;
	if (how == HTTP_GONE)
		sim.client_gone++;
	else if (how == HTTP_CUT || how == HTTP_OUTAGE || *a->refused || a->ended_by_fault)
		sim.faulted++;
	else if (how == HTTP_COMPLETE)
		sim.completed++;
	done_event(a, how);
	wheel_disarm(&a->timer);
	text_release(&a->text);
	buf_release(&a->before);
	buf_release(&a->after);
	free(a->model);
	free(a->tool);
	free(a);
}
