/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page.c - GET / and /status: pages that hold all that they need. Where the chat protocol is
 * spoken is filled in at the word @ENDPOINT@.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "worker/endpoint/page.h"

#define PLACE "@ENDPOINT@"

/* A path, in an attribute. */
static void add_attribute(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (strchr("&<>\"'", *text))
			buf_addf(out, "&#%d;", *text);
		else
			buf_add(out, text, 1);
	}
}

static void respond(struct exchange *x, const struct page *page)
{
	const struct exchange_header headers[] = { { "Content-Type", "text/html; charset=utf-8" },
		{ "Cache-Control", "no-cache" }, { "Content-Security-Policy", page->policy },
		{ "X-Content-Type-Options", "nosniff" }, { "Referrer-Policy", "no-referrer" } };
	const char *place = memmem(page->html, page->len, PLACE, strlen(PLACE));
	size_t before = place ? (size_t)(place - page->html) : page->len;
	struct buf out = BUF_INIT;

	buf_reserve(&out, page->len + 64);
	buf_add(&out, page->html, before);
	if (place) {
		add_attribute(&out, endpoint.conf->ws_endpoint);
		before += strlen(PLACE);
		buf_add(&out, page->html + before, page->len - before);
	}
	exchange_respond(x, 200, headers, ARRAY_SIZE(headers), out.data, out.len);
	buf_release(&out);
}

static void answer_chat(struct exchange *x)
{
	respond(x, &page_chat);
}

static void answer_status(struct exchange *x)
{
	respond(x, &page_status);
}

const struct exchange_app chat_page_app = {
	.name = "chat_page", .on_start = answer_chat, .on_close = endpoint_nothing_held
};
const struct exchange_app status_page_app = {
	.name = "status_page", .on_start = answer_status, .on_close = endpoint_nothing_held
};
