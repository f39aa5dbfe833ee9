/* SPDX-License-Identifier: BSD-2-Clause */
/* lately.c - see watch.h. Keeps what the last looks saw, in a ring. */
#include "base/base.h"
#include "tools/headgatestat/watch.h"

#include "base/bug.h"

static const enum pstat_id wait_ids[LATELY_WAITS] = {
	[LATELY_QUEUE_WAIT] = PSTAT_QUEUE_WAIT,
	[LATELY_FIRST_TOKEN] = PSTAT_FIRST_BYTE,
};

struct look_provider {
	uint64_t value[PSTAT_COUNT];
	struct stats_histogram wait[LATELY_WAITS];
};

struct look {
	uint64_t at_ms;
	uint64_t value[STAT_COUNT];
	unsigned nproviders, nslots;
	struct look_provider *provider;
	uint64_t *requests; /* of each slot */
};

struct lately {
	struct look look[LATELY_LOOKS];
	unsigned next, count;
	int master;
	uint64_t started_ms;
};

static void forget(struct look *look)
{
	free(look->provider);
	free(look->requests);
	*look = (struct look){ 0 };
}

struct lately *lately_open(void)
{
	return xcalloc(1, sizeof(struct lately));
}

void lately_close(struct lately *l)
{
	for (unsigned i = 0; i < LATELY_LOOKS; i++)
		forget(&l->look[i]);
	free(l);
}

static void take(struct look *look, const struct shm *shm, uint64_t now_ms)
{
	forget(look);
	look->at_ms = now_ms;
	look->nproviders = shm_nproviders(shm);
	look->nslots = shm_nslots(shm);
	look->provider = xcalloc(look->nproviders + 1, sizeof(*look->provider));
	look->requests = xcalloc(look->nslots, sizeof(*look->requests));
	for (unsigned i = 0; i < STAT_COUNT; i++)
		look->value[i] = stat_sum(shm, (enum stat_id)i);
	for (unsigned i = 0; i < look->nslots; i++)
		look->requests[i] = stat_of_slot(shm, i, STAT_REQUESTS);
	for (unsigned p = 0; p < look->nproviders; p++) {
		for (unsigned i = 0; i < PSTAT_COUNT; i++)
			look->provider[p].value[i] = pstat_sum(shm, p, (enum pstat_id)i);
		for (unsigned i = 0; i < LATELY_WAITS; i++)
			pstat_histogram(shm, p, wait_ids[i], &look->provider[p].wait[i]);
	}
}

bool lately_is_of(const struct lately *l, const struct shm *shm)
{
	return l->count && l->master == shm_master_pid(shm) && l->started_ms == shm_started_ms(shm);
}

void lately_look(struct lately *l, const struct shm *shm, uint64_t now_ms)
{
	if (!lately_is_of(l, shm)) {
		l->master = shm_master_pid(shm);
		l->started_ms = shm_started_ms(shm);
		l->next = l->count = 0;
	}
	take(&l->look[l->next], shm, now_ms);
	l->next = (l->next + 1) % LATELY_LOOKS;
	if (l->count < LATELY_LOOKS)
		l->count++;
}

static const struct look *newest(const struct lately *l)
{
	BUG_ON(!l->count);
	return &l->look[(l->next + LATELY_LOOKS - 1) % LATELY_LOOKS];
}

static const struct look *oldest(const struct lately *l)
{
	return &l->look[(l->next + LATELY_LOOKS - l->count) % LATELY_LOOKS];
}

double lately_span_s(const struct lately *l)
{
	return (double)(newest(l)->at_ms - oldest(l)->at_ms) / 1000;
}

/* A total that fell belongs to another now: a worker's slot, or a provider's place. */
static double rate(const struct lately *l, uint64_t now, uint64_t before)
{
	double span = lately_span_s(l);

	return span > 0 && now > before ? (double)(now - before) / span : 0;
}

double lately_rate(const struct lately *l, enum stat_id id)
{
	return rate(l, newest(l)->value[id], oldest(l)->value[id]);
}

double lately_provider_rate(const struct lately *l, unsigned provider, enum pstat_id id)
{
	if (provider >= oldest(l)->nproviders || provider >= newest(l)->nproviders)
		return 0;
	return rate(l, newest(l)->provider[provider].value[id], oldest(l)->provider[provider].value[id]);
}

double lately_worker_rate(const struct lately *l, unsigned slot)
{
	if (slot >= newest(l)->nslots)
		return 0;
	return rate(l, newest(l)->requests[slot], oldest(l)->requests[slot]);
}

double lately_wait_ms(const struct lately *l, unsigned provider, enum lately_wait wait, double share)
{
	struct stats_histogram h;

	if (provider >= oldest(l)->nproviders || provider >= newest(l)->nproviders)
		return -1;
	h = newest(l)->provider[provider].wait[wait];
	if (l->count > 1)
		stats_histogram_subtract(&h, &oldest(l)->provider[provider].wait[wait]);
	return h.count ? (double)stats_quantile_us(&h, share) / 1000 : -1;
}
