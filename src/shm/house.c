/* SPDX-License-Identifier: BSD-2-Clause */
/* house.c - see house.h. */
#include "base/base.h"
#include "shm/house.h"

#include "base/bug.h"
#include "shm/flow.h"
#include "shm/tokens.h"

#include <sys/random.h>

/* requests_per_minute that fit into any key's window, also one that a reload sets. */
#define WINDOW_CAPACITY_MIN 4096u
#define WINDOW_CAPACITY_MAX (1u << 24)

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static uint32_t window_capacity(const struct shm_spec *spec, unsigned i)
{
	uint32_t capacity = WINDOW_CAPACITY_MIN, want = i < spec->nclients ? spec->clients[i].requests_per_minute : 0;

	while (capacity < want && capacity < WINDOW_CAPACITY_MAX)
		capacity *= 2;
	return capacity;
}

static uint32_t fair_gates(const struct shm_header *h)
{
	return 1 + h->nproviders;
}

uint64_t house_plan(struct shm_header *h, const struct shm_spec *spec, uint64_t at)
{
	h->nclients = spec->nclients > spec->client_room ? spec->nclients : spec->client_room;
	h->nflows = 1 + FLOW_ADDRESSES + h->nclients;
	h->house_at = round_up(at, SHM_LINE);
	at = h->house_at + (uint64_t)(1 + 2 * h->nclients) * h->gate_bytes;
	h->client_names_at = at;
	at = round_up(at + h->nclients * SHM_NAME_BYTES, SHM_LINE);
	h->client_tokens_at = at;
	at += h->nclients * sizeof(struct shm_tokens);
	h->client_windows_at = at;
	at += h->nclients * sizeof(struct shm_window);
	for (unsigned i = 0; i < h->nclients; i++)
		at += (uint64_t)window_capacity(spec, i) * (sizeof(uint64_t) + sizeof(uint32_t));
	h->flow_bytes = round_up(h->nflows * sizeof(uint64_t), SHM_LINE);
	h->addresses_at = round_up(at, SHM_LINE);
	h->flows_at = h->addresses_at + FLOW_ADDRESSES * sizeof(uint64_t);
	return h->flows_at + fair_gates(h) * (1 + h->nslots) * h->flow_bytes;
}

void house_fill(struct shm *shm, const struct shm_spec *spec)
{
	struct shm_header *h = shm->header;
	struct shm_gate *pending = shm_gate_at(shm, SHM_GATE_PENDING);
	uint64_t at = h->client_windows_at + h->nclients * sizeof(struct shm_window);

	BUG_ON(getrandom(&h->flow_seed, sizeof(h->flow_seed), 0) != sizeof(h->flow_seed));
	atomic_store(&pending->limit, spec->pending);
	snprintf(pending->name, SHM_NAME_BYTES, "chat.websocket.concurrency.connection_queue_size");
	for (unsigned i = 0; i < h->nclients; i++) {
		struct shm_window *window = shm_window_at(shm, SHM_WINDOW_CLIENT(i));

		atomic_store(&window->cursor, 1ull << 32); /* as in segment.c */
		window->capacity = window_capacity(spec, i);
		window->window_ms = spec->client_window_ms;
		window->ring_at = at;
		at += window->capacity * sizeof(uint64_t);
		window->hints_at = at;
		at += window->capacity * sizeof(uint32_t);
	}
	for (unsigned i = 0; i < spec->nclients; i++)
		if (!shm_client_install(shm, i, &spec->clients[i]))
			BUG_ON("no room for a key that room was made for");
}

/* ---- keys of clients ---- */

static void name_gate(struct shm *shm, unsigned gate, const char *client, const char *leaf, uint64_t limit)
{
	struct shm_gate *g = shm_gate_at(shm, gate);

	snprintf(g->name, SHM_NAME_BYTES, "clients.keys.%.50s.%s", client, leaf);
	atomic_store(&g->limit, limit ? limit : SHM_NO_LIMIT);
}

bool shm_client_install(struct shm *shm, unsigned place, const struct shm_client_spec *spec)
{
	struct shm_header *h = shm->header;
	struct shm_window *window;
	uint32_t used = atomic_load(&h->clients_used);

	if (place >= h->nclients || place > used)
		return false;
	window = shm_window_at(shm, SHM_WINDOW_CLIENT(place));
	if (spec->requests_per_minute > window->capacity)
		return false;
	snprintf(shm_at(shm, h->client_names_at + place * SHM_NAME_BYTES), SHM_NAME_BYTES, "%s", spec->name);
	name_gate(shm, SHM_GATE_CLIENT_PLACES(place), spec->name, "max_connections", spec->max_connections);
	name_gate(shm, SHM_GATE_CLIENT_REQUESTS(place), spec->name, "concurrent_requests",
		spec->concurrent_requests);
	snprintf(window->name, SHM_NAME_BYTES, "clients.keys.%.50s.requests_per_minute", spec->name);
	atomic_store(&window->limit, spec->requests_per_minute);
	tokens_set_limit(shm, SHM_TOKENS_CLIENT(place), spec->tokens_per_minute, window->window_ms);
	if (place == used)
		atomic_store(&h->clients_used, used + 1);
	return true;
}

unsigned shm_nclients(const struct shm *shm)
{
	return atomic_load(&shm->header->clients_used);
}

unsigned shm_client_room(const struct shm *shm)
{
	return shm->header->nclients;
}

const char *shm_client_name(const struct shm *shm, unsigned place)
{
	BUG_ON(place >= shm->header->nclients);
	return shm_at(shm, shm->header->client_names_at + place * SHM_NAME_BYTES);
}

/* ---- flows ---- */

/* Which of the fair gates this is; UINT32_MAX: none. */
static uint32_t fair_number(const struct shm *shm, unsigned gate)
{
	const struct shm_header *h = shm->header;

	if (gate == SHM_GATE_PLACES)
		return 0;
	for (unsigned p = 0; p < h->nproviders; p++)
		if (gate == SHM_GATE_PROVIDER(p))
			return 1 + p;
	return UINT32_MAX;
}

static _Atomic uint64_t *flow_words(const struct shm *shm, unsigned gate, unsigned row)
{
	const struct shm_header *h = shm->header;
	uint32_t number = fair_number(shm, gate);

	if (number == UINT32_MAX)
		return NULL;
	return shm_at(shm, h->flows_at + ((uint64_t)number * (1 + h->nslots) + row) * h->flow_bytes);
}

_Atomic uint64_t *house_ends(const struct shm *shm, unsigned gate)
{
	return flow_words(shm, gate, 0);
}

_Atomic uint64_t *house_places(const struct shm *shm, unsigned gate, unsigned slot)
{
	BUG_ON(slot >= shm->header->nslots);
	return flow_words(shm, gate, 1 + slot);
}

unsigned house_gates(const struct shm *shm)
{
	return shm_ngates(shm) + 1 + 2 * shm_nclients(shm);
}

unsigned house_gate(const struct shm *shm, unsigned i)
{
	return i < shm_ngates(shm) ? i : SHM_HOUSE + i - shm_ngates(shm);
}
