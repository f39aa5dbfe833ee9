/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: /health, read from a real segment. */
#include "base/base.h"
#include "unit.h"
#include "endpoint_fakes.h"

#include "base/clock.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include <jansson.h>

static struct shm *shm;
static const int wake_fds[] = { -1, -1 };

/* A worker in slot 0; two providers. */
static void open_house(void)
{
	const struct shm_gate_spec gates[SHM_GATES(2)] = { { "places", 100 },
		{ "a", 25 }, { "a.sockets", 50 }, { "a.idle", 20 }, { "b", 4 }, { "b.sockets", 7 },
		{ "b.idle", 5 } };
	const struct shm_window_spec windows[] = { { "a.rpm", 3500, 60000 }, { "b.rpm", 0, 60000 } };
	const char *const names[] = { "openai", "groq" };
	const struct shm_spec spec = { .nslots = 2, .ngates = ARRAY_SIZE(gates), .gates = gates, .nwindows = 2,
		.windows = windows, .nproviders = 2, .providers = names, .pending = 500 };
	char path[64], error[256];
	struct conf *conf = open_endpoints();

	snprintf(path, sizeof(path), "/tmp/headgate-test-health.%d", (int)getpid());
	shm = shm_create(path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	unlink(path);
	shm_slot_claim(shm, 0, clock_ms());
	shm_slot_set_pid(shm, 0, 4711);
	shm_bind(shm, 0, wake_fds);
	shm_slot_set_state(shm, 0, SLOT_READY);
	shm_slot_beat(shm, 0, clock_ms());
	endpoint_open(&(struct endpoint_setup){ .conf = conf, .shm = shm });
}

static void close_house(void)
{
	endpoint_close();
	shm_close(shm, false);
}

/* Ask; returns the answer as a tree (owned by the caller). */
static json_t *ask(const char *path, int status)
{
	struct client c;
	json_error_t error;
	json_t *json;

	client_ask(&c, "GET", path, NULL);
	ck_assert_int_eq(c.status, status);
	ck_has(head_of(&c), "Cache-Control: no-store\n");
	json = json_loads(body_of(&c), JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(json != NULL, "%s: %s", error.text, body_of(&c));
	client_close(&c);
	return json;
}

START_TEST(it_tells_how_full_everything_is)
{
	int active, max, active2, max2, pending, queue, full, timeouts, resets, slot, pid, in_flight,
		limit, queued, open_sockets, idle;
	char *status, *state, *version;
	struct gate_ticket a = { 0 }, b = { 0 }, c = { 0 };
	struct gate_ticket socket1 = { 0 }, socket2 = { 0 }, idle1 = { 0 }, waits[3] = { 0 };
	struct gate_line *places, *permits, *pool, *idle_line, *pending_line;
	json_t *json, *p;

	open_house();
	places = gate_line_open(shm, SHM_GATE_PLACES, NULL, NULL);
	permits = gate_line_open(shm, SHM_GATE_PROVIDER(1), NULL, NULL);
	pending_line = gate_line_open(shm, SHM_GATE_PENDING, NULL, NULL);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(gate_try(pending_line, &waits[i]));
	pool = gate_line_open(shm, SHM_GATE_POOL(1), NULL, NULL);
	idle_line = gate_line_open(shm, SHM_GATE_IDLE(1), NULL, NULL);
	ck_assert(gate_try(pool, &socket1) && gate_try(pool, &socket2) && gate_try(idle_line, &idle1));
	ck_assert(gate_try(places, &a) && gate_try(places, &b) && gate_try(permits, &c));
	stat_add(STAT_WEBSOCKETS, 2);
	stat_add(STAT_REJECTED_FULL, 3);
	stat_ending(END_QUEUE_TIMEOUT);
	stat_ending(END_PROVIDER_RESET);
	stat_ending(END_COMPLETE);

	json = ask("/health", 200);
	ck_assert_int_eq(json_unpack(json,
		"{s:s, s:{s:i,s:i}, s:i, s:i, s:{s:i,s:i}, s:{s:i,s:i}, s:{s:i}, s:[{s:i,s:i,s:s}],"
		" s:s}", "status", &status, "connections", "active", &active, "max", &max,
		"active_connections", &active2, "max_connections", &max2, "pending", "active", &pending,
		"queue_size", &queue, "rejections", "max_connections", &full, "queue_timeout", &timeouts,
		"failures", "provider_reset", &resets, "workers", "slot", &slot, "pid", &pid, "state",
		&state, "version", &version), 0);
	ck_assert_str_eq(status, "ok");
	ck_assert_str_eq(state, "ready");
	ck_assert_str_eq(version, HEADGATE_VERSION);
	ck_assert_int_eq(active, 2);
	ck_assert_int_eq(max, 100);
	ck_assert_int_eq(active2, 2);
	ck_assert_int_eq(max2, 100);
	ck_assert_int_eq(pending, 3);
	ck_assert_int_eq(queue, 500);
	ck_assert_int_eq(full, 3);
	ck_assert_int_eq(timeouts, 1);
	ck_assert_int_eq(resets, 1);
	ck_assert_int_eq(slot, 0);
	ck_assert_int_eq(pid, 4711);
	ck_assert_uint_eq(json_object_size(json_object_get(json, "rejections")), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "workers")), 1);

	p = json_object_get(json_object_get(json, "providers"), "groq");
	ck_assert_int_eq(json_unpack(p, "{s:i,s:i,s:i,s:{s:i,s:i}}", "in_flight", &in_flight,
		"concurrent_requests", &limit, "queued", &queued, "pool", "open", &open_sockets,
		"idle", &idle), 0);
	ck_assert_int_eq(in_flight, 1);
	ck_assert_int_eq(limit, 4);
	ck_assert_int_eq(queued, 0);
	ck_assert_int_eq(open_sockets, 2);
	ck_assert_int_eq(idle, 1);
	ck_assert_int_eq(fake_inside, 0); /* it took no place itself */
	json_decref(json);
	gate_line_close(pending_line);
	gate_line_close(places);
	gate_line_close(permits);
	gate_line_close(pool);
	gate_line_close(idle_line);
	close_house();
}
END_TEST

static void status_is(const char *path, int status, const char *word)
{
	json_t *json = ask(path, status);

	ck_assert_str_eq(json_string_value(json_object_get(json, "status")), word);
	json_decref(json);
}

START_TEST(a_stopped_heart_is_503_everywhere)
{
	open_house();
	status_is("/health", 200, "ok");
	fake_conf_memory.worker_timeout_ms = 1000;
	shm_slot_beat(shm, 0, clock_ms() - 5000);
	status_is("/health", 503, "degraded");
	status_is("/health/ready", 503, "degraded");
	status_is("/health/live", 503, "degraded");
	close_house();
}
END_TEST

START_TEST(a_drain_is_503_but_alive)
{
	open_house();
	shm_set_draining(shm);
	status_is("/health", 503, "draining");
	status_is("/health/ready", 503, "draining");
	status_is("/health/live", 200, "draining");
	close_house();
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_health", it_tells_how_full_everything_is,
		a_stopped_heart_is_503_everywhere, a_drain_is_503_but_alive);
}
