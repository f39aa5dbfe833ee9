/* SPDX-License-Identifier: BSD-2-Clause */
/* reply.c - see reply.h. */
#include "base/base.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/faults.h"
#include "tools/llmsim/text.h"

#define STATUS_MAX 600

static uint64_t answers[STATUS_MAX];
static uint64_t serial;

static const char *reason_of(int status)
{
	const struct fault_status *row = fault_status(status);

	return row             ? row->reason
	       : status == 200 ? "OK"
	       : status == 405 ? "Method Not Allowed"
	                       : "Unknown";
}

void reply_head(struct http_request *req, int status, const char *type, int64_t length,
        const char *extra)
{
	struct buf out = BUF_INIT;

	if (status < STATUS_MAX)
		answers[status]++;
	buf_addf(&out,
	        "HTTP/1.1 %d %s\r\ncontent-type: %s\r\nx-request-id: req_%016" PRIx64 "\r\n",
	        status, reason_of(status), type, ++serial);
	if (length != REPLY_CHUNKED)
		buf_addf(&out, "content-length: %" PRId64 "\r\n", length);
	else if (req->head.http_1_0)
		req->head.keep_alive = false;
	else
		buf_adds(&out, "transfer-encoding: chunked\r\n");
	if (!req->head.keep_alive)
		buf_adds(&out, "connection: close\r\n");
	buf_adds(&out, extra ? extra : "");
	buf_adds(&out, "\r\n");
	http_send(req, out.data, out.len);
	buf_release(&out);
}

void reply_chunk(const struct http_request *req, const char *bytes, size_t len, struct buf *out)
{
	char size[24];

	if (!req->head.http_1_0)
		buf_add(out, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", len));
	buf_add(out, bytes, len);
	if (!req->head.http_1_0)
		buf_add(out, "\r\n", 2);
}

void reply_last_chunk(const struct http_request *req, struct buf *out)
{
	if (!req->head.http_1_0)
		buf_adds(out, "0\r\n\r\n");
}

void reply(struct http_request *req, int status, const char *type, const char *extra,
        const char *body, size_t len)
{
	reply_head(req, status, type, (int64_t)len, extra);
	http_send(req, body, len);
	http_finish(req);
}

static void add_string(struct buf *out, const char *name, const char *value)
{
	buf_addf(out, ",\"%s\":", name);
	if (!value || !*value) {
		buf_adds(out, "null");
		return;
	}
	buf_adds(out, "\"");
	text_escape(value, strlen(value), out);
	buf_adds(out, "\"");
}

void reply_error(struct http_request *req, int status, const char *type, const char *code,
        const char *param, const char *extra, const char *message)
{
	struct buf body = BUF_INIT;

	buf_adds(&body, "{\"error\":{\"message\":\"");
	text_escape(message, strlen(message), &body);
	buf_adds(&body, "\"");
	add_string(&body, "type", type);
	add_string(&body, "param", param);
	add_string(&body, "code", code);
	buf_adds(&body, "}}");
	reply(req, status, REPLY_JSON, extra, body.data, body.len);
	buf_release(&body);
}

void reply_statuses(struct buf *out)
{
	const char *comma = "";

	for (int i = 0; i < STATUS_MAX; i++) {
		if (!answers[i])
			continue;
		buf_addf(out, "%s\"%d\":%" PRIu64, comma, i, answers[i]);
		comma = ",";
	}
}

void reply_statuses_reset(void)
{
	memset(answers, 0, sizeof(answers));
}
