/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * circuit.c - the circuit breaker: a state, its counts and its time in one word.
 *
 * Who changes the word has decided; what else is to be done (count it, begin the
 * statistics anew) may be missing after a death and decides nothing.
 */
#include "base/base.h"
#include "shm/circuit.h"

#include "base/bug.h"
#include "shm/layout.h"

/* The word: state (2 bits) | failures in a row (8) | times opened in a row (4) | time (40, ms). */
#define TIME ((1ull << 40) - 1)
#define STREAK_SHIFT 40
#define STREAK_MOST 15u
#define FAILURES_SHIFT 44
#define FAILURES_MOST 255u
#define STATE_SHIFT 52

#define IN_A_ROW 5u
#define SHARE_OF 20u /* this many answers at least, and half of them failures */
#define BUCKET_MS 5000u
#define OPEN_MS 2000u
#define OPEN_MOST_MS 60000u
#define LEASE_MS 30000u

/* The word, unfolded. `time`: closed since; open until; half open: the lease's end. */
struct circuit {
	enum circuit_state state;
	unsigned failures, streak;
	uint64_t time;
};

static struct circuit unfold(uint64_t word)
{
	return (struct circuit){ .state = (enum circuit_state)(word >> STATE_SHIFT),
		.failures = word >> FAILURES_SHIFT & FAILURES_MOST,
		.streak = word >> STREAK_SHIFT & STREAK_MOST, .time = word & TIME };
}

static uint64_t fold(const struct circuit *c)
{
	return (uint64_t)c->state << STATE_SHIFT | (uint64_t)c->failures << FAILURES_SHIFT |
		(uint64_t)c->streak << STREAK_SHIFT | (c->time & TIME);
}

static uint64_t open_ms(unsigned streak)
{
	uint64_t ms = OPEN_MS;

	while (--streak && ms < OPEN_MOST_MS)
		ms *= 2;
	return ms < OPEN_MOST_MS ? ms : OPEN_MOST_MS;
}

/* A bucket of answers: period (24 bits) | answers (20) | failures (20). */
#define COUNT_MOST ((1ull << 20) - 1)
#define PERIOD ((1ull << 24) - 1)

static uint64_t period_at(uint64_t now_ms)
{
	return now_ms / BUCKET_MS & PERIOD;
}

static void count_answer(struct shm_standing *s, bool ok, uint64_t now_ms)
{
	uint64_t period = period_at(now_ms);
	_Atomic uint64_t *bucket = &s->circuit_recent[period & 1];
	uint64_t word = atomic_load(bucket), next;

	do {
		next = word >> 40 == period ? word : period << 40;
		if ((next >> 20 & COUNT_MOST) == COUNT_MOST)
			return;
		next += (1ull << 20) + !ok;
	} while (!atomic_compare_exchange_strong(bucket, &word, next));
}

static void recent(struct shm_standing *s, uint64_t now_ms, uint64_t *answers_r, uint64_t *failures_r)
{
	uint64_t period = period_at(now_ms);

	*answers_r = *failures_r = 0;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t word = atomic_load(&s->circuit_recent[i]);

		if (((period - (word >> 40)) & PERIOD) > 1)
			continue;
		*answers_r += word >> 20 & COUNT_MOST;
		*failures_r += word & COUNT_MOST;
	}
}

static bool too_many(struct shm_standing *s, unsigned failures, uint64_t now_ms)
{
	uint64_t answers, failed;

	recent(s, now_ms, &answers, &failed);
	return failures >= IN_A_ROW || (answers >= SHARE_OF && 2 * failed >= answers);
}

