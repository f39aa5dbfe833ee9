/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget.c - the retry budget: level and the time up to which it was filled, in one word.
 */
#include "base/base.h"
#include "shm/budget.h"

#include "shm/layout.h"

/* The word: level in thousandths (24 bits) | time (40 bits of CLOCK_MONOTONIC ms). 0: untouched. */
#define BUDGET_TIME ((1ull << 40) - 1)
#define BUDGET_SHIFT 40

#define RETRY 1000u   /* what one costs */
#define DEPOSIT 200u  /* what a request brings */
#define FLOOR 10000u  /* time fills it up to here; also what it begins with */
#define MOST 50000u
#define MS_PER_UNIT 10u /* 1 retry each 10 s */

static uint64_t level_of(uint64_t word)
{
	return word >> BUDGET_SHIFT;
}

static uint64_t word_of(uint64_t level, uint64_t time_ms)
{
	return level << BUDGET_SHIFT | (time_ms & BUDGET_TIME);
}

/* The word as it is at now_ms; what is left of a unit of time stays for the next call. */
static uint64_t filled(uint64_t word, uint64_t now_ms)
{
	uint64_t level = level_of(word), time = word & BUDGET_TIME, units;

	now_ms &= BUDGET_TIME;
	if (!word)
		return word_of(FLOOR, now_ms);
	if (now_ms <= time) /* somebody's clock reading was later */
		return word;
	if (level >= FLOOR)
		return word_of(level, now_ms);
	units = (now_ms - time) / MS_PER_UNIT;
	if (level + units >= FLOOR)
		return word_of(FLOOR, now_ms);
	return word_of(level + units, time + units * MS_PER_UNIT);
}

void budget_request(struct shm *shm, unsigned provider, uint64_t now_ms)
{
	_Atomic uint64_t *budget = &shm_standing_at(shm, provider)->budget;
	uint64_t word = atomic_load(budget), next;

	do {
		uint64_t level;

		next = filled(word, now_ms);
		level = level_of(next) + DEPOSIT;
		next = word_of(level < MOST ? level : MOST, next);
	} while (!atomic_compare_exchange_strong(budget, &word, next));
}

bool budget_retry(struct shm *shm, unsigned provider, uint64_t now_ms)
{
	_Atomic uint64_t *budget = &shm_standing_at(shm, provider)->budget;
	uint64_t word = atomic_load(budget), next;

	do {
		next = filled(word, now_ms);
		if (level_of(next) < RETRY)
			return false;
		next = word_of(level_of(next) - RETRY, next);
	} while (!atomic_compare_exchange_strong(budget, &word, next));
	return true;
}

uint64_t budget_read(const struct shm *shm, unsigned provider, uint64_t now_ms)
{
	return level_of(filled(atomic_load(&shm_standing_at(shm, provider)->budget), now_ms));
}
