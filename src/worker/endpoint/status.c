/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status.c - GET /status/events: what the live page draws, as an event a second. One snapshot is made
 * for all watchers of this worker; with no watcher there is no timer. Levels are told as they are,
 * counters as totals (the page takes differences), waits as the quantiles of the last second.
 */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "conf/conf.h"
#include "shm/lease.h"
#include "shm/readings.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include <event2/event.h>

#define WATCHERS_MAX 16 /* of one worker */
#define RETRY_AFTER_MS 5000

struct watcher {
	TAILQ_ENTRY(watcher) entry;
	struct exchange *x;
};

/* Waits that are told as quantiles. */
static const struct {
	enum pstat_id id;
	const char *name;
} waits[] = { { PSTAT_QUEUE_WAIT, "wait" }, { PSTAT_FIRST_BYTE, "first" } };

static struct {
	TAILQ_HEAD(, watcher) watchers;
	unsigned count;
	struct event *tick;
	/* a row for each provider: what the histograms held a second ago */
	struct stats_histogram (*before)[ARRAY_SIZE(waits)];
	bool primed; /* there was a second ago */
} status;

/* ---- the snapshot ------------------------------------------------------------------- */

static void add_number(struct buf *out, const char *comma, const char *name, double value)
{
	buf_addf(out, "%s\"%s\":%.15g", comma, name, value);
}

static void add_stat(struct buf *out, const char *name, enum stat_id id)
{
	int64_t n = (int64_t)stat_sum(endpoint.shm, id);

	add_number(out, ",", name, n < 0 ? 0 : (double)n);
}

static void add_house(struct buf *out, uint64_t now_ms)
{
	double value[HOUSE_COUNT];
	struct cluster_reading node;

	house_read(endpoint.shm, now_ms, value);
	add_number(out, "", "uptime", value[HOUSE_UPTIME]);
	add_number(out, ",", "active", value[HOUSE_ACTIVE_CONNECTIONS]);
	add_number(out, ",", "max", value[HOUSE_MAX_CONNECTIONS]);
	add_number(out, ",", "waiting", value[HOUSE_WAITING_CONNECTIONS]);
	add_number(out, ",", "pending", value[HOUSE_PENDING_CONNECTIONS]);
	add_number(out, ",", "draining", value[HOUSE_DRAINING]);
	if (shm_is_clustered(endpoint.shm)) {
		cluster_read(endpoint.shm, &node);
		buf_addf(out, ",\"cluster\":\"%s\"", cluster_state_name(node.state));
	}
	add_stat(out, "websockets", STAT_WEBSOCKETS);
	add_stat(out, "streams", STAT_STREAMS);
	add_stat(out, "requests", STAT_REQUESTS);
}

/* ,"rejections":{...},"failures":{...}: endings that happened, by their codes. */
static void add_endings(struct buf *out, const char *name, bool rejections)
{
	const char *comma = "";

	buf_addf(out, ",\"%s\":{", name);
	for (enum ending e = END_BAD_REQUEST; e < END_COUNT; e++) {
		uint64_t n = rejections_read(endpoint.shm, e);

		if (!n || ending_is_rejection(e) != rejections)
			continue;
		buf_addf(out, "%s\"%s\":%" PRIu64, comma, ending_facts[e].code, n);
		comma = ",";
	}
	buf_adds(out, "}");
}

static void add_waits(struct buf *out, unsigned p)
{
	const unsigned place = endpoint.conf->providers[p].place;

	for (unsigned i = 0; i < ARRAY_SIZE(waits); i++) {
		struct stats_histogram now, lately;

		pstat_histogram(endpoint.shm, place, waits[i].id, &now);
		lately = now;
		stats_histogram_subtract(&lately, &status.before[p][i]);
		status.before[p][i] = now;
		if (!status.primed || !lately.count) {
			buf_addf(out, ",\"%s_p50\":null,\"%s_p99\":null", waits[i].name, waits[i].name);
			continue;
		}
		buf_addf(out, ",\"%s_p50\":%.4f,\"%s_p99\":%.4f", waits[i].name,
			(double)stats_quantile_us(&lately, 0.5) / 1e6, waits[i].name,
			(double)stats_quantile_us(&lately, 0.99) / 1e6);
	}
}

static void add_provider(struct buf *out, unsigned p, uint64_t now_ms)
{
	static const struct {
		enum provider_reading id;
		const char *name;
	} levels[] = { { PROVIDER_IN_FLIGHT, "in_flight" }, { PROVIDER_CONCURRENT, "limit" },
		{ PROVIDER_WAITING, "queued" }, { PROVIDER_RPM_USED, "rpm_used" },
		{ PROVIDER_RPM_LIMIT, "rpm_limit" }, { PROVIDER_POOL_MAX, "pool_max" },
		{ PROVIDER_POOL_UTILIZATION, "pool_use" }, { PROVIDER_CIRCUIT_OPEN, "circuit_open" } };
	static const struct {
		enum pstat_id id;
		const char *name;
	} totals[] = { { PSTAT_EVENTS, "events" }, { PSTAT_COMPLETED, "completed" },
		{ PSTAT_FAILED, "failed" }, { PSTAT_RETRIES, "retries" } };
	const struct conf_provider *conf = &endpoint.conf->providers[p];
	double value[PROVIDER_COUNT];

	provider_read(endpoint.shm, conf->place, now_ms, value);
	buf_adds(out, p ? ",{\"name\":" : "{\"name\":");
	json_add_string(out, conf->name, strlen(conf->name));
	for (unsigned i = 0; i < ARRAY_SIZE(levels); i++)
		add_number(out, ",", levels[i].name, value[levels[i].id]);
	for (unsigned i = 0; i < ARRAY_SIZE(totals); i++)
		add_number(out, ",", totals[i].name,
			(double)pstat_sum(endpoint.shm, conf->place, totals[i].id));
	add_waits(out, p);
	buf_adds(out, "}");
}

