/* SPDX-License-Identifier: BSD-2-Clause */
/* head.c - see head.h. Section numbers are those of RFC 9112 where no other is named. */
#include "base/base.h"
#include "worker/http/head.h"

#include <strings.h>

/* A refusal in the making. */
#define REFUSE(ending, text)                                                                    \
	do {                                                                                    \
		*why = (text);                                                                  \
		return (ending);                                                                \
	} while (0)

static bool is_token_char(unsigned char c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr(others, c));
}

static size_t token_len(const char *at, const char *end)
{
	const char *p = at;

	while (p < end && is_token_char((unsigned char)*p))
		p++;
	return (size_t)(p - at);
}

enum head_state head_scan(const char *bytes, size_t len, size_t *scanned)
{
	const char *lf;

	if (len && !is_token_char((unsigned char)bytes[0]))
		return HEAD_BROKEN;
	while ((lf = memchr(bytes + *scanned, '\n', len - *scanned))) {
		size_t at = (size_t)(lf - bytes);

		if (!at || bytes[at - 1] != '\r')
			return HEAD_BROKEN;
		*scanned = at + 1;
		if (at >= 3 && bytes[at - 2] == '\n')
			return HEAD_WHOLE;
	}
	*scanned = len;
	return HEAD_UNFINISHED;
}

size_t head_first_line(const char *bytes, size_t len)
{
	const char *cr = memchr(bytes, '\r', len);

	return cr ? (size_t)(cr - bytes) : len;
}

bool head_list_has(const char *list, const char *token)
{
	size_t len = strlen(token);

	while (*list) {
		size_t item = strcspn(list, ",");
		const char *next = list + item;

		list += strspn(list, " \t");
		while (next > list && (next[-1] == ' ' || next[-1] == '\t'))
			next--;
		if ((size_t)(next - list) == len && !strncasecmp(list, token, len))
			return true;
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return false;
}

/* ---- the request line (3) ---- */

bool head_authority_ok(const char *text)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				      "-._~!$&'()*+;=%:[]";

	return *text && *text != ':' && !text[strspn(text, allowed)];
}

/*
 * "http://host/path" (3.2.2): the authority moves one byte to the left, so that it can have its NUL
 * while the path keeps its slash. Returns where path and query are, or NULL.
 */
static char *split_absolute(char *target, const char **authority_r)
{
	size_t scheme = !strncasecmp(target, "http://", 7)    ? 7
			: !strncasecmp(target, "https://", 8) ? 8
							      : 0;
	size_t len = scheme ? strcspn(target + scheme, "/?") : 0;
	char *rest = target + scheme + len;

	if (!scheme)
		return NULL;
	memmove(target + scheme - 1, target + scheme, len);
	target[scheme - 1 + len] = 0;
	*authority_r = target + scheme - 1;
	return head_authority_ok(*authority_r) ? rest : NULL;
}

bool head_target_ok(const char *target)
{
	for (; *target; target++)
		if (*target <= ' ' || *target >= 0x7f || *target == '#')
			return false;
	return true;
}

static enum ending parse_target(char *target, struct head *h, const char **authority_r, const char **why)
{
	char *query;

	if (!head_target_ok(target))
		REFUSE(END_BAD_REQUEST, HEAD_TARGET_WRONG);
	if (!strcmp(h->method, "CONNECT"))
		REFUSE(END_BAD_REQUEST, "CONNECT is not served here");
	if (!strcmp(target, "*")) {
		if (strcmp(h->method, "OPTIONS"))
			REFUSE(END_BAD_REQUEST, "the request target '*' is for OPTIONS only");
		h->path = target;
		h->query = "";
		return END_COMPLETE;
	}
	if (*target != '/') {
		target = split_absolute(target, authority_r);
		if (!target)
			REFUSE(END_BAD_REQUEST, "the request target is neither a path nor an http URL");
	}
	query = strchr(target, '?');
	h->query = query ? query + 1 : "";
	h->path = *target == '/' ? target : "/";
	if (query)
		*query = 0;
	return END_COMPLETE;
}

