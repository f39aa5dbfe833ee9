/* SPDX-License-Identifier: BSD-2-Clause */
/* lease.c - see lease.h: schedules, what they are of, and the state of the node. */
#include "base/base.h"
#include "shm/lease.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/gate.h"
#include "shm/layout.h"
#include "shm/tokens.h"
#include "shm/window.h"

#include <sys/random.h>

/* ---- a schedule ---- */

#define SCHEDULE(X)                                                                             \
	X(limit) X(until_ms) X(after) X(rise_ms) X(rise_to) X(keep) X(keep_until_ms) X(target) X(total)

/* False: there is none. */
static bool read_schedule(const struct shm_lease *lease, struct lease_schedule *s)
{
	for (;;) {
		uint64_t current = atomic_load_explicit(&lease->current, memory_order_acquire);
		const struct lease_words *words = &lease->copy[current % 2];

		if (!current)
			return false;
#define X(field) s->field = atomic_load_explicit(&words->field, memory_order_relaxed);
		SCHEDULE(X)
#undef X
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&lease->current, memory_order_relaxed) == current)
			return true; /* else there is a newer one */
	}
}

static void write_schedule(struct shm_lease *lease, const struct lease_schedule *s)
{
	uint64_t next = atomic_load_explicit(&lease->current, memory_order_relaxed) + 1;
	struct lease_words *words = &lease->copy[next % 2];

	atomic_thread_fence(memory_order_release); /* who reads this copy shall see that it is not current */
#define X(field) atomic_store_explicit(&words->field, s->field, memory_order_relaxed);
	SCHEDULE(X)
#undef X
	atomic_store(&lease->current, next);
}

static uint64_t scheduled(const struct lease_schedule *s, uint64_t now_ms)
{
	return now_ms < s->until_ms ? s->limit : now_ms < s->rise_ms ? s->after : s->rise_to;
}

uint64_t lease_limit_now(const struct shm_lease *lease, uint64_t configured)
{
	struct lease_schedule s;
	uint64_t limit;

	if (configured >= SHM_NO_LIMIT || !read_schedule(lease, &s))
		return configured;
	limit = scheduled(&s, clock_boot_ms());
	return limit < configured ? limit : configured;
}

bool lease_grows(const struct shm_lease *lease, uint64_t limit, uint64_t configured)
{
	struct lease_schedule s;

	return limit < configured && read_schedule(lease, &s) && clock_boot_ms() < s.until_ms && limit < s.target;
}

static uint64_t may_run(const struct lease_schedule *s, uint64_t now_ms)
{
	uint64_t limit = scheduled(s, now_ms);

	return now_ms < s->keep_until_ms && s->keep > limit ? s->keep : limit;
}

uint64_t lease_may_run(const struct shm *shm, unsigned number)
{
	const struct shm_gate *gate = shm_gate_at(shm, number);
	struct lease_schedule s;

	if (atomic_load(&gate->limit) >= SHM_NO_LIMIT || !read_schedule(&gate->lease, &s))
		return UINT64_MAX;
	return may_run(&s, clock_boot_ms());
}

uint64_t lease_until_ms(const struct shm *shm, unsigned number)
{
	const struct shm_gate *gate = shm_gate_at(shm, number);
	struct lease_schedule s;

	if (!read_schedule(&gate->lease, &s))
		return 0;
	return s.keep_until_ms > s.until_ms ? s.keep_until_ms : s.until_ms;
}

/* ---- what is leased ---- */

#define PER_PROVIDER 3u
#define PER_CLIENT 4u

unsigned lease_count(const struct shm *shm)
{
	return 1 + PER_PROVIDER * shm_nproviders(shm) + PER_CLIENT * shm_nclients(shm);
}

static void of_gate(const struct shm *shm, struct lease_subject *s, unsigned number)
{
	const struct shm_gate *gate = shm_gate_at(shm, number);
	uint64_t limit = atomic_load(&gate->limit);

	s->kind = LEASE_GATE;
	s->number = number;
	s->configured = limit < SHM_NO_LIMIT ? limit : 0;
	snprintf(s->name, sizeof(s->name), "%s", gate->name);
}

