/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats.c - one writer per block, plain relaxed stores; readers add the blocks up.
 *
 * Folding a dead worker's block into the retired one takes many stores, and a
 * reader in the middle of it would see something twice or not at all: a version
 * that is odd meanwhile makes it read again.
 */
#include "base/base.h"
#include "shm/stats.h"

#include "base/bug.h"
#include "shm/layout.h"

#include <sched.h>

#define READ_TRIES 1000 /* a master that died while folding must not hang its readers */

const struct stat_facts stat_facts[STAT_COUNT] = {
#define GLOBAL(type, symbol, name, help) [STAT_##symbol] = { name, help, STAT_##type },
#define PROVIDER(type, symbol, name, help)
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
#define X(symbol, http, ws, type, code, level, again, text)                                     \
	[STAT_ENDING_FIRST + END_##symbol] = { "headgate_endings_total", text, STAT_COUNTER },
#include "shm/endings.def"
#undef X
};

const struct stat_facts pstat_facts[PSTAT_COUNT] = {
#define GLOBAL(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) [PSTAT_##symbol] = { name, help, STAT_##type },
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
};

/* Which histogram a row of stats.def is. */
static const uint8_t phist_of[PSTAT_COUNT] = {
#define GLOBAL(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) PHIST_OF_##type(symbol)
#define PHIST_OF_COUNTER(symbol)
#define PHIST_OF_GAUGE(symbol)
#define PHIST_OF_HISTOGRAM(symbol) [PSTAT_##symbol] = PHIST_##symbol,
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
#undef PHIST_OF_COUNTER
#undef PHIST_OF_GAUGE
#undef PHIST_OF_HISTOGRAM
};

static struct stats_block dummy;
static struct stats_block *mine = &dummy;
static unsigned nproviders; /* that `mine` has */

/* From 100 us to 14 minutes in steps of the square root of two. */
uint64_t stats_bucket_us(unsigned i)
{
	if (i >= STATS_BUCKETS - 1)
		return UINT64_MAX;
	return (i & 1 ? 14142ull << (i / 2) : 10000ull << (i / 2)) / 100;
}

/* The octave by its highest bit; then it is that bucket, or one of the next two. */
static unsigned bucket_of(uint64_t us)
{
	unsigned i;

	if (us <= 100)
		return 0;
	i = 2 * (63 - (unsigned)__builtin_clzll(us / 100));
	if (i >= STATS_BUCKETS - 1)
		return STATS_BUCKETS - 1;
	while (us > stats_bucket_us(i))
		i++;
	return i;
}

static struct stats_block *block_at(const struct shm *shm, unsigned i)
{
	return shm_at(shm, shm->header->stats_at + sizeof(struct shm_stats) +
		i * shm->header->stats_block_bytes);
}

/* The blocks behind those of the slots. */
static unsigned master_block(const struct shm *shm)
{
	return shm->header->nslots;
}

static unsigned agent_block(const struct shm *shm)
{
	return shm->header->nslots + 1;
}

static unsigned retired_block(const struct shm *shm)
{
	return shm->header->nslots + 2;
}

void stats_bind(struct shm *shm, unsigned slot)
{
	BUG_ON(slot != SHM_MASTER && slot != SHM_AGENT && slot >= shm->header->nslots);
	mine = block_at(shm, slot == SHM_MASTER ? master_block(shm) : slot == SHM_AGENT ? agent_block(shm) : slot);
	nproviders = shm->header->nproviders;
}

void stats_unbind(const struct shm *shm)
{
	if ((char *)mine < (char *)shm->header || (char *)mine >= (char *)shm->header + shm->bytes)
		return;
	mine = &dummy;
	nproviders = 0;
}

static void add(_Atomic uint64_t *word, uint64_t n)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
		memory_order_relaxed);
}

void stat_add(enum stat_id id, int64_t n)
{
	add(&mine->value[id], (uint64_t)n);
}

void pstat_add(unsigned provider, enum pstat_id id, int64_t n)
{
	if (mine == &dummy)
		return;
	BUG_ON(provider >= nproviders);
	add(&mine->provider[provider].value[id], (uint64_t)n);
}

void pstat_observe(unsigned provider, enum pstat_id histogram, uint64_t us)
{
	struct stats_phist *hist;

	BUG_ON(pstat_facts[histogram].type != STAT_HISTOGRAM);
	if (mine == &dummy)
		return;
	BUG_ON(provider >= nproviders);
	hist = &mine->provider[provider].hist[phist_of[histogram]];
	add(&mine->provider[provider].value[histogram], 1);
	add(&hist->sum_us, us);
	add(&hist->bucket[bucket_of(us)], 1);
}

