/* SPDX-License-Identifier: BSD-2-Clause */
/* ledger.c - see ledger.h. */
#include "base/base.h"
#include "cluster/ledger.h"

#include "base/bug.h"

#define FAST_MS 100u	   /* requests are not sent oftener than this, */
#define FAST_SHARE 100u	   /* nor than this part of lease_ttl, */
#define FAST_LOAD 2u	   /* nor than takes this part of Redis' time (the half) if all members are in haste; few are at once */
#define REST_SHARE 3u	   /* and not seldomer than so often in lease_ttl, */
#define REST_LOAD 4u	   /* which shall take it no more than this part; */
#define REST_MS 300u	   /* but as often as this, so that who comes need not wait for promises and for what was lent, */
#define REST_EASE 20u	   /* as far as that takes it no more than this part */
/* What a renewal takes Redis, and more for each row that it looks at: measured by bench/cluster. */
#define RENEWAL_US 100u
#define ROW_US 3u
#define LOOK_BACK_MS 500u  /* what is wanted is the most of so long */

void ledger_open(struct ledger *l, uint64_t ttl_ms)
{
	*l = (struct ledger){ .ttl_ms = ttl_ms, .v_ms = ttl_ms / 2, .s_ms = ttl_ms * 6 / 10, .w_ms = ttl_ms * 2,
		.margin_ms = ttl_ms / 10 };
}

void ledger_release(struct ledger *l)
{
	free(l->limit);
	free(l->ask);
	free(l->of);
	*l = (struct ledger){ 0 };
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- leases that have not lapsed ---- */

/* Those that a later one covers are not needed any more. */
static void add_own(struct ledger_limit *limit, uint64_t lease, uint64_t until_ms)
{
	while (limit->nown && limit->own[limit->nown - 1].lease <= lease)
		limit->nown--;
	if (limit->nown == LEDGER_OWN) {
		/*
		 * No room for all steps of a fall. What runs may be cut somewhat early; but what was sent within a window must
		 * not be forgotten.
		 */
		limit->nown--;
		if (limit->subject.memory_ms)
			lease = limit->own[limit->nown].lease;
	}
	limit->own[limit->nown++] = (struct ledger_lease){ lease, until_ms };
}

static void drop_lapsed(struct ledger_limit *limit, uint64_t now_ms)
{
	unsigned n = 0;

	while (n < limit->nown && limit->own[n].until_ms + limit->subject.memory_ms <= now_ms)
		n++;
	if (!n)
		return;
	limit->nown -= n;
	memmove(limit->own, limit->own + n, limit->nown * sizeof(limit->own[0]));
}

/* ---- looking ---- */

/* Another agent had written it. */
static void inherit(struct ledger_limit *limit)
{
	const struct lease_schedule *s = &limit->now.schedule;

	limit->refused = limit->now.refused;
	if (s->keep > s->limit)
		add_own(limit, s->keep, s->keep_until_ms);
	add_own(limit, s->limit, s->until_ms);
}

static void note_want(struct ledger_limit *limit, bool next_half)
{
	const struct lease_reading *now = &limit->now;

	limit->want[0] = max(limit->want[0], now->wanted + (now->refused - limit->refused));
	if (!next_half)
		return;
	limit->want[1] = limit->want[0];
	limit->want[0] = now->wanted;
	limit->refused = now->refused;
}

static uint64_t want_of(const struct ledger_limit *limit)
{
	return max(limit->want[0], limit->want[1]);
}

static void make_room(struct ledger *l, unsigned n)
{
	if (n <= l->nlimits)
		return;
	l->limit = xrealloc(l->limit, n * sizeof(*l->limit));
	memset(l->limit + l->nlimits, 0, (n - l->nlimits) * sizeof(*l->limit));
	l->ask = xrealloc(l->ask, n * sizeof(*l->ask));
	l->of = xrealloc(l->of, n * sizeof(*l->of));
}

void ledger_look(struct ledger *l, const struct shm *shm, uint64_t now_ms)
{
	bool next_half = now_ms - l->half_ms >= LOOK_BACK_MS / 2;
	unsigned n = lease_count(shm), known = l->nlimits;

	if (next_half)
		l->half_ms = now_ms;
	make_room(l, n);
	l->nlimits = max(n, known);
	l->outgrown = false;
	for (unsigned i = 0; i < n; i++) {
		struct ledger_limit *limit = &l->limit[i];
		struct lease_subject subject;

		lease_subject(shm, i, &subject);
		/* A provider was added: those behind it have moved. Or its place has another name. */
		if (strcmp(subject.name, limit->subject.name) != 0)
			*limit = (struct ledger_limit){ .subject = subject };
		limit->subject.configured = subject.configured;
		if (!subject.configured)
			continue;
		lease_read(shm, &subject, &limit->now);
		if (!limit->nown && !limit->granted)
			inherit(limit);
		drop_lapsed(limit, now_ms);
		note_want(limit, next_half);
		if (want_of(limit) > limit->now.limit && (!limit->granted || limit->now.limit < limit->grant.limit))
			l->outgrown = true;
	}
}

/* ---- asking ---- */

/* So long Redis is busy when each member renews once. */
static uint64_t round_us(const struct ledger *l)
{
	return (uint64_t)l->members * (RENEWAL_US + ROW_US * (uint64_t)l->members * l->nasks);
}

uint64_t ledger_bearable_ttl_ms(const struct ledger *l)
{
	return REST_SHARE * REST_LOAD * round_us(l) / 1000;
}

/* Something is to be handed back: what was said to be held is above the target, or others are short of what lies idle here. */
static bool is_to_give(const struct ledger_limit *limit)
{
	return limit->handing_back || (limit->granted && limit->grant.contended && want_of(limit) < limit->now.limit);
}

uint64_t ledger_pace_ms(const struct ledger *l)
{
	uint64_t fast = max(FAST_MS, max(FAST_LOAD * round_us(l) / 1000, l->ttl_ms / FAST_SHARE));
	uint64_t rest = min(l->ttl_ms / REST_SHARE, max(REST_MS, REST_EASE * round_us(l) / 1000));
	bool in_haste = l->again || l->outgrown || l->draining;

	for (unsigned i = 0; i < l->nlimits && !in_haste; i++)
		in_haste = is_to_give(&l->limit[i]);
	return in_haste ? min(fast, rest) : rest;
}

/* The largest of our numbers whose answer came at least this long ago; 0: none. */
static uint64_t heard_before(const struct ledger *l, uint64_t now_ms, uint64_t ago_ms)
{
	uint64_t seq = 0;

	for (unsigned i = 0; i < l->npast; i++)
		if (l->past[i].received_ms + ago_ms <= now_ms)
			seq = max(seq, l->past[i].seq);
	return seq;
}

/* The smallest of our numbers whose request was sent at most this long ago; -1: none. */
static int64_t sent_since(const struct ledger *l, uint64_t now_ms, uint64_t ago_ms)
{
	int64_t seq = -1;

	for (unsigned i = 0; i < l->npast; i++)
		if (l->past[i].sent_ms + ago_ms >= now_ms && (seq < 0 || (int64_t)l->past[i].seq < seq))
			seq = (int64_t)l->past[i].seq;
	return seq;
}

static uint64_t longest_memory(const struct ledger *l)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < l->nlimits; i++)
		most = max(most, l->limit[i].subject.memory_ms);
	return most;
}

