/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoint_fakes.h - the rooms around the endpoints, played by the test: a port that
 * writes down what the client would see, providers whose calls the test answers by
 * hand, and a house with a number of places. The exchange and the apps are the real ones.
 */
#ifndef ENDPOINT_FAKES_H
#define ENDPOINT_FAKES_H

#include "base/base.h"
#include "base/buf.h"
#include "base/defer.h"
#include "conf/conf.h"
#include "worker/admit/admit.h"
#include "worker/endpoint/endpoint.h"
#include "worker/exchange/exchange.h"
#include "worker/provider/provider.h"
#include <event2/event.h>

#define UNUSED_OK __attribute__((unused))

/* ---- the house ------------------------------------------------------------------ */

static int fake_places = 1000, fake_inside;

static struct admit_place *fake_waiting; /* who found the house full, while fake_patience */
static bool fake_patience;

enum admit_answer admit_enter(struct admit *admit, struct admit_place *place, struct exchange *x,
	enum admit_kind kind, admit_decided_fn decided)
{
	*place = (struct admit_place){ .x = x, .kind = kind, .decided = decided, .ending = END_HOUSE_FULL };
	if (fake_inside == fake_places && fake_patience) {
		fake_waiting = place;
		return ADMIT_LATER;
	}
	if (fake_inside == fake_places)
		return ADMIT_NOT;
	fake_inside++;
	place->ticket.state = TICKET_HELD;
	return ADMIT_IN;
}

/* The wait of the one who waits is over. */
UNUSED_OK static void fake_decide(bool in)
{
	struct admit_place *place = fake_waiting;

	fake_waiting = NULL;
	fake_inside += in;
	place->ticket.state = in ? TICKET_HELD : TICKET_IDLE;
	place->ending = in ? END_COMPLETE : END_HOUSE_FULL;
	place->decided(place);
}

void admit_leave(struct admit_place *place)
{
	fake_inside -= place->ticket.state == TICKET_HELD;
	place->ticket.state = TICKET_IDLE;
	if (fake_waiting == place)
		fake_waiting = NULL;
}

void admit_refusal(struct admit *admit, const struct admit_place *place, struct exchange_error *error)
{
	*error = (struct exchange_error){ .ending = place->ending,
		.limit = "chat.websocket.concurrency.max_connections", .retry_after_ms = 1500 };
}

/* Who it is, as the test wants it. */
static enum ending fake_verdict UNUSED_OK = END_COMPLETE;

enum ending admit_identify(struct admit *admit, struct exchange *x)
{
	return fake_verdict;
}

/* ---- the providers ----------------------------------------------------------------- */

struct provider_call {
	struct provider_asker asker;
	void *arg;
	unsigned provider;
	char path[64];
	char *body; /* as the provider got it */
	bool stream, strip_usage, responses;
	uint64_t max_tokens;
	char model[64]; /* as it stands in the body */
	bool mid_event;
	unsigned resumed;
	uint64_t position;
	struct provider_usage usage;
};

static struct provider_call *fake_calls[32]; /* running ones; NULL: ended or cancelled */
static unsigned fake_ncalls, fake_cancelled;
static const struct conf *fake_conf;

unsigned providers_route(const struct providers *providers, const char *model, size_t len,
	const char **model_r, size_t *len_r)
{
	*model_r = model;
	*len_r = len;
	for (unsigned p = 0; p < fake_conf->nproviders; p++) {
		size_t n = strlen(fake_conf->providers[p].name);

		if (len > n && model[n] == '/' && !memcmp(model, fake_conf->providers[p].name, n)) {
			*model_r = model + n + 1;
			*len_r = len - n - 1;
			return p;
		}
	}
	for (unsigned p = 0; p < fake_conf->nproviders; p++) {
		const struct conf_provider *c = &fake_conf->providers[p];

		if (strlen(c->model) == len && !memcmp(c->model, model, len))
			return p;
		for (size_t i = 0; i < c->models.count; i++)
			if (strlen(c->models.text[i]) == len && !memcmp(c->models.text[i], model, len))
				return p;
	}
	if (!len) {
		*model_r = fake_conf->providers[fake_conf->active_provider].model;
		*len_r = strlen(*model_r);
	}
	return fake_conf->active_provider;
}

const char *provider_name(const struct providers *providers, unsigned provider)
{
	return fake_conf->providers[provider].name;
}

