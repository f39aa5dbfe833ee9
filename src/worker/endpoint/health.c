/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * health.c - GET /health: how full everything is, over all workers, read from the segment.
 * 503 when a worker's heart has stopped, the server drains, or it has no part of shared limits yet. /health/live tells only of
 * the hearts: a server that drains needs no restart. Never takes a place.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "conf/conf.h"
#include "shm/circuit.h"
#include "shm/gate.h"
#include "shm/keys.h"
#include "shm/learn.h"
#include "shm/lease.h"
#include "shm/readings.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/tokens.h"
#include "shm/window.h"

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void add_connections(struct buf *out)
{
	const struct shm *shm = endpoint.shm;
	struct gate_reading places, pending;

	gate_read(shm, SHM_GATE_PLACES, &places);
	buf_addf(out,
		",\"connections\":{\"active\":%" PRIu64 ",\"max\":%" PRIu64 "}"
		",\"active_connections\":%" PRIu64 ",\"max_connections\":%" PRIu64,
		places.used, places.limit, places.used, places.limit);
	gate_read(shm, SHM_GATE_PENDING, &pending);
	buf_addf(out, ",\"pending\":{\"active\":%" PRIu64 ",\"queue_size\":%" PRIu64 ",\"waiting\":%" PRIu64 "}",
		pending.used, pending.limit, places.waiting);
}

/* ,"name":{"code":count,...} of the endings from..to that happened. */
static void add_endings(struct buf *out, const char *name, enum ending from, enum ending to)
{
	const char *comma = "";

	buf_addf(out, ",\"%s\":{", name);
	for (enum ending e = from; e <= to; e++) {
		uint64_t n = rejections_read(endpoint.shm, e);

		if (!n && e != END_HOUSE_FULL)
			continue;
		buf_addf(out, "%s\"%s\":%" PRIu64, comma, ending_facts[e].code, n);
		comma = ",";
	}
	buf_adds(out, "}");
}

/* The keys of clients by name, each with what it has of what it may have. */
static void add_keys(struct buf *out, uint64_t now_ms)
{
	const struct shm *shm = endpoint.shm;

	buf_adds(out, ",\"keys\":{");
	for (unsigned k = 0; k < shm_nclients(shm); k++) {
		const char *name = shm_client_name(shm, k);
		double v[CLIENT_COUNT];

		client_read(shm, k, now_ms, v);
		buf_adds(out, k ? "," : "");
		json_add_string(out, name, strlen(name));
		buf_addf(out,
			":{\"connections\":{\"active\":%.0f,\"max\":%.0f},\"in_flight\":%.0f"
			",\"concurrent_requests\":%.0f,\"queued\":%.0f"
			",\"requests_per_minute\":{\"used\":%.0f,\"limit\":%.0f}"
			",\"tokens_per_minute\":{\"used\":%.0f,\"limit\":%.0f}}",
			v[CLIENT_CONNECTIONS], v[CLIENT_MAX_CONNECTIONS], v[CLIENT_IN_FLIGHT], v[CLIENT_CONCURRENT],
			v[CLIENT_WAITING], v[CLIENT_RPM_USED], v[CLIENT_RPM_LIMIT], v[CLIENT_TPM_USED], v[CLIENT_TPM_LIMIT]);
	}
	buf_adds(out, "}");
}

static void add_workers(struct buf *out, uint64_t now_ms)
{
	const char *comma = "";

	buf_adds(out, ",\"workers\":[");
	for (unsigned i = 0; i < shm_nslots(endpoint.shm); i++) {
		struct slot_reading slot;

		shm_slot_read(endpoint.shm, i, &slot);
		if (slot.state == SLOT_EMPTY)
			continue;
		buf_addf(out,
			"%s{\"slot\":%u,\"pid\":%d,\"state\":\"%s\",\"generation\":%u,\"age_s\":%" PRIu64
			",\"heartbeat_age_ms\":%" PRIu64 "}",
			comma, i, slot.pid, shm_slot_state_name(slot.state), slot.conf_generation,
			minus(now_ms, slot.started_ms) / 1000, minus(now_ms, slot.heartbeat_ms));
		comma = ",";
	}
	buf_adds(out, "]");
}

