/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * echo.c - chat.echo_endpoint: every body and every WebSocket message comes back unchanged. For
 * conformance suites, and for people who debug a client or a proxy in between.
 *
 * A WebSocket takes a place of max_connections as any other does. What its client does not read
 * stops its next message from being read, so nothing piles up here.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"

/* For a request without a body: something to see. */
#define NOTHING "echo\n"

static void echo_body(struct exchange *x)
{
	/* never a type that a browser would run */
	static const struct exchange_header headers[] = { { "Content-Type", "application/octet-stream" },
		{ "X-Content-Type-Options", "nosniff" }, { "Cache-Control", "no-store" } };
	const struct exchange_request *request = &x->request;

	if (request->body_len)
		exchange_respond(x, 200, headers, ARRAY_SIZE(headers), request->body, request->body_len);
	else
		exchange_respond(x, 200, headers, ARRAY_SIZE(headers), NOTHING, strlen(NOTHING));
}

static void on_start(struct exchange *x)
{
	struct endpoint_place *place;

	if (!x->request.websocket) {
		echo_body(x);
		return;
	}
	x->app_data = place = xcalloc(1, sizeof(*place));
	endpoint_enter(x, place, ADMIT_WEBSOCKET, exchange_accept_ws);
}

static void on_drain(struct exchange *x)
{
	if (x->state == EXCHANGE_ASKED)
		endpoint_give_up(x);
	if (x->state != EXCHANGE_WEBSOCKET)
		return;
	x->note.ending = END_DRAINING;
	exchange_close_ws(x, ending_facts[END_DRAINING].ws, "service restart");
}

static void on_close(struct exchange *x)
{
	if (!x->app_data)
		return;
	endpoint_leave(x->app_data);
	free(x->app_data);
}

const struct exchange_app echo_app = {
	.name = "echo",
	.on_start = on_start,
	.on_message = exchange_send_text,
	.on_binary = exchange_send_binary,
	.on_drain = on_drain,
	.on_close = on_close,
};
