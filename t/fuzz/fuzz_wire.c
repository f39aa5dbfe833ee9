/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_wire.c - the head of a provider's answer: it ends at the same place however it comes, says the same when
 * it is read a second time, and nothing that it says of the body rests on a line that another reader would read otherwise.
 */
#include "base/base.h"
#include "base/bug.h"
#include "worker/provider/wire_head.h"

#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines (of a head without folds) that begin with this name and blanks up to a colon. */
static unsigned lines_of(const char *text, size_t len, const char *name)
{
	const char *end = text + len, *at = text;
	unsigned n = 0;

	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at)), *behind;

		while (at < end && (*at == ' ' || *at == '\t'))
			at++;
		behind = at + strlen(name);
		if ((size_t)(end - at) > strlen(name) && !strncasecmp(at, name, strlen(name))) {
			while (behind < end && (*behind == ' ' || *behind == '\t'))
				behind++;
			n += behind < end && *behind == ':';
		}
		at = lf ? lf + 1 : end;
	}
	return n;
}

static void check_accepted(char *text, size_t len, const struct wire_head *head)
{
	struct wire_head again;
	size_t n = 0;
	const char *value = wire_head_find(text, len, "content-type", &n);

	BUG_ON(wire_head_parse(text, len, &again) || memcmp(&again.status, &head->status, sizeof(again.status)));
	BUG_ON(again.framing != head->framing || again.length != head->length || again.keep_alive != head->keep_alive);
	BUG_ON(head->status < 100 || head->status > 999);
	BUG_ON(value && (value < text || value + n > text + len || memchr(value, '\n', n)));
	BUG_ON(head->framing == WIRE_UNTIL_CLOSE && head->keep_alive);
	BUG_ON(head->framing == WIRE_CHUNKED && !lines_of(text, len, "transfer-encoding"));
	BUG_ON(head->framing == WIRE_LENGTH && !lines_of(text, len, "content-length"));
	BUG_ON(head->framing == WIRE_CHUNKED && head->keep_alive && head->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t end = wire_head_end((const char *)data, size, 0), stepped = 0;
	struct wire_head head;
	char *text;

	for (size_t len = 1; len <= size && !stepped; len++)
		stepped = wire_head_end((const char *)data, len, len - 1);
	BUG_ON(end != stepped);
	if (!end)
		return 0;
	text = xmalloc(end); /* of its own, so that reading past it is noticed */
	memcpy(text, data, end);
	if (!wire_head_parse(text, end, &head))
		check_accepted(text, end, &head);
	free(text);
	return 0;
}
