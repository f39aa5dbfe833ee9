/* SPDX-License-Identifier: BSD-2-Clause */
/* json.c - headgatestat --json: everything in the segment as one object. */
#include "base/base.h"
#include "tools/headgatestat/stat.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/gate.h"
#include "shm/lease.h"
#include "shm/reclaim.h"
#include "shm/stats.h"
#include "shm/tokens.h"
#include "shm/window.h"

#include <jansson.h>

static void put(json_t *object, const char *key, json_t *value)
{
	BUG_ON(json_object_set_new(object, key, value) < 0);
}

static void put_number(json_t *object, const char *key, uint64_t n)
{
	put(object, key, json_integer((json_int_t)n));
}

static json_t *gate_object(const struct shm *shm, unsigned gate)
{
	json_t *o = json_object();
	struct gate_reading r;

	gate_read(shm, gate, &r);
	put(o, "name", json_string(shm_gate_name(shm, gate)));
	put_number(o, "limit", r.limit);
	put_number(o, "used", r.used);
	put_number(o, "waiting", r.waiting);
	put_number(o, "grants", r.grants);
	put_number(o, "interval_us", r.interval_us);
	return o;
}

static json_t *window_object(const struct shm *shm, unsigned window)
{
	json_t *o = json_object();
	struct window_reading r;

	window_read(shm, window, clock_ms(), &r);
	put(o, "name", json_string(shm_window_name(shm, window)));
	put_number(o, "limit", r.limit);
	put_number(o, "used", r.used);
	put_number(o, "window_ms", r.window_ms);
	return o;
}

static json_t *tokens_object(const struct shm *shm, unsigned which)
{
	json_t *o = json_object();
	struct tokens_reading r;

	tokens_read(shm, which, clock_ms(), &r);
	put_number(o, "limit", r.limit);
	put_number(o, "used", r.used);
	put_number(o, "window_ms", r.window_ms);
	return o;
}

static json_t *histogram_object(const struct shm *shm, unsigned provider, enum pstat_id id)
{
	json_t *o = json_object(), *buckets = json_array();
	struct stats_histogram h;

	pstat_histogram(shm, provider, id, &h);
	put_number(o, "count", h.count);
	put_number(o, "sum_us", h.sum_us);
	put_number(o, "p50_us", stats_quantile_us(&h, 0.5));
	put_number(o, "p99_us", stats_quantile_us(&h, 0.99));
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		if (h.bucket[i]) /* [no longer than (us; -1: no bound), how many] */
			json_array_append_new(buckets, json_pack("[I,I]",
				i == STATS_BUCKETS - 1 ? (json_int_t)-1 : (json_int_t)stats_bucket_us(i),
				(json_int_t)h.bucket[i]));
	put(o, "buckets", buckets);
	return o;
}

static json_t *provider_object(const struct shm *shm, unsigned provider)
{
	json_t *o = json_object(), *statistics = json_object();

	if (SHM_GATE_PROVIDER(provider) < shm_ngates(shm))
		put(o, "permits", gate_object(shm, SHM_GATE_PROVIDER(provider)));
	if (SHM_GATE_IDLE(provider) < shm_ngates(shm)) {
		put(o, "pool", gate_object(shm, SHM_GATE_POOL(provider)));
		put(o, "idle", gate_object(shm, SHM_GATE_IDLE(provider)));
	}
	if (SHM_WINDOW_PROVIDER(provider) < shm_nwindows(shm))
		put(o, "requests_per_minute", window_object(shm, SHM_WINDOW_PROVIDER(provider)));
	put(o, "tokens_per_minute", tokens_object(shm, SHM_TOKENS_PROVIDER(provider)));
	for (unsigned i = 0; i < PSTAT_COUNT; i++) {
		if (pstat_facts[i].type == STAT_HISTOGRAM)
			put(statistics, pstat_facts[i].name, histogram_object(shm, provider, (enum pstat_id)i));
		else
			put_number(statistics, pstat_facts[i].name, pstat_sum(shm, provider, (enum pstat_id)i));
	}
	put(o, "statistics", statistics);
	return o;
}

/* A key of clients: its name, never the key. */
static json_t *key_object(const struct shm *shm, unsigned key)
{
	json_t *o = json_object();

	put(o, "max_connections", gate_object(shm, SHM_GATE_CLIENT_PLACES(key)));
	put(o, "concurrent_requests", gate_object(shm, SHM_GATE_CLIENT_REQUESTS(key)));
	put(o, "requests_per_minute", window_object(shm, SHM_WINDOW_CLIENT(key)));
	put(o, "tokens_per_minute", tokens_object(shm, SHM_TOKENS_CLIENT(key)));
	return o;
}

