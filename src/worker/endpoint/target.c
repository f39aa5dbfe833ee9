/* SPDX-License-Identifier: BSD-2-Clause */
/* target.c - where a request's model leads to, and what the access log shall say of it. */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "base/json_scan.h"

bool endpoint_aim(const char *text, const struct json_find *model, struct endpoint_target *t)
{
	size_t len;

	t->asked[0] = 0;
	if (model->kind != JSON_IS_MISSING &&
		!json_find_copy(text, model, t->asked, sizeof(t->asked)))
		return false;
	len = strlen(t->asked);
	t->provider = providers_route(endpoint.providers, t->asked, len, &t->model, &t->model_len);
	t->as_asked = len == t->model_len && memcmp(t->asked, t->model, len) == 0;
	return true;
}

void endpoint_add_model(
	struct buf *body, const struct endpoint_target *t, struct provider_request *request)
{
	if (!t->model_len)
		return;
	buf_adds(body, "\"model\":");
	request->model_offset = body->len;
	json_add_string(body, t->model, t->model_len);
	request->model_len = body->len - request->model_offset;
	buf_adds(body, ",");
}

void endpoint_note_target(struct exchange *x, const struct endpoint_target *t, char **model)
{
	free(*model);
	*model = t->model_len ? xmemdup0(t->model, t->model_len) : NULL;
	x->note.provider = provider_name(endpoint.providers, t->provider);
	x->note.model = *model;
}

void endpoint_note_usage(struct exchange_note *note, const struct provider_usage *usage)
{
	note->provider = provider_name(endpoint.providers, usage->provider);
	if (usage->model)
		note->model = usage->model;
	note->queue_wait_us = usage->queue_wait_us;
	note->first_token_us = usage->first_token_us;
	note->tokens = usage->completion_tokens;
}
