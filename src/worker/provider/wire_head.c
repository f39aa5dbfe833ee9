/* SPDX-License-Identifier: BSD-2-Clause */
/* wire_head.c - see wire_head.h. */
#include "base/base.h"
#include "worker/provider/wire_head.h"

#include <strings.h>

/* A run of bytes within the head. */
struct span {
	const char *at;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(const char *from, const char *to)
{
	while (from < to && is_blank(*from))
		from++;
	while (to > from && is_blank(to[-1]))
		to--;
	return (struct span){ from, (size_t)(to - from) };
}

static bool equals(struct span s, const char *text)
{
	return s.len == strlen(text) && !strncasecmp(s.at, text, s.len);
}

size_t wire_head_end(const char *bytes, size_t len, size_t seen)
{
	const char *end = bytes + len, *lf = bytes + (seen > 3 ? seen - 3 : 0);

	while ((lf = memchr(lf, '\n', (size_t)(end - lf)))) {
		lf++;
		if (lf < end && *lf == '\n')
			return (size_t)(lf + 1 - bytes);
		if (lf + 1 < end && lf[0] == '\r' && lf[1] == '\n')
			return (size_t)(lf + 2 - bytes);
	}
	return 0;
}

/* The line at *at, without its end; *at moves to the next one. */
static struct span next_line(const char **at, const char *end)
{
	const char *from = *at, *lf = memchr(from, '\n', (size_t)(end - from)), *to = lf ? lf : end;

	*at = lf ? lf + 1 : end;
	if (to > from && to[-1] == '\r')
		to--;
	return (struct span){ from, (size_t)(to - from) };
}

/* RFC 9112, 5.2: each fold is as good as blanks. */
static void unfold(char *bytes, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++) {
		if (bytes[i] != '\n' || !is_blank(bytes[i + 1]))
			continue;
		bytes[i] = ' ';
		if (i && bytes[i - 1] == '\r')
			bytes[i - 1] = ' ';
	}
}

/* "HTTP/1.1 200 OK", also without a reason. */
static bool read_status_line(struct span line, struct wire_head *head)
{
	const char *c = line.at;

	if (line.len < 12 || memcmp(c, "HTTP/1.", 7) || (c[7] != '0' && c[7] != '1') || c[8] != ' ')
		return false;
	for (int i = 9; i < 12; i++)
		if (c[i] < '0' || c[i] > '9')
			return false;
	if (line.len > 12 && c[12] != ' ')
		return false;
	head->status = (c[9] - '0') * 100 + (c[10] - '0') * 10 + (c[11] - '0');
	head->keep_alive = c[7] == '1';
	return head->status >= 100;
}

/* The next member of a comma-separated list; false: there is none. */
static bool next_member(struct span *list, struct span *member)
{
	const char *comma, *end = list->at + list->len;

	if (!list->len)
		return false;
	comma = memchr(list->at, ',', list->len);
	*member = trim(list->at, comma ? comma : end);
	*list = comma ? (struct span){ comma + 1, (size_t)(end - comma - 1) } : (struct span){ end, 0 };
	return true;
}

static const char *read_length(struct span value, struct wire_head *head)
{
	struct span one;

	while (next_member(&value, &one)) { /* "5, 5" is as good as 5 */
		uint64_t length = 0;

		if (!one.len || one.len > 18)
			return "its Content-Length is none";
		for (size_t i = 0; i < one.len; i++) {
			if (one.at[i] < '0' || one.at[i] > '9')
				return "its Content-Length is none";
			length = length * 10 + (uint64_t)(one.at[i] - '0');
		}
		if (head->framing == WIRE_LENGTH && head->length != length)
			return "it has two lengths";
		if (head->framing == WIRE_CHUNKED)
			head->closes = true; /* as in read_coding() */
		else
			head->framing = WIRE_LENGTH;
		head->length = length;
	}
	return NULL;
}

static const char *read_coding(struct span value, struct wire_head *head)
{
	struct span one;

	while (next_member(&value, &one)) {
		if (equals(one, "identity") || !one.len)
			continue;
		if (!equals(one, "chunked") || head->framing == WIRE_CHUNKED)
			return "its Transfer-Encoding is not chunked, once";
		if (head->framing == WIRE_LENGTH) /* RFC 9112, 6.3: somebody may have been fooled */
			head->closes = true;
		head->framing = WIRE_CHUNKED;
	}
	return NULL;
}

static const char *read_connection(struct span value, struct wire_head *head)
{
	struct span one;

	while (next_member(&value, &one))
		if (equals(one, "close"))
			head->closes = true;
		else if (equals(one, "keep-alive"))
			head->keep_alive = true;
	return NULL;
}

static const struct {
	const char *name;
	const char *(*read)(struct span value, struct wire_head *head);
} fields[] = {
	{ "Content-Length", read_length },
	{ "Transfer-Encoding", read_coding },
	{ "Connection", read_connection },
};

const char *wire_head_parse(char *bytes, size_t len, struct wire_head *head)
{
	const char *at = bytes, *end = bytes + len, *wrong = NULL;
	struct span line;

	*head = (struct wire_head){ .framing = WIRE_UNTIL_CLOSE };
	if (memchr(bytes, 0, len))
		return "there is a NUL in its head";
	unfold(bytes, len);
	line = next_line(&at, end);
	if (!read_status_line(line, head))
		return "it does not begin with HTTP/1.1 and a status";
	while (at < end && !wrong) {
		const char *colon;
		struct span name;

		line = next_line(&at, end);
		if (!line.len)
			break;
		colon = memchr(line.at, ':', line.len);
		if (!colon)
			return "there is a header without a colon";
		name = trim(line.at, colon);
		for (size_t i = 0; i < ARRAY_SIZE(fields) && !wrong; i++)
			if (equals(name, fields[i].name))
				wrong = fields[i].read(trim(colon + 1, line.at + line.len), head);
	}
	if (head->status < 200 || head->status == 204 || head->status == 304)
		head->framing = WIRE_NO_BODY;
	head->keep_alive = head->keep_alive && !head->closes && head->framing != WIRE_UNTIL_CLOSE;
	return wrong;
}

const char *wire_head_find(const char *bytes, size_t len, const char *name, size_t *len_r)
{
	const char *at = bytes, *end = bytes + len;

	while (at < end) {
		struct span line = next_line(&at, end), value;
		const char *colon = memchr(line.at, ':', line.len);

		if (!colon || !equals(trim(line.at, colon), name))
			continue;
		value = trim(colon + 1, line.at + line.len);
		*len_r = value.len;
		return value.at;
	}
	return NULL;
}
