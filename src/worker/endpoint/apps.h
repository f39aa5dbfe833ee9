/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apps.h - what the files of this room share: the worker's setup, the apps that
 * routes.def names, and how a provider's failure is told to a client.
 */
#ifndef WORKER_ENDPOINT_APPS_H
#define WORKER_ENDPOINT_APPS_H

#include "base/base.h"
#include "worker/admit/admit.h"
#include "worker/endpoint/endpoint.h"
#include "worker/provider/provider.h"

struct json_find;
struct json_fault;

/* What endpoint_open() was given. */
extern struct endpoint_setup endpoint;

/* Nesting of JSON that is taken from clients and providers. */
#define ENDPOINT_JSON_DEPTH 128
/* The longest model name, decoded, with its NUL. */
#define ENDPOINT_MODEL_BYTES 256
/* An answer that is kept until it is whole may not be larger; it is the provider's fault if it is. */
#define ENDPOINT_ANSWER_MAX_BYTES (64u << 20)

/* on_close() of apps that hold nothing. */
void endpoint_nothing_held(struct exchange *x);

/* ---- the apps ---- */

/* POST bodies that go to a provider as they are; one row each in completions.def. */
struct completion_kind {
	struct exchange_app app;
	const char *upstream; /* path below the provider's base_url */
	const char *field;    /* what the body must have ... */
	unsigned kinds;	      /* ... of one of these: bits 1 << enum json_kind */
	const char *wanted;   /* the same in words */
	bool streams;	      /* takes "stream" */
	bool responses;	      /* events are those of the Responses API, and tell usage unasked */
};
#define COMPLETION(symbol, ...) extern const struct completion_kind completion_##symbol;
#include "worker/endpoint/completions.def"
#undef COMPLETION

extern const struct exchange_app health_app, health_live_app;
extern const struct exchange_app metrics_app;
extern const struct exchange_app chat_page_app, status_page_app, status_events_app;
extern const struct exchange_app models_app, model_app;
extern const struct exchange_app responses_app, responses_ws_app;
extern const struct exchange_app ws_chat_app;
extern const struct exchange_app echo_app;

/* ---- admission ---- */

/* One of max_connections, or the wait for one; zero it before first use. */
struct endpoint_place {
	struct admit_place place;
	void (*go)(struct exchange *x);
};
/*
 * Take a place, then go on: now, or at the end of a later turn when one was waited for. Who gets none is
 * refused in the way of its kind, and go() is not called.
 */
void endpoint_enter(struct exchange *x, struct endpoint_place *place, enum admit_kind kind,
	void (*go)(struct exchange *x));
/* In on_drain(), while it waits: it is refused. */
void endpoint_give_up(struct exchange *x);
/* In on_close(). */
void endpoint_leave(struct endpoint_place *place);

/* Who asks, for a provider call. */
struct provider_client endpoint_client(const struct exchange *x);

/* ---- failures ---- */

/* An error with room for its message. */
struct endpoint_error {
	struct exchange_error error;
	char message[512];
};
/* A fault of the client's: ending, the parameter that is wrong (or NULL) and the message. */
void endpoint_fault(struct endpoint_error *e, enum ending ending, const char *param,
	const char *fmt, ...) PRINTF_LIKE(4, 5);
/* JSON that does not parse: what and where. */
void endpoint_bad_json(struct endpoint_error *e, const struct json_fault *fault);
/* How a provider call failed, with the provider's name and, if it sent one, its own message. */
void endpoint_failure(struct endpoint_error *e, const struct provider_result *result);
/* The same as an HTTP answer: the provider's own status and error body where it gave them. */
void endpoint_respond_failure(struct exchange *x, const struct provider_result *result);

/* ---- models ---- */

/* Where a request goes. */
struct endpoint_target {
	unsigned provider;
	const char *model; /* not NUL-terminated; valid as long as the setup and `asked` */
	size_t model_len;
	bool as_asked;			  /* `model` is what the client wrote */
	char asked[ENDPOINT_MODEL_BYTES]; /* the client's model, decoded; "" if none */
};
/*
 * Route the model found in text (missing: none given). False: it is no string, or too long.
 * The target is not to be moved: it points into itself.
 */
bool endpoint_aim(const char *text, const struct json_find *model, struct endpoint_target *t)
	MUST_CHECK;
/*
 * Append the member "model" with a comma, as the first one of a request's body, and tell the request where it
 * is; nothing if there is no model.
 */
void endpoint_add_model(struct buf *body, const struct endpoint_target *t, struct provider_request *request);
/*
 * Notes for the access log: where the request went (*model, which was NULL or is freed, becomes a copy of the model's
 * name, and is the app's to free in on_close()), and who serves it and what the call measured so far.
 */
void endpoint_note_target(struct exchange *x, const struct endpoint_target *t, char **model);
void endpoint_note_usage(struct exchange_note *note, const struct provider_usage *usage);

#endif
