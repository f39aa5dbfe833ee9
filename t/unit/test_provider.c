/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: how answers come and how calls end. */
#include "test_provider.h"

START_TEST(stream_comes_whole_and_in_order)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask_and_wait(&a, &rig, "/stream");
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert(a.result.answered);
	ck_assert(a.head.sse);
	ck_assert_int_eq(a.head.status, 200);
	ck_assert_uint_eq(a.heads, 1);
	ck_assert_uint_eq(a.queued, 0);
	ck_assert_uint_eq(a.events, 5);
	ck_assert_str_eq(a.bytes.data,
		": hello\n\n" TOKEN("a") TOKEN("b") TOKEN("c") FINISH USAGE STREAM_DONE);
	ck_assert(a.usage.known);
	ck_assert_uint_eq(a.usage.prompt_tokens, 11);
	ck_assert_uint_eq(a.usage.completion_tokens, 3);
	ck_assert_uint_gt(a.usage.first_token_us, 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_TOKENS_IN), 11);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_TOKENS_OUT), 3);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_COMPLETED), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_EVENTS), 5);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(request_carries_what_it_should)
{
	struct asked a = { 0 };
	struct rig rig;
	const char *head;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask_and_wait(&a, &rig, "/json");
	head = rig.fake->head;
	ck_assert_ptr_eq(strstr(head, "POST /v1/json HTTP/1.1\r\n"), head);
	ck_assert_ptr_nonnull(strstr(head, "\r\nAuthorization: Bearer sk-secret\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nAccept: text/event-stream\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nX-Request-Id: req-1\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "\r\ntraceparent: 00-ab-cd-01\r\n"));
	ck_assert_ptr_null(strstr(head, "Expect"));
	ck_assert_ptr_null(strstr(head, "Accept-Encoding"));
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(connection_is_used_again)
{
	struct asked a[5] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	for (int i = 0; i < 5; i++) {
		ask_and_wait(&a[i], &rig, i % 2 ? "/json" : "/stream");
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		asked_release(&a[i]);
	}
	ck_assert_uint_eq(rig.fake->connections, 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPENED), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_IDLE), 1);
	rig_close(&rig);
}
END_TEST

/* The provider hangs up on a pooled connection when the second request comes. */
START_TEST(dead_pooled_connection_is_no_error)
{
	struct asked a[2] = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .per_window = 100 });
	for (int i = 0; i < 2; i++) {
		ask_and_wait(&a[i], &rig, "/once");
		ck_assert_int_eq(a[i].result.ending, END_COMPLETE);
		asked_release(&a[i]);
	}
	ck_assert_uint_eq(rig.fake->connections, 2);
	ck_assert_uint_eq(rig.fake->requests, 3);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), 3);
	rig_close(&rig);
}
END_TEST

START_TEST(document_is_checked_and_passed_on)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask_and_wait(&a, &rig, "/json");
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert(!a.head.sse);
	ck_assert_uint_eq(a.events, 0);
	ck_assert_ptr_nonnull(strstr(a.bytes.data, "\"content\":\"hi\""));
	ck_assert_uint_eq(a.usage.prompt_tokens, 5);
	ck_assert_uint_eq(a.usage.completion_tokens, 7);
	ck_assert_uint_gt(a.usage.first_token_us, 0);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