static void of_window(const struct shm *shm, struct lease_subject *s, unsigned number)
{
	const struct shm_window *window = shm_window_at(shm, number);

	s->kind = LEASE_WINDOW;
	s->number = number;
	s->configured = atomic_load(&window->limit);
	s->memory_ms = window->window_ms;
	snprintf(s->name, sizeof(s->name), "%s", window->name);
}

static void of_tokens(const struct shm *shm, struct lease_subject *s, unsigned which)
{
	const struct shm_tokens *tokens = shm_tokens_at(shm, which);

	s->kind = LEASE_TOKENS;
	s->number = which;
	s->configured = atomic_load(&tokens->limit);
	s->memory_ms = atomic_load(&tokens->window_ms);
	if (which < SHM_HOUSE)
		snprintf(s->name, sizeof(s->name), "llm.providers.%.40s.http_client.tokens_per_minute",
			shm_provider_name(shm, which));
	else
		snprintf(s->name, sizeof(s->name), "clients.keys.%.50s.tokens_per_minute",
			shm_client_name(shm, which - SHM_HOUSE));
}

void lease_subject(const struct shm *shm, unsigned i, struct lease_subject *s)
{
	unsigned nproviders = shm_nproviders(shm), k;

	BUG_ON(i >= lease_count(shm));
	*s = (struct lease_subject){ 0 };
	if (i == 0) {
		of_gate(shm, s, SHM_GATE_PLACES);
		return;
	}
	i--;
	if (i < PER_PROVIDER * nproviders) {
		k = i / PER_PROVIDER;
		if (i % PER_PROVIDER == 0)
			of_gate(shm, s, SHM_GATE_PROVIDER(k));
		else if (i % PER_PROVIDER == 1)
			of_window(shm, s, SHM_WINDOW_PROVIDER(k));
		else
			of_tokens(shm, s, SHM_TOKENS_PROVIDER(k));
		return;
	}
	i -= PER_PROVIDER * nproviders;
	k = i / PER_CLIENT;
	if (i % PER_CLIENT == 0)
		of_gate(shm, s, SHM_GATE_CLIENT_PLACES(k));
	else if (i % PER_CLIENT == 1)
		of_gate(shm, s, SHM_GATE_CLIENT_REQUESTS(k));
	else if (i % PER_CLIENT == 2)
		of_window(shm, s, SHM_WINDOW_CLIENT(k));
	else
		of_tokens(shm, s, SHM_TOKENS_CLIENT(k));
}