/* Decide, and tidy up. False: somebody else decided first; *word is what he made of it. */
static bool change(struct shm_standing *s, uint64_t *word, const struct circuit *to)
{
	enum circuit_state from = unfold(*word).state;

	if (!atomic_compare_exchange_strong(&s->circuit, word, fold(to)))
		return false;
	if (to->state == from)
		return true;
	CRASH_POINT("circuit.changed");
	if (to->state == CIRCUIT_OPEN)
		atomic_fetch_add(&s->circuit_opened, 1);
	if (to->state == CIRCUIT_CLOSED) /* what was before shall not open it again */
		for (unsigned i = 0; i < 2; i++)
			atomic_store(&s->circuit_recent[i], 0);
	return true;
}

enum circuit_verdict circuit_ask(struct shm *shm, unsigned provider, uint64_t now_ms,
	uint64_t *retry_at_ms_r)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t word = atomic_load(&s->circuit);

	*retry_at_ms_r = 0;
	for (;;) {
		struct circuit c = unfold(word);

		if (c.state == CIRCUIT_CLOSED)
			return CIRCUIT_PASS;
		if (now_ms < c.time) {
			/* A probe is answered long before its lease ends, as a rule. */
			*retry_at_ms_r = c.time - now_ms < OPEN_MS || c.state == CIRCUIT_OPEN ? c.time :
				now_ms + OPEN_MS;
			return CIRCUIT_REFUSED;
		}
		c.state = CIRCUIT_HALF_OPEN;
		c.time = now_ms + LEASE_MS;
		if (change(s, &word, &c)) {
			CRASH_POINT("circuit.probe.leased");
			return CIRCUIT_PROBE;
		}
	}
}

/* What an answer makes of the circuit. False: nothing. */
static bool judge(struct shm_standing *s, struct circuit *c, bool probe, bool ok, uint64_t now_ms)
{
	if (c->state == CIRCUIT_CLOSED && ok) {
		if (!c->failures)
			return false;
		c->failures = 0;
		return true;
	}
	if (c->state != CIRCUIT_CLOSED && (!probe || c->state == CIRCUIT_OPEN))
		return false;
	if (ok) {
		*c = (struct circuit){ .state = CIRCUIT_CLOSED, .time = now_ms };
		return true;
	}
	c->failures += c->failures < FAILURES_MOST;
	if (c->state == CIRCUIT_CLOSED && !too_many(s, c->failures, now_ms))
		return true;
	c->streak += c->streak < STREAK_MOST;
	c->state = CIRCUIT_OPEN;
	c->time = now_ms + open_ms(c->streak);
	return true;
}

bool circuit_report(struct shm *shm, unsigned provider, bool probe, bool ok, uint64_t now_ms)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t word = atomic_load(&s->circuit);
	struct circuit c = unfold(word);

	if (c.state == CIRCUIT_CLOSED)
		count_answer(s, ok, now_ms);
	while (judge(s, &c, probe, ok, now_ms)) {
		enum circuit_state before = unfold(word).state;

		if (change(s, &word, &c))
			return c.state != before;
		c = unfold(word);
	}
	return false;
}

void circuit_forget_probe(struct shm *shm, unsigned provider, uint64_t now_ms)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t word = atomic_load(&s->circuit);
	struct circuit c = unfold(word);

	while (c.state == CIRCUIT_HALF_OPEN && c.time > now_ms) {
		c.time = now_ms; /* the lease is over */
		if (change(s, &word, &c))
			return;
		c = unfold(word);
	}
}

void circuit_read(const struct shm *shm, unsigned provider, uint64_t now_ms, struct circuit_reading *r)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	struct circuit c = unfold(atomic_load(&s->circuit));
	uint64_t lasts = 0;

	*r = (struct circuit_reading){ .state = c.state, .failures = c.failures };
	if (c.state != CIRCUIT_CLOSED) {
		lasts = c.state == CIRCUIT_OPEN ? open_ms(c.streak) : LEASE_MS;
		r->retry_at_ms = c.time;
	}
	r->since_ms = c.time > lasts ? c.time - lasts : 0;
	r->opened = atomic_load(&s->circuit_opened);
	recent(s, now_ms, &r->recent, &r->recent_failures);
}