static void add_usage(struct stats_usage *usage, uint64_t tokens)
{
	unsigned i = 0;

	while (tokens > tally_usage_bound(i))
		i++;
	add(&usage->sum, tokens);
	add(&usage->bucket[i], 1);
}

void tally_add(unsigned tally, bool complete, uint64_t tokens_in, uint64_t tokens_out)
{
	_Atomic uint64_t *value;

	if (tally >= SHM_TALLIES)
		return;
	value = mine->tally[tally];
	add(&value[TALLY_REQUESTS], complete);
	add(&value[TALLY_TOKENS_IN], tokens_in);
	add(&value[TALLY_TOKENS_OUT], tokens_out);
	if (tally >= SHM_MODEL_TALLIES || !(tokens_in + tokens_out))
		return;
	add_usage(&mine->usage[tally][TALLY_INPUT], tokens_in);
	add_usage(&mine->usage[tally][TALLY_OUTPUT], tokens_out);
}

void tally_observe(unsigned tally, enum tally_time time, uint64_t us)
{
	struct stats_phist *hist;

	if (tally >= SHM_MODEL_TALLIES)
		return;
	hist = &mine->model[tally][time];
	add(&hist->sum_us, us);
	add(&hist->bucket[bucket_of(us)], 1);
}

/* ---- reading ---- */

/* Add `n` words at `at` (an address in block 0) up over all blocks into out. */
static void add_up(const struct shm *shm, const void *at, unsigned n, uint64_t *out)
{
	size_t offset = (size_t)((const char *)at - (const char *)block_at(shm, 0));

	memset(out, 0, n * sizeof(*out));
	for (unsigned b = 0; b <= retired_block(shm); b++) {
		_Atomic uint64_t *words = (_Atomic uint64_t *)((char *)block_at(shm, b) + offset);

		for (unsigned i = 0; i < n; i++)
			out[i] += atomic_load_explicit(&words[i], memory_order_relaxed);
	}
}

static void add_up_steadily(const struct shm *shm, const void *at, unsigned n, uint64_t *out)
{
	struct shm_stats *stats = shm_stats_at(shm);

	for (unsigned tries = 0; tries < READ_TRIES; tries++) {
		uint64_t version = atomic_load(&stats->version);

		add_up(shm, at, n, out);
		atomic_thread_fence(memory_order_acquire);
		if (!(version & 1) && atomic_load(&stats->version) == version)
			return;
		sched_yield();
	}
}

uint64_t stat_sum(const struct shm *shm, enum stat_id id)
{
	uint64_t sum;

	add_up_steadily(shm, &block_at(shm, 0)->value[id], 1, &sum);
	return sum;
}

uint64_t pstat_sum(const struct shm *shm, unsigned provider, enum pstat_id id)
{
	uint64_t sum;

	BUG_ON(provider >= shm->header->nproviders);
	add_up_steadily(shm, &block_at(shm, 0)->provider[provider].value[id], 1, &sum);
	return sum;
}

void stats_tally(const struct shm *shm, unsigned tally, uint64_t *value)
{
	add_up_steadily(shm, block_at(shm, 0)->tally[tally], TALLY_COUNT, value);
}

uint64_t stat_of_slot(const struct shm *shm, unsigned slot, enum stat_id id)
{
	BUG_ON(slot >= shm->header->nslots);
	return atomic_load_explicit(&block_at(shm, slot)->value[id], memory_order_relaxed);
}

static void read_histogram(
	const struct shm *shm, const struct stats_phist *at, struct stats_histogram *h)
{
	uint64_t words[1 + STATS_BUCKETS];

	add_up_steadily(shm, at, ARRAY_SIZE(words), words);
	h->count = 0; /* of the buckets: a worker may be between its three stores */
	h->sum_us = words[0];
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		h->count += h->bucket[i] = words[1 + i];
}

void stats_histogram_subtract(struct stats_histogram *h, const struct stats_histogram *before)
{
	h->count = 0;
	h->sum_us -= before->sum_us;
	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		/* a provider's place was given to another: what is there now is all new */
		h->bucket[i] -= h->bucket[i] >= before->bucket[i] ? before->bucket[i] : 0;
		h->count += h->bucket[i];
	}
}

void pstat_histogram(const struct shm *shm, unsigned provider, enum pstat_id id,
	struct stats_histogram *h)
{
	BUG_ON(provider >= shm->header->nproviders || pstat_facts[id].type != STAT_HISTOGRAM);
	read_histogram(shm, &block_at(shm, 0)->provider[provider].hist[phist_of[id]], h);
}

