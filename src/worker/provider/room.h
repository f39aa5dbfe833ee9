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
#include "shm/tokens.h"
#include "shm/window.h"
#include "worker/provider/answer.h"
#include "worker/provider/curl_loop.h"
#include "worker/provider/pool.h"
#include "worker/provider/provider.h"

struct conf_chain;
struct wire;
struct wires;
struct conf_provider;

/* What may stop a call at a provider, by its option below http_client: for errors. */
#define PROVIDER_LIMITS(X)                                                                      \
	X(PERMITS, "concurrent_requests")                                                       \
	X(QUEUE, "queue_size")                                                                  \
	X(RATE, "requests_per_minute")                                                          \
	X(TOKENS, "tokens_per_minute")                                                          \
	X(POOL, "pool_timeout")                                                                 \
	X(FIRST_TOKEN, "first_token_timeout")                                                   \
	X(REQUEST, "request_timeout")                                                           \
	X(CIRCUIT, "circuit_breaker")

enum provider_limit {
#define X(symbol, leaf) LIMIT_##symbol,
	PROVIDER_LIMITS(X)
#undef X
	LIMIT_COUNT
};

struct provider_key {
	struct curl_slist *headers; /* of all requests that go out with it: never log them */
	unsigned in_flight;	    /* calls of this worker that use it */
	unsigned tally;		    /* shm/tally.h */
};

struct provider {
	struct providers *all;
	unsigned index; /* its place in the segment: gates, window, statistics */
	const struct conf_provider *conf;
	struct gate_line *line;
	TAILQ_HEAD(, provider_call) waiting; /* those IN_LINE */
	struct provider_key *keys;
	unsigned nkeys; /* at least one: requests without a key have headers, too */
	unsigned last_key;
	unsigned *model_tally; /* of the model, the others that are configured, and any other one */
	char *limit[LIMIT_COUNT]; /* configuration paths */
	uint64_t mean_answer_tokens;
	unsigned most_streams; /* on a connection: 1 without HTTP/2 */
	struct pool *pool;
	struct wires *wires; /* NULL: all is libcurl's */
	int dialed_fd; /* made by libcurl, and about to be taken from it; -1: none */
	struct curl_loop loop; /* of its own: so libcurl does not reuse another provider's socket */
};

struct providers {
	struct event_base *base;
	const struct conf *conf;
	struct shm *shm;
	unsigned running;
	TAILQ_HEAD(call_list, provider_call) calls; /* all of them, as they came */
	struct log_rate failures[END_COUNT];
	struct log_rate further; /* attempts */
	struct gate_line **client_lines; /* by a key's place in the segment; NULL: no such key */
	unsigned *client_tallies; /* likewise */
	char **client_tokens_limit; /* likewise: configuration paths */
	unsigned nclient_lines;
	unsigned count;
	struct provider provider[];
};

/*
 * The states of a call, and where each may go.
 *
 *	NEW	 call_start() was called; the rest comes at the end of the turn
 *	CLIENT	 waits for others of its client's key to end (client.c)
 *	IN_LINE	 waits for a permit, or has just got one
 *	APPOINTED has a permit, and a time at which it may be sent or ask for the next one
 *	POOL	 waits for a connection
 *	SENDING	 has a transfer; no head of an answer yet
 *	ANSWERING the head came
 *	BACKOFF	 an attempt failed; waits, without a permit, for the time of the next (retry.c),
 *		 here or at a fallback
 *	DONE	 holds nothing any more
 */