/* How an answer of each kind ends, and what the asker is told. */
static const struct {
	const char *path;
	enum ending ending;
	int status;
	const char *message; /* part of it */
	const char *body;
	uint64_t retry_after_ms;
	unsigned heads, events;
} endings[] = {
	{ "/no-done", END_COMPLETE, 200, "", NULL, 0, 1, 4 },
	{ "/early", END_PROVIDER_RESET, 200, "ended early", NULL, 0, 1, 3 },
	{ "/cut", END_PROVIDER_RESET, 200, "before the answer was complete: ", NULL, 0, 1, 3 },
	{ "/cut-after-finish", END_PROVIDER_RESET, 200, "", NULL, 0, 1, 4 },
	{ "/lingers", END_COMPLETE, 200, "", NULL, 0, 1, 4 },
	{ "/stream-error", END_STREAM_ERROR, 200, ": out of \"luck\"",
		"{\"error\":{\"message\":\"out of \\\"luck\\\"\",\"code\":null}}", 0, 1, 4 },
	{ "/says-error", END_COMPLETE, 200, "", NULL, 0, 1, 5 },
	{ "/bad-json", END_PROVIDER_GARBAGE, 200, "not JSON (application/json): the text ends too early", NULL, 0, 0, 0 },
	{ "/429", END_PROVIDER_STATUS, 429, "429", "{\"error\":{\"message\":\"slow down\"}}", 7000, 0,
		0 },
	{ "/429ms", END_PROVIDER_STATUS, 429, "429", "{}", 251, 0, 0 },
	{ "/401", END_PROVIDER_AUTH, 401, "", "{\"error\":\"bad key\"}", 0, 0, 0 },
	{ "/garbage", END_PROVIDER_GARBAGE, 0, ": ", NULL, 0, 0, 0 },
};

START_TEST(endings_are_told_apart)
{
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		struct asked a = { 0 };

		ask_and_wait(&a, &rig, endings[i].path);
		ck_assert_msg(a.result.ending == endings[i].ending, "%s ended as %s: %s",
			endings[i].path, ending_facts[a.result.ending].code, a.message);
		ck_assert_int_eq(a.result.status, endings[i].status);
		ck_assert_msg(strstr(a.message, endings[i].message), "%s: %s", endings[i].path,
			a.message);
		if (endings[i].body)
			ck_assert_str_eq(a.body.data, endings[i].body);
		ck_assert_uint_eq(a.result.retry_after_ms, endings[i].retry_after_ms);
		ck_assert_uint_eq(a.heads, endings[i].heads);
		ck_assert_int_eq(a.result.answered, endings[i].heads);
		ck_assert_uint_eq(a.events, endings[i].events);
		asked_release(&a);
	}
	rig_close(&rig);
}
END_TEST

START_TEST(nobody_listens)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .base_url = "http://127.0.0.1:1/v1" });
	ask_and_wait(&a, &rig, "/json");
	ck_assert_int_eq(a.result.ending, END_CONNECT_FAILED);
	ck_assert_int_eq(a.result.status, 0);
	ck_assert_ptr_nonnull(strstr(a.message, "127.0.0.1 port 1"));
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_ATTEMPTS), 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_FAILED), 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPENED), 1);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(tls_handshake_counts_as_connecting)
{
	struct asked a = { 0 };
	struct rig rig;
	char url[64];

	rig_open(&rig, &(struct rig_options){ .base_url = url });
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/v1", rig.fake->port);
	/* The fake one takes the handshake for the beginning of a head, and waits for its end. */
	rig.provider[0].connect_timeout_ms = 300;
	ask_and_wait(&a, &rig, "/json");
	ck_assert_int_eq(a.result.ending, END_CONNECT_TIMEOUT);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(read_timeout_before_and_between_tokens)
{
	struct asked silent = { 0 }, stalls = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .read_ms = 150 });
	ask(&silent, &rig, "/silent");
	ask(&stalls, &rig, "/stalls");
	RUN_UNTIL(&rig, silent.ends && stalls.ends);
	ck_assert_int_eq(silent.result.ending, END_READ_TIMEOUT);
	ck_assert(!silent.result.answered);
	ck_assert_int_eq(stalls.result.ending, END_READ_TIMEOUT);
	ck_assert(stalls.result.answered);
	ck_assert_uint_eq(stalls.events, 1);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
	asked_release(&silent);
	asked_release(&stalls);
	rig_close(&rig);
}
END_TEST

