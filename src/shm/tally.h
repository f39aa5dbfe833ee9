/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tally.h - who used how much: requests and tokens by model, by API key of a provider, and by
 * client.
 *
 * Whoever is counted has a number, given by the master and found by its name; it keeps it until
 * headgate is restarted, also when a reload drops it. The numbers are in the statistics' blocks, so
 * all that is said there of counters holds (shm/stats.h).
 */
#ifndef SHM_TALLY_H
#define SHM_TALLY_H

#include "base/base.h"
#include "shm/segment.h"
#include "shm/stats.h"

#define SHM_TALLIES 256u      /* who is one too many is not counted */
#define SHM_MODEL_TALLIES 64u /* the first of them are for models, which have histograms as well */
#define SHM_NO_TALLY SHM_TALLIES
#define TALLY_OTHER "other" /* the model of who asks for one that is not configured */

/* X(symbol, label of its provider or NULL, label of its name) */
#define TALLY_KINDS(X)                                                                          \
	X(MODEL, "provider", "model")                                                           \
	X(API_KEY, "provider", "key")                                                           \
	X(CLIENT, NULL, "client")

/* X(symbol, what the name of the statistic ends with, help) */
#define TALLY_COUNTS(X, word, of)                                                               \
	X(REQUESTS, word "_requests_total", "Requests answered completely, " of)                \
	X(TOKENS_IN, word "_prompt_tokens_total", "Prompt tokens, " of)                         \
	X(TOKENS_OUT, word "_completion_tokens_total", "Completion tokens, " of)

/*
 * Where OpenTelemetry's conventions for generative AI have a name for what is measured by model, it has that name and those
 * labels (github.com/open-telemetry/semantic-conventions-genai). They are in development: all that we have of them stands here.
 *
 * X(symbol, labels, name, help)
 */
#define TALLY_TIMES(X)                                                                          \
	X(QUEUE_WAIT, OURS, "headgate_model_queue_wait_seconds",                                \
		"Wait for a permit and for requests_per_minute, by model.")                     \
	X(FIRST_TOKEN, GEN_AI, "gen_ai_client_operation_time_to_first_chunk_seconds",           \
		"From permit to the first byte of the answer's body.")                          \
	X(INTER_TOKEN, GEN_AI, "gen_ai_client_operation_time_per_output_chunk_seconds",         \
		"Between two events of a stream.")                                              \
	X(DURATION, GEN_AI, "gen_ai_client_operation_duration_seconds",                         \
		"From permit to the end of the answer.")                                        \
	X(SERVED, GEN_AI, "gen_ai_server_request_duration_seconds",                             \
		"Of requests answered completely: from when they came to the end, all waits and attempts included.") \
	X(SERVED_FIRST, GEN_AI, "gen_ai_server_time_to_first_token_seconds",                    \
		"Of these: from when they came to the first byte of the answer.")               \
	X(SERVED_TOKEN, GEN_AI, "gen_ai_server_time_per_output_token_seconds",                  \
		"Of these, where they are streams: the time after that, for each further token that the provider has told.")
#define TALLY_USAGE_NAME "gen_ai_client_token_usage"
#define TALLY_USAGE_HELP "Tokens of a request that the provider has told; gen_ai_token_type: input (the prompt) or output."
#define TALLY_USAGE_LABEL "gen_ai_token_type"
/* X(symbol, value of that label) */
#define TALLY_USAGES(X)                                                                         \
	X(INPUT, "input")                                                                       \
	X(OUTPUT, "output")
/* 1, 4, 16 .. 67,108,864, and more: the conventions' bounds. */
#define TALLY_USAGE_BUCKETS 15u

enum tally_kind {
#define X(symbol, group, name) TALLY_##symbol,
	TALLY_KINDS(X)
#undef X
	TALLY_KIND_COUNT
};
enum tally_count {
#define X(symbol, word, help) TALLY_##symbol,
	TALLY_COUNTS(X, "", "")
#undef X
	TALLY_COUNT
};

enum tally_time {
#define X(symbol, labels, name, help) TALLY_##symbol,
	TALLY_TIMES(X)
#undef X
	TALLY_TIME_COUNT
};

enum tally_usage {
#define X(symbol, text) TALLY_##symbol,
	TALLY_USAGES(X)
#undef X
	TALLY_USAGE_COUNT
};

/* The labels of the group (NULL: it has none) and of the name; one that is always the same, or "". */
struct tally_labels {
	const char *group, *name, *constant;
};

extern const struct stat_facts tally_facts[TALLY_KIND_COUNT][TALLY_COUNT];
extern const struct tally_labels tally_labels[TALLY_KIND_COUNT];
extern const struct stat_facts tally_time_facts[TALLY_TIME_COUNT];
extern const struct tally_labels *const tally_time_labels[TALLY_TIME_COUNT];
extern const struct stat_facts tally_usage_facts;
extern const struct tally_labels tally_usage_labels[TALLY_USAGE_COUNT];

/* Master: the number of this group ("" if the kind has none) and name; SHM_NO_TALLY: there is no room. */
unsigned tally_install(struct shm *shm, enum tally_kind kind, const char *group, const char *name);
/* Its number, or SHM_NO_TALLY. */
unsigned tally_find(const struct shm *shm, enum tally_kind kind, const char *group, const char *name);

/* A request has ended; complete: well. Tokens: 0 if the provider did not tell. Ignores SHM_NO_TALLY. */
void tally_add(unsigned tally, bool complete, uint64_t tokens_in, uint64_t tokens_out);

/* A model took so long. Ignores SHM_NO_TALLY. */
void tally_observe(unsigned tally, enum tally_time time, uint64_t us);
void tally_histogram(const struct shm *shm, unsigned tally, enum tally_time time, struct stats_histogram *h);

/* How many tokens requests of a model took. */
struct tally_usage_histogram {
	uint64_t count, sum;
	uint64_t bucket[TALLY_USAGE_BUCKETS]; /* not cumulative */
};
void tally_usage_histogram(const struct shm *shm, unsigned tally, enum tally_usage which, struct tally_usage_histogram *h);
/* The upper bound of a bucket; UINT64_MAX: there is none. */
uint64_t tally_usage_bound(unsigned bucket);

struct tally_reading {
	enum tally_kind kind;
	const char *group, *name;
	uint64_t value[TALLY_COUNT];
};
/* False: nobody has this number. */
bool tally_read(const struct shm *shm, unsigned tally, struct tally_reading *r);

#endif
