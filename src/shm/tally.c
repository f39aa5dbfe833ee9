/* SPDX-License-Identifier: BSD-2-Clause */
/* tally.c - the names of those who are counted; the counters are in stats.c. */
#include "base/base.h"
#include "shm/tally.h"

#include "base/bug.h"
#include "shm/layout.h"

const struct stat_facts tally_facts[TALLY_KIND_COUNT][TALLY_COUNT] = {
#define X(symbol, name, help) { name, help, STAT_COUNTER },
	[TALLY_MODEL] = { TALLY_COUNTS(X, "headgate_model", "by model as configured; \"other\" is any other.") },
	[TALLY_API_KEY] = { TALLY_COUNTS(X, "headgate_api_key", "by API key of the provider, the first being 1.") },
	[TALLY_CLIENT] = { TALLY_COUNTS(X, "headgate_client", "by client, as clients.keys names it.") },
#undef X
};

const struct tally_labels tally_labels[TALLY_KIND_COUNT] = {
#define X(symbol, group, name) { group, name, "" },
	TALLY_KINDS(X)
#undef X
};

#define GEN_AI_LABELS(constant) { "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_operation_name=\"chat\"," constant }
static const struct tally_labels gen_ai_labels = GEN_AI_LABELS("");
const struct tally_labels tally_usage_labels[TALLY_USAGE_COUNT] = {
#define X(symbol, text) GEN_AI_LABELS(TALLY_USAGE_LABEL "=\"" text "\","),
	TALLY_USAGES(X)
#undef X
};

const struct stat_facts tally_time_facts[TALLY_TIME_COUNT] = {
#define X(symbol, labels, name, help) { name, help, STAT_HISTOGRAM },
	TALLY_TIMES(X)
#undef X
};
const struct tally_labels *const tally_time_labels[TALLY_TIME_COUNT] = {
#define OURS &tally_labels[TALLY_MODEL]
#define GEN_AI &gen_ai_labels
#define X(symbol, labels, name, help) labels,
	TALLY_TIMES(X)
#undef X
#undef OURS
#undef GEN_AI
};
const struct stat_facts tally_usage_facts = { TALLY_USAGE_NAME, TALLY_USAGE_HELP, STAT_HISTOGRAM };

uint64_t tally_usage_bound(unsigned bucket)
{
	return bucket < TALLY_USAGE_BUCKETS - 1 ? 1ull << (2 * bucket) : UINT64_MAX;
}

static struct shm_tally *name_at(const struct shm *shm, unsigned i)
{
	struct shm_tally *all = shm_at(shm, shm->header->tallies_at);

	return &all[i];
}

/* Its number, or that of the first free place of its kind, or SHM_NO_TALLY. */
static unsigned look_up(
	const struct shm *shm, enum tally_kind kind, const char *group, const char *name)
{
	char cut_group[SHM_NAME_BYTES], cut_name[SHM_NAME_BYTES];
	unsigned i = kind == TALLY_MODEL ? 0 : SHM_MODEL_TALLIES;
	unsigned end = kind == TALLY_MODEL ? SHM_MODEL_TALLIES : SHM_TALLIES;

	shm_copy_name(cut_group, group);
	shm_copy_name(cut_name, name);
	for (; i < end; i++) {
		const struct shm_tally *t = name_at(shm, i);
		uint32_t is = atomic_load_explicit(&t->is, memory_order_acquire);

		if (!is || (is == kind + 1u && !strcmp(t->group, cut_group) && !strcmp(t->name, cut_name)))
			return i;
	}
	return SHM_NO_TALLY;
}

unsigned tally_install(struct shm *shm, enum tally_kind kind, const char *group, const char *name)
{
	unsigned i = look_up(shm, kind, group, name);
	struct shm_tally *t;

	if (i == SHM_NO_TALLY)
		return i;
	t = name_at(shm, i);
	if (!atomic_load(&t->is)) {
		shm_copy_name(t->group, group);
		shm_copy_name(t->name, name);
		atomic_store_explicit(&t->is, kind + 1u, memory_order_release);
	}
	return i;
}

unsigned tally_find(const struct shm *shm, enum tally_kind kind, const char *group, const char *name)
{
	unsigned i = look_up(shm, kind, group, name);

	return i < SHM_TALLIES && atomic_load(&name_at(shm, i)->is) ? i : SHM_NO_TALLY;
}

bool tally_read(const struct shm *shm, unsigned tally, struct tally_reading *r)
{
	const struct shm_tally *t;
	uint32_t is;

	if (tally >= SHM_TALLIES)
		return false;
	t = name_at(shm, tally);
	is = atomic_load_explicit(&t->is, memory_order_acquire);
	if (!is || is > TALLY_KIND_COUNT)
		return false;
	r->kind = (enum tally_kind)(is - 1);
	r->group = t->group;
	r->name = t->name;
	stats_tally(shm, tally, r->value);
	return true;
}