static struct shm_lease *lease_of(const struct shm *shm, enum lease_kind kind, unsigned number)
{
	switch (kind) {
	case LEASE_GATE:
		return &shm_gate_at(shm, number)->lease;
	case LEASE_WINDOW:
		return &shm_window_at(shm, number)->lease;
	case LEASE_TOKENS:
		break;
	}
	return &shm_tokens_at(shm, number)->lease;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void read_gate(const struct shm *shm, unsigned number, struct lease_reading *r)
{
	struct gate_reading gate;

	gate_read(shm, number, &gate);
	r->used = gate.used;
	r->wanted = gate.used + gate.waiting;
	r->hold = max(r->limit, r->used);
	r->refused = atomic_load(&shm_gate_at(shm, number)->refused);
}

static void read_window(const struct shm *shm, unsigned number, struct lease_reading *r)
{
	struct window_demand demand;

	window_read_demand(shm, number, clock_ms(), &demand);
	r->used = demand.used;
	r->wanted = demand.used + demand.promised;
	r->hold = r->limit + demand.beyond;
	r->refused = atomic_load(&shm_window_at(shm, number)->refused);
}

static void read_tokens(const struct shm *shm, unsigned which, struct lease_reading *r)
{
	struct tokens_reading tokens;

	tokens_read(shm, which, clock_ms(), &tokens);
	r->used = r->wanted = tokens.used;
	r->hold = max(r->limit, tokens.fullest); /* promises may be for two windows: each of them is within the limit */
	r->refused = atomic_load(&shm_tokens_at(shm, which)->refused);
}

void lease_read(const struct shm *shm, const struct lease_subject *s, struct lease_reading *r)
{
	const struct shm_lease *lease = lease_of(shm, s->kind, s->number);

	*r = (struct lease_reading){ 0 };
	if (!s->configured || !read_schedule(lease, &r->schedule))
		return;
	r->limit = lease_limit_now(lease, s->configured);
	switch (s->kind) {
	case LEASE_GATE:
		read_gate(shm, s->number, r);
		break;
	case LEASE_WINDOW:
		read_window(shm, s->number, r);
		break;
	case LEASE_TOKENS:
		read_tokens(shm, s->number, r);
		break;
	}
}

bool lease_next(const struct shm *shm, unsigned *i, struct lease_subject *s, struct lease_reading *r)
{
	while (*i < lease_count(shm)) {
		lease_subject(shm, (*i)++, s);
		if (!s->configured)
			continue;
		lease_read(shm, s, r);
		return true;
	}
	return false;
}

/*
 * A slot that somebody takes by the limit before is not seen, if he is just at it: but once he sees ours he does not use it
 * (window_keep()), and what he took before that is seen when we look again.
 */
static void write_window(struct shm *shm, const struct lease_subject *s, struct lease_schedule schedule, uint64_t now_ms)
{
	uint64_t room = window_room(shm, s->number, now_ms, schedule.granted);
	struct window_change change;

	do {
		if (room < schedule.limit)
			schedule.limit = room;
		if (room < schedule.after)
			schedule.after = room;
		window_change_begin(shm, s->number, schedule.limit, &change);
		write_schedule(lease_of(shm, s->kind, s->number), &schedule);
		window_change_end(shm, s->number, &change);
		room = window_room(shm, s->number, now_ms, schedule.granted);
	} while (room < schedule.limit);
}

void lease_write(struct shm *shm, const struct lease_subject *s, const struct lease_schedule *schedule, uint64_t now_ms)
{
	if (s->kind == LEASE_WINDOW)
		write_window(shm, s, *schedule, now_ms);
	else
		write_schedule(lease_of(shm, s->kind, s->number), schedule);
}

/* ---- the node ---- */

const char *cluster_state_name(enum cluster_state state)
{
	static const char *const names[] = {
#define X(symbol, name) [CLUSTER_##symbol] = name,
		CLUSTER_STATES(X)
#undef X
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static const struct lease_schedule nothing = { .rise_ms = UINT64_MAX };

void lease_forget(struct shm *shm, enum lease_kind kind, unsigned number)
{
	if (shm_is_clustered(shm))
		write_schedule(lease_of(shm, kind, number), &nothing);
}

/* All that there is room for: what a reload adds has no share before Redis says so. */
void cluster_begin(struct shm *shm, const char *node)
{
	struct shm_cluster *c = shm_cluster_at(shm);

	BUG_ON(getrandom(&c->incarnation, sizeof(c->incarnation), 0) != sizeof(c->incarnation));
	snprintf(c->node, sizeof(c->node), "%s", node);
	atomic_store(&c->clustered, 1);
	cluster_set_state(shm, CLUSTER_JOINING);
	lease_forget(shm, LEASE_GATE, SHM_GATE_PLACES);
	for (unsigned p = 0; p < shm->header->nproviders; p++) {
		lease_forget(shm, LEASE_GATE, SHM_GATE_PROVIDER(p));
		lease_forget(shm, LEASE_WINDOW, SHM_WINDOW_PROVIDER(p));
		lease_forget(shm, LEASE_TOKENS, SHM_TOKENS_PROVIDER(p));
	}
	for (unsigned k = 0; k < shm->header->nclients; k++) {
		lease_forget(shm, LEASE_GATE, SHM_GATE_CLIENT_PLACES(k));
		lease_forget(shm, LEASE_GATE, SHM_GATE_CLIENT_REQUESTS(k));
		lease_forget(shm, LEASE_WINDOW, SHM_WINDOW_CLIENT(k));
		lease_forget(shm, LEASE_TOKENS, SHM_TOKENS_CLIENT(k));
	}
}

bool shm_is_clustered(const struct shm *shm)
{
	return atomic_load(&shm_cluster_at(shm)->clustered) != 0;
}

void cluster_read(const struct shm *shm, struct cluster_reading *r)
{
	const struct shm_cluster *c = shm_cluster_at(shm);

	*r = (struct cluster_reading){ .state = (enum cluster_state)atomic_load(&c->state),
		.since_ms = atomic_load(&c->since_ms),
		.incarnation = c->incarnation,
		.members = atomic_load(&c->members),
		.nodes = atomic_load(&c->nodes),
		.mismatches = atomic_load(&c->mismatches),
		.agent_pid = atomic_load(&c->agent_pid) };
	memcpy(r->node, c->node, sizeof(r->node));
}

void cluster_set_state(struct shm *shm, enum cluster_state state)
{
	struct shm_cluster *c = shm_cluster_at(shm);

	if (atomic_exchange(&c->state, state) != state)
		atomic_store(&c->since_ms, clock_ms());
}

void cluster_set_members(struct shm *shm, unsigned members, unsigned nodes, unsigned mismatches)
{
	struct shm_cluster *c = shm_cluster_at(shm);

	atomic_store(&c->members, members);
	atomic_store(&c->nodes, nodes);
	atomic_store(&c->mismatches, mismatches);
}

void cluster_read_history(const struct shm *shm, struct cluster_history *h)
{
	const struct shm_cluster *c = shm_cluster_at(shm);

	*h = (struct cluster_history){ .q = atomic_load(&c->q) };
	if (!h->q)
		return;
	memcpy(h->epoch, c->epoch, sizeof(h->epoch) - 1);
	for (unsigned i = 0; i < SHM_RENEWALS; i++) {
		const struct shm_renewal *r = &c->renewal[i];
		uint64_t seq = atomic_load(&r->seq);

		if (seq)
			h->renewal[h->n++] = (struct cluster_renewal){ seq, atomic_load(&r->sent_ms),
				atomic_load(&r->received_ms) };
	}
}

void cluster_note_renewal(struct shm *shm, const char *epoch, const struct cluster_renewal *renewal, bool keep)
{
	struct shm_cluster *c = shm_cluster_at(shm);
	struct shm_renewal *r;

	/* We may be killed between any two of these. */
	if (!atomic_load(&c->q) || strcmp(c->epoch, epoch) != 0) {
		atomic_store(&c->q, 0);
		for (unsigned i = 0; i < SHM_RENEWALS; i++)
			atomic_store(&c->renewal[i].seq, 0);
		snprintf(c->epoch, sizeof(c->epoch), "%s", epoch);
	}
	if (keep) {
		r = &c->renewal[atomic_fetch_add(&c->noted, 1) % SHM_RENEWALS];
		atomic_store(&r->seq, 0);
		atomic_store(&r->sent_ms, renewal->sent_ms);
		atomic_store(&r->received_ms, renewal->received_ms);
		atomic_store(&r->seq, renewal->seq);
	}
	atomic_store(&c->q, renewal->seq);
}

uint64_t cluster_next_call(struct shm *shm)
{
	return atomic_fetch_add(&shm_cluster_at(shm)->calls, 1) + 1;
}

void cluster_set_agent(struct shm *shm, int pid)
{
	atomic_store(&shm_cluster_at(shm)->agent_pid, pid);
}

void cluster_unset_agent(struct shm *shm, int pid)
{
	int32_t gone = pid;

	atomic_compare_exchange_strong(&shm_cluster_at(shm)->agent_pid, &gone, 0);
}
