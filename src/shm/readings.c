/* SPDX-License-Identifier: BSD-2-Clause */
/* readings.c - see readings.h. */
#include "base/base.h"
#include "shm/readings.h"

#include "shm/budget.h"
#include "shm/circuit.h"
#include "shm/gate.h"
#include "shm/lease.h"
#include "shm/segment.h"
#include "shm/tokens.h"
#include "shm/window.h"

#define ROW(id, type, name, help) [id] = { name, help, STAT_##type },

const struct stat_facts house_facts[HOUSE_COUNT] = {
#define HOUSE(type, symbol, name, help) ROW(HOUSE_##symbol, type, name, help)
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
};

const struct stat_facts provider_facts[PROVIDER_COUNT] = {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help) ROW(PROVIDER_##symbol, type, name, help)
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
};

const struct stat_facts client_facts[CLIENT_COUNT] = {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help) ROW(CLIENT_##symbol, type, name, help)
#define WORKER(type, symbol, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
};

const struct stat_facts worker_facts[WORKER_COUNT] = {
#define HOUSE(type, symbol, name, help)
#define PROVIDER(type, symbol, name, help)
#define CLIENT(type, symbol, name, help)
#define WORKER(type, symbol, name, help) ROW(WORKER_##symbol, type, name, help)
#include "shm/readings.def"
#undef HOUSE
#undef PROVIDER
#undef CLIENT
#undef WORKER
};

static double seconds_since(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? (double)(now_ms - then_ms) / 1000 : 0;
}

/* The counters are read one after the other: a difference may be off by what happens meanwhile. */
static double minus(uint64_t a, uint64_t b)
{
	return a > b ? (double)(a - b) : 0;
}

static void read_gate(const struct shm *shm, unsigned gate, struct gate_reading *r)
{
	*r = (struct gate_reading){ 0 };
	if (gate < shm_ngates(shm))
		gate_read(shm, gate, r);
}

void house_read(const struct shm *shm, uint64_t now_ms, double value[HOUSE_COUNT])
{
	struct gate_reading places, pending;
	struct cluster_reading node;
	struct slot_reading slot;
	unsigned ready = 0;

	read_gate(shm, SHM_GATE_PLACES, &places);
	gate_read(shm, SHM_GATE_PENDING, &pending);
	for (unsigned i = 0; i < shm_nslots(shm); i++) {
		shm_slot_read(shm, i, &slot);
		ready += slot.state == SLOT_READY;
	}
	value[HOUSE_ACTIVE_CONNECTIONS] = (double)places.used;
	value[HOUSE_MAX_CONNECTIONS] = (double)places.limit;
	value[HOUSE_WAITING_CONNECTIONS] = (double)places.waiting;
	value[HOUSE_PENDING_CONNECTIONS] = (double)pending.used;
	value[HOUSE_WORKERS] = ready;
	value[HOUSE_DRAINING] = shm_draining(shm);
	cluster_read(shm, &node);
	value[HOUSE_CLUSTER_SHARING] = node.state == CLUSTER_SHARING || node.state == CLUSTER_LEAVING;
	value[HOUSE_CLUSTER_MEMBERS] = node.members;
	value[HOUSE_CLUSTER_MISMATCHES] = node.mismatches;
	value[HOUSE_UPTIME] = seconds_since(now_ms, shm_started_ms(shm));
}

static void read_pool(const struct shm *shm, unsigned p, double value[PROVIDER_COUNT])
{
	struct gate_reading pool, idle;

	read_gate(shm, SHM_GATE_POOL(p), &pool);
	read_gate(shm, SHM_GATE_IDLE(p), &idle);
	value[PROVIDER_POOL_MAX] = (double)pool.limit;
	value[PROVIDER_POOL_WAITING] = (double)pool.waiting;
	value[PROVIDER_POOL_UTILIZATION] =
		pool.limit ? minus(pool.used, idle.used) / (double)pool.limit : 0;
}

