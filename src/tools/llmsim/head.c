/* SPDX-License-Identifier: BSD-2-Clause */
/* head.c - see head.h. */
#include "base/base.h"
#include "tools/llmsim/head.h"

#include <ctype.h>
#include <strings.h>

#define LINE_MAX_BYTES 4096

/* RFC 9110, section 5.6.2. */
static bool is_token(const char *s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	if (!*s)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr(marks, *s))
			return false;
	return true;
}

static int request_line(struct head *h, char *line, const char **why_r)
{
	char *target = strchr(line, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;

	*why_r = "request line is not METHOD SP target SP version";
	if (!version)
		return 400;
	*target++ = 0;
	*version++ = 0;
	if (!is_token(line))
		return 400;
	for (const char *s = target; *s; s++)
		if (*s <= 0x20 || *s == 0x7f)
			return 400;
	*why_r = "target does not start with '/'";
	if (*target != '/')
		return 400;
	*why_r = "version is neither HTTP/1.1 nor HTTP/1.0";
	if (strcmp(version, "HTTP/1.1") && strcmp(version, "HTTP/1.0"))
		return 505;
	h->http_1_0 = version[7] == '0';
	h->keep_alive = !h->http_1_0;
	h->method = line;
	h->path = target;
	target[strcspn(target, "?")] = 0;
	return 0;
}

static bool list_has(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (*list) {
		list += strspn(list, ", \t");
		if (!strncasecmp(list, word, len) && (!list[len] || strchr(", \t", list[len])))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

static bool length_of(const char *value, uint64_t *length_r)
{
	size_t digits = strspn(value, "0123456789");

	if (!digits || digits > 18 || value[digits])
		return false;
	*length_r = strtoull(value, NULL, 10);
	return true;
}

/* What has been seen so far, to tell contradictions. */
struct seen {
	bool host, length, coding;
};

static int field(
        struct head *h, struct seen *seen, const char *name, char *value, const char **why_r)
{
	if (!strcasecmp(name, "host")) {
		*why_r = "more than one Host";
		if (seen->host)
			return 400;
		seen->host = true;
	} else if (!strcasecmp(name, "content-length")) {
		*why_r = "Content-Length is not one number";
		if (seen->length || !length_of(value, &h->content_length))
			return 400;
		seen->length = true;
	} else if (!strcasecmp(name, "transfer-encoding")) {
		*why_r = "Transfer-Encoding is not just 'chunked'";
		if (seen->coding || strcasecmp(value, "chunked"))
			return 400;
		seen->coding = h->chunked = true;
	} else if (!strcasecmp(name, "connection")) {
		if (list_has(value, "close"))
			h->keep_alive = false;
	} else if (!strcasecmp(name, "expect")) {
		*why_r = "Expect is not '100-continue'";
		if (strcasecmp(value, "100-continue"))
			return 417;
		h->expects_continue = !h->http_1_0;
	} else if (!strcasecmp(name, "authorization")) {
		*why_r = "more than one Authorization";
		if (h->authorization)
			return 400;
		h->authorization = value;
	}
	return 0;
}

static int field_line(struct head *h, struct seen *seen, char *line, const char **why_r)
{
	char *value = strchr(line, ':');
	size_t len;

	*why_r = "header line without a colon, folded, or with a bad name";
	if (!value)
		return 400;
	*value++ = 0;
	if (!is_token(line))
		return 400;
	value += strspn(value, " \t");
	len = strlen(value);
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		value[--len] = 0;
	*why_r = "control character in a header";
	for (const char *s = value; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return 400;
	return field(h, seen, line, value, why_r);
}

int head_parse(struct head *h, char *bytes, size_t len, const char **why_r)
{
	struct seen seen = {0};
	char *end = bytes + len;
	bool first = true;
	int status;

	*h = (struct head){0};
	*why_r = "NUL in the head";
	if (memchr(bytes, 0, len))
		return 400;
	for (char *line = bytes, *next; line < end - 2; line = next) {
		/* The head ends with CR LF CR LF, so there always is one. */
		char *lf = memchr(line, '\n', (size_t)(end - line));

		next = lf + 1;
		*why_r = "line that does not end with CR LF";
		if (lf == line || lf[-1] != '\r')
			return 400;
		lf[-1] = 0;
		status = first ? request_line(h, line, why_r)
		               : field_line(h, &seen, line, why_r);
		if (status)
			return status;
		first = false;
	}
	*why_r = "no Host";
	if (!h->http_1_0 && !seen.host)
		return 400;
	*why_r = "both Content-Length and Transfer-Encoding";
	if (seen.length && seen.coding)
		return 400;
	*why_r = "Transfer-Encoding in HTTP/1.0";
	if (h->http_1_0 && seen.coding)
		return 400;
	*why_r = "body too large";
	return h->content_length > BODY_MAX_BYTES ? 413 : 0;
}

void body_init(struct body *b, const struct head *h)
{
	*b = (struct body){.chunked = h->chunked, .left = h->content_length};
}

/* The line end of a chunk-size line is complete. */
static enum body_state size_line_end(struct body *b)
{
	if (!b->digits)
		return BODY_BAD;
	b->step = b->left ? CHUNK_DATA : CHUNK_TRAILER;
	b->line_bytes = b->digits = 0;
	b->extension = false;
	return BODY_MORE;
}

static enum body_state size_char(struct body *b, char c)
{
	if (b->extension)
		return BODY_MORE;
	if (c == ';' && b->digits) {
		b->extension = true;
		return BODY_MORE;
	}
	if (!isxdigit((unsigned char)c) || ++b->digits > 15)
		return BODY_BAD;
	b->left = b->left * 16 +
	          (uint64_t)(isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10);
	return BODY_MORE;
}

/* One character of what is between the chunks: sizes, line ends, trailers. */
static enum body_state framing_char(struct body *b, char c)
{
	if (++b->line_bytes > LINE_MAX_BYTES)
		return BODY_BAD;
	if (!b->cr) {
		b->cr = c == '\r';
		if (b->cr)
			return BODY_MORE;
		if (c == '\n' || b->step == CHUNK_END)
			return BODY_BAD;
		return b->step == CHUNK_SIZE ? size_char(b, c) : BODY_MORE;
	}
	b->cr = false;
	if (c != '\n')
		return BODY_BAD;
	if (b->step == CHUNK_SIZE)
		return size_line_end(b);
	if (b->step == CHUNK_TRAILER && b->line_bytes == 2)
		return BODY_DONE;
	if (b->step == CHUNK_END)
		b->step = CHUNK_SIZE;
	b->line_bytes = 0;
	return BODY_MORE;
}

enum body_state body_feed(
        struct body *b, const char *bytes, size_t len, struct buf *out, size_t *used_r)
{
	enum body_state state = !b->chunked && !b->left ? BODY_DONE : BODY_MORE;
	size_t at = 0;

	while (state == BODY_MORE && at < len) {
		size_t take = len - at;

		if (b->chunked && b->step != CHUNK_DATA) {
			state = framing_char(b, bytes[at++]);
			continue;
		}
		if (take > b->left)
			take = b->left;
		if (out->len + take > BODY_MAX_BYTES) {
			state = BODY_TOO_LARGE;
			break;
		}
		buf_add(out, bytes + at, take);
		at += take;
		b->left -= take;
		if (b->left)
			continue;
		b->step = CHUNK_END;
		if (!b->chunked)
			state = BODY_DONE;
	}
	*used_r = at;
	return state;
}