/* "HTTP/1.1" and nothing around it (2.3). */
static enum ending parse_version(const char *version, struct head *h, const char **why)
{
	if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) || version[6] != '.' ||
		version[5] < '0' || version[5] > '9' || version[7] < '0' || version[7] > '9')
		REFUSE(END_BAD_REQUEST, "the request line does not end in an HTTP version");
	if (version[5] != '1' || version[7] > '1')
		REFUSE(END_VERSION_NOT_SUPPORTED, NULL);
	h->minor = (unsigned)(version[7] - '0');
	return END_COMPLETE;
}

/* method SP target SP version; line is NUL-terminated and holds no control characters. */
static enum ending parse_request_line(char *line, char *end, struct head *h, const char **authority_r,
	const char **why)
{
	size_t method = token_len(line, end);
	char *target = line + method + 1;
	char *space;
	enum ending bad;

	if (!method || line[method] != ' ')
		REFUSE(END_BAD_REQUEST, "the request line does not start with a method");
	line[method] = 0;
	h->method = line;
	space = strchr(target, ' ');
	if (!space || space == target)
		REFUSE(END_BAD_REQUEST, "the request line has no target or no HTTP version");
	*space = 0;
	bad = parse_version(space + 1, h, why);
	return bad != END_COMPLETE ? bad : parse_target(target, h, authority_r, why);
}

/* ---- fields (5) ---- */

/* name ":" OWS value OWS; no folding, no space before the colon (5.1, 5.2). */
static enum ending parse_field(char *line, char *end, struct exchange_header *field, const char **why)
{
	size_t name = token_len(line, end);
	char *value = line + name + 1;

	if (*line == ' ' || *line == '\t')
		REFUSE(END_BAD_REQUEST, "a header field is folded over two lines");
	if (!name || line[name] != ':')
		REFUSE(END_BAD_REQUEST, "a header field's name is not followed by a colon");
	line[name] = 0;
	while (*value == ' ' || *value == '\t')
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = 0;
	field->name = line;
	field->value = value;
	return END_COMPLETE;
}

/* Digits only, no list, no overflow (6.2; RFC 9110 8.6). */
static bool parse_length(const char *text, uint64_t *value_r)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, digit, &value))
			return false;
	}
	*value_r = value;
	return true;
}

/* What decides how the body is framed, and who is asked. */
struct framing {
	const char *length;
	const char *coding;
	const char *host;
	const char *expect;
	unsigned lengths;
	unsigned codings;
	unsigned hosts;
};

static void note_field(struct head *h, struct exchange_header *field, struct framing *f)
{
	const char *name = field->name, *value = field->value;

	if (!strcasecmp(name, "Content-Length")) {
		f->length = value;
		f->lengths++;
	} else if (!strcasecmp(name, "Transfer-Encoding")) {
		f->coding = value;
		f->codings++;
	} else if (!strcasecmp(name, "Host")) {
		f->host = value;
		f->hosts++;
	} else if (!strcasecmp(name, "Expect")) {
		f->expect = value;
	} else if (!strcasecmp(name, "Connection")) {
		h->close |= head_list_has(value, "close");
		h->keep_alive |= head_list_has(value, "keep-alive");
		h->upgrade |= head_list_has(value, "upgrade");
	}
}

static enum ending check_transfer_encoding(const struct head *h, const struct framing *f, const char **why)
{
	const char *last;

	if (h->minor == 0)
		REFUSE(END_BAD_REQUEST, "Transfer-Encoding in an HTTP/1.0 request");
	if (f->lengths)
		REFUSE(END_BAD_REQUEST, "both Content-Length and Transfer-Encoding");
	if (f->codings > 1)
		REFUSE(END_BAD_REQUEST, "more than one Transfer-Encoding field");
	if (!strcasecmp(f->coding, "chunked"))
		return END_COMPLETE;
	last = strrchr(f->coding, ',');
	last = last ? last + 1 + strspn(last + 1, " \t") : "";
	if (strcasecmp(last, "chunked"))
		REFUSE(END_BAD_REQUEST, "the last transfer coding is not chunked");
	REFUSE(END_NOT_IMPLEMENTED, NULL);
}

