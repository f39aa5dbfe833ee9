/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.c - where a call's attempts go: the provider, then its fallbacks; with which API key; and
 * the request as each of them shall get it, with the model that it knows.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/bug.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "shm/keys.h"
#include "shm/stats.h"

/* ---- the request ------------------------------------------------------------------ */

static char *add_header(struct provider_call *call, unsigned at, const char *name, const char *value)
{
	char *line;

	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < ' ')
			return NULL; /* it would be a header of its own, or worse */
	line = xasprintf("%s: %s", name, value);
	call->own_headers[at] = (struct curl_slist){ line, call->headers };
	call->headers = &call->own_headers[at];
	return line;
}

static void make_headers(struct provider_call *call, const struct provider_request *request)
{
	static char accept_stream[] = "Accept: text/event-stream",
		    accept_document[] = "Accept: application/json";

	/* Behind the first one come those of the key. */
	call->own_headers[0] =
		(struct curl_slist){ request->stream ? accept_stream : accept_document, NULL };
	call->headers = &call->own_headers[0];
	if (request->request_id)
		call->request_id_header = add_header(call, 1, "X-Request-Id", request->request_id);
	if (request->traceparent)
		call->traceparent_header = add_header(call, 2, "traceparent", request->traceparent);
}

/* The wire needs none. */
static void make_url(struct provider_call *call)
{
	const char *base_url = call->provider->conf->base_url;
	size_t base_len = strlen(base_url);

	while (base_len && base_url[base_len - 1] == '/')
		base_len--;
	free(call->url);
	call->url = call->provider->wires ? NULL : xasprintf("%.*s%s", (int)base_len, base_url, call->path);
}

/* The request as it was asked, for another model. */
static void make_body(struct provider_call *call, const char *model)
{
	size_t at = call->model_offset, behind = at + call->model_len;
	struct buf body = BUF_INIT;

	if (!call->model_len) { /* it names none: the first member becomes the second */
		at = behind = (size_t)((const char *)memchr(call->asked, '{', call->asked_len) -
				      call->asked) + 1;
	}
	buf_add(&body, call->asked, at);
	if (!call->model_len)
		buf_adds(&body, "\"model\":");
	json_add_string(&body, model, strlen(model));
	if (!call->model_len)
		buf_adds(&body, ",");
	buf_add(&body, call->asked + behind, call->asked_len - behind);
	call->body = body.data;
	call->body_len = body.len;
}

static void restore_body(struct provider_call *call)
{
	if (call->body != call->asked)
		free(call->body);
	call->body = call->asked;
	call->body_len = call->asked_len;
}

/* ---- providers -------------------------------------------------------------------- */

/* The model that was asked for, in `asked`; of no length: none. */
static struct json_find model_of(const struct provider_call *call)
{
	return (struct json_find){ .path = "model", .kind = JSON_IS_STRING,
		.offset = call->model_offset, .len = call->model_len };
}

/* Who serves this model when the provider cannot. */
static const struct conf_chain *chain_of(const struct provider_call *call)
{
	const struct conf_provider *conf = call->provider->conf;
	const struct json_find model = model_of(call);

	for (size_t i = 0; call->model_len && i < conf->model_fallback.count; i++)
		if (json_find_equals(call->asked, &model, conf->model_fallback.key[i]))
			return &conf->model_chains[i];
	return &conf->fallback_chain;
}

/* Under which number the model that it gets is counted. */
static unsigned tally_of(const struct provider *provider, const char *body, const struct json_find *model)
{
	const struct conf_provider *conf = provider->conf;

	if (!model->len || json_find_equals(body, model, conf->model))
		return provider->model_tally[0];
	for (size_t i = 0; i < conf->models.count; i++)
		if (json_find_equals(body, model, conf->models.text[i]))
			return provider->model_tally[1 + i];
	return provider->model_tally[1 + conf->models.count];
}

static unsigned tally_named(const struct provider *provider, const char *model)
{
	const struct conf_provider *conf = provider->conf;

	if (!strcmp(model, conf->model))
		return provider->model_tally[0];
	for (size_t i = 0; i < conf->models.count; i++)
		if (!strcmp(model, conf->models.text[i]))
			return provider->model_tally[1 + i];
	return provider->model_tally[1 + conf->models.count];
}

