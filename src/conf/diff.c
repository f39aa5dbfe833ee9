/* SPDX-License-Identifier: BSD-2-Clause */
/* diff.c - what a reload changes, and what it takes to change it; called by the master. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "conf/table.h"
#include "conf/text.h"
#include "conf/value.h"

struct diff {
	enum conf_change heaviest;
	struct conf_texts *changed, *kept;
};

static void weigh(struct diff *d, enum conf_change change)
{
	if (change > d->heaviest)
		d->heaviest = change;
}

/* "llm.providers.x.http_client.max_connections: 50 -> 60" */
static char *line_of(const char *above, const struct option *o, const void *now, const void *next)
{
	struct buf from = BUF_INIT, to = BUF_INIT;
	char *line;

	value_format(o, now, &from);
	value_format(o, next, &to);
	if (option_is_secret(o) || from.len + to.len > 120)
		line = xasprintf("%s%s", above, o->path);
	else
		line = xasprintf("%s%s: %s -> %s", above, o->path, from.data, to.data);
	buf_release(&from);
	buf_release(&to);
	return line;
}

static void diff_set(struct diff *d, const struct option_set *set, const char *above, const void *now,
	void *next)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct option *o = &set->row[i];

		if (value_equal(o, now, next))
			continue;
		if (o->reload == RELOAD_RESTART) {
			texts_add(d->kept, line_of(above, o, now, next));
			value_copy(o, next, now);
			continue;
		}
		texts_add(d->changed, line_of(above, o, now, next));
		weigh(d, o->reload == RELOAD_LIVE ? CONF_LIVE : CONF_WORKERS);
	}
}

static const struct conf_provider *find(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->nproviders; i++)
		if (strcmp(conf->providers[i].name, name) == 0)
			return &conf->providers[i];
	return NULL;
}

/* The keys as they were found: a file or a variable may say something else now. */
static bool same_keys(const struct conf_provider *a, const struct conf_provider *b)
{
	if (a->nkeys != b->nkeys)
		return false;
	for (unsigned i = 0; i < a->nkeys; i++)
		if (strcmp(a->keys[i], b->keys[i]) != 0)
			return false;
	return true;
}

static void diff_provider(struct diff *d, const struct conf_provider *now, struct conf_provider *next)
{
	char *above = xasprintf("llm.providers.%s.", next->name);

	diff_set(d, &options_provider, above, now, next);
	if (strcmp(now->ca_pem ? now->ca_pem : "", next->ca_pem ? next->ca_pem : "") != 0) {
		texts_add(d->changed, xasprintf("%sca_file: its content", above));
		weigh(d, CONF_WORKERS);
	}
	if (!same_keys(now, next)) {
		texts_add(d->changed, xasprintf("%sapi_key", above));
		weigh(d, CONF_WORKERS);
	}
	free(above);
}

/* A certificate that was renewed has the same name; what it says is not shown. */
static void diff_tls(struct diff *d, const struct conf_tls *now, const struct conf_tls *next)
{
	bool same = true;

	for (unsigned i = 0; i < CONF_TLS_FILES; i++)
		same = same && strcmp(now->pem[i] ? now->pem[i] : "", next->pem[i] ? next->pem[i] : "") == 0;
	if (same)
		return;
	texts_add(d->changed, xstrdup("chat.websocket.tls: what stands in its files"));
	weigh(d, CONF_WORKERS);
}

/* Client keys, in their order; only that they changed is said. */
static bool same_clients(const struct conf *now, const struct conf *next)
{
	if (now->nclients != next->nclients)
		return false;
	for (unsigned i = 0; i < now->nclients; i++) {
		if (memcmp(now->clients[i].sha256, next->clients[i].sha256, sizeof(now->clients[i].sha256)))
			return false;
		for (size_t k = 0; k < options_client.count; k++)
			if (!value_equal(&options_client.row[k], &now->clients[i], &next->clients[i]))
				return false;
	}
	return true;
}

enum conf_change conf_diff(const struct conf *now, struct conf *next, struct conf_texts *changed_r,
	struct conf_texts *kept_r)
{
	struct diff d = { .changed = changed_r, .kept = kept_r };

	*changed_r = *kept_r = (struct conf_texts){ 0 };
	diff_set(&d, &options_global, "", now, next);
	if (!same_clients(now, next)) {
		texts_add(d.changed, xstrdup("clients.keys"));
		weigh(&d, CONF_WORKERS);
	}
	diff_tls(&d, &now->tls, &next->tls);
	for (unsigned i = 0; i < next->nproviders; i++) {
		const struct conf_provider *before = find(now, next->providers[i].name);

		if (before) {
			diff_provider(&d, before, &next->providers[i]);
			continue;
		}
		texts_add(d.changed, xasprintf("llm.providers.%s: new", next->providers[i].name));
		weigh(&d, CONF_WORKERS);
	}
	for (unsigned i = 0; i < now->nproviders; i++) {
		if (find(next, now->providers[i].name))
			continue;
		texts_add(d.changed, xasprintf("llm.providers.%s: gone", now->providers[i].name));
		weigh(&d, CONF_WORKERS);
	}
	if (d.heaviest < CONF_WORKERS) /* a worker that is replaced is to take the others' tickets */
		memcpy(next->tls.ticket_key, now->tls.ticket_key, sizeof(next->tls.ticket_key));
	return d.heaviest;
}