START_TEST(write_timeout_when_the_request_is_not_taken)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .write_ms = 200 });
	ask_at_length(&a, &rig, "/deaf", 32 << 20);
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_WRITE_TIMEOUT);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(large_request_arrives)
{
	struct asked a = { 0 };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask_at_length(&a, &rig, "/stream", 4 << 20);
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

/* A client that reads slowly: the provider is held back, nothing is lost, no time-out runs. */
START_TEST(pause_holds_the_provider_back)
{
	struct asked a = { .full = true, .fills = true };
	uint64_t sent;
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .read_ms = 200 });
	ask(&a, &rig, "/big");
	RUN_UNTIL(&rig, a.refused);
	/* Until the provider is stuck: it sends nothing for three read time-outs. */
	for (int still = 0; still < 30; still++) {
		sent = atomic_load(&rig.fake->sent);
		rig_turn(&rig);
		if (sent != atomic_load(&rig.fake->sent))
			still = 0;
	}
	ck_assert_uint_eq(a.ends, 0);
	ck_assert_uint_eq(a.bytes.len, 0);
	ck_assert_uint_eq(a.refused, 1);
	ck_assert_uint_lt(sent, 6 << 20);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_PAUSES), 1);
	/* Now block by block. */
	while (a.call) {
		unsigned refused = a.refused;

		a.full = false;
		call_resume(a.call);
		RUN_UNTIL(&rig, !a.call || a.refused > refused);
	}
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert_uint_eq(a.bytes.len, 8192 * 1023 + strlen(FINISH STREAM_DONE));
	ck_assert_uint_eq(a.events, 8193);
	ck_assert_uint_ge(rig_stat(&rig, PSTAT_PAUSES), 8192 * 1023 / 16384);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(resume_from_within_does_not_recurse)
{
	struct asked a = { .full = true };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask(&a, &rig, "/stream");
	RUN_UNTIL(&rig, a.refused);
	call_resume(a.call);
	ck_assert_uint_eq(a.bytes.len, 0);
	call_resume(a.call);
	defer_run();
	ck_assert_uint_eq(a.refused, 2);
	call_resume(a.call);
	a.full = false;
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert_uint_eq(a.events, 5);
	asked_release(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(cancel_in_any_callback)
{
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ .permits = 1 });
	for (enum asked_when when = ON_HEAD; when <= ON_EVENT; when++) {
		struct asked a = { .cancel_when = when };
		uint64_t before = rig_stat(&rig, PSTAT_CANCELLED_RUNNING);

		ask(&a, &rig, "/stream");
		RUN_UNTIL(&rig, !a.call);
		ck_assert_uint_eq(providers_running(rig.providers), 0);
		ck_assert_uint_eq(rig_permits_used(&rig), 0);
		ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
		ck_assert_uint_eq(rig_stat(&rig, PSTAT_CANCELLED_RUNNING), before + 1);
		rig_turn(&rig);
		ck_assert_uint_eq(a.ends, 0);
		ck_assert_uint_le(a.events, 1);
		asked_release(&a);
	}
	/* A document's callbacks do not come from inside libcurl. */
	for (enum asked_when when = ON_HEAD; when <= ON_BYTES; when += ON_BYTES - ON_HEAD) {
		struct asked a = { .cancel_when = when };

		ask(&a, &rig, "/json");
		RUN_UNTIL(&rig, !a.call);
		ck_assert_uint_eq(providers_running(rig.providers), 0);
		ck_assert_uint_eq(a.ends, 0);
		ck_assert_int_eq(a.bytes.len > 0, when == ON_BYTES);
		asked_release(&a);
	}
	rig_close(&rig);
}
END_TEST

static struct asked *victim;
static void cancel_victim(struct provider_call *call, const char *bytes, size_t len, void *arg)
{
	if (victim && victim->call) {
		call_cancel(victim->call);
		victim->call = NULL;
	}
}