struct provider_call *call_start(struct providers *providers, const struct provider_request *request,
	const struct provider_asker *asker, void *arg)
{
	struct provider_call *call = xcalloc(1, sizeof(*call));

	call->asker = *asker;
	call->arg = arg;
	call->provider = call->usage.provider = request->provider;
	call->stream = request->stream;
	call->strip_usage = request->strip_usage;
	call->responses = request->responses;
	call->max_tokens = request->max_tokens;
	snprintf(call->model, sizeof(call->model), "%.*s", (int)request->model_len,
		request->body + request->model_offset);
	snprintf(call->path, sizeof(call->path), "%s", request->path);
	call->body = xmemdup0(request->body, request->body_len);
	free((char *)(uintptr_t)request->body);
	ck_assert_uint_lt(fake_ncalls, ARRAY_SIZE(fake_calls));
	fake_calls[fake_ncalls++] = call;
	return call;
}

static void fake_forget(struct provider_call *call)
{
	for (unsigned i = 0; i < fake_ncalls; i++)
		if (fake_calls[i] == call)
			fake_calls[i] = NULL;
	free(call->body);
	free(call);
}

void call_cancel(struct provider_call *call)
{
	fake_cancelled++;
	fake_forget(call);
}

void call_lose(struct provider_call *call, const char *limit)
{
	struct provider_result result = { .ending = END_LEASE_LOST, .limit = limit };

	call->asker.on_end(call, &result, call->arg);
	fake_forget(call);
}

void call_resume(struct provider_call *call)
{
	call->resumed++;
}

bool call_at_boundary(const struct provider_call *call)
{
	return !call->mid_event;
}

uint64_t call_position(const struct provider_call *call, uint64_t *expected_ms_r)
{
	*expected_ms_r = 2100;
	return call->position;
}

const struct provider_usage *call_usage(const struct provider_call *call)
{
	return &call->usage;
}

/* The call number i, which must be running. */
static UNUSED_OK struct provider_call *running(unsigned i)
{
	ck_assert_uint_lt(i, fake_ncalls);
	ck_assert_ptr_nonnull(fake_calls[i]);
	return fake_calls[i];
}

static UNUSED_OK void answer_head(unsigned i, bool sse)
{
	struct provider_call *call = running(i);
	const struct provider_head head = { .status = 200,
		.sse = sse,
		.content_type = sse ? "text/event-stream" : "application/json" };

	call->asker.on_head(call, &head, call->arg);
}

static UNUSED_OK void answer_bytes(unsigned i, const char *bytes)
{
	struct provider_call *call = running(i);

	call->asker.on_bytes(call, bytes, strlen(bytes), call->arg);
}

/* One event of a stream with this data, as both apps that look at events and those that do not see it. */
static UNUSED_OK void answer_event(unsigned i, const char *data)
{
	struct provider_call *call = running(i);
	char *block = xasprintf("data: %s\n\n", data);

	answer_bytes(i, block);
	if (call->asker.on_event)
		call->asker.on_event(call, data, strlen(data), call->arg);
	free(block);
}

static UNUSED_OK void answer_text(unsigned i, const char *escaped)
{
	char *data = xasprintf("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}", escaped);

	answer_event(i, data);
	free(data);
}

static UNUSED_OK void answer_end(unsigned i, const struct provider_result *result)
{
	struct provider_call *call = running(i);
	struct provider_result told = *result;

	told.provider = call->provider;
	call->asker.on_end(call, &told, call->arg);
	fake_forget(call);
}

static UNUSED_OK void answer_complete(unsigned i)
{
	answer_end(i, &(struct provider_result){ .ending = END_COMPLETE, .status = 200, .answered = true });
}

/* ---- the client ------------------------------------------------------------------------- */

struct client {
	struct exchange x;
	struct exchange_header headers[8];
	int status; /* 0: no head yet */
	struct buf head;
	struct buf body; /* or all messages of a WebSocket, a line each */
	size_t room;
	bool finished, aborted;
	unsigned close_code;
	char close_reason[64];
};

static struct client *client_of(const struct exchange *x)
{
	return container_of((struct exchange *)(uintptr_t)x, struct client, x);
}

static void take_head(struct client *c, int status, const struct exchange_header *h, unsigned n)
{
	ck_assert_int_eq(c->status, 0);
	c->status = status;
	for (unsigned i = 0; i < n; i++)
		buf_addf(&c->head, "%s: %s\n", h[i].name, h[i].value);
}

static void port_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n)
{
	take_head(client_of(x), status, h, n);
}

static void port_write(struct exchange *x, const char *bytes, size_t len)
{
	buf_add(&client_of(x)->body, bytes, len);
}

static void port_finish(struct exchange *x)
{
	client_of(x)->finished = true;
}

static void port_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	take_head(client_of(x), status, h, n);
	port_write(x, body, len);
	port_finish(x);
}

static void port_abort(struct exchange *x)
{
	client_of(x)->aborted = true;
}

