/* SPDX-License-Identifier: BSD-2-Clause */
/* limits.c - see limits.h. */
#include "base/base.h"
#include "master/limits.h"

#include "base/log.h"
#include "conf/conf.h"
#include "shm/gate.h"
#include "shm/keys.h"
#include "shm/learn.h"
#include "shm/lease.h"
#include "shm/segment.h"
#include "shm/tally.h"
#include "shm/tokens.h"
#include "shm/window.h"

#define ERROR_BYTES 256
#define WINDOW_MS 60000u
#define PLACES_MAX 32u
#define LOCK_MS 100
/* Room for this many more keys of clients. */
#define SPARE_KEYS 32u
#define KEYS_MAX 256u
/* Room for this many more providers, and at least so many in all. */
#define SPARE_PLACES 4u
#define PLACES_MIN 8u
/* requests_per_minute that fits into a spare place, fourfold. */
#define SPARE_WINDOW 4000u

static uint32_t window_ms(void)
{
#ifdef HEADGATE_DEVELOPER
	const char *text = getenv("HEADGATE_TEST_WINDOW_MS");
	unsigned long ms = text ? strtoul(text, NULL, 10) : 0;

	if (ms > 0 && ms <= WINDOW_MS)
		return (uint32_t)ms;
#endif
	return WINDOW_MS;
}

/* What the segment holds of a provider; the names are the caller's to release. */
static struct shm_provider_spec provider_spec(const struct conf_provider *p)
{
	const char *n = p->name;

	return (struct shm_provider_spec){
		.name = n,
		.gates = { { xasprintf("llm.providers.%s.http_client.concurrent_requests", n),
				   p->concurrent_requests },
			{ xasprintf("llm.providers.%s.http_client.max_connections", n),
				p->pool_max_connections },
			{ xasprintf("llm.providers.%s.http_client.max_keepalive", n), p->max_keepalive } },
		.window = { xasprintf("llm.providers.%s.http_client.requests_per_minute", n),
			(uint32_t)p->requests_per_minute, window_ms() },
	};
}

static void release_spec(struct shm_provider_spec *spec)
{
	for (unsigned i = 0; i < ARRAY_SIZE(spec->gates); i++)
		free((char *)spec->gates[i].name);
	free((char *)spec->window.name);
}

static unsigned places_for(unsigned nproviders)
{
	unsigned n = nproviders + SPARE_PLACES;

	n = n < PLACES_MIN ? PLACES_MIN : n;
	return n < PLACES_MAX ? n : PLACES_MAX;
}

/* Whose requests and tokens are counted. */
static void apply_tallies(struct shm *shm, const struct conf_provider *p)
{
	bool room = true;
	char number[16];

	room &= tally_install(shm, TALLY_MODEL, p->name, p->model) != SHM_NO_TALLY;
	for (size_t i = 0; i < p->models.count; i++)
		room &= tally_install(shm, TALLY_MODEL, p->name, p->models.text[i]) != SHM_NO_TALLY;
	room &= tally_install(shm, TALLY_MODEL, p->name, TALLY_OTHER) != SHM_NO_TALLY;
	for (unsigned k = 0; k < p->nkeys; k++) {
		snprintf(number, sizeof(number), "%u", k + 1);
		room &= tally_install(shm, TALLY_API_KEY, p->name, number) != SHM_NO_TALLY;
	}
	if (!room)
		log_warning("master",
			"more than %u models and keys in all: some of %s are not counted one by one",
			SHM_TALLIES, p->name);
}

/* What is beside the gates and the window. Parked keys may be other ones now. */
static void apply_standing(struct shm *shm, const struct conf_provider *p)
{
	tokens_set_limit(shm, SHM_TOKENS_PROVIDER(p->place), p->tokens_per_minute, window_ms());
	for (unsigned k = 0; k < SHM_KEYS; k++)
		key_unpark(shm, p->place, k);
	if (!p->adaptive)
		learn_forget(shm, p->place);
	apply_tallies(shm, p);
}

static struct shm_client_spec client_spec(const struct conf_client *c)
{
	return (struct shm_client_spec){ .name = c->name, .max_connections = c->max_connections,
		.concurrent_requests = c->concurrent_requests,
		.requests_per_minute = (uint32_t)c->requests_per_minute,
		.tokens_per_minute = c->tokens_per_minute };
}

static struct shm_client_spec *client_specs(const struct conf *conf)
{
	struct shm_client_spec *specs = xcalloc(conf->nclients + 1, sizeof(*specs));

	for (unsigned i = 0; i < conf->nclients; i++)
		specs[i] = client_spec(&conf->clients[i]);
	return specs;
}