/* From inside libcurl, on behalf of one call, another one is cancelled. */
START_TEST(cancel_another_from_a_callback)
{
	const struct provider_asker canceller = { .on_bytes = cancel_victim, .on_end = asked_on_end };
	struct asked a = { 0 }, other = { 0 };
	struct provider_request request = { .path = "/stream", .stream = true };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask(&other, &rig, "/stalls");
	RUN_UNTIL(&rig, other.events == 1);
	victim = &other;
	a.call = call_start(rig.providers, &request, &canceller, &a);
	a.started = true;
	RUN_UNTIL(&rig, a.ends);
	ck_assert_int_eq(a.result.ending, END_COMPLETE);
	ck_assert_uint_eq(other.ends, 0);
	ck_assert_uint_eq(providers_running(rig.providers), 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_CANCELLED_RUNNING), 1);
	asked_release(&a);
	asked_release(&other);
	rig_close(&rig);
}
END_TEST

START_TEST(cancel_at_once_and_while_paused)
{
	struct asked fresh = { 0 }, paused = { .full = true };
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	ask(&fresh, &rig, "/stream");
	call_cancel(fresh.call);
	ck_assert_uint_eq(rig_permits_used(&rig), 0);
	ck_assert(!defer_pending());
	ask(&paused, &rig, "/big");
	RUN_UNTIL(&rig, paused.refused);
	call_resume(paused.call);
	call_cancel(paused.call);
	ck_assert_uint_eq(rig_permits_used(&rig), 0);
	ck_assert_uint_eq(rig_stat(&rig, PSTAT_SOCKETS_OPEN), 0);
	rig_turn(&rig);
	ck_assert_uint_eq(fresh.ends + paused.ends, 0);
	rig_close(&rig);
}
END_TEST

START_TEST(models_find_their_provider)
{
	char a_name[] = "openai", a_model[] = "gpt-4o", b_name[] = "groq", b_model[] = "llama",
	     listed[] = "openai/gpt-oss", *models[] = { listed };
	static const struct {
		const char *model, *asked;
		unsigned provider;
	} rows[] = {
		{ "", "gpt-4o", 0 },
		{ "openai/o3", "o3", 0 },
		{ "groq/openai/gpt-oss", "openai/gpt-oss", 1 },
		{ "groq/", "llama", 1 },
		{ "llama", "llama", 1 },
		{ "gpt-4o", "gpt-4o", 0 },
		{ "openai/gpt-oss", "gpt-oss", 0 }, /* the configured provider wins */
		{ "unheard-of", "unheard-of", 0 },
		{ "mistral/small", "mistral/small", 0 },
	};
	struct rig rig;

	rig_open(&rig, &(struct rig_options){ 0 });
	providers_close(rig.providers);
	rig.provider[0].name = a_name;
	rig.provider[0].model = a_model;
	rig.provider[1] = rig.provider[0];
	rig.provider[1].name = b_name;
	rig.provider[1].model = b_model;
	rig.provider[1].nkeys = 0;
	rig.provider[1].models = (struct conf_texts){ models, 1 };
	rig.conf.nproviders = 2;
	rig.providers = providers_open(rig.base, &rig.conf, rig.shm);
	ck_assert_str_eq(provider_name(rig.providers, 1), "groq");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *model;
		size_t len;

		ck_assert_uint_eq(providers_route(rig.providers, rows[i].model, strlen(rows[i].model),
					  &model, &len),
			rows[i].provider);
		ck_assert_uint_eq(len, strlen(rows[i].asked));
		ck_assert_mem_eq(model, rows[i].asked, len);
	}
	rig_close(&rig);
}
END_TEST

int main(void)
{
	UNIT_RUN("provider", stream_comes_whole_and_in_order, request_carries_what_it_should,
		connection_is_used_again, dead_pooled_connection_is_no_error,
		document_is_checked_and_passed_on, endings_are_told_apart, nobody_listens,
		tls_handshake_counts_as_connecting, read_timeout_before_and_between_tokens,
		write_timeout_when_the_request_is_not_taken, large_request_arrives,
		pause_holds_the_provider_back, resume_from_within_does_not_recurse,
		cancel_in_any_callback, cancel_another_from_a_callback,
		cancel_at_once_and_while_paused, models_find_their_provider);
}