#define CALL_STATES(X)                                                                          \
	X(NEW, "new", TO(CLIENT) | TO(IN_LINE) | TO(BACKOFF) | TO(DONE))                        \
	X(CLIENT, "in its key's line", TO(IN_LINE) | TO(BACKOFF) | TO(DONE))                    \
	X(IN_LINE, "in line", TO(APPOINTED) | TO(BACKOFF) | TO(DONE))                           \
	X(APPOINTED, "appointed", TO(POOL) | TO(SENDING) | TO(BACKOFF) | TO(DONE))              \
	X(POOL, "in the pool's line", TO(SENDING) | TO(BACKOFF) | TO(DONE))                     \
	X(SENDING, "sending", TO(APPOINTED) | TO(ANSWERING) | TO(BACKOFF) | TO(DONE))           \
	X(ANSWERING, "answering", TO(BACKOFF) | TO(DONE))                                       \
	X(BACKOFF, "backs off", TO(IN_LINE) | TO(BACKOFF) | TO(DONE))                           \
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

	/* the request as it was asked (until the asker has heard of an answer: there is no other attempt then) ... */
	char *asked;
	size_t asked_len, model_offset, model_len;
	char *path;
	uint64_t max_tokens;
	bool stream;
	/* ... and as this provider gets it (target.c) */
	char *url;
	char *body; /* asked, or one of its own */
	size_t body_len;
	const struct conf_chain *chain; /* who is asked when this provider cannot serve */
	unsigned chain_next;
	unsigned model_tally;
	unsigned key; /* number of the API key */
	char *request_id;
	char *traceparent_header, *request_id_header;
	struct curl_slist own_headers[3]; /* in front of the key's */
	struct curl_slist *headers;

	struct provider_client client;
	enum ending client_ending; /* which limit of its key refuses it; END_COMPLETE: none */
	uint64_t client_free_ms;   /* ... until then */
	uint64_t took;		   /* tokens, about, of the last attempt that went out */

	/* what it holds */
	struct tokens_promise client_promise; /* of the key's tokens_per_minute */
	struct gate_ticket client_ticket; /* one of the key's concurrent_requests */
	struct gate_ticket ticket;
	TAILQ_ENTRY(provider_call) entry; /* in the provider's waiting */
	TAILQ_ENTRY(provider_call) in_all;
	bool has_key;
	bool probe; /* it is the circuit's probe */
	struct tokens_promise promise;
	struct appointment appointment;
	bool appointed; /* the appointment is neither kept nor given back */
	bool kept;	/* a request has gone out under it */
	bool missed;	/* it came too late for its appointment: take another */
	uint64_t due_ms; /* APPOINTED: until then */
	struct pool_user seat;
	CURL *easy;
	struct wire *wire;
	struct buf head; /* of the wire's answer */

	bool shared;	    /* its connection speaks HTTP/2 */
	bool stranded;	    /* libcurl found no connection for it, and the pool has none to spare */
	unsigned strandings; /* how often, in this attempt */
	bool over;	    /* the transfer is done; if so: */
	CURLcode over_code;

	struct answer answer;
	struct buf ahead; /* of a shared one, or the wire: what came while the asker had no room */
	size_t ahead_at;  /* so much of that has been passed on */
	bool fell_behind; /* there was too much of that */
	bool strip_usage;
	bool responses;
	bool told_head; /* on_head() was called */
	bool paused;
	uint64_t uploaded;    /* bytes of the body that the provider took */
	uint64_t progress_ms; /* when it last took or sent a byte */
	uint64_t kept_ms;     /* when the request went out */
	uint64_t done_ms;     /* when [DONE] came */
	uint64_t deadline_ms; /* of the whole call: request_timeout */

	struct event timer;
	struct defer defer; /* call_turn() */
	unsigned calling;   /* the asker is being called */
	bool cancelled;	    /* and that will be carried out soon */
	bool resuming;
	bool queued_told;
	bool window_waited;

	unsigned attempts;    /* that left the line */
	unsigned retries;     /* attempts after the first, at this provider */
	bool key_parked;      /* this attempt's key was put aside */
	uint64_t retry_at_ms; /* BACKOFF: until then */

	uint64_t begun_us;   /* when it was asked for */
	uint64_t arrived_us; /* at this provider */
	uint64_t granted_us;
	uint64_t sent_us;  /* when this attempt left the line; 0: it did not */
	uint64_t flown_us; /* how long earlier ones took from there on, at this provider */
	uint64_t hoped_ms; /* when more of a shared limit was in sight, this attempt; 0: it was not looked for */
	bool went_out;	   /* an attempt left this provider's line */
	uint64_t token_us; /* when the last event of the stream came */
	struct provider_usage usage;
	char detail[CURL_ERROR_SIZE]; /* why it failed, in libcurl's words or ours */
};

/* ---- call.c, for the other files ---- */

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
/* Its permit is gone, and its client has seen nothing: it stands in line again, which is no retry. */
void call_back_in_line(struct provider_call *call);
/* The same, of an attempt that our own limit stopped; retry_after_ms is made a sane time. */
void call_refuse(struct provider_call *call, enum ending ending, enum provider_limit limit,
	uint64_t retry_after_ms);
