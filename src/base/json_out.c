/* SPDX-License-Identifier: BSD-2-Clause */
/* json_out.c - see json_out.h. */
#include "base/base.h"
#include "base/json_out.h"
#include "base/json_scan.h"

/* The escape of a byte that json_plain_run() stopped at, as short as it can be. */
static void add_special(struct buf *b, char c)
{
	static const char bytes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	const char *found = c ? strchr(bytes, c) : NULL;

	if (found)
		buf_add(b, (char[]){'\\', letters[found - bytes]}, 2);
	else if ((unsigned char)c < 0x20)
		buf_addf(b, "\\u%04x", (unsigned)c);
	else
		buf_add(b, "\xef\xbf\xbd", 3);
}

void json_add_escaped(struct buf *b, const char *bytes, size_t len)
{
	for (;;) {
		size_t run = json_plain_run(bytes, len);

		buf_add(b, bytes, run);
		if (run == len)
			return;
		add_special(b, bytes[run]);
		bytes += run + 1;
		len -= run + 1;
	}
}

void json_add_string(struct buf *b, const char *bytes, size_t len)
{
	buf_reserve(b, len + 2); /* enough, mostly */
	buf_add(b, "\"", 1);
	json_add_escaped(b, bytes, len);
	buf_add(b, "\"", 1);
}

void json_add_member(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	if (text)
		json_add_string(b, text, strlen(text));
	else
		buf_adds(b, "null");
}