/* What this host has of limits that several share. */
static json_t *cluster_object(const struct shm *shm)
{
	json_t *o = json_object(), *limits = json_object();
	struct cluster_reading node;
	struct lease_subject subject;
	struct lease_reading r;

	cluster_read(shm, &node);
	put(o, "state", json_string(cluster_state_name(node.state)));
	put(o, "node", json_string(node.node));
	put_number(o, "members", node.members);
	put_number(o, "nodes", node.nodes);
	put_number(o, "mismatches", node.mismatches);
	put_number(o, "agent_pid", (uint64_t)node.agent_pid);
	for (unsigned i = 0; shm_is_clustered(shm) && lease_next(shm, &i, &subject, &r);) {
		put(limits, subject.name,
			json_pack("{s:I,s:I,s:I,s:I}", "used", (json_int_t)r.used, "lease", (json_int_t)r.limit,
				"guaranteed", (json_int_t)r.schedule.rise_to, "limit", (json_int_t)r.schedule.total));
	}
	put(o, "limits", limits);
	return o;
}

static json_t *worker_object(const struct shm *shm, unsigned slot)
{
	uint64_t now_ms = clock_ms();
	json_t *o = json_object();
	struct slot_reading r;

	shm_slot_read(shm, slot, &r);
	put_number(o, "slot", slot);
	put(o, "state", json_string(shm_slot_state_name(r.state)));
	put_number(o, "pid", (uint64_t)r.pid);
	put_number(o, "generation", r.generation);
	put_number(o, "age_ms", r.state == SLOT_EMPTY ? 0 : stat_age_ms(now_ms, r.started_ms));
	put_number(o, "heartbeat_age_ms", r.state == SLOT_EMPTY ? 0 : stat_age_ms(now_ms, r.heartbeat_ms));
	put_number(o, "sockets", stat_of_slot(shm, slot, STAT_SOCKETS));
	put_number(o, "websockets", stat_of_slot(shm, slot, STAT_WEBSOCKETS));
	put_number(o, "streams", stat_of_slot(shm, slot, STAT_STREAMS));
	put_number(o, "requests", stat_of_slot(shm, slot, STAT_REQUESTS));
	put(o, "last_words", json_string(shm_slot_last_words(shm, slot)));
	return o;
}

static json_t *books_object(const struct shm *shm)
{
	char text[512] = "no quiet moment was found";
	int result = shm_check(shm, 1000, text);

	return json_pack("{s:b,s:s}", "balance", result == 0, "text", result ? text : "");
}

void stat_json(const struct shm *shm, const char *path)
{
	json_t *o = json_object(), *part;

	put(o, "version", json_string(HEADGATE_VERSION));
	put(o, "segment", json_string(path));
	put(o, "master", json_pack("{s:i,s:b}", "pid", shm_master_pid(shm), "alive", shm_master_alive(shm)));
	put_number(o, "uptime_ms", stat_age_ms(clock_ms(), shm_started_ms(shm)));
	put(o, "draining", json_boolean(shm_draining(shm)));
	put(o, "books", books_object(shm));
	put(o, "gates", part = json_array());
	for (unsigned i = 0; i < shm_ngates(shm); i++)
		json_array_append_new(part, gate_object(shm, i));
	put(o, "pending", gate_object(shm, SHM_GATE_PENDING));
	put(o, "keys", part = json_object());
	for (unsigned i = 0; i < shm_nclients(shm); i++)
		put(part, shm_client_name(shm, i), key_object(shm, i));
	put(o, "windows", part = json_array());
	for (unsigned i = 0; i < shm_nwindows(shm); i++)
		json_array_append_new(part, window_object(shm, i));
	put(o, "providers", part = json_object());
	for (unsigned i = 0; i < shm_nproviders(shm); i++)
		put(part, shm_provider_name(shm, i), provider_object(shm, i));
	put(o, "cluster", cluster_object(shm));
	put(o, "workers", part = json_array()); /* all slots, so that the index is the slot */
	for (unsigned i = 0; i < shm_nslots(shm); i++)
		json_array_append_new(part, worker_object(shm, i));
	put(o, "statistics", part = json_object());
	for (unsigned i = 0; i < STAT_ENDING_FIRST; i++)
		put_number(part, stat_facts[i].name, stat_sum(shm, (enum stat_id)i));
	put(o, "endings", part = json_object());
	for (unsigned i = 0; i < END_COUNT; i++)
		put_number(part, ending_facts[i].code, stat_sum(shm, (enum stat_id)(STAT_ENDING_FIRST + i)));
	json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(o);
}