static size_t port_room(const struct exchange *x)
{
	return client_of(x)->room;
}

static void port_accept_ws(struct exchange *x, const struct exchange_header *h, unsigned n)
{
	take_head(client_of(x), 101, h, n);
}

static void port_send_message(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	if (binary)
		port_write(x, "binary:", 7);
	port_write(x, bytes, len);
	port_write(x, "\n", 1);
}

static void port_close_ws(struct exchange *x, unsigned code, const char *reason)
{
	client_of(x)->close_code = code;
	snprintf(client_of(x)->close_reason, sizeof(client_of(x)->close_reason), "%s", reason);
}

static const struct exchange_port fake_port = { port_respond, port_start, port_write, port_finish,
	port_abort, port_room, port_accept_ws, port_send_message, port_close_ws, NULL };

static UNUSED_OK void client_init(struct client *c, const char *method, const char *path)
{
	memset(c, 0, sizeof(*c));
	exchange_begin(&c->x, &fake_port);
	c->room = 65536;
	c->x.request = (struct exchange_request){ .method = method, .path = path, .query = "",
		.headers = c->headers, .peer = "127.0.0.1:4711" };
	snprintf(c->x.id, sizeof(c->x.id), "test");
}

static UNUSED_OK void client_header(struct client *c, const char *name, const char *value)
{
	ck_assert_uint_lt(c->x.request.nheaders, ARRAY_SIZE(c->headers));
	c->headers[c->x.request.nheaders++] = (struct exchange_header){ name, value };
}

static UNUSED_OK void client_send(struct client *c)
{
	endpoint_route(&c->x, NULL);
	ck_assert_ptr_nonnull(c->x.app);
	c->x.app->on_start(&c->x);
}

/* The whole of a request without a body, or with one. */
static UNUSED_OK void client_ask(struct client *c, const char *method, const char *path, const char *body)
{
	client_init(c, method, path);
	c->x.request.body = body;
	c->x.request.body_len = body ? strlen(body) : 0;
	client_send(c);
}

/* The end of the turn in which the exchange ended, or the client left. */
static UNUSED_OK void client_close(struct client *c)
{
	defer_run();
	exchange_close(&c->x);
	buf_release(&c->head);
	buf_release(&c->body);
}

static UNUSED_OK const char *body_of(const struct client *c)
{
	return c->body.data ? c->body.data : "";
}

static UNUSED_OK const char *head_of(const struct client *c)
{
	return c->head.data ? c->head.data : "";
}

#define ck_has(text, part)                                                                      \
	ck_assert_msg(strstr((text), (part)) != NULL, "no '%s' in: %s", (part), (text))
#define ck_has_not(text, part)                                                                  \
	ck_assert_msg(strstr((text), (part)) == NULL, "'%s' in: %s", (part), (text))

/* ---- the worker ------------------------------------------------------------------------------ */

static struct conf fake_conf_memory;
static struct conf_provider fake_providers[2];
static char empty[] = "";

/* Two providers: openai (active; model gpt-4o, further gpt-4o-mini) and groq (llama, gpt-4o). */
static struct event_base *fake_base;

static UNUSED_OK struct conf *open_endpoints(void)
{
	static char openai[] = "openai", groq[] = "groq", gpt4[] = "gpt-4o", mini[] = "gpt-4o-mini",
		    llama[] = "llama", ws[] = "/ws/chat", echo[] = "/echo";
	static char *openai_models[] = { mini, gpt4 }, *groq_models[] = { gpt4 };
	struct conf *conf = &fake_conf_memory;

	fake_providers[0] = (struct conf_provider){ .name = openai, .model = gpt4,
		.models = { openai_models, 2 }, .pool_max_connections = 50, .stream_usage = true };
	fake_providers[1] = (struct conf_provider){ .name = groq, .place = 1, .model = llama,
		.models = { groq_models, 1 }, .pool_max_connections = 7, .stream_usage = true };
	*conf = (struct conf){ .providers = fake_providers, .nproviders = 2, .ws_endpoint = ws,
		.admin_listen = empty, .echo_endpoint = echo,
		.system_prompt = empty, .streaming_enabled = true, .max_requests_per_connection = 3,
		.context_max_tokens = 8000, .context_max_bytes = 262144, .sse_keepalive_ms = 3600000,
		.worker_timeout_ms = 10000, .max_message_size_bytes = 1048576,
		.responses_memory_bytes = 1048576, .responses_max_age_ms = 3600000, .connection_queue_size = 500 };
	fake_conf = conf;
	fake_base = event_base_new();
	endpoint_open(&(struct endpoint_setup){ .base = fake_base, .conf = conf });
	return conf;
}

#endif