static void count_client(struct shm *shm, const struct conf_client *c)
{
	if (tally_install(shm, TALLY_CLIENT, "", c->name) == SHM_NO_TALLY)
		log_warning("master", "more than %u models and keys in all: '%s' is not counted by itself",
			SHM_TALLIES, c->name);
}

struct shm *limits_segment(const struct conf *conf, unsigned nslots, const char *path, bool replace,
	char *error_r)
{
	unsigned n = conf->nproviders;
	struct shm_provider_spec *specs = xcalloc(n + 1, sizeof(*specs));
	struct shm_gate_spec *gates = xcalloc(SHM_GATES(n), sizeof(*gates));
	struct shm_window_spec *windows = xcalloc(n + 1, sizeof(*windows));
	struct shm_client_spec *clients = client_specs(conf);
	const char **names = xcalloc(n + 1, sizeof(*names));
	struct shm_spec spec = { .nslots = nslots, .ngates = SHM_GATES(n), .gates = gates, .nwindows = n,
		.windows = windows, .nproviders = n, .providers = names,
		.spare_providers = places_for(n) - n,
		.spare_window = { NULL, SPARE_WINDOW, window_ms() },
		.pending = conf->connection_queue_size,
		.nclients = conf->nclients,
		.clients = clients,
		.client_room = conf->nclients + SPARE_KEYS < KEYS_MAX ? conf->nclients + SPARE_KEYS : KEYS_MAX,
		.client_window_ms = window_ms() };
	struct shm *shm;

	if (window_ms() != WINDOW_MS)
		log_warning("master", "HEADGATE_TEST_WINDOW_MS: a minute is %u ms for requests_per_minute and tokens_per_minute",
			window_ms());
	gates[SHM_GATE_PLACES] = (struct shm_gate_spec){
		"chat.websocket.concurrency.max_connections", conf->max_connections };
	for (unsigned p = 0; p < n; p++) {
		specs[p] = provider_spec(&conf->providers[p]);
		names[p] = specs[p].name;
		memcpy(&gates[SHM_GATE_PROVIDER(p)], specs[p].gates, sizeof(specs[p].gates));
		windows[SHM_WINDOW_PROVIDER(p)] = specs[p].window;
	}
	shm = replace ? shm_replace(path, &spec, error_r) : shm_create(path, &spec, error_r);
	if (shm && *conf->redis_address)
		cluster_begin(shm, conf->cluster_node);
	for (unsigned p = 0; shm && p < n; p++)
		apply_standing(shm, &conf->providers[p]);
	for (unsigned i = 0; shm && i < conf->nclients; i++)
		count_client(shm, &conf->clients[i]);
	for (unsigned p = 0; p < n; p++)
		release_spec(&specs[p]);
	free(specs);
	free(clients);
	free(gates);
	free(windows);
	free(names);
	return shm;
}

/* ---- places ---- */

uint32_t limits_places(const struct conf *conf)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < conf->nproviders; i++)
		mask |= 1u << conf->providers[i].place;
	return mask;
}

/* The place that has this name, whether its provider is in use or not. */
static int place_of(const struct shm *shm, const char *name)
{
	for (unsigned i = 0; i < shm_nproviders(shm); i++)
		if (strcmp(shm_provider_name(shm, i), name) == 0)
			return (int)i;
	return -1;
}

/* The lowest one that nobody uses: one that was used before, or the next that never was. */
static int free_place(const struct shm *shm, uint32_t busy)
{
	for (unsigned i = 0; i < shm_provider_room(shm) && i <= shm_nproviders(shm); i++)
		if (!(busy & 1u << i))
			return (int)i;
	return -1;
}

static bool window_fits(const struct shm *shm, const struct conf_provider *p, char *error_r)
{
	uint32_t room = shm_window_room(shm, SHM_WINDOW_PROVIDER(p->place));

	if (p->requests_per_minute <= room)
		return true;
	snprintf(error_r, ERROR_BYTES,
		"llm.providers.%.60s.http_client.requests_per_minute: %" PRIu64
		" is more than the running headgate has room for (%u); restart it to go beyond",
		p->name, p->requests_per_minute, room);
	return false;
}

