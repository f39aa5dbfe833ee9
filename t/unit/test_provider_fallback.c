/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: where a call goes when its provider, or its API key, does not serve it; and how long it may take. */
#include "shm/circuit.h"
#include "shm/keys.h"
#include "test_provider.h"
#include "worker/provider/headers.h"

/* The rig's provider, and another one that always serves. */
static void open_two(struct rig *rig, const struct rig_options *o, struct conf_target *target)
{
	static char url[80], name[] = "other";
	static struct conf_texts none;

	rig_open(rig, o);
	providers_close(rig->providers);
	snprintf(url, sizeof(url), "%sb", rig->base_url);
	rig->provider[1] = rig->provider[0];
	rig->provider[1].name = name;
	rig->provider[1].base_url = url;
	rig->provider[1].place = 1;
	rig->provider[1].models = none;
	rig->provider[0].fallback_chain = (struct conf_chain){ target, target != NULL };
	rig->conf.nproviders = 2;
	rig->providers = providers_open(rig->base, &rig->conf, rig->shm);
}

static uint64_t other_stat(struct rig *rig, enum pstat_id id)
{
	return pstat_sum(rig->shm, 1, id);
}

/* A call to this path ends at the fallback, after so many requests here. */
static void goes_on(const char *path, unsigned requests_here)
{
	struct conf_target target = { 1, "m-2" };
	struct asked a = { 0 };
	struct rig rig;

	open_two(&rig, &(struct rig_options){ .retries = 1, .backoff_s = 0.001 }, &target);
	ask_and_wait(&a, &rig, path);
	ck_assert_msg(a.result.ending == END_COMPLETE, "%s: %s", path, a.message);
	ck_assert_uint_eq(a.usage.provider, 1);
	ck_assert_str_eq(a.usage.model, "m-2");
	ck_assert_uint_eq(rig.fake->requests, requests_here + 1);
	ck_assert_uint_eq(rig.fake->others, 1);
	ck_assert_str_eq(rig.fake->body, "{\"model\":\"m-2\",\"messages\":[]}");
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_FALLBACKS), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_COMPLETED) + rig_stat(&rig, PSTAT_FAILED), 0);
	ck_assert_uint_eq(other_stat(&rig, PSTAT_CALLS), 1);
	ck_assert_uint_eq(other_stat(&rig, PSTAT_COMPLETED), 1);
	asked_release(&a);
	rig_close(&rig);
}

START_TEST(what_a_provider_does_not_serve_its_fallback_does)
{
	goes_on("/529", 2);
	goes_on("/quota", 1);
	goes_on("/401", 1);
	goes_on("/503-final", 1);
	goes_on("/429-long", 1);
	goes_on("/bad-json", 1);
	goes_on("/garbage", 1);
}
END_TEST

static void stays(const char *path, enum ending ending)
{
	struct conf_target target = { 1, "m-2" };
	struct asked a = { 0 };
	struct rig rig;

	open_two(&rig, &(struct rig_options){ 0 }, &target);
	ask_and_wait(&a, &rig, path);
	ck_assert_int_eq(a.result.ending, ending);
	ck_assert_uint_eq(a.result.provider, 0);
	ck_assert_uint_eq(rig.fake->others, 0);
	asked_release(&a);
	rig_close(&rig);
}

START_TEST(what_the_asker_is_at_fault_for_or_has_heard_of_goes_nowhere)
{
	stays("/404", END_PROVIDER_STATUS);
	stays("/cut", END_PROVIDER_RESET);
	stays("/stream-error", END_STREAM_ERROR);
}
END_TEST

/* The model stands where it stood; a target without one keeps it. */
START_TEST(the_model_is_exchanged_in_the_body)
{
	static const struct provider_asker silent = { .on_end = asked_on_end };
	static const char body[] = "{\"a\":1,\"model\" : \"x\\u0041\", \"b\":\"model\"}";
	struct conf_target with = { 1, "m\"2" }, without = { 1, "" };
	const char *want[] = { "{\"a\":1,\"model\" : \"m\\\"2\", \"b\":\"model\"}", body };

	for (int i = 0; i < 2; i++) {
		struct asked a = { .started = true };
		struct rig rig;

		open_two(&rig, &(struct rig_options){ 0 }, i ? &without : &with);
		a.call = call_start(rig.providers, &(struct provider_request){ .path = "/529",
			.body = xstrdup(body), .body_len = sizeof(body) - 1,
			.model_offset = (size_t)(strstr(body, "\"x") - body), .model_len = 9, .stream = true },
			&silent, &a);
		RUN_UNTIL(&rig, a.ends);
		ck_assert_int_eq(a.result.ending, END_COMPLETE);
		ck_assert_str_eq(rig.fake->body, want[i]);
		asked_release(&a);
		rig_close(&rig);
	}
}
END_TEST

