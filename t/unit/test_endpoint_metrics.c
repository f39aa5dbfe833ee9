/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoints: /metrics holds every row of the tables, from a real segment. */
#include "base/base.h"
#include "unit.h"
#include "endpoint_fakes.h"

#include "shm/readings.h"
#include "shm/segment.h"
#include "shm/stats.h"

static struct shm *shm;
static const int wake_fds[] = { -1, -1 };

/* Two slots, of which one has a worker; two providers. */
static const char *ask_metrics(struct client *c)
{
	const struct shm_gate_spec gates[SHM_GATES(2)] = { { "places", 100 }, { "a", 25 }, { "a.sockets", 50 },
		{ "a.idle", 20 }, { "b", 4 }, { "b.sockets", 8 }, { "b.idle", 5 } };
	const struct shm_window_spec windows[] = { { "a.rpm", 3500, 60000 }, { "b.rpm", 0, 60000 } };
	const char *const names[] = { "openai", "groq" };
	const struct shm_spec spec = { .nslots = 2, .ngates = ARRAY_SIZE(gates), .gates = gates, .nwindows = 2,
		.windows = windows, .nproviders = 2, .providers = names };
	char path[64], error[256];

	snprintf(path, sizeof(path), "/tmp/headgate-test-metrics.%d", (int)getpid());
	shm = shm_create(path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	unlink(path);
	shm_slot_claim(shm, 0, 0);
	shm_bind(shm, 0, wake_fds);
	shm_slot_set_pid(shm, 0, getpid());
	shm_slot_set_state(shm, 0, SLOT_READY);
	endpoint_open(&(struct endpoint_setup){ .conf = open_endpoints(), .shm = shm });
	stat_add(STAT_REQUESTS, 7);
	stat_add(STAT_WEBSOCKETS, -1); /* as a reader may see it in the middle of a change */
	stat_add(STAT_REJECTED_FULL, 3);
	stat_ending(END_BAD_JSON);
	stat_ending(END_PROVIDER_RESET);
	pstat_add(1, PSTAT_TOKENS_OUT, 42);
	pstat_observe(1, PSTAT_QUEUE_WAIT, 100);
	pstat_observe(1, PSTAT_QUEUE_WAIT, 1500000);
	pstat_observe(1, PSTAT_QUEUE_WAIT, 7200ull * 1000000);
	client_ask(c, "GET", "/metrics", NULL);
	ck_assert_int_eq(c->status, 200);
	ck_assert_int_eq(fake_inside, 0); /* it took no place */
	return body_of(c);
}

static void close_metrics(struct client *c)
{
	client_close(c);
	endpoint_close();
	shm_close(shm, false);
}

static void rows_are_told(const char *text, const struct stat_facts *facts, unsigned n)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };

	for (unsigned i = 0; i < n; i++) {
		char *type = xasprintf("\n# TYPE %s %s\n", facts[i].name, types[facts[i].type]);
		const char *at = strstr(text, type);

		ck_assert_msg(at != NULL, "%s", type);
		ck_assert_msg(!strstr(at + 1, type), "twice: %s", type);
		ck_assert_msg((facts[i].type == STAT_COUNTER) == !!strstr(facts[i].name, "_total"), "%s",
			facts[i].name);
		free(type);
	}
}

START_TEST(every_row_of_the_tables_is_told_once)
{
	struct client c;
	const char *text = ask_metrics(&c);

	rows_are_told(text, stat_facts, STAT_ENDING_FIRST + 1);
	rows_are_told(text, pstat_facts, PSTAT_COUNT);
	rows_are_told(text, house_facts, HOUSE_COUNT);
	rows_are_told(text, provider_facts, PROVIDER_COUNT);
	rows_are_told(text, client_facts, CLIENT_COUNT);
	rows_are_told(text, worker_facts, WORKER_COUNT);
	rows_are_told(text, &rejection_facts, 1);
	for (unsigned e = 0; e < END_COUNT; e++) {
		char *row = xasprintf("\nheadgate_endings_total{ending=\"%s\"} ", ending_facts[e].code);

		ck_has(text, row);
		free(row);
	}
	close_metrics(&c);
}
END_TEST

START_TEST(values_are_where_they_belong)
{
	struct client c;
	const char *text = ask_metrics(&c);

	ck_has(text, "\nheadgate_requests_total 7\n");
	ck_has(text, "\nheadgate_websockets 0\n");
	ck_has(text, "\nheadgate_max_connections 100\n");
	ck_has(text, "\nheadgate_workers 1\n");
	ck_has(text, "\nheadgate_worker_starts_total{worker=\"0\"} 1\n");
	ck_has_not(text, "{worker=\"1\"}");
	ck_has(text, "\nheadgate_rejections_total{reason=\"max_connections\"} 3\n");
	ck_has(text, "\nheadgate_rejections_total{reason=\"invalid_json\"} 1\n");
	ck_has_not(text, "{reason=\"complete\"}");
	ck_has_not(text, "{reason=\"provider_reset\"}");
	ck_has(text, "\nheadgate_provider_concurrent_requests{provider=\"groq\"} 4\n");
	ck_has(text, "\nheadgate_provider_completion_tokens_total{provider=\"groq\"} 42\n");
	ck_has(text, "\nheadgate_provider_completion_tokens_total{provider=\"openai\"} 0\n");
	close_metrics(&c);
}
END_TEST

START_TEST(histograms_are_cumulative)
{
	struct client c;
	const char *text = ask_metrics(&c);

	ck_has(text, "\nheadgate_provider_queue_wait_seconds_bucket{provider=\"groq\",le=\"0.0001\"} 1\n");
	ck_has(text, "\nheadgate_provider_queue_wait_seconds_bucket{provider=\"groq\",le=\"0.8192\"} 1\n");
	ck_has(text, "\nheadgate_provider_queue_wait_seconds_bucket{provider=\"groq\",le=\"1.6384\"} 2\n");
	ck_has(text, "\nheadgate_provider_queue_wait_seconds_bucket{provider=\"groq\",le=\"838.861\"} 2\n");
	ck_has(text, "\nheadgate_provider_queue_wait_seconds_bucket{provider=\"groq\",le=\"+Inf\"} 3\n"
		     "headgate_provider_queue_wait_seconds_sum{provider=\"groq\"} 7201.500100\n"
		     "headgate_provider_queue_wait_seconds_count{provider=\"groq\"} 3\n");
	close_metrics(&c);
}
END_TEST

int main(void)
{
	UNIT_RUN("endpoint_metrics", every_row_of_the_tables_is_told_once, values_are_where_they_belong,
		histograms_are_cumulative);
}