void ledger_ask(struct ledger *l, uint64_t now_ms, struct wire_request *request)
{
	l->nasks = 0;
	l->holds_nothing = true;
	for (unsigned i = 0; i < l->nlimits; i++) {
		const struct ledger_limit *limit = &l->limit[i];

		if (!limit->subject.configured)
			continue;
		l->of[l->nasks] = i;
		l->holds_nothing &= !limit->now.hold || limit->subject.memory_ms;
		l->ask[l->nasks++] = (struct wire_ask){ .name = limit->subject.name,
			.memory = limit->subject.memory_ms != 0,
			.configured = limit->subject.configured,
			/* All of it, also what runs above a lease that has lapsed, until it is ended: others must not have it yet. */
			.hold = limit->now.hold,
			/* Who leaves does not keep for a while what it has just given back. */
			.want = l->draining ? limit->now.wanted : want_of(limit),
			.guaranteed = limit->now.schedule.rise_to };
	}
	request->epoch = l->epoch;
	request->number = l->number;
	request->draining = l->draining;
	request->ttl_ms = l->ttl_ms;
	request->q = l->q;
	request->sigma[0] = heard_before(l, now_ms, l->s_ms);
	request->sigma[1] = heard_before(l, now_ms, l->s_ms + longest_memory(l));
	request->rho = sent_since(l, now_ms, l->w_ms - l->v_ms - l->margin_ms);
	request->ask = l->ask;
	request->nasks = l->nasks;
}

/* ---- an answer ---- */

