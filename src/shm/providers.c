/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * providers.c - the places of providers, which a reload may give to others; and what
 * became of the last reload. The master writes all of this.
 */
#include "base/base.h"
#include "shm/segment.h"

#include "base/clock.h"
#include "shm/gate.h"
#include "shm/layout.h"
#include "shm/stats.h"

#include <sched.h>

#define READ_TRIES 1000

void shm_copy_name(char *to, const char *name)
{
	snprintf(to, SHM_NAME_BYTES, "%s", name ? name : "");
}

unsigned shm_provider_room(const struct shm *shm)
{
	return shm->header->nproviders;
}

uint32_t shm_window_room(const struct shm *shm, unsigned window)
{
	return shm_window_at(shm, window)->capacity;
}

/* Nobody uses it: no request was ever sent. */
static void reset_window(struct shm *shm, struct shm_window *window, const struct shm_window_spec *spec)
{
	atomic_store(&window->limit, 0);
	memset(shm_at(shm, window->ring_at), 0, window->capacity * sizeof(uint64_t));
	memset(shm_at(shm, window->hints_at), 0, window->capacity * sizeof(uint32_t));
	atomic_store(&window->cursor, 1ull << 32);
	atomic_store(&window->hint_head, 0);
	atomic_store(&window->hint_tail, 0);
	window->window_ms = spec->window_ms;
	shm_copy_name(window->name, spec->name);
	atomic_store(&window->limit, spec->limit);
}

static void raise_to(_Atomic uint32_t *used, unsigned count)
{
	if (atomic_load(used) < count)
		atomic_store(used, count);
}

bool shm_provider_install(struct shm *shm, unsigned place, const struct shm_provider_spec *spec)
{
	struct shm_header *h = shm->header;

	if (place >= h->nproviders || place > shm_nproviders(shm) ||
		spec->window.limit > shm_window_room(shm, SHM_WINDOW_PROVIDER(place)))
		return false;
	lease_forget(shm, LEASE_GATE, SHM_GATE_PROVIDER(place));
	lease_forget(shm, LEASE_WINDOW, SHM_WINDOW_PROVIDER(place));
	shm_copy_name(shm_at(shm, h->providers_at + place * SHM_NAME_BYTES), spec->name);
	for (unsigned i = 0; i < ARRAY_SIZE(spec->gates); i++) {
		struct shm_gate *gate = shm_gate_at(shm, SHM_GATE_PROVIDER(place) + i);

		shm_copy_name(gate->name, spec->gates[i].name);
		atomic_store(&gate->learnt, 0);
		gate_set_limit(shm, SHM_GATE_PROVIDER(place) + i, spec->gates[i].limit);
	}
	reset_window(shm, shm_window_at(shm, SHM_WINDOW_PROVIDER(place)), &spec->window);
	memset(shm_standing_at(shm, place), 0, sizeof(struct shm_standing));
	lease_forget(shm, LEASE_TOKENS, SHM_TOKENS_PROVIDER(place));
	stats_forget_provider(shm, place);
	raise_to(&h->gates_used, SHM_GATES(place + 1));
	raise_to(&h->windows_used, SHM_WINDOW_PROVIDER(place) + 1);
	raise_to(&h->providers_used, place + 1);
	return true;
}

/* ---- reload ---- */

unsigned shm_generation(const struct shm *shm)
{
	return atomic_load(&shm->header->generation);
}

void shm_set_generation(struct shm *shm, unsigned generation)
{
	atomic_store(&shm->header->generation, generation);
}

void shm_reload_note(struct shm *shm, bool good, const char *text)
{
	struct shm_reload *r = &shm->header->reload;

	atomic_fetch_add(&r->version, 1);
	atomic_thread_fence(memory_order_release);
	atomic_store(&r->result, good ? RELOAD_GOOD : RELOAD_FAILED);
	atomic_store(&r->at_ms, clock_ms());
	atomic_fetch_add(good ? &r->good : &r->failed, 1);
	snprintf(r->text, sizeof(r->text), "%s", text);
	atomic_fetch_add(&r->version, 1);
}

void shm_reload_read(const struct shm *shm, struct reload_reading *reading)
{
	struct shm_reload *r = &shm->header->reload;

	/* a master that died while writing must not hang its readers */
	for (unsigned tries = 0; tries < READ_TRIES; tries++) {
		uint32_t version = atomic_load(&r->version);

		reading->result = (enum reload_result)atomic_load(&r->result);
		reading->at_ms = atomic_load(&r->at_ms);
		reading->good = atomic_load(&r->good);
		reading->failed = atomic_load(&r->failed);
		memcpy(reading->text, r->text, sizeof(reading->text));
		reading->text[sizeof(reading->text) - 1] = 0;
		atomic_thread_fence(memory_order_acquire);
		if (!(version & 1) && atomic_load(&r->version) == version)
			return;
		sched_yield();
	}
}
