/* SPDX-License-Identifier: BSD-2-Clause */
/* neighbours.c - see neighbours.h. */
#include "base/base.h"
#include "worker/neighbours.h"

#include "base/log.h"
#include "shm/segment.h"
#include "worker/http/http.h"

/* A ready worker that has not beaten for this long is away. */
#define SILENT_MS 2000
/* A slot may be without a ready worker for this long: a successor is there sooner. */
#define VACANT_MS 500

struct neighbours {
	const struct heritage *heritage;
	struct http *http;
	struct neighbour {
		uint64_t vacant_since_ms; /* 0: its worker is ready */
		bool ours;		  /* we accept for it */
	} slot[];
};

struct neighbours *neighbours_open(const struct heritage *heritage, struct http *http)
{
	struct neighbours *n =
		xcalloc(1, sizeof(*n) + heritage->nslots * sizeof(n->slot[0]));

	n->heritage = heritage;
	n->http = http;
	return n;
}

static bool is_away(struct neighbours *n, unsigned slot, uint64_t now_ms)
{
	struct neighbour *who = &n->slot[slot];
	struct slot_reading reading;

	shm_slot_read(n->heritage->shm, slot, &reading);
	if (reading.state == SLOT_READY) {
		who->vacant_since_ms = 0;
		return reading.heartbeat_ms + SILENT_MS < now_ms;
	}
	if (!who->vacant_since_ms)
		who->vacant_since_ms = now_ms;
	return who->vacant_since_ms + VACANT_MS < now_ms;
}

static void accept_for(struct neighbours *n, unsigned slot, bool on)
{
	if (n->slot[slot].ours == on)
		return;
	n->slot[slot].ours = on;
	http_accept_also(n->http, n->heritage->listen_fds[slot], on);
	log_info("worker", "%s for worker %u", on ? "accepting" : "no longer accepting", slot);
}

void neighbours_watch(struct neighbours *n, uint64_t now_ms)
{
	bool ours = true; /* as long as all between us and it are away */

	for (unsigned i = 1; i < n->heritage->nslots; i++) {
		unsigned slot = (n->heritage->slot + i) % n->heritage->nslots;
		bool away = is_away(n, slot, now_ms);

		ours = ours && away;
		accept_for(n, slot, ours);
	}
}

void neighbours_close(struct neighbours *n)
{
	free(n);
}