void tally_histogram(
	const struct shm *shm, unsigned tally, enum tally_time time, struct stats_histogram *h)
{
	BUG_ON(tally >= SHM_MODEL_TALLIES);
	read_histogram(shm, &block_at(shm, 0)->model[tally][time], h);
}

void tally_usage_histogram(
	const struct shm *shm, unsigned tally, enum tally_usage which, struct tally_usage_histogram *h)
{
	uint64_t words[1 + TALLY_USAGE_BUCKETS];

	BUG_ON(tally >= SHM_MODEL_TALLIES);
	add_up_steadily(shm, &block_at(shm, 0)->usage[tally][which], ARRAY_SIZE(words), words);
	h->count = 0;
	h->sum = words[0];
	for (unsigned i = 0; i < TALLY_USAGE_BUCKETS; i++)
		h->count += h->bucket[i] = words[1 + i];
}

uint64_t stats_quantile_us(const struct stats_histogram *h, double q)
{
	double want = q * (double)h->count, below = 0;

	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		uint64_t from = i ? stats_bucket_us(i - 1) : 0;
		double n = (double)h->bucket[i];

		if (n > 0 && below + n >= want) {
			if (i == STATS_BUCKETS - 1)
				return from;
			return from + (uint64_t)((double)(stats_bucket_us(i) - from) * (want - below) / n);
		}
		below += n;
	}
	return 0;
}

/* ---- the master ---- */

static void fold(_Atomic uint64_t *to, _Atomic uint64_t *from, enum stat_type type)
{
	uint64_t n = atomic_exchange_explicit(from, 0, memory_order_relaxed);

	if (type != STAT_GAUGE)
		add(to, n);
}

static void fold_histogram(struct stats_phist *to, struct stats_phist *from)
{
	fold(&to->sum_us, &from->sum_us, STAT_HISTOGRAM);
	for (unsigned b = 0; b < STATS_BUCKETS; b++)
		fold(&to->bucket[b], &from->bucket[b], STAT_HISTOGRAM);
}

static void fold_model(struct stats_block *to, struct stats_block *from, unsigned model)
{
	for (unsigned k = 0; k < TALLY_TIME_COUNT; k++)
		fold_histogram(&to->model[model][k], &from->model[model][k]);
	for (unsigned k = 0; k < TALLY_USAGE_COUNT; k++) {
		struct stats_usage *sum = &to->usage[model][k], *part = &from->usage[model][k];

		fold(&sum->sum, &part->sum, STAT_HISTOGRAM);
		for (unsigned b = 0; b < TALLY_USAGE_BUCKETS; b++)
			fold(&sum->bucket[b], &part->bucket[b], STAT_HISTOGRAM);
	}
}

void stats_retire(struct shm *shm, unsigned slot)
{
	struct shm_stats *stats = shm_stats_at(shm);
	struct stats_block *from = block_at(shm, slot), *to = block_at(shm, retired_block(shm));

	BUG_ON(slot >= shm->header->nslots);
	atomic_fetch_add(&stats->version, 1);
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < STAT_COUNT; i++)
		fold(&to->value[i], &from->value[i], stat_facts[i].type);
	for (unsigned i = 0; i < SHM_TALLIES; i++)
		for (unsigned k = 0; k < TALLY_COUNT; k++)
			fold(&to->tally[i][k], &from->tally[i][k], STAT_COUNTER);
	for (unsigned i = 0; i < SHM_MODEL_TALLIES; i++)
		fold_model(to, from, i);
	for (unsigned p = 0; p < shm->header->nproviders; p++) {
		for (unsigned i = 0; i < PSTAT_COUNT; i++)
			fold(&to->provider[p].value[i], &from->provider[p].value[i], pstat_facts[i].type);
		for (unsigned i = 0; i < PHIST_COUNT; i++)
			fold_histogram(&to->provider[p].hist[i], &from->provider[p].hist[i]);
	}
	atomic_fetch_add(&stats->version, 1);
}

void stats_forget_provider(struct shm *shm, unsigned provider)
{
	struct shm_stats *stats = shm_stats_at(shm);

	BUG_ON(provider >= shm->header->nproviders);
	atomic_fetch_add(&stats->version, 1);
	atomic_thread_fence(memory_order_release);
	for (unsigned b = 0; b <= retired_block(shm); b++)
		memset(&block_at(shm, b)->provider[provider], 0, sizeof(struct stats_provider));
	atomic_fetch_add(&stats->version, 1);
}