/* The length of the body, in exactly one way (6.3). */
static enum ending check_body(struct head *h, const struct framing *f, const char **why)
{
	if (f->codings) {
		enum ending bad = check_transfer_encoding(h, f, why);

		h->chunked = h->has_body = bad == END_COMPLETE;
		return bad;
	}
	if (f->lengths > 1)
		REFUSE(END_BAD_REQUEST, "more than one Content-Length field");
	if (f->lengths && !parse_length(f->length, &h->length))
		REFUSE(END_BAD_REQUEST, "Content-Length is not a number of bytes");
	h->has_body = h->length > 0;
	return END_COMPLETE;
}

static enum ending check_fields(struct head *h, const struct framing *f, const char **why)
{
	if (f->hosts > 1)
		REFUSE(END_BAD_REQUEST, "more than one Host field");
	if (!f->hosts && h->minor)
		REFUSE(END_BAD_REQUEST, "no Host field");
	if (f->hosts && !head_authority_ok(f->host))
		REFUSE(END_BAD_REQUEST, "the Host field is not a host");
	if (f->expect && h->minor) {
		if (strcasecmp(f->expect, "100-continue"))
			REFUSE(END_EXPECTATION_FAILED, NULL);
		h->expects_continue = true;
	}
	return check_body(h, f, why);
}

/* The authority of an absolute target wins over the Host field (3.2.2). */
static void override_host(struct head *h, const char *authority)
{
	for (unsigned i = 0; authority && i < h->nfields; i++)
		if (!strcasecmp(h->fields[i].name, "Host"))
			h->fields[i].value = authority;
}

/* ---- the whole ---- */

/* Lines end in CRLF and nowhere else is either of the two; other control bytes are TABs (5.5). */
static enum ending split_lines(char *text, size_t len, unsigned *lines_r, const char **why)
{
	unsigned lines = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\r' && i + 1 < len && text[i + 1] == '\n') {
			text[i++] = 0;
			lines++;
		} else if ((c < ' ' && c != '\t') || c == 0x7f) {
			REFUSE(END_BAD_REQUEST, "a control character in the request head");
		}
	}
	*lines_r = lines;
	return END_COMPLETE;
}

static enum ending parse_lines(char *text, size_t len, struct head *h, const char **why)
{
	struct framing framing = { 0 };
	const char *authority = NULL;
	unsigned lines;
	char *end;
	enum ending bad = split_lines(text, len, &lines, why);

	if (bad != END_COMPLETE)
		return bad;
	if (lines < 2)
		REFUSE(END_BAD_REQUEST, "the request head is not complete");
	if (lines - 2 > HEAD_FIELDS_MAX)
		REFUSE(END_HEAD_TOO_LARGE, "the request has too many header fields");
	end = text + strlen(text);
	bad = parse_request_line(text, end, h, &authority, why);
	h->fields = xcalloc(lines, sizeof(*h->fields));
	while (bad == END_COMPLETE && h->nfields < lines - 2) {
		struct exchange_header *field = &h->fields[h->nfields];

		text = end + 2;
		end = text + strlen(text);
		bad = parse_field(text, end, field, why);
		if (bad == END_COMPLETE) {
			note_field(h, field, &framing);
			h->nfields++;
		}
	}
	if (bad == END_COMPLETE)
		bad = check_fields(h, &framing, why);
	override_host(h, authority);
	return bad;
}

enum ending head_parse(char *text, size_t len, struct head *head, const char **why_r)
{
	enum ending bad;

	memset(head, 0, sizeof(*head));
	*why_r = NULL;
	bad = parse_lines(text, len, head, why_r);
	if (bad != END_COMPLETE) {
		head_release(head);
		if (!*why_r)
			*why_r = ending_facts[bad].text;
	}
	return bad;
}

void head_release(struct head *head)
{
	free(head->fields);
	memset(head, 0, sizeof(*head));
}