static void add_workers(struct buf *out, uint64_t now_ms)
{
	const char *comma = "";

	buf_adds(out, ",\"workers\":[");
	for (unsigned i = 0; i < shm_nslots(endpoint.shm); i++) {
		double value[WORKER_COUNT];
		struct slot_reading slot;

		shm_slot_read(endpoint.shm, i, &slot);
		if (!worker_read(endpoint.shm, i, now_ms, value))
			continue;
		buf_addf(out,
			"%s{\"slot\":%u,\"pid\":%d,\"state\":\"%s\",\"age\":%.0f,\"heartbeat\":%.3f,"
			"\"websockets\":%" PRIu64 ",\"streams\":%" PRIu64 ",\"requests\":%" PRIu64 "}",
			comma, i, slot.pid, shm_slot_state_name(slot.state), value[WORKER_AGE], value[WORKER_HEARTBEAT],
			stat_of_slot(endpoint.shm, i, STAT_WEBSOCKETS),
			stat_of_slot(endpoint.shm, i, STAT_STREAMS),
			stat_of_slot(endpoint.shm, i, STAT_REQUESTS));
		comma = ",";
	}
	buf_adds(out, "]");
}

static void make_event(struct buf *out)
{
	uint64_t now_ms = clock_ms();

	buf_adds(out, "data: {");
	add_house(out, now_ms);
	add_endings(out, "rejections", true);
	add_endings(out, "failures", false);
	buf_adds(out, ",\"providers\":[");
	for (unsigned p = 0; p < endpoint.conf->nproviders; p++)
		add_provider(out, p, now_ms);
	buf_adds(out, "]");
	add_workers(out, now_ms);
	buf_addf(out, ",\"master\":%d,\"version\":\"" HEADGATE_VERSION "\"}\n\n", shm_master_pid(endpoint.shm));
	status.primed = true;
}

/* ---- watchers ----------------------------------------------------------------------- */

/* Who does not keep up misses some. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct buf event = BUF_INIT;
	struct watcher *w;

	make_event(&event);
	TAILQ_FOREACH (w, &status.watchers, entry)
		if (w->x->state == EXCHANGE_STREAMING && exchange_room(w->x) > event.len)
			exchange_write(w->x, event.data, event.len);
	buf_release(&event);
}

static void first_watcher(void)
{
	const struct timeval second = { .tv_sec = 1 };

	TAILQ_INIT(&status.watchers);
	status.before = xcalloc(endpoint.conf->nproviders + 1, sizeof(*status.before));
	status.primed = false;
	status.tick = event_new(endpoint.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(status.tick, &second);
}

static void last_watcher(void)
{
	event_free(status.tick);
	free(status.before);
	status.tick = NULL;
	status.before = NULL;
}

static void on_start(struct exchange *x)
{
	static const struct exchange_header headers[] = { { "Content-Type", "text/event-stream" },
		{ "Cache-Control", "no-store" }, { "X-Accel-Buffering", "no" } };
	struct buf event = BUF_INIT;
	struct watcher *w;

	if (status.count == WATCHERS_MAX) {
		exchange_refuse(x, &(struct exchange_error){ .ending = END_TOO_MANY_WATCHERS,
			.retry_after_ms = RETRY_AFTER_MS });
		return;
	}
	if (!status.count++)
		first_watcher();
	x->app_data = w = xcalloc(1, sizeof(*w));
	w->x = x;
	TAILQ_INSERT_TAIL(&status.watchers, w, entry);
	exchange_start(x, 200, headers, ARRAY_SIZE(headers));
	if (!status.primed) { /* the others have their seconds: this one need not wait */
		make_event(&event);
		exchange_write(x, event.data, event.len);
		buf_release(&event);
	}
}

static void on_drain(struct exchange *x)
{
	if (x->state == EXCHANGE_STREAMING)
		exchange_finish(x); /* the page comes again, to our successor */
}

static void on_close(struct exchange *x)
{
	struct watcher *w = x->app_data;

	if (!w)
		return;
	TAILQ_REMOVE(&status.watchers, w, entry);
	free(w);
	if (!--status.count)
		last_watcher();
}

const struct exchange_app status_events_app = {
	.name = "status_events", .on_start = on_start, .on_drain = on_drain, .on_close = on_close
};