/* What the workers have found out about it: circuit, learnt limit, API keys. */
static void add_standing(struct buf *out, const struct conf_provider *conf, uint64_t now_ms)
{
	static const char *const states[] = { [CIRCUIT_CLOSED] = "closed", [CIRCUIT_OPEN] = "open",
		[CIRCUIT_HALF_OPEN] = "half-open" };
	const unsigned p = conf->place;
	struct circuit_reading circuit;
	struct learn_reading learnt;
	unsigned parked = 0;

	circuit_read(endpoint.shm, p, now_ms, &circuit);
	buf_addf(out, ",\"circuit\":{\"state\":\"%s\",\"opened\":%" PRIu64 ",\"retry_in_s\":%.1f}",
		states[circuit.state], circuit.opened,
		(double)minus(circuit.retry_at_ms, now_ms) / 1000);
	if (conf->adaptive) {
		learn_read(endpoint.shm, p, &learnt);
		buf_addf(out,
			",\"learnt\":{\"limit\":%" PRIu64 ",\"ceiling\":%" PRIu64 ",\"cuts\":%" PRIu64
			"}",
			learnt.limit, learnt.ceiling, learnt.cuts);
	}
	for (unsigned k = 0; k < conf->nkeys; k++)
		parked += key_parked_until(endpoint.shm, p, k) > now_ms;
	buf_addf(out, ",\"api_keys\":{\"configured\":%u,\"parked\":%u}", conf->nkeys, parked);
}

static void add_provider(struct buf *out, const struct conf_provider *conf, uint64_t now_ms)
{
	const unsigned p = conf->place;
	const struct shm *shm = endpoint.shm;
	struct stats_histogram wait;
	struct tokens_reading tpm;
	struct window_reading rpm;
	struct gate_reading permits, sockets, idle;

	gate_read(shm, SHM_GATE_PROVIDER(p), &permits);
	gate_read(shm, SHM_GATE_POOL(p), &sockets);
	gate_read(shm, SHM_GATE_IDLE(p), &idle);
	window_read(shm, SHM_WINDOW_PROVIDER(p), now_ms, &rpm);
	tokens_read(shm, SHM_TOKENS_PROVIDER(p), now_ms, &tpm);
	pstat_histogram(shm, p, PSTAT_QUEUE_WAIT, &wait);
	json_add_string(out, conf->name, strlen(conf->name));
	buf_addf(out,
		":{\"in_flight\":%" PRIu64 ",\"concurrent_requests\":%" PRIu64 ",\"queued\":%" PRIu64
		",\"queue_size\":%" PRIu64 ",\"wait_p50_s\":%.3f,\"wait_p99_s\":%.3f",
		permits.used, permits.limit, permits.waiting, conf->queue_size,
		(double)stats_quantile_us(&wait, 0.5) / 1e6,
		(double)stats_quantile_us(&wait, 0.99) / 1e6);
	buf_addf(out, ",\"requests_per_minute\":{\"used\":%" PRIu64 ",\"limit\":%" PRIu64 "}",
		rpm.used, rpm.limit);
	if (tpm.limit)
		buf_addf(out, ",\"tokens_per_minute\":{\"used\":%" PRIu64 ",\"limit\":%" PRIu64 "}",
			tpm.used, tpm.limit);
	add_standing(out, conf, now_ms);
	buf_addf(out,
		",\"pool\":{\"open\":%" PRIu64 ",\"idle\":%" PRIu64 ",\"max\":%" PRIu64
		",\"waiting\":%" PRIu64 "}}",
		sockets.used, idle.used, sockets.limit, sockets.waiting);
}

/* Which configuration serves, and what became of the last reload. */
static void add_reload(struct buf *out, uint64_t now_ms)
{
	struct reload_reading r;

	buf_addf(out, ",\"generation\":%u", shm_generation(endpoint.shm));
	shm_reload_read(endpoint.shm, &r);
	if (r.result == RELOAD_NEVER)
		return;
	buf_addf(out,
		",\"reload\":{\"ok\":%s,\"age_s\":%" PRIu64 ",\"good\":%" PRIu64 ",\"failed\":%" PRIu64
		",\"message\":",
		r.result == RELOAD_GOOD ? "true" : "false", minus(now_ms, r.at_ms) / 1000, r.good, r.failed);
	json_add_string(out, r.text, strlen(r.text));
	buf_adds(out, "}");
}

