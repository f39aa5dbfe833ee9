/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * yaml.c - libyaml, twice over the bytes: the events first, where anchors,
 * aliases and tags can still be seen (and a document that is too deep or not
 * alone), then the document, whose nodes know where they stand.
 */
#include "base/base.h"
#include "conf/yaml.h"

#define DEPTH_MAX 16

struct origin yaml_origin(const yaml_mark_t *mark)
{
	return (struct origin){ .line = (unsigned)mark->line + 1,
		.column = (unsigned)mark->column + 1 };
}

bool yaml_is_null(const yaml_node_t *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };
	const char *text = yaml_text(node);

	if (!text || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

const char *yaml_text(const yaml_node_t *node)
{
	const char *text;

	if (node->type != YAML_SCALAR_NODE)
		return NULL;
	text = (const char *)node->data.scalar.value;
	return strlen(text) == node->data.scalar.length ? text : NULL;
}

/* Line and column (in characters) of a byte. */
static struct origin byte_origin(const char *bytes, size_t offset)
{
	struct origin at = { .line = 1, .column = 1 };

	for (size_t i = 0; i < offset; i++) {
		if (bytes[i] == '\n') {
			at.line++;
			at.column = 1;
		} else if ((bytes[i] & 0xc0) != 0x80) {
			at.column++;
		}
	}
	return at;
}

/* The byte at a place whose line holds nothing but ASCII up to there; 0 if there is none. */
static char byte_at(const char *bytes, size_t len, const struct origin *at)
{
	size_t i = 0;

	for (unsigned line = 1; line < at->line && i < len; i++)
		line += bytes[i] == '\n';
	i += at->column - 1;
	return i < len ? bytes[i] : 0;
}

static void report_syntax(
	struct loader *l, const yaml_parser_t *p, const char *bytes, size_t len)
{
	struct origin at = yaml_origin(&p->problem_mark), from = yaml_origin(&p->context_mark);
	char c;

	if (p->error == YAML_READER_ERROR) {
		at = byte_origin(bytes, p->problem_offset < len ? p->problem_offset : len);
		loader_error(l, &at, NULL, "%s; save the file as plain UTF-8 text", p->problem);
		return;
	}
	c = byte_at(bytes, len, &at);
	if (c == '\t')
		loader_error(l, &at, NULL, "a tab cannot indent; use spaces");
	else if (p->error == YAML_SCANNER_ERROR && p->context && strstr(p->context, "alias"))
		loader_error(l, &from, NULL, "a value cannot begin with *; put it in quotes");
	else if (p->context && p->context_mark.line != p->problem_mark.line)
		loader_error(l, &at, NULL,
			"%s %s (which began in line %u); mind indentation and quotes",
			p->problem, p->context, from.line);
	else
		loader_error(l, &at, NULL, "%s%s%s; mind indentation and quotes", p->problem,
			p->context ? " " : "", p->context ? p->context : "");
}

/* What the bytes show of themselves before they become a document. */
struct lint {
	unsigned depth, documents;
};

static const char *const no_anchors =
	"anchors and aliases (& and *) are not used here; write the "
	"value out, or put it in quotes if it begins with one";

static const char *properties_wrong(const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		return no_anchors;
	if (tag)
		return "tags (!) are not used here; drop it, or put the value in quotes";
	return NULL;
}

/* NULL, or what is wrong with this event. */
static const char *event_wrong(struct lint *lint, const yaml_event_t *e)
{
	const char *wrong = NULL;

	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return ++lint->documents > 1 ? "a second document; one file holds one" : NULL;
	case YAML_ALIAS_EVENT:
		return no_anchors;
	case YAML_SCALAR_EVENT:
		return properties_wrong(e->data.scalar.anchor, e->data.scalar.tag);
	case YAML_SEQUENCE_START_EVENT:
		lint->depth++;
		wrong = properties_wrong(
			e->data.sequence_start.anchor, e->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		lint->depth++;
		wrong = properties_wrong(
			e->data.mapping_start.anchor, e->data.mapping_start.tag);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		lint->depth--;
		break;
	default:
		break;
	}
	return lint->depth > DEPTH_MAX ? "nested too deep; no option is" : wrong;
}

static void parser_begin(yaml_parser_t *p, const char *bytes, size_t len)
{
	if (!yaml_parser_initialize(p))
		abort(); /* out of memory, as in xmalloc */
	yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(p, (const unsigned char *)bytes, len);
}

static bool lint_events(struct loader *l, const char *bytes, size_t len)
{
	struct lint lint = { 0 };
	const char *wrong = NULL;
	yaml_parser_t p;
	bool ended = false, ok = true;

	parser_begin(&p, bytes, len);
	while (ok && !ended && lint.depth <= DEPTH_MAX) {
		yaml_event_t e;

		ok = yaml_parser_parse(&p, &e);
		if (!ok) {
			report_syntax(l, &p, bytes, len);
			break;
		}
		ended = e.type == YAML_STREAM_END_EVENT;
		wrong = event_wrong(&lint, &e);
		if (wrong) {
			struct origin at = yaml_origin(&e.start_mark);

			loader_error(l, &at, NULL, "%s", wrong);
			ok = !loader_is_full(l);
		}
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
	return l->nproblems == 0;
}

bool yaml_read(struct loader *l, const char *bytes, size_t len, yaml_document_t *doc)
{
	yaml_parser_t p;
	bool ok;

	if (!lint_events(l, bytes, len))
		return false;
	parser_begin(&p, bytes, len);
	ok = yaml_parser_load(&p, doc);
	if (!ok)
		report_syntax(l, &p, bytes, len);
	yaml_parser_delete(&p);
	return ok;
}
