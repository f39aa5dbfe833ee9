/* SPDX-License-Identifier: BSD-2-Clause */
/* slots.c - the places of the workers: whose it is, whether its heart beats. */
#include "base/base.h"
#include "shm/segment.h"

#include "base/bug.h"
#include "shm/layout.h"

struct shm_slot *shm_slot_at(const struct shm *shm, unsigned slot)
{
	BUG_ON(slot >= shm->header->nslots);
	return shm_at(shm, shm->header->slots_at + slot * sizeof(struct shm_slot));
}

const char *shm_slot_state_name(enum slot_state state)
{
	static const char *const names[] = { [SLOT_EMPTY] = "empty", [SLOT_STARTING] = "starting",
		[SLOT_READY] = "ready", [SLOT_DRAINING] = "draining" };

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

void shm_slot_read(const struct shm *shm, unsigned slot, struct slot_reading *r)
{
	struct shm_slot *s = shm_slot_at(shm, slot);

	r->state = (enum slot_state)atomic_load(&s->state);
	r->pid = atomic_load(&s->pid);
	r->generation = atomic_load(&s->generation);
	r->started_ms = atomic_load(&s->started_ms);
	r->heartbeat_ms = atomic_load(&s->heartbeat_ms);
	r->door = atomic_load(&s->door);
	r->conf_generation = atomic_load(&s->conf_generation);
	if (!r->pid && (r->state == SLOT_READY || r->state == SLOT_DRAINING))
		r->state = SLOT_EMPTY; /* shm_reclaim() is at it */
}

unsigned shm_slot_claim(struct shm *shm, unsigned slot, uint64_t now_ms)
{
	struct shm_slot *s = shm_slot_at(shm, slot);

	BUG_ON(atomic_load(&s->state) != SLOT_EMPTY); /* shm_reclaim() comes first */
	memset(s->last_words, 0, sizeof(s->last_words));
	atomic_store(&s->pid, 0);
	atomic_store(&s->started_ms, now_ms);
	atomic_store(&s->heartbeat_ms, now_ms);
	atomic_store(&s->state, SLOT_STARTING);
	return atomic_fetch_add(&s->generation, 1) + 1;
}

void shm_slot_set_duty(struct shm *shm, unsigned slot, unsigned door, unsigned conf_generation)
{
	struct shm_slot *s = shm_slot_at(shm, slot);

	atomic_store(&s->door, door);
	atomic_store(&s->conf_generation, conf_generation);
}

void shm_slot_set_pid(struct shm *shm, unsigned slot, int pid)
{
	atomic_store(&shm_slot_at(shm, slot)->pid, pid);
}

void shm_slot_set_state(struct shm *shm, unsigned slot, enum slot_state state)
{
	atomic_store(&shm_slot_at(shm, slot)->state, state);
}

void shm_slot_beat(struct shm *shm, unsigned slot, uint64_t now_ms)
{
	atomic_store_explicit(&shm_slot_at(shm, slot)->heartbeat_ms, now_ms, memory_order_relaxed);
}

const char *shm_slot_last_words(const struct shm *shm, unsigned slot)
{
	return shm_slot_at(shm, slot)->last_words;
}

bool shm_slot_is_orphaned(const struct shm *shm, unsigned slot)
{
	const struct shm_slot *s = shm_slot_at(shm, slot);

	return atomic_load(&s->state) != SLOT_EMPTY && !shm_process_start(atomic_load(&s->pid));
}

bool shm_hearts_beat(const struct shm *shm, uint64_t now_ms, uint64_t max_age_ms)
{
	bool ready = false;

	for (unsigned i = 0; i < shm_nslots(shm); i++) {
		struct slot_reading r;

		shm_slot_read(shm, i, &r);
		if (r.state == SLOT_EMPTY)
			continue;
		if (r.heartbeat_ms + max_age_ms < now_ms)
			return false;
		ready = ready || r.state == SLOT_READY;
	}
	return ready;
}
