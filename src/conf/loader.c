/* SPDX-License-Identifier: BSD-2-Clause */
/* loader.c - what a load has found so far. */
#include "base/base.h"
#include "conf/loader.h"
#include "base/buf.h"
#include "base/bug.h"
#include "conf/text.h"

#define PROBLEMS_MAX 100

static char *line_text(const struct loader *l, const struct origin *at, const char *path,
	const char *fmt, va_list ap)
{
	struct buf out = BUF_INIT;

	buf_addf(&out, "%s:", l->name);
	if (at && at->line)
		buf_addf(&out, "%u:%u:", at->line, at->column);
	buf_adds(&out, " ");
	if (path)
		buf_addf(&out, "%s: ", path);
	buf_vaddf(&out, fmt, ap);
	return out.data;
}

void loader_error(
	struct loader *l, const struct origin *at, const char *path, const char *fmt, ...)
{
	struct problem *p;
	va_list ap;

	if (loader_is_full(l))
		return;
	l->problems = xrealloc(l->problems, (l->nproblems + 1) * sizeof(*l->problems));
	p = &l->problems[l->nproblems];
	p->line = at ? at->line : 0;
	p->column = at ? at->column : 0;
	p->number = l->nproblems++;
	va_start(ap, fmt);
	p->text = line_text(l, at, path, fmt, ap);
	va_end(ap);
}

void loader_warn(
	struct loader *l, const struct origin *at, const char *path, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	texts_add(&l->conf->warnings, line_text(l, at, path, fmt, ap));
	va_end(ap);
}

bool loader_is_full(const struct loader *l)
{
	return l->nproblems >= PROBLEMS_MAX;
}

static int by_place(const void *a, const void *b)
{
	const struct problem *p = a, *q = b;

	if (p->line != q->line)
		return p->line < q->line ? -1 : 1;
	if (p->column != q->column)
		return p->column < q->column ? -1 : 1;
	return p->number < q->number ? -1 : p->number > q->number;
}

void loader_tell(struct loader *l, struct conf_texts *errors)
{
	if (l->nproblems)
		qsort(l->problems, l->nproblems, sizeof(*l->problems), by_place);
	for (size_t i = 0; i < l->nproblems; i++)
		texts_add(errors, l->problems[i].text);
	if (loader_is_full(l))
		texts_add(errors,
			xasprintf("%s: %d errors; looked no further", l->name, PROBLEMS_MAX));
	free(l->problems);
	l->problems = NULL;
	l->nproblems = 0;
}

unsigned loader_add_provider(struct loader *l, const char *name, const struct origin *at)
{
	struct conf *conf = l->conf;
	unsigned i = conf->nproviders;

	BUG_ON(i >= PROVIDERS_MAX);
	conf->providers = xrealloc(conf->providers, (i + 1) * sizeof(*conf->providers));
	conf->providers[i] =
		(struct conf_provider){ .name = xstrdup(name), .place = i };
	options_set_defaults(&options_provider, &conf->providers[i]);
	conf->origins->provider_name[i] = *at;
	return conf->nproviders++;
}

unsigned loader_add_client(struct loader *l, const struct origin *at)
{
	struct conf *conf = l->conf;
	unsigned i = conf->nclients;

	BUG_ON(i >= CLIENTS_MAX);
	conf->clients = xrealloc(conf->clients, (i + 1) * sizeof(*conf->clients));
	conf->clients[i] = (struct conf_client){ .place = i };
	options_set_defaults(&options_client, &conf->clients[i]);
	conf->origins->client_at[i] = *at;
	return conf->nclients++;
}
