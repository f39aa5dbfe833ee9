/* SPDX-License-Identifier: BSD-2-Clause */
/* json_walk.c - see json_walk.h. The text is known to be good: every bracket and quote has its end. */
#include "base/base.h"
#include "base/json_walk.h"

static size_t skip_space(const char *text, size_t at)
{
	while (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n')
		at++;
	return at;
}

/* Behind the string whose opening quote is at `at`. */
static size_t skip_string(const char *text, size_t at)
{
	const char *quote = text + at;
	size_t backslashes;

	do {
		quote = rawmemchr(quote + 1, '"');
		backslashes = 0;
		while (quote[-1 - (ptrdiff_t)backslashes] == '\\')
			backslashes++;
	} while (backslashes % 2);
	return (size_t)(quote - text) + 1;
}

/* Behind the object or array that opens at `at`. */
static size_t skip_container(const char *text, size_t at)
{
	size_t depth = 0;

	do {
		char c = text[at];

		if (c == '"') {
			at = skip_string(text, at);
			continue;
		}
		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		at++;
	} while (depth);
	return at;
}

/* Behind a number or a literal in a container. */
static size_t skip_plain(const char *text, size_t at)
{
	while (!strchr(",]} \t\r\n", text[at]))
		at++;
	return at;
}

static struct json_find value_at(const char *text, size_t at)
{
	struct json_find found = { .offset = at };
	size_t end;

	switch (text[at]) {
	case '"':
		found.kind = JSON_IS_STRING;
		end = skip_string(text, at);
		found.escaped = memchr(text + at, '\\', end - at) != NULL;
		break;
	case '{':
	case '[':
		found.kind = text[at] == '{' ? JSON_IS_OBJECT : JSON_IS_ARRAY;
		end = skip_container(text, at);
		break;
	default:
		found.kind = text[at] == 'n'			   ? JSON_IS_NULL
			: text[at] == 't' || text[at] == 'f' ? JSON_IS_BOOL
							     : JSON_IS_NUMBER;
		end = skip_plain(text, at);
	}
	found.len = end - at;
	return found;
}

void json_walk_begin(struct json_walk *walk, const char *text, const struct json_find *container)
{
	bool any = container->kind == JSON_IS_OBJECT || container->kind == JSON_IS_ARRAY;

	*walk = (struct json_walk){ .text = any ? text : "]",
		.at = any ? container->offset + 1 : 0,
		.object = container->kind == JSON_IS_OBJECT };
}

bool json_walk_next(struct json_walk *walk, struct json_find *name_r, struct json_find *value_r)
{
	const char *text = walk->text;
	size_t at = skip_space(text, walk->at);

	*name_r = *value_r = (struct json_find){ 0 };
	if (text[at] == ',')
		at = skip_space(text, at + 1);
	if (text[at] == '}' || text[at] == ']')
		return false;
	if (walk->object) {
		*name_r = value_at(text, at);
		at = skip_space(text, at + name_r->len);
		at = skip_space(text, at + 1); /* the colon */
	}
	*value_r = value_at(text, at);
	walk->at = at + value_r->len;
	return true;
}

struct json_find json_walk_member(
	const char *text, const struct json_find *object, const char *name)
{
	struct json_find key, value;
	struct json_walk walk;

	json_walk_begin(&walk, text, object);
	while (json_walk_next(&walk, &key, &value))
		if (walk.object && json_find_equals(text, &key, name))
			return value;
	return (struct json_find){ 0 };
}
