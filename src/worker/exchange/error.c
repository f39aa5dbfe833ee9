/* SPDX-License-Identifier: BSD-2-Clause */
/* error.c - refusals: OpenAI's error object from an ending (see exchange.h). */
#include "base/base.h"
#include "worker/exchange/exchange.h"
#include "base/json_out.h"

void exchange_error_json(struct buf *out, const struct exchange_error *error)
{
	const struct ending_facts *facts = &ending_facts[error->ending];
	const char *message = error->message ? error->message : facts->text;

	buf_adds(out, "{\"error\":{\"message\":");
	json_add_string(out, message, strlen(message));
	json_add_member(out, "type", facts->type);
	json_add_member(out, "param", error->param);
	json_add_member(out, "code", facts->code);
	buf_adds(out, "}}");
}

/* An exchange that is past its head can only be cut, a WebSocket be closed. */
static bool refuse_late(struct exchange *x, const struct exchange_error *error)
{
	const struct ending_facts *facts = &ending_facts[error->ending];

	switch (x->state) {
	case EXCHANGE_ASKED:
		return false;
	case EXCHANGE_STREAMING:
		exchange_abort(x);
		return true;
	case EXCHANGE_WEBSOCKET:
		exchange_close_ws(x, facts->ws ? facts->ws : 1011,
			error->message ? error->message : facts->text);
		return true;
	case EXCHANGE_ENDED:
		return true;
	}
	return true;
}

void exchange_refuse(struct exchange *x, const struct exchange_error *error)
{
	/* what is refused may stand in the text, so no browser is to guess what that is */
	struct exchange_header headers[8] = { { "Content-Type", "application/json" },
		{ "X-Content-Type-Options", "nosniff" } };
	unsigned n = 2;
	char retry_after[24];
	struct buf body = BUF_INIT;

	if (x->state != EXCHANGE_ENDED)
		x->note.ending = error->ending;
	if (refuse_late(x, error))
		return;
	if (error->retry_after_ms) {
		snprintf(retry_after, sizeof(retry_after), "%" PRIu64,
			(error->retry_after_ms + 999) / 1000);
		headers[n++] = (struct exchange_header){ "Retry-After", retry_after };
	}
	if (error->limit)
		headers[n++] = (struct exchange_header){ "X-Headgate-Limit", error->limit };
	if (error->give_up)
		headers[n++] = (struct exchange_header){ "x-should-retry", "false" };
	if (error->ending == END_NO_KEY) /* RFC 6750, 3: no code where nothing was sent */
		headers[n++] = (struct exchange_header){ "WWW-Authenticate", "Bearer realm=\"headgate\"" };
	if (error->ending == END_WRONG_KEY)
		headers[n++] = (struct exchange_header){ "WWW-Authenticate",
			"Bearer realm=\"headgate\", error=\"invalid_token\"" };
	if (error->ending == END_UPGRADE_REQUIRED) {
		headers[n++] = (struct exchange_header){ "Sec-WebSocket-Version", "13" };
		headers[n++] = (struct exchange_header){ "Upgrade", "websocket" };
	}
	exchange_error_json(&body, error);
	exchange_respond(x, ending_facts[error->ending].http, headers, n, body.data, body.len);
	buf_release(&body);
}
