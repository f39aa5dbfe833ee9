/* SPDX-License-Identifier: BSD-2-Clause */
/* native.c - answers of the Responses API (POST /v1/responses): one message, as a whole or as events. */
#include "base/base.h"
#include "tools/llmsim/answer.h"

#define FIRST_DELTA 3 /* its sequence number */

static void add_text(const struct answer *a, struct buf *out)
{
	for (unsigned i = 0; i < a->text.tokens; i++)
		text_token(&a->text, i, out);
}

static const char *status_of(const struct answer *a, bool whole)
{
	return !whole ? "in_progress" : a->cut_short ? "incomplete" : "completed";
}

static void add_part(const struct answer *a, bool whole, struct buf *out)
{
	buf_adds(out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"");
	if (whole)
		add_text(a, out);
	buf_adds(out, "\"}");
}

static void add_item(const struct answer *a, bool whole, struct buf *out)
{
	buf_addf(out,
	        "{\"id\":\"msg_%016" PRIx64 "\",\"type\":\"message\",\"role\":\"assistant\","
	        "\"status\":\"%s\",\"content\":[",
	        a->serial, status_of(a, whole));
	if (whole)
		add_part(a, true, out);
	buf_adds(out, "]}");
}

void native_object(const struct answer *a, bool whole, struct buf *out)
{
	buf_addf(out,
	        "{\"id\":\"resp_%016" PRIx64 "\",\"object\":\"response\",\"created_at\":%" PRId64
	        ",\"status\":\"%s\",\"error\":null,\"incomplete_details\":%s,"
	        "\"instructions\":null,\"metadata\":{},\"model\":\"%s\","
	        "\"parallel_tool_calls\":true,\"temperature\":1,\"tool_choice\":\"auto\","
	        "\"tools\":[],\"top_p\":1,\"output\":[",
	        a->serial, a->created, status_of(a, whole),
	        whole && a->cut_short ? "{\"reason\":\"max_output_tokens\"}" : "null", a->model);
	if (whole)
		add_item(a, true, out);
	buf_adds(out, "]");
	if (whole)
		buf_addf(out,
		        ",\"usage\":{\"input_tokens\":%" PRIu64
		        ",\"input_tokens_details\":{\"cached_tokens\":0,\"cache_write_tokens\":0},"
		        "\"output_tokens\":%u,\"output_tokens_details\":{\"reasoning_tokens\":0},"
		        "\"total_tokens\":%" PRIu64 "}",
		        a->prompt_tokens, a->text.tokens, a->prompt_tokens + a->text.tokens);
	buf_adds(out, "}");
}

static void begin(const char *type, unsigned number, struct buf *out)
{
	buf_addf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u", type, type, number);
}

static void add_place(const struct answer *a, struct buf *out)
{
	buf_addf(out, ",\"item_id\":\"msg_%016" PRIx64 "\",\"output_index\":0,\"content_index\":0",
	        a->serial);
}

static void event_item(const struct answer *a, const char *type, unsigned number, bool whole, struct buf *out)
{
	begin(type, number, out);
	buf_adds(out, ",\"output_index\":0,\"item\":");
	add_item(a, whole, out);
	buf_adds(out, "}\n\n");
}

static void event_part(const struct answer *a, const char *type, unsigned number, bool whole, struct buf *out)
{
	begin(type, number, out);
	add_place(a, out);
	buf_adds(out, ",\"part\":");
	add_part(a, whole, out);
	buf_adds(out, "}\n\n");
}

static void event_response(const struct answer *a, const char *type, unsigned number, bool whole, struct buf *out)
{
	begin(type, number, out);
	buf_adds(out, ",\"response\":");
	native_object(a, whole, out);
	buf_adds(out, "}\n\n");
}

void native_begin(const struct answer *a, struct buf *out)
{
	event_response(a, "response.created", 0, false, out);
	event_item(a, "response.output_item.added", 1, false, out);
	event_part(a, "response.content_part.added", 2, false, out);
}

void native_token(const struct answer *a, struct buf *out)
{
	begin("response.output_text.delta", FIRST_DELTA + a->sent, out);
	add_place(a, out);
	buf_adds(out, ",\"logprobs\":[],\"delta\":\"");
	text_token(&a->text, a->sent, out);
	buf_adds(out, "\"}\n\n");
}

void native_end(const struct answer *a, struct buf *out)
{
	unsigned number = FIRST_DELTA + a->text.tokens;

	begin("response.output_text.done", number, out);
	add_place(a, out);
	buf_adds(out, ",\"logprobs\":[],\"text\":\"");
	add_text(a, out);
	buf_adds(out, "\"}\n\n");
	event_part(a, "response.content_part.done", number + 1, true, out);
	event_item(a, "response.output_item.done", number + 2, true, out);
	if (a->plan.id != FAULT_NO_DONE)
		event_response(a, a->cut_short ? "response.incomplete" : "response.completed",
		        number + 3, true, out);
}
