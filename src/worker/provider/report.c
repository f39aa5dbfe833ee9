/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - what an attempt teaches all workers about its provider: does it work at all
 * (shm/circuit.h), how many requests at once it bears (shm/learn.h), and which API keys are
 * better left alone (shm/keys.h).
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "shm/circuit.h"
#include "shm/keys.h"
#include "shm/learn.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/provider/headers.h"
#include "worker/provider/refusal.h"

#define PARK_REFUSED_MS (5 * 60 * 1000u)
#define PARK_QUOTA_MS (10 * 60 * 1000u)
#define PARK_THROTTLED_MS 1000u

/* ---- the circuit ----------------------------------------------------------------- */

static void tell_circuit(struct provider_call *call, bool ok)
{
	const struct provider *provider = call->provider;
	struct circuit_reading circuit;
	uint64_t now = clock_ms();
	struct shm *shm;
	bool changed;

	if (!provider->conf->circuit_breaker)
		return;
	shm = provider->all->shm;
	changed = circuit_report(shm, provider->index, call->probe, ok, now);
	call->probe = false;
	if (!changed)
		return;
	circuit_read(shm, provider->index, now, &circuit);
	if (circuit.state == CIRCUIT_CLOSED) {
		log_info("provider", "circuit: '%s': closed: the provider answers again",
			provider->conf->name);
		return;
	}
	log_warning("provider",
		"circuit: '%s': open: %u failures in a row, %" PRIu64 " of the last %" PRIu64
		" answers failed; the next request goes out in %" PRIu64 " ms",
		provider->conf->name, circuit.failures, circuit.recent_failures, circuit.recent,
		circuit.retry_at_ms > now ? circuit.retry_at_ms - now : 0);
	shm_wake_all(shm); /* those who stand in line there shall not wait any longer */
}

enum health { HEALTH_GOOD, HEALTH_BAD, HEALTH_UNKNOWN };

/* What the end of an attempt says about the provider as such. */
static enum health health_of(const struct provider_call *call, enum ending ending)
{
	switch (ending) {
	case END_PROVIDER_STATUS:
		return call->answer.status >= 500 ? HEALTH_BAD : HEALTH_GOOD;
	case END_COMPLETE:
	case END_PROVIDER_AUTH:
	case END_STREAM_ERROR:
		return HEALTH_GOOD;
	case END_CONNECT_FAILED:
	case END_CONNECT_TIMEOUT:
	case END_TLS_FAILED:
	case END_READ_TIMEOUT:
	case END_WRITE_TIMEOUT:
	case END_FIRST_TOKEN_TIMEOUT:
	case END_PROVIDER_RESET:
	case END_PROVIDER_GARBAGE:
		return HEALTH_BAD;
	default:
		return HEALTH_UNKNOWN;
	}
}

void report_token(struct provider_call *call)
{
	tell_circuit(call, true);
}

void report_nothing(struct provider_call *call)
{
	if (call->probe)
		circuit_forget_probe(call->provider->all->shm, call->provider->index, clock_ms());
	call->probe = false;
}

/* ---- the learnt limit ------------------------------------------------------------- */

void report_accepted(struct provider_call *call)
{
	struct provider *provider = call->provider;
	uint64_t now = clock_ms(), reset_ms;
	struct gate_reading permits;
	struct shm *shm;

	if (!provider->conf->adaptive)
		return;
	shm = provider->all->shm;
	reset_ms = headers_exhausted_ms(call);
	if (reset_ms) { /* the next one would be refused */
		learn_throttled(shm, provider->index, now, reset_ms);
		return;
	}
	gate_read(shm, SHM_GATE_PROVIDER(provider->index), &permits);
	learn_ok(shm, provider->index, now, permits.used);
}

/* ---- keys ------------------------------------------------------------------------- */

/* Put the attempt's key aside, if there are others. */
static void park(struct provider_call *call, uint64_t ms, const char *why)
{
	struct provider *provider = call->provider;

	if (provider->nkeys == 1)
		return;
	call->key_parked = true;
	pstat_add(provider->index, PSTAT_KEYS_PARKED, 1);
	key_park(provider->all->shm, provider->index, call->key, clock_ms() + ms);
	if (ms >= PARK_REFUSED_MS)
		log_warning("provider", "keys: '%s': API key %u of %u rests for %" PRIu64 " s: %s",
			provider->conf->name, call->key + 1, provider->nkeys, ms / 1000, why);
}

static void hear_refusal(struct provider_call *call, uint64_t retry_after_ms)
{
	struct provider *provider = call->provider;
	int status = call->answer.status;

	if (status == 401 || status == 403) {
		park(call, PARK_REFUSED_MS, "the provider refuses it");
	} else if (refusal_is_quota(&call->answer)) {
		park(call, PARK_QUOTA_MS, "its quota is used up");
	} else if (status == 429) {
		pstat_add(provider->index, PSTAT_THROTTLED, 1);
		park(call, retry_after_ms > PARK_THROTTLED_MS ? retry_after_ms : PARK_THROTTLED_MS,
			"the provider asks for that");
		if (provider->conf->adaptive)
			learn_throttled(
				provider->all->shm, provider->index, clock_ms(), retry_after_ms);
	}
}

/* ---- the end ---------------------------------------------------------------------- */

void report_end(struct provider_call *call, const struct provider_result *result)
{
	enum health health = health_of(call, result->ending);

	if (call->answer.kind == ANSWER_REFUSAL)
		hear_refusal(call, result->retry_after_ms);
	/* What sent a token was reported already, unless it turned out badly after all. */
	if (health == HEALTH_BAD || (health == HEALTH_GOOD && !call->usage.first_token_us))
		tell_circuit(call, health == HEALTH_GOOD);
}
