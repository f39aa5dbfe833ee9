/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * room.h - what the files of this room share: the providers, a call, and the doors
 * of its state machine (call.c).
 */
#ifndef WORKER_PROVIDER_ROOM_H
#define WORKER_PROVIDER_ROOM_H

#include "base/base.h"
#include "base/defer.h"
#include "base/log.h"
#include "shm/gate.h"
#include "shm/window.h"
#include "worker/provider/answer.h"
#include "worker/provider/curl_loop.h"
#include "worker/provider/pool.h"
#include "worker/provider/provider.h"

struct conf_provider;

struct provider {
	struct providers *all;
	unsigned index; /* its place in the segment: gates, window, statistics */
	const struct conf_provider *conf;
	struct gate_line *line;
	struct curl_slist *headers; /* of all requests; the API key is in it */
	char *permits_limit;	    /* configuration paths, for errors */
	char *rate_limit;
	char *pool_limit;
	struct pool *pool;
	struct curl_loop loop; /* of its own: so libcurl does not reuse another provider's socket */
};

struct providers {
	struct event_base *base;
	const struct conf *conf;
	struct shm *shm;
	unsigned running;
	struct log_rate failures[END_COUNT];
	unsigned count;
	struct provider provider[];
};

/*
 * The states of a call, and where each may go.
 *
 *	NEW	 call_start() was called; the rest comes at the end of the turn
 *	IN_LINE	 waits for a permit
 *	APPOINTED has a permit and a time at which it may be sent
 *	POOL	 waits for a connection
 *	SENDING	 has a transfer; no head of an answer yet
 *	ANSWERING the head came
 *	BACKOFF	 an attempt failed; waits, without a permit, for the time of the next (retry.c)
 *	DONE	 holds nothing any more
 */
#define CALL_STATES(X)                                                                          \
	X(NEW, "new", TO(IN_LINE) | TO(APPOINTED) | TO(DONE))                                   \
	X(IN_LINE, "in line", TO(APPOINTED) | TO(DONE))                                         \
	X(APPOINTED, "appointed", TO(POOL) | TO(SENDING) | TO(DONE))                            \
	X(POOL, "in the pool's line", TO(SENDING) | TO(DONE))                                   \
	X(SENDING, "sending", TO(APPOINTED) | TO(ANSWERING) | TO(BACKOFF) | TO(DONE))           \
	X(ANSWERING, "answering", TO(BACKOFF) | TO(DONE))                                       \
	X(BACKOFF, "backs off", TO(IN_LINE) | TO(APPOINTED) | TO(DONE))                         \
	X(DONE, "done", 0)

enum call_state {
#define X(state, name, next) CALL_##state,
	CALL_STATES(X)
#undef X
};

struct provider_call {
	struct provider *provider;
	enum call_state state;
	const struct provider_asker *asker;
	void *arg;

	/* the request */
	char *url;
	char *body;
	size_t body_len;
	char *request_id;
	char *traceparent_header, *request_id_header;
	struct curl_slist own_headers[3]; /* in front of the provider's */
	struct curl_slist *headers;

	/* what it holds */
	struct gate_ticket ticket;
	struct appointment appointment;
	bool appointed; /* the appointment is neither kept nor given back */
	bool kept;	/* a request has gone out under it */
	bool missed;	/* it came too late for its appointment: take another */
	struct pool_user seat;
	CURL *easy;

	struct answer answer;
	bool strip_usage;
	bool told_head; /* on_head() was called */
	bool paused;
	uint64_t uploaded;    /* bytes of the body that the provider took */
	uint64_t progress_ms; /* when it last took or sent a byte */
	uint64_t done_ms;     /* when [DONE] came */

	struct event timer;
	struct defer defer; /* call_turn() */
	unsigned calling;   /* the asker is being called */
	bool cancelled;	    /* and that will be carried out soon */
	bool resuming;
	bool queued_told;
	bool window_waited;

	unsigned retries;     /* attempts after the first */
	uint64_t retry_at_ms; /* BACKOFF: until then */

	uint64_t arrived_us;
	uint64_t granted_us;
	uint64_t sent_us;  /* when this attempt left the line; 0: it did not */
	uint64_t flown_us; /* how long earlier ones took from there on */
	struct provider_usage usage;
	char detail[CURL_ERROR_SIZE]; /* why it failed, in libcurl's words or ours */
	char message[512];
};

/* ---- call.c, for transfer.c, answer.c and providers.c ---- */

/* Legal moves only. */
void call_to(struct provider_call *call, enum call_state state);
/* Do what is due at the end of the turn. */
void call_later(struct provider_call *call);
/* The request goes out. */
void call_send(struct provider_call *call);
/* The call must wait: tell the asker, once. */
void call_tell_queued(struct provider_call *call);
/* Until when it may wait in line: queue_timeout, not counting the time that attempts took. */
uint64_t call_queue_until_ms(const struct provider_call *call);
/*
 * The attempt ended: another follows, or the call ends and is freed. Never inside libcurl or a
 * callback of the asker.
 */
void call_end(struct provider_call *call, struct provider_result *result);
/* What a client is told to wait: a sane time, clients ignore others. */
uint64_t call_retry_after_ms(uint64_t guess_ms);
/* pool_granted_fn */
void call_seated(struct pool_user *seat);
/* gate_granted_fn */
void call_granted(struct gate_ticket *ticket, void *arg);
/* The provider took or sent a byte. */
void call_progress(struct provider_call *call);
/* When the timer of this state is due; set it. */
void call_arm(struct provider_call *call);
/* The first event or body byte came. */
void call_first_token(struct provider_call *call);
/* The transfer ended by itself. */
void call_transfer_done(struct provider_call *call, CURLcode code);

/* ---- retry.c ---- */

/*
 * The attempt ended so. True: there shall be another one at retry_at_ms. False: this is the
 * call's end; what the result says of attempts is filled in.
 */
bool retry(struct provider_call *call, struct provider_result *result);

/* ---- appoint.c ---- */

/* The call has a permit: it goes out now, or waits for the time at which it may, or ends END_RATE_LIMITED. */
void appoint(struct provider_call *call);
/* The connection stands, the request would go out now. False: it must not. */
bool appoint_keep(struct provider_call *call);
/* Give back what was not kept. */
void appoint_leave(struct provider_call *call);

/*
 * Call the asker, if it wants to be called. Meanwhile the call cannot go away: a
 * cancel is carried out later.
 */
#define CALL_ASKER(call, callback, ...)                                                         \
	do {                                                                                    \
		(call)->calling++;                                                              \
		if ((call)->asker->callback)                                                    \
			(call)->asker->callback((call), __VA_ARGS__);                           \
		(call)->calling--;                                                              \
	} while (0)

#endif