/* A full line, and one that takes too long. */
START_TEST(nobody_stands_in_a_line_that_is_too_long)
{
	struct conf_target target = { 1, "m-2" };
	struct asked a[4] = { 0 };
	struct rig rig;

	open_two(&rig, &(struct rig_options){ .permits = 1 }, &target);
	rig.provider[0].queue_size = 1;
	ask(&a[0], &rig, "/stalls");
	RUN_UNTIL(&rig, a[0].events);
	for (int i = 1; i < 4; i++)
		ask(&a[i], &rig, "/stream");
	RUN_UNTIL(&rig, a[2].ends && a[3].ends);
	ck_assert_uint_eq(a[1].ends, 0);
	ck_assert_uint_eq(a[1].queued, 1);
	ck_assert_uint_eq(rig.fake->others, 2);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_QUEUE_FULL), 2);
	call_cancel(a[0].call);
	RUN_UNTIL(&rig, a[1].ends);
	ck_assert_uint_eq(a[1].usage.provider, 0);
	for (int i = 0; i < 4; i++)
		asked_release(&a[i]);
	rig_close(&rig);

	open_two(&rig, &(struct rig_options){ .permits = 1, .queue_ms = 30 }, NULL);
	rig.provider[0].queue_size = 0;
	memset(a, 0, sizeof(a));
	ask(&a[0], &rig, "/stalls");
	ask_and_wait(&a[1], &rig, "/stream");
	ck_assert_int_eq(a[1].result.ending, END_QUEUE_FULL);
	ck_assert_str_eq(a[1].result.limit, "llm.providers.fake.http_client.queue_size");
	ck_assert_uint_ge(a[1].result.retry_after_ms, 1000);
	ck_assert_uint_eq(a[1].result.attempts, 0);
	call_cancel(a[0].call);
	asked_release(&a[0]);
	asked_release(&a[1]);
	rig_close(&rig);
}
END_TEST

/* ---- keys ---- */

START_TEST(another_key_is_tried_at_once)
{
	static char one[] = "sk-one", two[] = "sk-two", three[] = "sk-three", *keys[] = { one, two, three };
	struct asked a[10] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	providers_close(rig.providers);
	rig.provider[0].keys = keys;
	rig.provider[0].nkeys = 3;
	rig.providers = providers_open(rig.base, &rig.conf, rig.shm);
	for (int i = 0; i < 10; i++) {
		ask_and_wait(&a[i], &rig, "/401-but-two");
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		asked_release(&a[i]);
	}
	ck_assert_uint_le(rig.fake->requests, 12);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_RETRIES), 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_KEYS_PARKED), rig.fake->requests - 10);
	/* All of them rest: nobody is asked. */
	for (unsigned k = 0; k < 3; k++)
		key_park(rig.shm, 0, k, clock_ms() + 90000);
	memset(a, 0, sizeof(a));
	ask_and_wait(&a[0], &rig, "/401-but-two");
	ck_assert_int_eq(a[0].result.ending, END_KEYS_PARKED);
	ck_assert_uint_gt(a[0].result.retry_after_ms, 80000);
	ck_assert_uint_eq(a[0].result.attempts, 0);
	asked_release(&a[0]);
	rig_close(&rig);
}
END_TEST

/* ---- the circuit ---- */

