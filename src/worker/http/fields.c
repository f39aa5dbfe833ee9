/* SPDX-License-Identifier: BSD-2-Clause */
/* fields.c - see fields.h. */
#include "base/base.h"
#include "worker/http/fields.h"
#include "base/clock.h"

#include <time.h>

/* "Mon, 23 Nov 2026 11:20:24 GMT", made once a second. */
static const char *http_date(void)
{
	static char text[40];
	static time_t of;
	time_t now = (time_t)clock_wall_s();
	struct tm tm;

	if (now != of) {
		of = now;
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	}
	return text;
}

unsigned fields_common(const struct exchange *x, struct exchange_header out[FIELDS_COMMON_MAX])
{
	unsigned n = 0;

	out[n++] = (struct exchange_header){ "Date", http_date() };
	if (!x)
		return n;
	out[n++] = (struct exchange_header){ "X-Request-Id", x->id };
	if (x->cors_origin) {
		out[n++] = (struct exchange_header){ "Access-Control-Allow-Origin", x->cors_origin };
		out[n++] = (struct exchange_header){ "Access-Control-Expose-Headers",
			"x-request-id, retry-after, x-headgate-limit" };
		out[n++] = (struct exchange_header){ "Vary", "Origin" };
	}
	return n;
}

void fields_add_value(struct buf *out, const char *value)
{
	size_t from = out->len;

	buf_adds(out, value);
	for (char *p = out->data + from; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
}
