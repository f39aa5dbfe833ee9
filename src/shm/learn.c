/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * learn.c - the learnt limit: itself and the remembered ceiling in one word.
 *
 * The word decides; the gate's copy of it is set afterwards, by whoever changed it, until
 * both agree (the next answer mends what a death left).
 */
#include "base/base.h"
#include "shm/learn.h"

#include "base/bug.h"
#include "shm/gate.h"
#include "shm/layout.h"

/* The word: limit (20 bits, and 24 behind the point) | ceiling (20 bits). 0: nothing was learnt. */
#define CEILING_BITS 20
#define CEILING ((1ull << CEILING_BITS) - 1)
#define ONE (1ull << 24)
#define LIMIT_MOST ((1ull << 20) - 1)

#define CUT 900u		      /* a cut leaves this, in thousandths */
#define CUT_AGAIN 750u		      /* and this if it comes right after another one */
#define CUT_INTERVAL_MS 1000u
#define SLOW_ROUNDS 64u		      /* for each step near the ceiling */

static uint64_t word_of(uint64_t limit, uint64_t ceiling)
{
	return limit << CEILING_BITS | ceiling;
}

static uint64_t limit_of(uint64_t word)
{
	return word >> CEILING_BITS;
}

static uint64_t configured(const struct shm *shm, unsigned provider)
{
	uint64_t limit = atomic_load(&shm_gate_at(shm, SHM_GATE_PROVIDER(provider))->limit);

	return limit < LIMIT_MOST ? limit : LIMIT_MOST;
}

/* Make the gate's copy what the word says. */
static void tell_gate(struct shm *shm, unsigned provider)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	struct shm_gate *gate = shm_gate_at(shm, SHM_GATE_PROVIDER(provider));
	uint64_t limit;

	CRASH_POINT("learn.moved");
	while ((limit = limit_of(atomic_load(&s->learnt)) / ONE) != atomic_load(&gate->learnt))
		gate_set_learnt(shm, SHM_GATE_PROVIDER(provider), limit);
}

/* What one more good answer makes of the word. */
static uint64_t grown(uint64_t word, uint64_t most)
{
	uint64_t limit = limit_of(word), ceiling = word & CEILING;
	uint64_t step = ONE / (limit / ONE);

	if (ceiling && limit / ONE + 1 == ceiling)
		step /= SLOW_ROUNDS;
	limit += step ? step : 1;
	if (ceiling && limit >= (ceiling + 1) * ONE)
		ceiling = 0; /* there is more to be had than there was */
	return word_of(limit < most * ONE ? limit : most * ONE, ceiling);
}

void learn_ok(struct shm *shm, unsigned provider, uint64_t now_ms, uint64_t in_flight)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t word = atomic_load(&s->learnt), most = configured(shm, provider), next;

	(void)now_ms;
	if (!word || !most)
		return;
	do {
		/* Who does not use the limit does not learn that more would go, either. */
		next = in_flight >= limit_of(word) / ONE ? grown(word, most) : word;
		if (limit_of(next) > most * ONE)
			next = word_of(most * ONE, next & CEILING);
	} while (next != word && !atomic_compare_exchange_strong(&s->learnt, &word, next));
	tell_gate(shm, provider);
}

/* One cut per interval: whoever moves its end. *again_r: the last one was only just over. */
static bool claim_cut(struct shm_standing *s, uint64_t now_ms, uint64_t interval_ms, bool *again_r)
{
	uint64_t after = atomic_load(&s->learn_cut_after_ms);

	do {
		if (now_ms < after)
			return false;
		*again_r = after && now_ms - after < CUT_INTERVAL_MS;
	} while (!atomic_compare_exchange_strong(&s->learn_cut_after_ms, &after, now_ms + interval_ms));
	return true;
}

void learn_throttled(struct shm *shm, unsigned provider, uint64_t now_ms, uint64_t retry_after_ms)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t used = atomic_load(&shm_gate_at(shm, SHM_GATE_PROVIDER(provider))->used);
	uint64_t word = atomic_load(&s->learnt), most = configured(shm, provider), next;
	bool again;

	if (!most || !claim_cut(s, now_ms,
		retry_after_ms > CUT_INTERVAL_MS ? retry_after_ms : CUT_INTERVAL_MS, &again))
		return;
	CRASH_POINT("learn.cut.claimed");
	do {
		uint64_t limit = word && limit_of(word) < most * ONE ? limit_of(word) : most * ONE;

		/* It was not the limit but what was in use that was too much; but a quiet moment tells little. */
		if (used * ONE < limit)
			limit = used * ONE > limit / 2 ? used * ONE : limit / 2;
		next = limit * (again ? CUT_AGAIN : CUT) / 1000;
		next = word_of(next > ONE ? next : ONE, limit / ONE);
	} while (!atomic_compare_exchange_strong(&s->learnt, &word, next));
	atomic_fetch_add(&s->learn_cuts, 1);
	tell_gate(shm, provider);
}

void learn_forget(struct shm *shm, unsigned provider)
{
	struct shm_standing *s = shm_standing_at(shm, provider);

	atomic_store(&s->learnt, 0);
	atomic_store(&s->learn_cut_after_ms, 0);
	tell_gate(shm, provider);
}

void learn_read(const struct shm *shm, unsigned provider, struct learn_reading *r)
{
	struct shm_standing *s = shm_standing_at(shm, provider);
	uint64_t word = atomic_load(&s->learnt), most = configured(shm, provider);
	uint64_t limit = limit_of(word) / ONE;

	*r = (struct learn_reading){ .limit = word && limit < most ? limit : most, .learnt = word != 0,
		.ceiling = word & CEILING, .cuts = atomic_load(&s->learn_cuts) };
}