/* pool_granted_fn */
void call_seated(struct pool_user *seat);
/* The provider took or sent a byte. */
void call_progress(struct provider_call *call);
/* When the timer of this state is due; set it. */
void call_arm(struct provider_call *call);
/* An event of a stream came. */
void call_token(struct provider_call *call);
/* The first event or body byte came. */
void call_first_token(struct provider_call *call);
/* The transfer ended by itself. */
void call_transfer_done(struct provider_call *call, CURLcode code);

/* ---- target.c ---- */

/* Take the request over, for its first provider. */
void target_open(struct provider_call *call, const struct provider_request *request);
/* Is there a fallback that was not tried? */
bool target_has_next(const struct provider_call *call);
/* Go there. The call holds nothing of the provider that it leaves. */
void target_next(struct provider_call *call);
/* When an API key of the provider may be used: now, or a later time. */
uint64_t target_key_free_ms(const struct provider *provider, uint64_t now_ms);
/* Take the least used key of those that are not parked. False: all of them are. */
bool target_take_key(struct provider_call *call, uint64_t now_ms) MUST_CHECK;
void target_drop_key(struct provider_call *call);
/* There will be no other attempt: the body of the request is let go, if it went out. */
void target_drop_body(struct provider_call *call);
void target_close(struct provider_call *call);

/* ---- client.c ---- */

enum client_verdict { CLIENT_IN, CLIENT_WAITS, CLIENT_REFUSED };
/* The call begins: may its key have it now? */
enum client_verdict client_enter(struct provider_call *call);
/* It must not, or waited too long: the call ends. */
void client_refuse(struct provider_call *call);
/* A turn of one that waits. */
void client_turn(struct provider_call *call);
/* The call ends. */
void client_leave(struct provider_call *call);
/* Under which number its key is counted (shm/tally.h). */
unsigned client_tally(const struct provider_call *call);
/* As call_position(), in the key's line. */
uint64_t client_position(const struct provider_call *call, uint64_t *expected_ms_r);
void clients_open(struct providers *all);
void clients_close(struct providers *all);
void clients_poll(struct providers *all);

/* ---- line.c ---- */

/* Stand in the provider's line; what follows comes at the end of the turn. False: the call cannot. */
bool line_try(struct provider_call *call) MUST_CHECK;
/* The same; the call ends if it cannot. */
void line_enter(struct provider_call *call);
/* IN_LINE, at the end of a turn: go on with a permit, or leave because the circuit opened. */
void line_turn(struct provider_call *call);
/* IN_LINE no longer. */
void line_leave(struct provider_call *call);
/* queue_timeout has passed. */
void line_timed_out(struct provider_call *call);
/* At the end of each turn of the loop. */
void line_poll(struct provider *provider);
/* gate_granted_fn */
void line_granted(struct gate_ticket *ticket, void *arg);
/* Would the circuit refuse a call at this time? *retry_at_ms_r: when it is to ask again. */
bool line_is_shut(const struct provider *provider, uint64_t at_ms, uint64_t *retry_at_ms_r);

/* ---- retry.c ---- */

enum retry_verdict { RETRY_END, RETRY_HERE, RETRY_ELSEWHERE };
/*
 * The attempt ended so. HERE: there shall be another one at retry_at_ms. ELSEWHERE: at the next
 * provider, at once. END: this is the call's end; what the result says of attempts is filled in.
 */
enum retry_verdict retry(struct provider_call *call, struct provider_result *result);

/* ---- report.c ---- */

/* The provider accepted the request (2xx). */
void report_accepted(struct provider_call *call);
/* It sent a token, or a byte of a document. */
void report_token(struct provider_call *call);
/* The attempt ended so; the permit is still held. */
void report_end(struct provider_call *call, const struct provider_result *result);
/* It was given up, and says nothing about the provider. */
void report_nothing(struct provider_call *call);

/* ---- appoint.c ---- */

/*
 * The call has a permit: it goes out now, or waits for the time at which it may, or ends
 * END_RATE_LIMITED or END_TOKENS_LIMITED. To be called again at due_ms.
 */
void appoint(struct provider_call *call);
/* The connection stands, the request would go out now. False: it must not. */
bool appoint_keep(struct provider_call *call);
/* Give back what was not kept, settle what was. */
void appoint_leave(struct provider_call *call);
/* How many tokens the request will take, with its answer. */
uint64_t appoint_estimate(const struct provider_call *call);

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