/* By name; places of names that went are not given to others, so that what still runs counts for nobody else. */
static bool place_clients(const struct shm *shm, struct conf *next, char *error_r)
{
	unsigned used = shm_nclients(shm);

	for (unsigned i = 0; i < next->nclients; i++) {
		struct conf_client *c = &next->clients[i];

		for (c->place = 0; c->place < shm_nclients(shm); c->place++)
			if (strcmp(shm_client_name(shm, c->place), c->name) == 0)
				break;
		if (c->place == shm_nclients(shm))
			c->place = used++;
		if (c->place < shm_client_room(shm) &&
			c->requests_per_minute <= shm_window_room(shm, SHM_WINDOW_CLIENT(c->place)))
			continue;
		if (c->place < shm_client_room(shm)) {
			snprintf(error_r, ERROR_BYTES,
				"clients.keys: requests_per_minute of '%s' is more than the running headgate has "
				"room for (%u); restart it to go beyond",
				c->name, shm_window_room(shm, SHM_WINDOW_CLIENT(c->place)));
			return false;
		}
		snprintf(error_r, ERROR_BYTES,
			"clients.keys: the running headgate has room for %u names, those of before included; restart it",
			shm_client_room(shm));
		return false;
	}
	return true;
}

bool limits_place(const struct shm *shm, struct conf *next, uint32_t busy, char *error_r)
{
	unsigned known = shm_nproviders(shm);

	for (unsigned i = 0; i < next->nproviders; i++) {
		int place = place_of(shm, next->providers[i].name);

		busy |= place < 0 ? 0 : 1u << place;
	}
	for (unsigned i = 0; i < next->nproviders; i++) {
		struct conf_provider *p = &next->providers[i];
		int place = place_of(shm, p->name);

		if (place < 0)
			place = free_place(shm, busy);
		/* places that never were used are taken one after the other */
		if (place < 0 && known < shm_provider_room(shm))
			place = (int)known;
		if (place < 0) {
			snprintf(error_r, ERROR_BYTES,
				"llm.providers.%.60s: the running headgate has room for %u providers, and all "
				"are in use; restart it, or try again when the workers of before have left",
				p->name, shm_provider_room(shm));
			return false;
		}
		p->place = (unsigned)place;
		busy |= 1u << place;
		known = p->place >= known ? p->place + 1 : known;
		if (!window_fits(shm, p, error_r))
			return false;
	}
	return place_clients(shm, next, error_r);
}

static void apply_provider(struct shm *shm, const struct conf_provider *p)
{
	struct shm_provider_spec spec = provider_spec(p);

	if (p->place >= shm_nproviders(shm) || strcmp(shm_provider_name(shm, p->place), p->name) != 0) {
		if (!shm_provider_install(shm, p->place, &spec))
			log_error("master", "no room in the segment for provider %s", p->name);
	} else {
		for (unsigned i = 0; i < ARRAY_SIZE(spec.gates); i++)
			gate_set_limit(shm, SHM_GATE_PROVIDER(p->place) + i, spec.gates[i].limit);
		if (window_set_limit(shm, SHM_WINDOW_PROVIDER(p->place), spec.window.limit) < 0)
			log_error("master", "no room in the segment for '%s'", spec.window.name);
	}
	apply_standing(shm, p);
	release_spec(&spec);
}

static void apply_client(struct shm *shm, const struct conf_client *c)
{
	struct shm_client_spec spec = client_spec(c);

	if (c->place >= shm_nclients(shm) && !shm_client_install(shm, c->place, &spec))
		log_error("master", "no room in the segment for the key of '%s'", c->name);
	gate_set_limit(shm, SHM_GATE_CLIENT_PLACES(c->place),
		c->max_connections ? c->max_connections : SHM_NO_LIMIT);
	gate_set_limit(shm, SHM_GATE_CLIENT_REQUESTS(c->place),
		c->concurrent_requests ? c->concurrent_requests : SHM_NO_LIMIT);
	count_client(shm, c);
	if (window_set_limit(shm, SHM_WINDOW_CLIENT(c->place), spec.requests_per_minute) < 0)
		log_error("master", "no room in the segment for requests_per_minute of '%s'", c->name);
	tokens_set_limit(shm, SHM_TOKENS_CLIENT(c->place), spec.tokens_per_minute, window_ms());
}

void limits_apply(struct shm *shm, const struct conf *conf)
{
	bool locked = shm_master_lock(shm, LOCK_MS); /* a stopped other one does not keep us */

	gate_set_limit(shm, SHM_GATE_PLACES, conf->max_connections);
	gate_set_limit(shm, SHM_GATE_PENDING, conf->connection_queue_size);
	for (unsigned place = 0; place < KEYS_MAX; place++) /* new ones in their order */
		for (unsigned i = 0; i < conf->nclients; i++)
			if (conf->clients[i].place == place)
				apply_client(shm, &conf->clients[i]);
	/* in the order of their places: one that never was used follows those that were */
	for (unsigned place = 0; place < PLACES_MAX; place++)
		for (unsigned i = 0; i < conf->nproviders; i++)
			if (conf->providers[i].place == place)
				apply_provider(shm, &conf->providers[i]);
	if (locked)
		shm_master_unlock(shm);
}
