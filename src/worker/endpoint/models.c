/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * models.c - GET /v1/models: the configured models of all providers, and one of them by its id.
 * Every id that is listed leads to the provider that owns it: where the plain name of a
 * model would lead elsewhere, it is listed as "provider/model".
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "conf/conf.h"
#include <event2/http.h>

/* Model number i of a provider: its "model", then its "models". NULL: there are no more. */
static const char *model_at(const struct conf_provider *p, size_t i)
{
	if (i == 0)
		return p->model;
	return i <= p->models.count ? p->models.text[i - 1] : NULL;
}

/* Empty, or listed before. */
static bool is_repeated(const struct conf_provider *p, size_t i)
{
	const char *model = model_at(p, i);

	for (size_t k = 0; k < i; k++)
		if (strcmp(model_at(p, k), model) == 0)
			return true;
	return !model[0];
}

static void add_id(struct buf *id, unsigned provider, const char *model)
{
	const char *ask;
	size_t len = strlen(model), ask_len;

	buf_clear(id);
	if (providers_route(endpoint.providers, model, len, &ask, &ask_len) != provider ||
		ask_len != len)
		buf_addf(id, "%s/", endpoint.conf->providers[provider].name);
	buf_adds(id, model);
}

static void add_model(struct buf *out, const struct buf *id, unsigned provider)
{
	const char *owner = endpoint.conf->providers[provider].name;

	buf_adds(out, "{\"id\":");
	json_add_string(out, id->data, id->len);
	buf_adds(out, ",\"object\":\"model\",\"created\":0,\"owned_by\":");
	json_add_string(out, owner, strlen(owner));
	buf_adds(out, "}");
}

/* All models, or (wanted) only the one with this id; returns how many. */
static unsigned add_models(struct buf *out, const char *wanted)
{
	const struct conf *conf = endpoint.conf;
	struct buf id = BUF_INIT;
	unsigned n = 0;

	for (unsigned p = 0; p < conf->nproviders; p++)
		for (size_t i = 0; model_at(&conf->providers[p], i); i++) {
			if (is_repeated(&conf->providers[p], i))
				continue;
			add_id(&id, p, model_at(&conf->providers[p], i));
			if (wanted && strcmp(id.data, wanted) != 0)
				continue;
			if (n++)
				buf_adds(out, ",");
			add_model(out, &id, p);
		}
	buf_release(&id);
	return n;
}

static void answer_list(struct exchange *x)
{
	struct buf out = BUF_INIT;

	buf_adds(&out, "{\"object\":\"list\",\"data\":[");
	add_models(&out, NULL);
	buf_adds(&out, "]}");
	exchange_respond_json(x, 200, &out);
	buf_release(&out);
}

static void answer_one(struct exchange *x)
{
	const char *encoded = x->request.path + strlen("/v1/models/");
	char *id = evhttp_uridecode(encoded, 0, NULL);
	struct buf out = BUF_INIT;

	if (id && add_models(&out, id))
		exchange_respond_json(x, 200, &out);
	else
		exchange_refuse(x, &(struct exchange_error){ .ending = END_UNKNOWN_MODEL });
	free(id);
	buf_release(&out);
}

const struct exchange_app models_app = {
	.name = "models", .on_start = answer_list, .on_close = endpoint_nothing_held
};
const struct exchange_app model_app = {
	.name = "model", .on_start = answer_one, .on_close = endpoint_nothing_held
};
