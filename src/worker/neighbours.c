/* SPDX-License-Identifier: BSD-2-Clause */
/* neighbours.c - see neighbours.h. */
#include "base/base.h"
#include "worker/neighbours.h"

#include "base/log.h"
#include "shm/segment.h"
#include "worker/http/http.h"

/* A ready worker that has not beaten for this long is away. */
#define SILENT_MS 2000
/* A door may be without a ready worker for this long: a successor is there sooner. */
#define VACANT_MS 500

struct neighbours {
	const struct heritage *heritage;
	struct http *http;
	struct neighbour {
		uint64_t vacant_since_ms; /* 0: a worker is ready there */
		bool ours;		  /* we accept for it */
	} door[];
};

struct neighbours *neighbours_open(const struct heritage *heritage, struct http *http)
{
	struct neighbours *n = xcalloc(1, sizeof(*n) + heritage->ndoors * sizeof(n->door[0]));

	n->heritage = heritage;
	n->http = http;
	return n;
}

/* Is a worker ready at this door, and is one alive? (After a reload there may be two for a moment.) */
static void look(const struct neighbours *n, unsigned door, uint64_t now_ms, bool *ready_r, bool *alive_r)
{
	*ready_r = *alive_r = false;
	for (unsigned i = 0; i < n->heritage->nslots; i++) {
		struct slot_reading reading;

		shm_slot_read(n->heritage->shm, i, &reading);
		if (reading.state != SLOT_READY || reading.door != door)
			continue;
		*ready_r = true;
		*alive_r |= reading.heartbeat_ms + SILENT_MS >= now_ms;
	}
}

static bool is_away(struct neighbours *n, unsigned door, uint64_t now_ms)
{
	struct neighbour *who = &n->door[door];
	bool ready, alive;

	look(n, door, now_ms, &ready, &alive);
	if (ready) {
		who->vacant_since_ms = 0;
		return !alive;
	}
	if (!who->vacant_since_ms)
		who->vacant_since_ms = now_ms;
	return who->vacant_since_ms + VACANT_MS < now_ms;
}

static void accept_for(struct neighbours *n, unsigned door, bool on)
{
	if (n->door[door].ours == on)
		return;
	n->door[door].ours = on;
	for (unsigned i = door; i < n->heritage->nlisten; i += n->heritage->ndoors)
		http_accept_also(n->http, n->heritage->listen_fds[i], on);
	log_info("worker", "%s for worker %u", on ? "accepting" : "no longer accepting", door);
}

void neighbours_watch(struct neighbours *n, uint64_t now_ms)
{
	bool ours = true; /* as long as all between us and it are away */

	for (unsigned i = 1; i < n->heritage->ndoors; i++) {
		unsigned door = (n->heritage->door + i) % n->heritage->ndoors;
		bool away = is_away(n, door, now_ms);

		ours = ours && away;
		accept_for(n, door, ours);
	}
}

void neighbours_close(struct neighbours *n)
{
	free(n);
}
