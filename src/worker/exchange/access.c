/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access.c - a line for each request: who asked for what, how it ended, where its time went.
 * Never the query, a header or a body: there may be secrets in them.
 */
#include "base/base.h"
#include "worker/exchange/exchange.h"
#include "base/clock.h"
#include "base/log.h"

#define FACTS_MAX 20
#define TRACE_ID_LEN 32

static bool access_log;

void exchange_access_log(bool on)
{
	access_log = on;
}

struct facts {
	struct log_fact fact[FACTS_MAX];
	unsigned n;
};

static void add_text(struct facts *f, const char *key, const char *text, bool bare)
{
	if (text)
		f->fact[f->n++] = (struct log_fact){ .key = key, .text = text, .bare = bare };
}

static void add_number(struct facts *f, const char *key, uint64_t n, bool bare)
{
	f->fact[f->n++] = (struct log_fact){ .key = key, .number = (double)n, .bare = bare };
}

static void add_ms(struct facts *f, const char *key, uint64_t us)
{
	f->fact[f->n++] =
		(struct log_fact){ .key = key, .number = (double)us / 1e3, .places = 1 };
}

/*
 * The trace that the request belongs to (W3C Trace Context: "00-<32 hex digits>-<16>-<2>"): its id in
 * `to`, or NULL where there is none.
 */
static const char *trace_id(const struct exchange *x, char to[TRACE_ID_LEN + 1])
{
	const char *parent = exchange_header(x, "traceparent");

	if (!parent || strlen(parent) < 55 || parent[2] != '-' || parent[35] != '-' ||
		strspn(parent + 3, "0123456789abcdef") != TRACE_ID_LEN)
		return NULL;
	memcpy(to, parent + 3, TRACE_ID_LEN);
	to[TRACE_ID_LEN] = 0;
	return to;
}

static void add_request(struct facts *f, const struct exchange *x, const char *method, int status,
	enum ending ending)
{
	add_text(f, "request_id", x->id, true);
	add_text(f, "peer", x->request.peer, true);
	add_text(f, "method", method, true);
	add_text(f, "path", x->request.path, true);
	add_number(f, "status", (uint64_t)status, true);
	add_text(f, "ending", ending < END_COUNT ? ending_facts[ending].code : "-", true);
}

static void add_note(struct facts *f, const struct exchange_note *note)
{
	add_text(f, "provider", note->provider, false);
	add_text(f, "model", note->model, false);
	if (note->tokens)
		add_number(f, "tokens", note->tokens, false);
	if (note->queue_wait_us)
		add_ms(f, "queue_wait_ms", note->queue_wait_us);
	if (note->first_token_us)
		add_ms(f, "first_token_ms", note->first_token_us);
}

static void log_access(const struct exchange *x)
{
	struct facts f = { .n = 0 };
	char trace[TRACE_ID_LEN + 1];

	add_request(&f, x, x->request.method, x->status, x->note.ending);
	add_number(&f, "bytes", x->sent_bytes, false);
	add_ms(&f, "ms", clock_us() - x->started_us);
	add_text(&f, "key", x->client.name, false);
	add_note(&f, &x->note);
	add_text(&f, "trace", trace_id(x, trace), false);
	log_facts(LOG_INFO, "access", "request", f.fact, f.n);
}

void exchange_log_message(const struct exchange *x, const char *id, const struct exchange_note *note,
	uint64_t started_us)
{
	struct facts f = { .n = 0 };
	char trace[TRACE_ID_LEN + 1];

	if (!access_log)
		return;
	add_request(&f, x, "WEBSOCKET", ending_facts[note->ending].http, note->ending);
	add_text(&f, "message_id", id, false);
	add_ms(&f, "ms", clock_us() - started_us);
	add_text(&f, "key", x->client.name, false);
	add_note(&f, note);
	add_text(&f, "trace", trace_id(x, trace), false);
	log_facts(LOG_INFO, "access", "request", f.fact, f.n);
}

/* What a limit or a provider refused has been told by them. */
static void log_fault(const struct exchange *x)
{
	static struct log_rate rates[END_COUNT];
	enum ending ending = x->note.ending;
	char more[48] = "";
	uint64_t missed;

	if (ending < END_BAD_REQUEST || ending >= END_HOUSE_FULL ||
		!log_wanted(ending_facts[ending].level) || !log_rate_ok(&rates[ending], &missed))
		return;
	if (missed)
		snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
	log_line(ending_facts[ending].level, "exchange", "[%s] %s: '%s %s' from %s: status %d%s", x->id,
		ending_facts[ending].code, x->request.method, x->request.path, x->request.peer,
		x->status, more);
}

void exchange_log(const struct exchange *x)
{
	if (access_log)
		log_access(x);
	else
		log_fault(x);
}