START_TEST(an_open_circuit_empties_the_line)
{
	struct asked bad[5] = { 0 }, first = { 0 }, waits = { 0 }, probe = { 0 }, after = { 0 };
	uint64_t refused;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1, .circuit_breaker = true });
	for (int i = 0; i < 4; i++)
		ask_and_wait(&bad[i], &rig, "/529");
	ask(&first, &rig, "/silent");
	ask(&waits, &rig, "/stream");
	RUN_UNTIL(&rig, waits.queued && rig.fake->requests == 5);
	/* The fifth failure is another worker's. */
	ck_assert(circuit_report(rig.shm, 0, false, false, clock_ms()));
	RUN_UNTIL(&rig, waits.ends);
	ck_assert_int_eq(waits.result.ending, END_CIRCUIT_OPEN);
	ck_assert_uint_ge(waits.result.retry_after_ms, 1000);
	call_cancel(first.call);
	ask_and_wait(&bad[4], &rig, "/stream");
	ck_assert_int_eq(bad[4].result.ending, END_CIRCUIT_OPEN);
	refused = rig_stat(&rig, PSTAT_CIRCUIT_REFUSED);
	ck_assert_uint_eq(refused, 2);
	ck_assert_uint_eq(rig.fake->requests, 5);
	/* One request of a cancelled probe says nothing; the next one closes it. */
	while (ask(&probe, &rig, "/silent"), rig_turn(&rig), !rig_permits_used(&rig)) {
		RUN_UNTIL(&rig, probe.ends);
		memset(&probe, 0, sizeof(probe));
	}
	call_cancel(probe.call);
	memset(&probe, 0, sizeof(probe));
	ask_and_wait(&probe, &rig, "/stream");
	ck_assert_int_eq(probe.result.ending, END_COMPLETE);
	ask_and_wait(&after, &rig, "/stream");
	ck_assert_int_eq(after.result.ending, END_COMPLETE);
	asked_release(&after);
	asked_release(&probe);
	for (int i = 0; i < 5; i++)
		asked_release(&bad[i]);
	asked_release(&first);
	asked_release(&waits);
	rig_close(&rig);
}
END_TEST

/* ---- time ---- */

static void times_out(const char *path, bool first_token, enum ending ending)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .retries = first_token ? 2 : 5, .backoff_s = 0.001 });
	*(first_token ? &rig.provider[0].first_token_timeout_ms : &rig.provider[0].request_timeout_ms) = 300;
	ask_and_wait(&a, &rig, path);
	ck_assert_int_eq(a.result.ending, ending);
	ck_assert_str_eq(a.result.limit, first_token ? "llm.providers.fake.http_client.first_token_timeout"
						     : "llm.providers.fake.http_client.request_timeout");
	ck_assert_uint_eq(a.result.attempts, first_token ? 3 : 1);
	ck_assert_uint_ge(rig.fake->requests, 1); /* the time may be over before an attempt has arrived */
	asked_release(&a);
	rig_close(&rig);
}

START_TEST(a_call_has_its_time)
{
	struct asked a = { 0 };
	struct rig rig;

	times_out("/silent", true, END_FIRST_TOKEN_TIMEOUT);
	times_out("/silent", false, END_REQUEST_TIMEOUT);
	times_out("/stalls", false, END_REQUEST_TIMEOUT);
	/* A stream that has begun is cut by nothing but silence. */
	rig_open(&rig, &(struct rig_options){ .read_ms = 1200 });
	rig.provider[0].first_token_timeout_ms = 900;
	ask_and_wait(&a, &rig, "/stalls");
	ck_assert_int_eq(a.result.ending, END_READ_TIMEOUT);
	ck_assert_uint_eq(a.events, 1);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(times_in_headers)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} rows[] = { { "1s", 1000 }, { "6m0s", 360000 }, { "20ms", 20 }, { "1h2m3.5s", 3723500 }, { "7", 7000 },
		{ "0.25", 250 }, { "0s", 0 }, { "", 0 }, { "s", 0 }, { "-1s", 0 }, { "1x", 0 }, { "1s2", 0 },
		{ "nan", 0 }, { "1e300h", 86400000 } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg(headers_duration_ms(rows[i].text) == rows[i].ms, "%s: %" PRIu64, rows[i].text,
			headers_duration_ms(rows[i].text));
}
END_TEST

int main(void)
{
	UNIT_RUN("provider_fallback", what_a_provider_does_not_serve_its_fallback_does,
		what_the_asker_is_at_fault_for_or_has_heard_of_goes_nowhere,
		the_model_is_exchanged_in_the_body, nobody_stands_in_a_line_that_is_too_long,
		another_key_is_tried_at_once, an_open_circuit_empties_the_line, a_call_has_its_time,
		times_in_headers);
}