void provider_read(const struct shm *shm, unsigned p, uint64_t now_ms, double value[PROVIDER_COUNT])
{
	struct circuit_reading circuit;
	struct window_reading rpm = { 0 };
	struct tokens_reading tpm;
	struct gate_reading permits;

	read_gate(shm, SHM_GATE_PROVIDER(p), &permits);
	if (SHM_WINDOW_PROVIDER(p) < shm_nwindows(shm))
		window_read(shm, SHM_WINDOW_PROVIDER(p), now_ms, &rpm);
	tokens_read(shm, SHM_TOKENS_PROVIDER(p), now_ms, &tpm);
	circuit_read(shm, p, now_ms, &circuit);
	value[PROVIDER_IN_FLIGHT] = (double)permits.used;
	value[PROVIDER_CONCURRENT] = (double)(permits.learnt && permits.learnt < permits.in_force
						      ? permits.learnt
						      : permits.in_force);
	value[PROVIDER_WAITING] = (double)permits.waiting;
	value[PROVIDER_GRANTS] = (double)permits.grants;
	value[PROVIDER_RPM_USED] = (double)rpm.used;
	value[PROVIDER_RPM_LIMIT] = (double)rpm.limit;
	value[PROVIDER_TPM_USED] = (double)tpm.used;
	value[PROVIDER_TPM_LIMIT] = (double)tpm.limit;
	read_pool(shm, p, value);
	value[PROVIDER_CIRCUIT_OPEN] = circuit.state != CIRCUIT_CLOSED;
	value[PROVIDER_CIRCUIT_OPENED] = (double)circuit.opened;
	value[PROVIDER_RETRY_BUDGET] = (double)budget_read(shm, p, now_ms) / 1000;
}

/* A gate without a limit of its own tells 0. */
static double limit_of(const struct gate_reading *gate)
{
	return gate->limit == SHM_NO_LIMIT ? 0 : (double)gate->limit;
}

void client_read(const struct shm *shm, unsigned k, uint64_t now_ms, double value[CLIENT_COUNT])
{
	struct gate_reading places, requests;
	struct window_reading rpm;
	struct tokens_reading tpm;

	gate_read(shm, SHM_GATE_CLIENT_PLACES(k), &places);
	gate_read(shm, SHM_GATE_CLIENT_REQUESTS(k), &requests);
	window_read(shm, SHM_WINDOW_CLIENT(k), now_ms, &rpm);
	tokens_read(shm, SHM_TOKENS_CLIENT(k), now_ms, &tpm);
	value[CLIENT_CONNECTIONS] = (double)places.used;
	value[CLIENT_MAX_CONNECTIONS] = limit_of(&places);
	value[CLIENT_IN_FLIGHT] = (double)requests.used;
	value[CLIENT_CONCURRENT] = limit_of(&requests);
	value[CLIENT_WAITING] = (double)requests.waiting;
	value[CLIENT_RPM_USED] = (double)rpm.used;
	value[CLIENT_RPM_LIMIT] = (double)rpm.limit;
	value[CLIENT_TPM_USED] = (double)tpm.used;
	value[CLIENT_TPM_LIMIT] = (double)tpm.limit;
}

bool worker_read(const struct shm *shm, unsigned slot, uint64_t now_ms, double value[WORKER_COUNT])
{
	struct slot_reading r;

	shm_slot_read(shm, slot, &r);
	if (r.state == SLOT_EMPTY)
		return false;
	value[WORKER_STARTS] = r.generation;
	value[WORKER_HEARTBEAT] = seconds_since(now_ms, r.heartbeat_ms);
	value[WORKER_AGE] = seconds_since(now_ms, r.started_ms);
	return true;
}

/* ---- rejections ---- */

const struct stat_facts rejection_facts = { "headgate_rejections_total",
	"Clients and requests turned away, by reason: an error code of headgate-chat(7).", STAT_COUNTER };

const struct stat_facts endings_facts = { "headgate_endings_total",
	"Requests by how they ended: an error code of headgate-chat(7), complete, client_gone, or cancelled.",
	STAT_COUNTER };

bool ending_is_rejection(enum ending e)
{
	return e >= END_BAD_REQUEST && e < END_CLIENT_STALLED;
}

uint64_t rejections_read(const struct shm *shm, enum ending e)
{
	return stat_sum(shm, e == END_HOUSE_FULL ? STAT_REJECTED_FULL
						 : STAT_ENDING_FIRST + (enum stat_id)e);
}
