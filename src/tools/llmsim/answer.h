/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.h - one request for an answer (chat, completion, embedding): what was
 * asked, what will go wrong, and how far it has come.
 */
#ifndef TOOLS_LLMSIM_ANSWER_H
#define TOOLS_LLMSIM_ANSWER_H

#include "base/base.h"
#include "tools/llmsim/faults.h"
#include "tools/llmsim/http.h"
#include "tools/llmsim/text.h"
#include "tools/llmsim/wheel.h"

enum answer_kind { ANSWER_CHAT, ANSWER_COMPLETION, ANSWER_EMBEDDING, ANSWER_RESPONSE };

struct account;

struct answer {
	struct http_request *req;
	uint64_t serial;
	enum answer_kind kind;
	struct fault plan;
	bool fired; /* the fault has happened (once is enough) */
	bool ended_by_fault;
	bool firm; /* a directive cannot change the plan: an outage, or the key's fault */
	struct account *account; /* whose it is; NULL: nobody's */
	char refused[24]; /* why it was refused without a fault: "key", ... */

	char id[48];
	char *model; /* as the inside of a JSON string */
	int64_t created;
	bool stream, include_usage;
	struct text text;
	char *tool; /* name of the tool to be called, as the inside of a JSON string; or NULL */
	bool cut_short; /* by max_tokens */
	uint64_t prompt_tokens;

	/* Pace. */
	uint64_t random;
	uint64_t due_us;
	double gap_us;
	struct wheel_timer timer;
	unsigned sent;    /* tokens */
	uint64_t endless; /* bytes of the endless event */
	bool begun;       /* the first chunk has been sent */
	bool paused;      /* until the client has taken what is queued */

	/* What stands before and behind each token of a stream. */
	struct buf before, after;
};

/* A request of this kind begins (its head is here). */
struct answer *answer_new(struct http_request *req, enum answer_kind kind);
/* Its body is here too. */
void answer_start(struct answer *a);
void answer_drained(struct answer *a);
/* The server is done with it; frees it. */
void answer_finished(struct answer *a, enum http_end how);

/* ask.c: read the body into `a`. False: it has been answered with an error. */
bool answer_ask(struct answer *a);

/* answer.c: note the fault, for the event `done`. */
void answer_fired(struct answer *a);
/* Append further lines of its head. */
void answer_headers(const struct answer *a, struct buf *out);
/* The time between two tokens, jitter included. */
double answer_gap_us(struct answer *a);
const char *answer_finish_reason(const struct answer *a);
/* Append {"prompt_tokens":...}. */
void answer_usage(const struct answer *a, struct buf *out);

/* stream.c: head, then tokens from due_us on. */
void stream_start(struct answer *a);
/* There is room again for a stream that was paused. */
void stream_resume(struct answer *a);

/* native.c: ANSWER_RESPONSE. The response object, in progress or whole; the events before, of and behind the tokens. */
void native_object(const struct answer *a, bool whole, struct buf *out);
void native_begin(const struct answer *a, struct buf *out);
void native_token(const struct answer *a, struct buf *out);
void native_end(const struct answer *a, struct buf *out);

#endif