/* The call arrives at this provider. */
static void arrive(struct provider_call *call, struct provider *provider)
{
	call->provider = provider;
	call->usage.provider = (unsigned)(provider - provider->all->provider);
	call->retries = 0;
	call->flown_us = 0;
	call->went_out = false;
	call->arrived_us = clock_us();
	make_url(call);
	pstat_add(provider->index, PSTAT_CALLS, 1);
}

void target_open(struct provider_call *call, const struct provider_request *request)
{
	struct json_find model;

	call->asked = call->body = (char *)request->body;
	call->asked_len = call->body_len = request->body ? request->body_len : 0;
	call->model_offset = request->model_offset;
	call->model_len = request->model_len;
	call->max_tokens = request->max_tokens;
	call->stream = request->stream;
	call->path = xstrdup(request->path);
	call->strip_usage = request->strip_usage;
	call->responses = request->responses;
	call->request_id = xstrdup(request->request_id ? request->request_id : "-");
	make_headers(call, request);
	arrive(call, call->provider);
	call->begun_us = call->arrived_us;
	call->chain = chain_of(call);
	model = model_of(call);
	call->model_tally = tally_of(call->provider, call->asked, &model);
}

/* The next of the chain that speaks what was asked; its length: there is none. */
static size_t next_in_chain(const struct provider_call *call)
{
	const struct provider *providers = call->provider->all->provider;
	size_t at = call->chain_next;

	while (at < call->chain->count && call->responses &&
		providers[call->chain->target[at].provider].conf->responses != CONF_RESPONSES_NATIVE)
		at++;
	return at;
}

bool target_has_next(const struct provider_call *call)
{
	return next_in_chain(call) < call->chain->count;
}

void target_next(struct provider_call *call)
{
	size_t at = next_in_chain(call);
	const struct conf_target *target = &call->chain->target[at];
	struct providers *all = call->provider->all;
	struct json_find model;

	BUG_ON(at >= call->chain->count || target->provider >= all->count);
	call->chain_next = (unsigned)at + 1;
	restore_body(call);
	arrive(call, &all->provider[target->provider]);
	model = model_of(call);
	call->usage.model = *target->model ? target->model : NULL;
	call->model_tally = *target->model ? tally_named(call->provider, target->model)
					   : tally_of(call->provider, call->asked, &model);
	if (*target->model && call->asked)
		make_body(call, target->model);
}

void target_drop_body(struct provider_call *call)
{
	if (call->uploaded < call->body_len)
		return;
	if (call->body != call->asked)
		free(call->body);
	free(call->asked);
	call->asked = call->body = NULL;
}

void target_close(struct provider_call *call)
{
	restore_body(call);
	free(call->asked);
	free(call->path);
	free(call->url);
	free(call->request_id);
	free(call->request_id_header);
	free(call->traceparent_header);
}

/* ---- keys ------------------------------------------------------------------------- */

static uint64_t parked_until(const struct provider *provider, unsigned key)
{
	/* With one key there is no choice: it is never parked. */
	return provider->nkeys > 1 ? key_parked_until(provider->all->shm, provider->index, key) : 0;
}

uint64_t target_key_free_ms(const struct provider *provider, uint64_t now_ms)
{
	uint64_t first = UINT64_MAX;

	for (unsigned k = 0; k < provider->nkeys; k++) {
		uint64_t until = parked_until(provider, k);

		if (until < first)
			first = until;
	}
	return first > now_ms ? first : now_ms;
}

bool target_take_key(struct provider_call *call, uint64_t now_ms)
{
	struct provider *provider = call->provider;
	unsigned best = provider->nkeys;

	BUG_ON(call->has_key);
	for (unsigned i = 0; i < provider->nkeys; i++) {
		/* Behind the one that was taken last, so that equals take turns. */
		unsigned k = (provider->last_key + 1 + i) % provider->nkeys;

		if (parked_until(provider, k) > now_ms)
			continue;
		if (best == provider->nkeys ||
			provider->keys[k].in_flight < provider->keys[best].in_flight)
			best = k;
	}
	if (best == provider->nkeys)
		return false;
	provider->last_key = best;
	provider->keys[best].in_flight++;
	call->key = best;
	call->has_key = true;
	call->own_headers[0].next = provider->keys[best].headers;
	return true;
}

void target_drop_key(struct provider_call *call)
{
	if (call->has_key)
		call->provider->keys[call->key].in_flight--;
	call->has_key = false;
}
