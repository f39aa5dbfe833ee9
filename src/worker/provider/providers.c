/* SPDX-License-Identifier: BSD-2-Clause */
/* providers.c - the providers of a worker: lines, keys, routing. */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/bug.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/tally.h"
#include "worker/provider/transfer.h"
#include "worker/provider/wire.h"

#include <strings.h>

static const char *const limit_leaf[] = {
#define X(symbol, leaf) [LIMIT_##symbol] = leaf,
	PROVIDER_LIMITS(X)
#undef X
};

/* Until answers have been seen, they are taken to be this long. */
#define MEAN_ANSWER_TOKENS 256

static void open_keys(struct provider *p)
{
	p->nkeys = p->conf->nkeys ? p->conf->nkeys : 1;
	p->keys = xcalloc(p->nkeys, sizeof(*p->keys));
	for (unsigned k = 0; k < p->nkeys; k++) {
		char number[16];

		snprintf(number, sizeof(number), "%u", k + 1);
		p->keys[k].headers = transfer_headers(p->conf->nkeys ? p->conf->keys[k] : "");
		p->keys[k].tally = p->conf->nkeys
			? tally_find(p->all->shm, TALLY_API_KEY, p->conf->name, number)
			: SHM_NO_TALLY;
	}
	/* Else all workers would begin with the same one. */
	p->last_key = arc4random_uniform(p->nkeys);
}

/* Where ALPN can agree on it: over TLS. */
static bool may_speak_http2(const struct conf_provider *conf)
{
	return conf->http2 == CONF_HTTP2_AUTO && !strncasecmp(conf->base_url, "https://", 8);
}

static void open_models(struct provider *p)
{
	const struct conf_provider *conf = p->conf;
	size_t n = conf->models.count;

	p->model_tally = xcalloc(n + 2, sizeof(*p->model_tally));
	p->model_tally[0] = tally_find(p->all->shm, TALLY_MODEL, conf->name, conf->model);
	for (size_t i = 0; i < n; i++)
		p->model_tally[1 + i] =
			tally_find(p->all->shm, TALLY_MODEL, conf->name, conf->models.text[i]);
	p->model_tally[1 + n] = tally_find(p->all->shm, TALLY_MODEL, conf->name, TALLY_OTHER);
}

static void open_provider(struct providers *all, unsigned index)
{
	struct provider *p = &all->provider[index];

	*p = (struct provider){ .all = all, .conf = &all->conf->providers[index] };
	p->index = p->conf->place;
	p->line = gate_line_open(all->shm, SHM_GATE_PROVIDER(p->index), line_granted, p);
	p->most_streams = may_speak_http2(p->conf) ? TRANSFER_STREAMS_MAX : 1;
	p->pool = pool_open(all->base, all->shm, p->index, p->conf->keepalive_expiry_ms,
		p->most_streams, call_seated);
	curl_loop_open(&p->loop, all->base, p->most_streams, transfer_done);
	p->dialed_fd = -1;
	p->wires = wires_open(p);
	TAILQ_INIT(&p->waiting);
	p->mean_answer_tokens = MEAN_ANSWER_TOKENS;
	open_keys(p);
	open_models(p);
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		p->limit[i] = xasprintf(
			"llm.providers.%s.http_client.%s", p->conf->name, limit_leaf[i]);
}

static void close_provider(struct provider *p)
{
	curl_loop_close(&p->loop);
	wires_close(p->wires);
	pool_close(p->pool);
	gate_line_close(p->line);
	for (unsigned k = 0; k < p->nkeys; k++)
		curl_slist_free_all(p->keys[k].headers);
	free(p->keys);
	free(p->model_tally);
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		free(p->limit[i]);
}

struct providers *providers_open(struct event_base *base, const struct conf *conf, struct shm *shm)
{
	struct providers *all =
		xcalloc(1, sizeof(*all) + conf->nproviders * sizeof(all->provider[0]));

	all->base = base;
	all->conf = conf;
	all->shm = shm;
	all->count = conf->nproviders;
	TAILQ_INIT(&all->calls);
	for (unsigned i = 0; i < all->count; i++)
		open_provider(all, i);
	clients_open(all);
	return all;
}

void providers_close(struct providers *all)
{
	BUG_ON(all->running);
	for (unsigned i = 0; i < all->count; i++)
		close_provider(&all->provider[i]);
	clients_close(all);
	free(all);
}

void providers_poll(struct providers *all)
{
	clients_poll(all);
	for (unsigned i = 0; i < all->count; i++) {
		struct provider *p = &all->provider[i];

		line_poll(p);
		pool_poll(p->pool);
		if (!p->wires && pool_has_shut(p->pool))
			curl_loop_sweep(&p->loop);
	}
}

unsigned providers_running(const struct providers *all)
{
	return all->running;
}

const char *provider_name(const struct providers *all, unsigned provider)
{
	BUG_ON(provider >= all->count);
	return all->provider[provider].conf->name;
}

/* ---- routing ---------------------------------------------------------------------- */

static bool same(const char *text, const char *bytes, size_t len)
{
	return strlen(text) == len && !memcmp(text, bytes, len);
}

static bool serves(const struct conf_provider *conf, const char *model, size_t len)
{
	if (same(conf->model, model, len))
		return true;
	for (size_t i = 0; i < conf->models.count; i++)
		if (same(conf->models.text[i], model, len))
			return true;
	return false;
}

/* The configured provider before the first slash, or count. */
static unsigned named(const struct providers *all, const char *model, size_t len)
{
	const char *slash = len ? memchr(model, '/', len) : NULL;
	unsigned i = slash ? 0 : all->count;

	while (i < all->count && !same(all->provider[i].conf->name, model, (size_t)(slash - model)))
		i++;
	return i;
}

unsigned providers_route(const struct providers *all, const char *model, size_t len,
	const char **model_r, size_t *len_r)
{
	unsigned chosen = named(all, model, len), active = all->conf->active_provider;

	if (chosen < all->count) {
		size_t skip = strlen(all->provider[chosen].conf->name) + 1;

		model += skip;
		len -= skip;
	} else {
		chosen = active;
		/* The active one first: it wins where several serve the same model. */
		if (len && !serves(all->provider[active].conf, model, len))
			for (unsigned i = 0; i < all->count && chosen == active; i++)
				if (serves(all->provider[i].conf, model, len))
					chosen = i;
	}
	*model_r = len ? model : all->provider[chosen].conf->model;
	*len_r = len ? len : strlen(*model_r);
	return chosen;
}