static void add_providers(struct buf *out, uint64_t now_ms)
{
	buf_adds(out, ",\"providers\":{");
	for (unsigned p = 0; p < endpoint.conf->nproviders; p++) {
		if (p)
			buf_adds(out, ",");
		add_provider(out, &endpoint.conf->providers[p], now_ms);
	}
	buf_adds(out, "}");
}

/* With whom limits are shared, and what this node has of each. */
static void add_cluster(struct buf *out, uint64_t now_ms)
{
	const struct shm *shm = endpoint.shm;
	const char *comma = "";
	struct cluster_reading node;
	struct lease_subject subject;
	struct lease_reading lease;

	if (!shm_is_clustered(shm))
		return;
	cluster_read(shm, &node);
	buf_addf(out, ",\"cluster\":{\"state\":\"%s\",\"since_s\":%" PRIu64 ",\"node\":\"%s\",\"members\":%u,"
		"\"nodes\":%u,\"mismatches\":%u,\"agent_pid\":%d,\"limits\":{",
		cluster_state_name(node.state), minus(now_ms, node.since_ms) / 1000, node.node, node.members,
		node.nodes, node.mismatches, node.agent_pid);
	for (unsigned i = 0; lease_next(shm, &i, &subject, &lease);) {
		buf_addf(out, "%s\"%s\":{\"lease\":%" PRIu64 ",\"guaranteed\":%" PRIu64 ",\"limit\":%" PRIu64 "}", comma,
			subject.name, lease.limit, lease.schedule.rise_to, lease.schedule.total);
		comma = ",";
	}
	buf_adds(out, "}}");
}

static void respond(struct exchange *x, int status, const char *word)
{
	static const struct exchange_header headers[] = {
		{ "Content-Type", "application/json" }, { "Cache-Control", "no-store" }
	};
	uint64_t now_ms = clock_ms();
	struct buf out = BUF_INIT;

	buf_addf(&out, "{\"status\":\"%s\"", word);
	add_connections(&out);
	add_endings(&out, "rejections", END_BAD_REQUEST, END_RATE_LIMITED);
	add_endings(&out, "failures", END_CLIENT_STALLED, END_INTERNAL);
	add_keys(&out, now_ms);
	add_workers(&out, now_ms);
	add_providers(&out, now_ms);
	add_reload(&out, now_ms);
	add_cluster(&out, now_ms);
	buf_addf(&out, ",\"uptime_s\":%" PRIu64 ",\"version\":\"" HEADGATE_VERSION "\"}",
		minus(now_ms, shm_started_ms(endpoint.shm)) / 1000);
	exchange_respond(x, status, headers, ARRAY_SIZE(headers), out.data, out.len);
	buf_release(&out);
}

/* What keeps this node from serving although all is well here; NULL: nothing. */
static const char *outside(void)
{
	struct cluster_reading node;

	cluster_read(endpoint.shm, &node);
	return node.state == CLUSTER_JOINING || node.state == CLUSTER_REFUSED ? cluster_state_name(node.state) : NULL;
}

static void answer(struct exchange *x, bool ready_wanted)
{
	const char *out = outside();
	bool beating = shm_hearts_beat(endpoint.shm, clock_ms(), endpoint.conf->worker_timeout_ms);
	bool draining = shm_draining(endpoint.shm);
	bool good = beating && !((draining || out) && ready_wanted);

	respond(x, good ? 200 : 503, draining ? "draining" : !beating ? "degraded" : out ? out : "ok");
}

static void answer_health(struct exchange *x)
{
	answer(x, true);
}

static void answer_live(struct exchange *x)
{
	answer(x, false);
}

const struct exchange_app health_app = {
	.name = "health", .always = true, .on_start = answer_health, .on_close = endpoint_nothing_held
};
const struct exchange_app health_live_app = {
	.name = "health_live", .always = true, .on_start = answer_live, .on_close = endpoint_nothing_held
};
