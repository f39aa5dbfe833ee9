/* SPDX-License-Identifier: BSD-2-Clause */
/* dump.c - a configuration as YAML that loads again, and what of it limits whom. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "conf/table.h"
#include "conf/text.h"
#include "conf/value.h"

static void indent(FILE *out, unsigned depth)
{
	fprintf(out, "%*s", (int)depth * 2, "");
}

/* Open the sections of path that last (the path before it) was not in; returns the key's depth. */
static unsigned open_sections(FILE *out, const char *path, const char *last, unsigned depth)
{
	const char *dot;
	bool same = true;

	for (; (dot = strchr(path, '.')); path = dot + 1, depth++) {
		size_t n = (size_t)(dot - path) + 1;

		same = same && strncmp(path, last, n) == 0;
		if (same) {
			last += n;
			continue;
		}
		indent(out, depth);
		fprintf(out, "%.*s:\n", (int)n - 1, path);
	}
	return depth;
}

static void print_origin(FILE *out, const char *file, const struct origin *at)
{
	if (!at->line) {
		fputs("  # default\n", out);
		return;
	}
	fputs("  # ", out);
	for (; *file; file++)
		fputc((unsigned char)*file < ' ' || *file == 0x7f ? '?' : *file, out);
	fprintf(out, ":%u\n", at->line);
}

static void print_row(FILE *out, const struct conf *conf, const struct option *o,
	const void *object, const struct origin *at, unsigned depth)
{
	struct buf value = BUF_INIT;

	value_format(o, object, &value);
	indent(out, depth);
	/* A secret is not written down; as a comment it does not stand in the way of loading. */
	fprintf(out, "%s%s: %s", option_is_secret(o) ? "# " : "", option_leaf(o),
		value.data);
	print_origin(out, conf->path, at);
	buf_release(&value);
}

/* The list clients.keys, a section for each. */
static void dump_clients(FILE *out, const struct conf *conf)
{
	fputs(conf->nclients ? "  keys:" : "  keys: []", out);
	print_origin(out, conf->path, &conf->origins->clients);
	for (unsigned k = 0; k < conf->nclients; k++) {
		fputs("    -\n", out);
		for (size_t i = 0; i < options_client.count; i++)
			print_row(out, conf, &options_client.row[i], &conf->clients[k],
				&conf->origins->client[k][i], 3);
	}
}

static void dump_provider(FILE *out, const struct conf *conf, unsigned number)
{
	const struct conf_provider *p = &conf->providers[number];
	const char *last = "";

	fprintf(out, "    \"%s\":\n", p->name);
	for (size_t i = 0; i < options_provider.count; i++) {
		const struct option *o = &options_provider.row[i];
		unsigned depth = open_sections(out, o->path, last, 3);

		print_row(out, conf, o, p, &conf->origins->provider[number][i], depth);
		last = o->path;
	}
}

/* Row i is the last one of the section `name`, dot included. */
static bool ends_section(size_t i, const char *name)
{
	const struct option *o = &options_global.row[i];
	size_t n = strlen(name);

	return strncmp(o->path, name, n) == 0 &&
		(i + 1 == options_global.count || strncmp(o[1].path, name, n) != 0);
}

void conf_dump(const struct conf *conf, FILE *out)
{
	const char *last = "";

	for (size_t i = 0; i < options_global.count; i++) {
		const struct option *o = &options_global.row[i];
		unsigned depth = open_sections(out, o->path, last, 0);

		print_row(out, conf, o, conf, &conf->origins->global[i], depth);
		last = o->path;
		if (ends_section(i, "clients."))
			dump_clients(out, conf);
		if (!ends_section(i, "llm."))
			continue;
		fputs("  providers:\n", out);
		for (unsigned k = 0; k < conf->nproviders; k++)
			dump_provider(out, conf, k);
	}
}
