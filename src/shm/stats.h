/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats.h - counters, gauges and histograms of stats.def and endings.def.
 *
 * Each worker writes only its own block, with plain relaxed stores; readers add
 * the blocks up. When a worker dies the master folds its counters into the
 * retired block and drops its gauges: totals never run backwards.
 */
#ifndef SHM_STATS_H
#define SHM_STATS_H

#include "base/base.h"
#include "shm/endings.h"

#include <stdatomic.h>

struct shm;

enum stat_type { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM };

/* STAT_ACCEPTED, ...: one per worker. */
enum stat_id {
#define GLOBAL(type, symbol, name, help) STAT_##symbol,
#define PROVIDER(type, symbol, name, help)
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
	STAT_ENDING_FIRST, /* STAT_ENDING_FIRST + ending */
	STAT_COUNT = STAT_ENDING_FIRST + END_COUNT
};

/* PSTAT_CALLS, ...: one per worker and provider. */
enum pstat_id {
#define GLOBAL(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) PSTAT_##symbol,
#include "shm/stats.def"
#undef GLOBAL
#undef PROVIDER
	PSTAT_COUNT
};

struct stat_facts {
	const char *name; /* as Prometheus names it */
	const char *help;
	enum stat_type type;
};
extern const struct stat_facts stat_facts[STAT_COUNT];
extern const struct stat_facts pstat_facts[PSTAT_COUNT];

/* Histogram buckets: bucket i counts times <= stats_bucket_us(i); the last one is +Inf. */
#define STATS_BUCKETS 48
uint64_t stats_bucket_us(unsigned i);

/* ---- writing: a worker's own block (before stats_bind() a private dummy) ---- */
void stats_bind(struct shm *shm, unsigned slot);
/* Back to the dummy, if it was this segment's block (shm_close() does so). */
void stats_unbind(const struct shm *shm);
void stat_add(enum stat_id id, int64_t n);
void pstat_add(unsigned provider, enum pstat_id id, int64_t n);
void pstat_observe(unsigned provider, enum pstat_id histogram, uint64_t us);
static inline void stat_ending(enum ending e)
{
	stat_add(STAT_ENDING_FIRST + (enum stat_id)e, 1);
}

/* ---- reading: sums over all workers and the retired block ---- */
uint64_t stat_sum(const struct shm *shm, enum stat_id id);
uint64_t pstat_sum(const struct shm *shm, unsigned provider, enum pstat_id id);
/* One worker's own value (for headgatestat -w and tests of balance). */
uint64_t stat_of_slot(const struct shm *shm, unsigned slot, enum stat_id id);

struct stats_histogram {
	uint64_t count;
	uint64_t sum_us;
	uint64_t bucket[STATS_BUCKETS]; /* not cumulative */
};
void pstat_histogram(const struct shm *shm, unsigned provider, enum pstat_id id,
	struct stats_histogram *h);
/* What came since `before`. */
void stats_histogram_subtract(struct stats_histogram *h, const struct stats_histogram *before);
/* The time below which a share `q` (0..1) of the observations lie, in us; 0 if there are none. */
uint64_t stats_quantile_us(const struct stats_histogram *h, double q);

/* ---- for shm/tally.c: the counters of a number, enum tally_count ---- */
void stats_tally(const struct shm *shm, unsigned tally, uint64_t *value);

/* ---- for shm/reclaim.c ---- */
void stats_retire(struct shm *shm, unsigned slot);
/* ---- for shm/providers.c: this provider's numbers begin at zero; no process has it ---- */
void stats_forget_provider(struct shm *shm, unsigned provider);

#endif
