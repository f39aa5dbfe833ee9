/* SPDX-License-Identifier: BSD-2-Clause */
/* admit.c - see admit.h. */
#include "base/base.h"
#include "worker/admit/admit.h"

#include "base/bug.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/admit/room.h"

#define LIMIT_NAME "chat.websocket.concurrency.max_connections"
#define RETRY_AFTER_MIN_MS 1000
#define RETRY_AFTER_MAX_MS 60000

static const enum stat_id gauge[] = {
	[ADMIT_WEBSOCKET] = STAT_WEBSOCKETS,
	[ADMIT_STREAM] = STAT_STREAMS,
};
static const char *const kind_name[] = {
	[ADMIT_WEBSOCKET] = "WebSocket connection",
	[ADMIT_STREAM] = "SSE stream",
};

/* Nobody waits for a place, so none can be granted later. */
static void granted(struct gate_ticket *ticket, void *arg)
{
	BUG_ON("a place was granted to somebody who did not wait");
}

struct admit *admit_open(const struct conf *conf, struct shm *shm)
{
	struct admit *admit = xcalloc(1, sizeof(*admit));

	admit->conf = conf;
	admit->shm = shm;
	admit->line = gate_line_open(shm, SHM_GATE_PLACES, granted, admit);
	return admit;
}

void admit_close(struct admit *admit)
{
	gate_line_close(admit->line);
	free(admit);
}

static void log_rejection(struct admit *admit, enum admit_kind kind)
{
	struct gate_reading house;
	char more[48] = "";
	uint64_t missed;

	if (!log_rate_ok(&admit->rejected[kind], &missed))
		return;
	gate_read(admit->shm, SHM_GATE_PLACES, &house);
	if (missed)
		snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
	log_warning("admit", "%s rejected: max_connections=%" PRIu64 " reached%s", kind_name[kind],
		house.limit, more);
}

bool admit_enter(struct admit *admit, struct admit_place *place, enum admit_kind kind)
{
	struct gate_reading house;

	if (!gate_try(admit->line, &place->ticket)) {
		stat_add(STAT_REJECTED_FULL, 1);
		log_rejection(admit, kind);
		return false;
	}
	place->kind = kind;
	stat_add(STAT_ADMITTED, 1);
	stat_add(gauge[kind], 1);
	if (kind == ADMIT_WEBSOCKET && log_wanted(LOG_INFO)) {
		gate_read(admit->shm, SHM_GATE_PLACES, &house);
		log_info("admit",
			"WebSocket connection established. Active connections: %" PRIu64 "/%" PRIu64,
			house.used, house.limit);
	}
	return true;
}

void admit_leave(struct admit *admit, struct admit_place *place)
{
	if (place->ticket.state != TICKET_HELD)
		return;
	gate_leave(admit->line, &place->ticket);
	stat_add(gauge[place->kind], -1);
}

void admit_poll(struct admit *admit)
{
	gate_poll(admit->line);
}

/* One place becomes free in about the time between two grants. */
uint64_t admit_retry_after_ms(const struct admit *admit)
{
	struct gate_reading house;
	uint64_t ms;

	gate_read(admit->shm, SHM_GATE_PLACES, &house);
	ms = house.interval_us / 1000;
	if (ms < RETRY_AFTER_MIN_MS)
		return RETRY_AFTER_MIN_MS;
	return ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

const char *admit_limit_name(void)
{
	return LIMIT_NAME;
}