static void remember(struct ledger *l, uint64_t seq, uint64_t sent_ms, uint64_t received_ms)
{
	l->past[l->past_at] = (struct cluster_renewal){ seq, sent_ms, received_ms };
	l->past_at = (l->past_at + 1) % LEDGER_HISTORY;
	l->npast += l->npast < LEDGER_HISTORY;
	l->q = seq;
}

static void forget_epoch(struct ledger *l, const char *epoch)
{
	snprintf(l->epoch, sizeof(l->epoch), "%s", epoch);
	l->npast = l->past_at = 0;
	l->number = l->q = l->kept_ms = 0;
}

void ledger_resume(struct ledger *l, const struct shm *shm)
{
	struct cluster_history h;

	cluster_read_history(shm, &h);
	if (!h.q)
		return;
	forget_epoch(l, h.epoch);
	for (unsigned i = 0; i < h.n; i++) {
		remember(l, h.renewal[i].seq, h.renewal[i].sent_ms, h.renewal[i].received_ms);
		l->kept_ms = max(l->kept_ms, h.renewal[i].sent_ms);
	}
	l->q = h.q;
}

void ledger_note(struct ledger *l, struct shm *shm)
{
	const struct cluster_renewal *last = &l->past[(l->past_at + LEDGER_HISTORY - 1) % LEDGER_HISTORY];
	/* Who knows less of his past only counts on less. There is to be room for all that matters. */
	uint64_t apart = max(l->margin_ms, (l->w_ms + longest_memory(l)) * 2 / SHM_RENEWALS);
	bool keep = !l->kept_ms || last->sent_ms >= l->kept_ms + apart;

	if (keep)
		l->kept_ms = last->sent_ms;
	cluster_note_renewal(shm, l->epoch, last, keep);
}

bool ledger_greeted(struct ledger *l, const struct wire_reply *reply)
{
	bool was_known = *l->epoch;

	BUG_ON(reply->status != WIRE_HELLO);
	forget_epoch(l, reply->epoch);
	l->number = reply->seq;
	l->again = true;
	return was_known;
}

bool ledger_take(struct ledger *l, const struct wire_reply *reply, uint64_t sent_ms, uint64_t received_ms)
{
	BUG_ON(reply->status != WIRE_OK || reply->ngrants != l->nasks);
	if (received_ms >= sent_ms + l->v_ms)
		return false;
	remember(l, reply->seq, sent_ms, received_ms);
	l->again = reply->again;
	l->members = reply->members;
	l->nodes = reply->nodes;
	l->mismatches = 0;
	l->left = l->draining && l->holds_nothing;
	for (unsigned i = 0; i < l->nasks; i++) {
		struct ledger_limit *limit = &l->limit[l->of[i]];

		limit->grant = reply->grant[i];
		limit->granted = true;
		l->mismatches += limit->grant.mismatch;
		l->left &= !limit->grant.lease || limit->subject.memory_ms;
	}
	return true;
}

void ledger_schedule(struct ledger *l, unsigned i, uint64_t sent_ms, uint64_t received_ms,
	struct lease_schedule *schedule)
{
	struct ledger_limit *limit = &l->limit[l->of[i]];
	const struct wire_grant *g = &limit->grant;
	uint64_t local = min(g->lease, g->target);

	if (l->left) { /* nothing is reserved for us any more */
		ledger_give_up(l, l->of[i], schedule);
		return;
	}
	add_own(limit, g->lease, sent_ms + l->v_ms);
	drop_lapsed(limit, received_ms);
	/* What was said as held is above what was asked for back: the rest is to be reported. */
	limit->handing_back = g->lease > g->target && !l->draining;
	*schedule = (struct lease_schedule){ .limit = local,
		.until_ms = sent_ms + l->v_ms,
		.after = min(local, g->guaranteed),
		.rise_ms = received_ms + l->w_ms + limit->subject.memory_ms,
		.rise_to = g->guaranteed,
		.keep = limit->own[0].lease,
		.keep_until_ms = limit->own[0].until_ms,
		.target = g->target,
		.total = g->limit,
		.granted = g->lease };
	limit->now.schedule = *schedule;
}

void ledger_give_up(struct ledger *l, unsigned i, struct lease_schedule *schedule)
{
	struct ledger_limit *limit = &l->limit[i];
	bool any = limit->nown != 0;

	*schedule = (struct lease_schedule){ .rise_ms = UINT64_MAX,
		.keep = any ? limit->own[0].lease : 0,
		.keep_until_ms = any ? limit->own[0].until_ms : 0,
		.total = limit->grant.limit };
	limit->now.schedule = *schedule;
}
