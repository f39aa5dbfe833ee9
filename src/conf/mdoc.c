/* SPDX-License-Identifier: BSD-2-Clause */
/* mdoc.c - the options as they stand in headgate.yaml(5). */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "conf/table.h"
#include "conf/value.h"

/* Text that mdoc takes as it is: no escapes, no macro at the start of a line. */
static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '"')
			fputs("\\(dq", out);
		else
			fputc(*text, out);
	}
}

static void print_row(FILE *out, const struct option *o)
{
	static const char *const reloads[] = {
		[RELOAD_LIVE] = "at once",
		[RELOAD_WORKERS] = "with new workers",
		[RELOAD_RESTART] = "after a restart",
	};
	struct buf wants = BUF_INIT;

	value_wants(o, &wants);
	fprintf(out, ".It Ic %s\n", option_leaf(o));
	put_text(out, o->help);
	fputs("\n.br\nValue: ", out);
	put_text(out, wants.data);
	fputs(*o->default_text ? ";\ndefault\n.Ql " : "", out);
	put_text(out, o->default_text);
	fputs(*o->default_text ? " .\n" : ".\n", out);
	fprintf(out, "A change takes effect %s.\n", reloads[o->reload]);
	if (o->effect == EFFECT_LATER)
		fputs("Not built yet: accepted, without effect.\n", out);
	buf_release(&wants);
}

/* The section that the first n bytes of path, dot included, name below another one. */
static void print_heading(FILE *out, const char *above, const char *path, size_t n)
{
	if (*above || n)
		fprintf(out, ".Ss %s%s%.*s\n", above, *above && n ? "." : "",
			n ? (int)n - 1 : 0, path);
	else
		fputs(".Ss Top of the file\n", out);
	fputs(".Bl -tag -width Ds\n", out);
}

/* All rows of a set, a list for each section. */
static void print_set(FILE *out, const struct option_set *set, const char *above)
{
	const char *section = NULL;
	size_t len = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct option *o = &set->row[i];
		size_t n = (size_t)(option_leaf(o) - o->path);

		if (!section || n != len || strncmp(section, o->path, n) != 0) {
			if (section)
				fputs(".El\n", out);
			print_heading(out, above, o->path, n);
		}
		section = o->path;
		len = n;
		print_row(out, o);
	}
	fputs(".El\n", out);
}

void conf_print_mdoc(FILE *out)
{
	print_set(out, &options_global, "");
	print_set(out, &options_provider, "llm.providers.<name>");
	print_set(out, &options_client, "clients.keys");
}
