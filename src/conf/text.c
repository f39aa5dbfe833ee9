/* SPDX-License-Identifier: BSD-2-Clause */
/* text.c - text from outside: UTF-8, ${NAME}, quoting for messages and for YAML. */
#include "base/base.h"
#include "conf/text.h"

#define QUOTE_MAX 60 /* characters of a value shown in a message */

int32_t text_next(const char **at)
{
	static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)*at;
	int32_t c = *p++;
	int more;

	if (c < 0x80)
		more = 0;
	else if (c >= 0xc2 && c < 0xe0)
		more = 1, c &= 0x1f;
	else if (c >= 0xe0 && c < 0xf0)
		more = 2, c &= 0x0f;
	else if (c >= 0xf0 && c < 0xf5)
		more = 3, c &= 0x07;
	else
		return -1;
	for (int i = 0; i < more; i++, p++) {
		if ((*p & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (*p & 0x3f);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return -1;
	*at = (const char *)p;
	return c;
}

bool text_is_utf8(const char *text)
{
	while (*text)
		if (text_next(&text) < 0)
			return false;
	return true;
}

/* The variable named between from and to; NULL: see *wrong_r. */
static const char *variable(const char *from, const char *to, char **wrong_r)
{
	char *name = xmemdup0(from, (size_t)(to - from));
	const char *value = NULL;

	if (!*name || name[strspn(name, TEXT_NAME_CHARS)])
		*wrong_r = xasprintf(
			"${...} does not name a variable; write ${NAME}, or $$ for a dollar");
	else if (!(value = getenv(name)))
		*wrong_r = xasprintf(
			"%s is not set in the environment; set it, or write $$ for a dollar",
			name);
	else if (!text_is_utf8(value)) {
		*wrong_r =
			xasprintf("%s in the environment is not UTF-8; set it to text", name);
		value = NULL;
	}
	free(name);
	return value;
}

char *text_expand(const char *text, char **wrong_r)
{
	struct buf out = BUF_INIT;

	buf_adds(&out, "");
	while (*text) {
		size_t plain = strcspn(text, "$");
		const char *end, *value;

		buf_add(&out, text, plain);
		text += plain;
		if (!*text)
			break;
		if (text[1] != '{') {
			buf_adds(&out, "$");
			text += text[1] == '$' ? 2 : 1;
			continue;
		}
		end = strchr(text, '}');
		if (!end) {
			*wrong_r = xasprintf(
				"${ without its }; write ${NAME}, or $$ for a dollar");
			buf_release(&out);
			return NULL;
		}
		value = variable(text + 2, end, wrong_r);
		if (!value) {
			buf_release(&out);
			return NULL;
		}
		buf_adds(&out, value);
		text = end + 1;
	}
	return out.data ? out.data : xstrdup("");
}

/* May stand in a terminal and, raw, in a YAML file: no controls, no other line ends, no BOM. */
static bool printable(int32_t c)
{
	static const int32_t not_these[] = { 0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(not_these); i++)
		if (c == not_these[i])
			return false;
	return (c >= 0x20 && c < 0x7f) || c >= 0xa0;
}

char *text_quote(const char *text)
{
	struct buf out = BUF_INIT;

	buf_adds(&out, "'");
	for (int n = 0; *text; n++) {
		const char *from = text;
		int32_t c = text_next(&text);

		if (n == QUOTE_MAX) {
			buf_adds(&out, "...");
			break;
		}
		if (c < 0)
			buf_addf(&out, "\\x%02x", (unsigned char)*text++);
		else if (printable(c))
			buf_add(&out, from, (size_t)(text - from));
		else
			buf_addf(&out, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
	}
	buf_adds(&out, "'");
	return out.data;
}

void text_as_yaml(const char *text, struct buf *out)
{
	buf_adds(out, "\"");
	while (*text) {
		const char *from = text;
		int32_t c = text_next(&text);

		if (c < 0)
			text++; /* never: every text that gets here was checked */
		else if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", (int)c);
		else if (c == '$')
			buf_adds(out, "$$");
		else if (c == '\n')
			buf_adds(out, "\\n");
		else if (c == '\t')
			buf_adds(out, "\\t");
		else if (printable(c))
			buf_add(out, from, (size_t)(text - from));
		else
			buf_addf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
	}
	buf_adds(out, "\"");
}

void texts_add(struct conf_texts *texts, char *text)
{
	texts->text = xrealloc(texts->text, (texts->count + 1) * sizeof(*texts->text));
	texts->text[texts->count++] = text;
}

void conf_texts_release(struct conf_texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->text[i]);
	free(texts->text);
	*texts = (struct conf_texts){ 0 };
}
