/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * provider.h - one call to an LLM provider: its place in line, permit, connection,
 * stream, and end. libcurl is used in this room and nowhere else.
 *
 *	NEW -> IN_LINE (gate) -> APPOINTED (window) -> POOL -> SENDING -> ANSWERING -> DONE
 *		 ^---------------- BACKOFF <-------------------'
 *
 * What fails before the asker has heard of an answer is tried again, here or at a fallback.
 *
 * Whoever asks owns the call until on_end(); call_cancel() ends it without on_end(). The
 * call owns its ticket or permit, its appointment and its transfer: when it ends, by
 * whatever way, all of them are given back in the same turn of the loop.
 */
#ifndef WORKER_PROVIDER_PROVIDER_H
#define WORKER_PROVIDER_PROVIDER_H

#include "base/base.h"
#include "shm/endings.h"
#include "shm/flow.h"

struct conf;
struct event_base;
struct provider_call;
struct providers; /* all providers of this worker */
struct shm;

/* One libcurl multi on this base; after fork. */
struct providers *providers_open(struct event_base *base, const struct conf *conf, struct shm *shm);
/* All calls must have ended. */
void providers_close(struct providers *providers);
/* Collects grants; called when the wake descriptor was readable and at the end of each loop turn. */
void providers_poll(struct providers *providers);
/* Calls that have not ended. */
unsigned providers_running(const struct providers *providers);

/*
 * Which provider and model a request's "model" means (not NUL-terminated; len 0: none given):
 * "provider/model" where the first part is a configured provider, else a model listed under a provider,
 * else llm.active. Returns the provider's index; *model_r/len_r: the model to ask it for (part of
 * the argument, or of the configuration).
 */
unsigned providers_route(const struct providers *providers, const char *model, size_t len,
	const char **model_r, size_t *len_r);
const char *provider_name(const struct providers *providers, unsigned provider);

struct provider_head {
	int status; /* 2xx */
	bool sse;   /* text/event-stream; else one body */
	const char *content_type;
};

/* How a call ended. Texts are valid during on_end() only. */
struct provider_result {
	enum ending ending;
	int status;		 /* of the provider's answer; 0 if there was none */
	const char *message;	 /* for the client: what happened, in plain words; NULL: the ending's text */
	const char *body;	 /* the provider's error body (END_PROVIDER_STATUS, END_PROVIDER_AUTH) or the data of
				  * its error event (END_STREAM_ERROR: on_bytes() has passed it on already), cut to 64 KiB */
	size_t body_len;
	const char *limit;	 /* configuration path of the limit that was hit, or NULL */
	uint64_t retry_after_ms; /* 0: not known */
	bool answered;		 /* on_head() was called before */
	unsigned provider;	 /* whose fault it is: the last that was tried */
	unsigned attempts;	 /* how many left the line */
	bool give_up;		 /* all that could be tried was, or it is of no use: the client is not to try again */
};

/* What the provider reported or we measured; valid from on_head() on. */
struct provider_usage {
	unsigned provider; /* who serves: the one that was asked, or a fallback */
	const char *model; /* what the fallback was asked for; NULL: as the request says */
	bool known; /* the provider reported tokens */
	uint64_t prompt_tokens;
	uint64_t completion_tokens;
	uint64_t queue_wait_us;
	uint64_t first_token_us; /* from grant to the first event or body byte */
};

/*
 * A 2xx answer is a stream or a document, by its content type, whatever was asked for. A stream goes on
 * as it comes. Any other answer is collected (16 MiB at most), checked to be JSON, and then passed on
 * whole: on_head(), on_bytes() once, without has_room(), on_end(END_COMPLETE); if it is not JSON,
 * there is on_end(END_PROVIDER_GARBAGE) only. A stream is complete with [DONE], or at its
 * end when a finish_reason came, or (of the Responses API) with its last event; bytes behind [DONE] may come in the same block as it.
 */

/*
 * What the asker hears; arg is the asker's. May be called from inside libcurl: a callback may call any
 * function of this header (a cancel is carried out when libcurl has returned, in the same
 * turn), but must not free what owns the call other than in on_end().
 */
struct provider_asker {
	/* The call must wait: in line or for its appointment. Once. May be NULL. */
	void (*on_queued)(struct provider_call *call, void *arg);
	/* The provider accepted (2xx). May be NULL. */
	void (*on_head)(struct provider_call *call, const struct provider_head *head, void *arg);
	/* Is there room for more? False pauses the transfer until call_resume(). Asked before each batch (<= 16 KiB). */
	bool (*has_room)(struct provider_call *call, void *arg);
	/* Bytes of the answer's body as they came: SSE or JSON. NULL: not wanted. With strip_usage, whole events only,
	 * after their on_event(), without the usage chunk. */
	void (*on_bytes)(struct provider_call *call, const char *bytes, size_t len, void *arg);
	/* One SSE event's data (not "[DONE]"), after on_bytes() of the block that ends it. NULL: not wanted. */
	void (*on_event)(struct provider_call *call, const char *data, size_t len, void *arg);
	/* The end. The call is freed when this returns. */
	void (*on_end)(struct provider_call *call, const struct provider_result *result, void *arg);
};

/* Who asks: whose turn it is where calls wait, and whose own limits count. Zero: nobody in particular. */
struct provider_client {
	struct flow flow;
	bool keyed;
	unsigned place; /* of its key in the segment */
};

struct provider_request {
	unsigned provider;
	struct provider_client client;
	const char *path;	 /* "/chat/completions", appended to base_url */
	const char *body;	 /* JSON; NULL: GET */
	size_t body_len;
	size_t model_offset, model_len; /* of the model's value in the body, quotes included; len 0: it has none */
	uint64_t max_tokens;	 /* most tokens of the answer; 0: the request does not say */
	bool stream;		 /* an SSE answer is expected: a stream without its end is an error */
	bool responses;		 /* of the Responses API: a stream is complete with response.completed or .incomplete;
				  * fallbacks without "responses: native" are passed over */
	bool strip_usage;	 /* the usage chunk of the stream (no choices) is for us alone; see on_bytes() */
	const char *request_id;	 /* sent on as X-Request-Id */
	const char *traceparent; /* sent on if not NULL */
};

/*
 * Ask. The body is taken over (must be malloc'd; freed by the call). Callbacks may come from now on, but
 * none before this returns.
 */
struct provider_call *call_start(struct providers *providers, const struct provider_request *request,
	const struct provider_asker *asker, void *arg);
/* End it now, for any reason of the asker's; no callback follows. */
void call_cancel(struct provider_call *call);
/* It ends with END_LEASE_LOST, by this limit (its configuration path); on_end() is called meanwhile. */
void call_lose(struct provider_call *call, const char *limit);
/*
 * Where a cluster leases limits (shm/lease.h): hand out what has come free by itself, and end what is too much. To be called a
 * few times in a tenth of a second.
 */
void providers_lapse(struct providers *all);
/* There is room again. */
void call_resume(struct provider_call *call);
/* Between two SSE events: keep-alive comments and error events may be injected only here. */
bool call_at_boundary(const struct provider_call *call);
/* Place in line (1: next) while it waits, 0 when it does not; *expected_ms_r: a guess of the wait, 0 if unknown. */
uint64_t call_position(const struct provider_call *call, uint64_t *expected_ms_r);
const struct provider_usage *call_usage(const struct provider_call *call);

#endif
