/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * readings.h - the rows of readings.def: numbers that are read off gates, windows and slots. Reads
 * only, so any process that has the segment may ask, at any time.
 */
#ifndef SHM_READINGS_H
#define SHM_READINGS_H

#include "base/base.h"
#include "shm/stats.h"

enum house_reading {
#define HOUSE(type, symbol, name, help) HOUSE_##symbol,
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
	HOUSE_COUNT
};

enum provider_reading {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) PROVIDER_##symbol,
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
	PROVIDER_COUNT
};

enum client_reading {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help) CLIENT_##symbol,
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
	CLIENT_COUNT
};

enum worker_reading {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help) WORKER_##symbol,
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
	WORKER_COUNT
};

extern const struct stat_facts house_facts[HOUSE_COUNT];
extern const struct stat_facts provider_facts[PROVIDER_COUNT];
extern const struct stat_facts client_facts[CLIENT_COUNT];
extern const struct stat_facts worker_facts[WORKER_COUNT];

/* All rows at the moment now_ms (clock_ms()). */
void house_read(const struct shm *shm, uint64_t now_ms, double value[HOUSE_COUNT]);
void provider_read(const struct shm *shm, unsigned provider, uint64_t now_ms,
	double value[PROVIDER_COUNT]);
/* Of the key at `place` (segment.h), which has been installed. */
void client_read(const struct shm *shm, unsigned place, uint64_t now_ms, double value[CLIENT_COUNT]);
/* False: the slot is empty, and nothing was read. */
bool worker_read(const struct shm *shm, unsigned slot, uint64_t now_ms, double value[WORKER_COUNT])
	MUST_CHECK;

/*
 * Who was turned away, by reason: the endings of endings.def that are the request's fault or a limit's.
 * (Of max_connections each client counts, also one that was let in to be told so by a close code.)
 */
extern const struct stat_facts rejection_facts;
/* All endings together, for they are one name with a label. */
extern const struct stat_facts endings_facts;
bool ending_is_rejection(enum ending e);
uint64_t rejections_read(const struct shm *shm, enum ending e);

#endif
