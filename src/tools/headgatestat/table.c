/* SPDX-License-Identifier: BSD-2-Clause */
/* table.c - headgatestat as a person reads it. */
#include "base/base.h"
#include "tools/headgatestat/stat.h"

#include "base/clock.h"
#include "shm/gate.h"
#include "shm/lease.h"
#include "shm/stats.h"
#include "shm/window.h"

const char *stat_duration(uint64_t ms, char out[32])
{
	uint64_t s = ms / 1000;

	if (s >= 86400)
		snprintf(out, 32, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(out, 32, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(out, 32, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(out, 32, "%" PRIu64 ".%03" PRIu64 "s", s, ms % 1000);
	return out;
}

/* "3/25"; a limit of 0 is none where `zero_is_none`. */
static const char *share(uint64_t used, uint64_t limit, bool zero_is_none, char out[48])
{
	if (!limit && zero_is_none)
		snprintf(out, 48, "-");
	else
		snprintf(out, 48, "%" PRIu64 "/%" PRIu64, used, limit);
	return out;
}

static void print_head(const struct shm *shm)
{
	unsigned live = 0;
	char text[32];

	for (unsigned i = 0; i < shm_nslots(shm); i++) {
		struct slot_reading r;

		shm_slot_read(shm, i, &r);
		live += r.state != SLOT_EMPTY;
	}
	printf("headgate: master %d%s, up %s, %u %s%s\n", shm_master_pid(shm),
		shm_master_alive(shm) ? "" : " (not running)",
		stat_duration(stat_age_ms(clock_ms(), shm_started_ms(shm)), text), live,
		live == 1 ? "worker" : "workers", shm_draining(shm) ? ", draining" : "");
}

static void print_places(const struct shm *shm)
{
	struct gate_reading r;
	char text[48];

	if (SHM_GATE_PLACES >= shm_ngates(shm))
		return;
	gate_read(shm, SHM_GATE_PLACES, &r);
	printf("\n%-16s %11s %8s %12s %11s\n", "", "IN USE", "WAITING", "GRANTED", "WEBSOCKETS");
	printf("%-16s %11s %8" PRIu64 " %12" PRIu64 " %11" PRIu64 "\n", "places",
		share(r.used, r.limit, false, text), r.waiting, r.grants, stat_sum(shm, STAT_WEBSOCKETS));
	gate_read(shm, SHM_GATE_PENDING, &r);
	printf("%-16s %11s %8" PRIu64 " %12" PRIu64 "\n", "pending", share(r.used, r.limit, false, text),
		r.waiting, r.grants);
	for (unsigned k = 0; k < shm_nclients(shm); k++) {
		gate_read(shm, SHM_GATE_CLIENT_PLACES(k), &r);
		printf("%-16.16s %11s %8s %12" PRIu64 "\n", shm_client_name(shm, k),
			share(r.used, r.limit == SHM_NO_LIMIT ? 0 : r.limit, true, text), "", r.grants);
	}
}

static void print_provider(const struct shm *shm, unsigned p, uint64_t now_ms)
{
	struct window_reading window = { 0 };
	struct gate_reading permits = { 0 }, pool = { 0 }, idle = { 0 };
	struct stats_histogram wait;
	char flight[48], rpm[48], sockets[48], idling[48], p50[32], p99[32];

	if (SHM_GATE_PROVIDER(p) < shm_ngates(shm))
		gate_read(shm, SHM_GATE_PROVIDER(p), &permits);
	if (SHM_GATE_IDLE(p) < shm_ngates(shm)) {
		gate_read(shm, SHM_GATE_POOL(p), &pool);
		gate_read(shm, SHM_GATE_IDLE(p), &idle);
	}
	if (SHM_WINDOW_PROVIDER(p) < shm_nwindows(shm))
		window_read(shm, SHM_WINDOW_PROVIDER(p), now_ms, &window);
	pstat_histogram(shm, p, PSTAT_QUEUE_WAIT, &wait);
	printf("%-16s %11s %8" PRIu64 " %12s %11s %11s %9s %8" PRIu64 " %7s\n",
		shm_provider_name(shm, p), share(permits.used, permits.limit, false, flight),
		permits.waiting, stat_duration(stats_quantile_us(&wait, 0.5) / 1000, p50),
		stat_duration(stats_quantile_us(&wait, 0.99) / 1000, p99),
		share(window.used, window.limit, true, rpm), share(pool.used, pool.limit, false, sockets),
		pool.waiting, share(idle.used, idle.limit, false, idling));
}

static void print_providers(const struct shm *shm)
{
	if (!shm_nproviders(shm))
		return;
	printf("\n%-16s %11s %8s %12s %11s %11s %9s %8s %7s\n", "PROVIDER", "IN FLIGHT", "QUEUED", "WAIT P50",
		"WAIT P99", "RPM", "SOCKETS", "WAITING", "IDLE");
	for (unsigned p = 0; p < shm_nproviders(shm); p++)
		print_provider(shm, p, clock_ms());
}

/* What this host has of limits that several share. */
static void print_cluster(const struct shm *shm)
{
	struct cluster_reading node;
	struct lease_subject subject;
	struct lease_reading r;

	if (!shm_is_clustered(shm))
		return;
	cluster_read(shm, &node);
	printf("\nshared as '%s': %s, %u of %u hosts are known, agent %d\n%-62s %9s %9s %11s %9s\n", node.node,
		cluster_state_name(node.state), node.members, node.nodes, node.agent_pid, "LIMIT", "IN USE", "HERE",
		"GUARANTEED", "ALL");
	for (unsigned i = 0; lease_next(shm, &i, &subject, &r);)
		printf("%-62.62s %9" PRIu64 " %9" PRIu64 " %11" PRIu64 " %9" PRIu64 "\n", subject.name, r.used, r.limit,
			r.schedule.rise_to, r.schedule.total);
}

static void print_workers(const struct shm *shm)
{
	uint64_t now_ms = clock_ms();

	printf("\n%-6s %9s %-8s %6s %9s %10s %8s %10s %8s\n", "WORKER", "PID", "STATE", "LIFE", "AGE",
		"HEARTBEAT", "SOCKETS", "WEBSOCKETS", "STREAMS");
	for (unsigned i = 0; i < shm_nslots(shm); i++) {
		const char *words = shm_slot_last_words(shm, i);
		struct slot_reading r;
		char age[32], beat[32];

		shm_slot_read(shm, i, &r);
		if (r.state == SLOT_EMPTY && !*words)
			continue;
		printf("%-6u %9d %-8s %6u %9s %10s %8" PRIu64 " %10" PRIu64 " %8" PRIu64 "\n", i, r.pid,
			shm_slot_state_name(r.state), r.generation,
			stat_duration(stat_age_ms(now_ms, r.started_ms), age),
			stat_duration(stat_age_ms(now_ms, r.heartbeat_ms), beat),
			stat_of_slot(shm, i, STAT_SOCKETS), stat_of_slot(shm, i, STAT_WEBSOCKETS),
			stat_of_slot(shm, i, STAT_STREAMS));
		if (*words)
			printf("       last words: %.*s\n", (int)strnlen(words, SHM_LAST_WORDS_BYTES), words);
	}
}

static void print_counter(const char *name, const char *label, const char *value, uint64_t n, bool all)
{
	char text[160];

	if (!n && !all)
		return;
	if (label)
		snprintf(text, sizeof(text), "%s{%s=\"%s\"}", name, label, value);
	printf("%-72s %12" PRIu64 "\n", label ? text : name, n);
}

static void print_counters(const struct shm *shm, bool all)
{
	printf("\n%-72s %12s\n", "COUNTER", "VALUE");
	for (unsigned i = 0; i < STAT_ENDING_FIRST; i++)
		print_counter(stat_facts[i].name, NULL, NULL, stat_sum(shm, (enum stat_id)i), all);
	for (unsigned i = 0; i < END_COUNT; i++)
		print_counter(stat_facts[STAT_ENDING_FIRST + i].name, "ending", ending_facts[i].code,
			stat_sum(shm, (enum stat_id)(STAT_ENDING_FIRST + i)), all);
	for (unsigned p = 0; p < shm_nproviders(shm); p++)
		for (unsigned i = 0; i < PSTAT_COUNT; i++)
			if (pstat_facts[i].type != STAT_HISTOGRAM)
				print_counter(pstat_facts[i].name, "provider", shm_provider_name(shm, p),
					pstat_sum(shm, p, (enum pstat_id)i), all);
}

void stat_table(const struct shm *shm, bool all)
{
	print_head(shm);
	print_places(shm);
	print_providers(shm);
	print_cluster(shm);
	print_workers(shm);
	print_counters(shm, all);
}
