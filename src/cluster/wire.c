/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.c - see wire.h. */
#include "base/base.h"
#include "cluster/wire.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>

#define HEAD_ARGS 15u
#define ASK_ARGS 6u
#define HEAD_PARTS 5u /* of a reply */
#define GRANT_PARTS 6u

static void PRINTF_LIKE(2, 3) add(struct wire_args *args, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	args->text[args->count] = text;
	args->len[args->count++] = strlen(text);
}

void wire_build(const struct wire_request *r, struct wire_args *args)
{
	unsigned most = HEAD_ARGS + ASK_ARGS * r->nasks;

	*args = (struct wire_args){ .text = xcalloc(most, sizeof(char *)), .len = xcalloc(most, sizeof(size_t)) };
	add(args, "%s", r->incarnation);
	add(args, "%s", r->node);
	add(args, "%" PRIu64, r->call);
	add(args, "%s", r->epoch);
	add(args, "%s", r->new_epoch);
	add(args, "%s", r->run);
	add(args, "%" PRIu64, r->nodes);
	add(args, "%.15g", r->share);
	add(args, "%" PRIu64, r->ttl_ms);
	add(args, "%d", r->draining);
	add(args, "%" PRIu64, r->number);
	add(args, "%" PRIu64, r->q);
	add(args, "%" PRIu64, r->sigma[0]);
	add(args, "%" PRIu64, r->sigma[1]);
	add(args, "%" PRId64, r->rho);
	for (unsigned i = 0; i < r->nasks; i++) {
		const struct wire_ask *ask = &r->ask[i];

		add(args, "%s", ask->name);
		add(args, "%d", ask->memory);
		add(args, "%" PRIu64, ask->configured);
		add(args, "%" PRIu64, ask->hold);
		add(args, "%" PRIu64, ask->want);
		add(args, "%" PRIu64, ask->guaranteed);
	}
}

void wire_release(struct wire_args *args)
{
	for (unsigned i = 0; i < args->count; i++)
		free(args->text[i]);
	free(args->text);
	free(args->len);
	*args = (struct wire_args){ 0 };
}

static void broken(struct wire_reply *reply, const char *why)
{
	reply->status = WIRE_BROKEN;
	snprintf(reply->why, sizeof(reply->why), "%s", why);
}

/* The text of part i; NULL: it is none. */
static const char *text_of(const redisReply *from, size_t i)
{
	if (i >= from->elements || from->element[i]->type != REDIS_REPLY_STRING)
		return NULL;
	return from->element[i]->str;
}

static bool number_of(const redisReply *from, size_t i, uint64_t most, uint64_t *number_r)
{
	if (i >= from->elements || from->element[i]->type != REDIS_REPLY_INTEGER ||
		from->element[i]->integer < 0 || (uint64_t)from->element[i]->integer > most)
		return false;
	*number_r = (uint64_t)from->element[i]->integer;
	return true;
}

static bool parse_grant(const redisReply *from, size_t at, struct wire_grant *g)
{
	uint64_t contended, mismatch;

	if (!number_of(from, at, WIRE_NUMBER_MOST, &g->lease) ||
		!number_of(from, at + 1, WIRE_NUMBER_MOST, &g->target) ||
		!number_of(from, at + 2, WIRE_NUMBER_MOST, &g->limit) ||
		!number_of(from, at + 3, WIRE_NUMBER_MOST, &g->guaranteed) ||
		!number_of(from, at + 4, 1, &contended) || !number_of(from, at + 5, 1, &mismatch))
		return false;
	g->contended = contended;
	g->mismatch = mismatch;
	return g->guaranteed <= g->limit && g->target <= g->limit;
}

static void parse_ok(const redisReply *from, unsigned nasks, struct wire_reply *reply)
{
	uint64_t again, members, nodes;

	if (from->elements != HEAD_PARTS + GRANT_PARTS * nasks || !number_of(from, 1, WIRE_NUMBER_MOST, &reply->seq) ||
		!reply->seq || !number_of(from, 2, 1, &again) || !number_of(from, 3, UINT32_MAX, &members) ||
		!number_of(from, 4, UINT32_MAX, &nodes)) {
		broken(reply, "the head of the answer is not what was expected");
		return;
	}
	reply->again = again;
	reply->members = (unsigned)members;
	reply->nodes = (unsigned)nodes;
	reply->grant = xcalloc(nasks + 1, sizeof(*reply->grant));
	reply->ngrants = nasks;
	for (unsigned i = 0; i < nasks; i++)
		if (!parse_grant(from, HEAD_PARTS + GRANT_PARTS * i, &reply->grant[i])) {
			broken(reply, "a lease in the answer is not what was expected");
			return;
		}
	reply->status = WIRE_OK;
}

static void parse_hello(const redisReply *from, struct wire_reply *reply)
{
	const char *epoch = text_of(from, 1);

	if (!epoch || !*epoch || strlen(epoch) >= sizeof(reply->epoch) ||
		!number_of(from, 2, WIRE_NUMBER_MOST, &reply->seq) || !reply->seq) {
		broken(reply, "the greeting is not what was expected");
		return;
	}
	snprintf(reply->epoch, sizeof(reply->epoch), "%s", epoch);
	reply->status = WIRE_HELLO;
}

void wire_parse(const redisReply *from, unsigned nasks, struct wire_reply *reply)
{
	const char *status;

	*reply = (struct wire_reply){ .status = WIRE_BROKEN };
	if (!from) {
		broken(reply, "no answer");
	} else if (from->type == REDIS_REPLY_ERROR) {
		broken(reply, from->str);
		if (strncmp(from->str, "NOSCRIPT", 8) == 0)
			reply->status = WIRE_NOT_LOADED;
	} else if (from->type != REDIS_REPLY_ARRAY || !(status = text_of(from, 0))) {
		broken(reply, "the answer is no list");
	} else if (strcmp(status, "ok") == 0) {
		parse_ok(from, nasks, reply);
	} else if (strcmp(status, "hello") == 0) {
		parse_hello(from, reply);
	} else if (strcmp(status, "stale") == 0) {
		reply->status = WIRE_STALE;
	} else if (strcmp(status, "superseded") == 0) {
		reply->status = WIRE_SUPERSEDED;
	} else if (strcmp(status, "refused") == 0 && text_of(from, 1)) {
		reply->status = WIRE_REFUSED;
		snprintf(reply->why, sizeof(reply->why), "%s", text_of(from, 1));
	} else {
		broken(reply, "the answer has no known status");
	}
}

void wire_reply_release(struct wire_reply *reply)
{
	free(reply->grant);
	*reply = (struct wire_reply){ .status = WIRE_BROKEN };
}
