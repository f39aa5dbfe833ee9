/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * failure.c - how a failure is told to a client: what was wrong with a request, and
 * what became of a provider call, with the provider's own words where it had any.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/json_scan.h"

/* Clients take no notice of a longer one. */
#define RETRY_AFTER_MAX_MS 60000

void endpoint_fault(struct endpoint_error *e, enum ending ending, const char *param,
	const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	e->error = (struct exchange_error){
		.ending = ending, .message = e->message, .param = param
	};
}

void endpoint_bad_json(struct endpoint_error *e, const struct json_fault *fault)
{
	endpoint_fault(e, END_BAD_JSON, NULL, "invalid JSON at line %u, column %u: %s",
		fault->line, fault->column, json_fault_text(fault->code));
}

/* The provider's own message, cut to size; "" if its body has none. */
static void read_message(const struct provider_result *result, char *to, size_t size)
{
	struct json_find wanted[] = { { .path = "error.message" }, { .path = "error" },
		{ .path = "message" }, { .path = "detail" } };
	struct buf text = BUF_INIT;

	to[0] = 0;
	if (!result->body_len || !json_scan(result->body, result->body_len, ENDPOINT_JSON_DEPTH,
					 wanted, ARRAY_SIZE(wanted), NULL))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(wanted) && !text.len; i++)
		json_find_decode(result->body, &wanted[i], &text);
	if (text.len)
		snprintf(to, size, "%s", text.data);
	buf_release(&text);
}

void endpoint_failure(struct endpoint_error *e, const struct provider_result *result)
{
	const char *name = provider_name(endpoint.providers, result->provider);
	const char *what = result->message ? result->message : ending_facts[result->ending].text;
	char said[400] = "";

	/* What a provider says of a key may hold part of it. */
	if (result->ending == END_PROVIDER_STATUS) {
		read_message(result, said, sizeof(said));
		endpoint_fault(e, result->ending, NULL, "provider '%s' answered with status %d%s%s",
			name, result->status, said[0] ? ": " : "", said);
	} else {
		endpoint_fault(e, result->ending, NULL, "provider '%s': %s", name, what);
	}
	e->error.limit = result->limit;
	e->error.retry_after_ms = result->retry_after_ms < RETRY_AFTER_MAX_MS ? result->retry_after_ms
									      : RETRY_AFTER_MAX_MS;
	e->error.give_up = result->give_up;
}

/* Is it an error object that OpenAI's clients understand? */
static bool is_error_object(const char *body, size_t len)
{
	struct json_find error = { .path = "error" };

	return len && json_scan(body, len, ENDPOINT_JSON_DEPTH, &error, 1, NULL) &&
		error.kind != JSON_IS_MISSING;
}

static void respond_with_status(struct exchange *x, const struct provider_result *result,
	const struct exchange_error *error)
{
	struct exchange_header headers[4] = { { "Content-Type", "application/json" } };
	unsigned n = 1;
	char seconds[24];
	struct buf own = BUF_INIT;

	if (error->retry_after_ms) {
		snprintf(seconds, sizeof(seconds), "%" PRIu64, (error->retry_after_ms + 999) / 1000);
		headers[n++] = (struct exchange_header){ "Retry-After", seconds };
	}
	if (error->limit)
		headers[n++] = (struct exchange_header){ "X-Headgate-Limit", error->limit };
	if (error->give_up)
		headers[n++] = (struct exchange_header){ "x-should-retry", "false" };
	if (is_error_object(result->body, result->body_len)) {
		exchange_respond(x, result->status, headers, n, result->body, result->body_len);
		return;
	}
	exchange_error_json(&own, error);
	exchange_respond(x, result->status, headers, n, own.data, own.len);
	buf_release(&own);
}

void endpoint_respond_failure(struct exchange *x, const struct provider_result *result)
{
	struct endpoint_error e;

	endpoint_failure(&e, result);
	x->note.ending = result->ending;
	if (result->ending == END_PROVIDER_STATUS && result->status >= 400 && result->status < 600)
		respond_with_status(x, result, &e.error);
	else
		exchange_refuse(x, &e.error);
}
