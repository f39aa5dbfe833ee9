/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * call.c - the life of a call: from its place in line to its end.
 *
 * Two things move a call: its transfer, and call_turn() at the end of a turn of the loop, which is
 * asked for by call_later(). A call is freed in call_drop() and call_end() only, and
 * these are never reached from inside libcurl or from a callback of the asker.
 */
#include "base/base.h"
#include "worker/provider/room.h"

#include "base/bug.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "shm/budget.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "shm/tally.h"
#include "worker/provider/headers.h"
#include "worker/provider/transfer.h"

/* After [DONE] the transfer should be over, too; it is cut when it is not by then. */
#define AFTER_DONE_MS 1000
/* So often an attempt enters the pool again since the connection that it was to join is gone. */
#define STRANDINGS_MAX 3

static const char *const state_name[] = {
#define X(state, name, next) [CALL_##state] = name,
	CALL_STATES(X)
#undef X
};
#define TO(state) (1u << CALL_##state)
static const unsigned state_next[] = {
#define X(state, name, next) [CALL_##state] = (next),
	CALL_STATES(X)
#undef X
};
#undef TO

void call_to(struct provider_call *call, enum call_state state)
{
	BUG_ON(!(state_next[call->state] & 1u << state));
	log_debug("provider", "[%s] %s: %s -> %s", call->request_id, call->provider->conf->name,
		state_name[call->state], state_name[state]);
	call->state = state;
}

/* ---- time ---------------------------------------------------------------------- */

uint64_t call_queue_until_ms(const struct provider_call *call)
{
	return (call->arrived_us + call->flown_us) / 1000 + call->provider->conf->queue_timeout_ms;
}

/* The next token is due; the first one may be due earlier. */
static uint64_t token_due_ms(const struct provider_call *call, uint64_t since_ms)
{
	const struct conf_provider *conf = call->provider->conf;
	uint64_t due = since_ms + conf->read_timeout_ms;

	if (call->stream && conf->first_token_timeout_ms && !call->usage.first_token_us &&
		due > call->kept_ms + conf->first_token_timeout_ms)
		due = call->kept_ms + conf->first_token_timeout_ms;
	return due;
}

static uint64_t state_due_ms(const struct provider_call *call, uint64_t now)
{
	const struct conf_provider *conf = call->provider->conf;

	switch (call->state) {
	case CALL_CLIENT:
		return call->client_ticket.state == TICKET_WAITING ? call_queue_until_ms(call) : UINT64_MAX;
	case CALL_IN_LINE:
		return call->ticket.state == TICKET_WAITING ? call_queue_until_ms(call) : UINT64_MAX;
	case CALL_BACKOFF:
		return call->retry_at_ms;
	case CALL_APPOINTED:
		return call->due_ms;
	case CALL_POOL:
		return call->seat.since_us / 1000 + conf->pool_timeout_ms;
	case CALL_SENDING:
		if (!call->kept)
			return UINT64_MAX; /* until the connection stands, libcurl watches the time */
		if (call->uploaded < call->body_len)
			return call->progress_ms + conf->write_timeout_ms;
		return token_due_ms(call, call->progress_ms);
	case CALL_ANSWERING:
		if (call->answer.done)
			return call->done_ms + AFTER_DONE_MS;
		return token_due_ms(call, call->paused ? now : call->progress_ms);
	case CALL_NEW:
	case CALL_DONE:
		break;
	}
	BUG_ON("no time is due in this state");
	return 0;
}

static uint64_t due_ms(const struct provider_call *call, uint64_t now)
{
	uint64_t due = state_due_ms(call, now);

	return due < call->deadline_ms ? due : call->deadline_ms;
}

void call_arm(struct provider_call *call)
{
	uint64_t now = clock_ms(), due, wait;
	struct timeval in;

	if (call->answer.done && !call->done_ms)
		call->done_ms = now;
	due = due_ms(call, now);
	if (due == UINT64_MAX) {
		event_del(&call->timer);
		return;
	}
	/* A request that is being sent passes from one time-out to the other. */
	if (call->state == CALL_SENDING && call->kept && due > token_due_ms(call, now))
		due = token_due_ms(call, now);
	wait = due > now ? due - now : 0;
	in = (struct timeval){ (time_t)(wait / 1000), (suseconds_t)(wait % 1000 * 1000) };
	event_add(&call->timer, &in);
}

void call_progress(struct provider_call *call)
{
	call->progress_ms = clock_ms();
}

/* A time, for the provider and for the model. */
static void observe(const struct provider_call *call, enum pstat_id of_provider, enum tally_time of_model,
	uint64_t us)
{
	pstat_observe(call->provider->index, of_provider, us);
	tally_observe(call->model_tally, of_model, us);
}

void call_first_token(struct provider_call *call)
{
	if (call->usage.first_token_us)
		return;
	call->usage.first_token_us = clock_us() - call->granted_us;
	observe(call, PSTAT_FIRST_BYTE, TALLY_FIRST_TOKEN, call->usage.first_token_us);
	report_token(call);
}

void call_token(struct provider_call *call)
{
	uint64_t now_us = clock_us();

	if (call->usage.first_token_us)
		observe(call, PSTAT_INTER_TOKEN, TALLY_INTER_TOKEN, now_us - call->token_us);
	else
		call_first_token(call);
	call->token_us = now_us;
}

/* ---- the end ------------------------------------------------------------------- */

/* Give back all that the attempt holds; the provider loses its request before the permit goes on. */
static void end_attempt(struct provider_call *call)
{
	struct provider *provider = call->provider;

	if (call->kept)
		observe(call, PSTAT_DURATION, TALLY_DURATION, clock_us() - call->granted_us);
	transfer_stop(call);
	event_del(&call->timer);
	defer_cancel(&call->defer);
	report_nothing(call);
	appoint_leave(call);
	target_drop_key(call);
	line_leave(call);
	if (call->ticket.state != TICKET_IDLE)
		gate_leave(provider->line, &call->ticket);
}

/* Forget the attempt; the next one begins when the timer is due. */
static void start_over(struct provider_call *call, bool elsewhere)
{
	end_attempt(call);
	if (call->sent_us)
		call->flown_us += clock_us() - call->sent_us;
	call->sent_us = 0;
	answer_release(&call->answer);
	call->answer = (struct answer){ 0 };
	call->kept = call->missed = call->paused = call->resuming = call->key_parked = false;
	call->uploaded = call->done_ms = call->hoped_ms = 0;
	call->strandings = 0;
	call->usage.first_token_us = 0;
	call->detail[0] = 0;
	call_to(call, CALL_BACKOFF);
	if (elsewhere)
		target_next(call);
	call_arm(call);
}

void call_back_in_line(struct provider_call *call)
{
	call->retry_at_ms = clock_ms();
	start_over(call, false);
}

/* As the client sees it. */
static void observe_served(const struct provider_call *call)
{
	const struct provider_usage *usage = &call->usage;
	uint64_t first_us = call->granted_us + usage->first_token_us, now_us = clock_us();

	tally_observe(call->model_tally, TALLY_SERVED, now_us - call->begun_us);
	if (!usage->first_token_us)
		return;
	tally_observe(call->model_tally, TALLY_SERVED_FIRST, first_us - call->begun_us);
	if (call->stream && usage->known && usage->completion_tokens > 1)
		tally_observe(call->model_tally, TALLY_SERVED_TOKEN, (now_us - first_us) / (usage->completion_tokens - 1));
}

static void let_go(struct provider_call *call, bool complete)
{
	const struct provider_usage *usage = &call->usage;
	struct provider *provider = call->provider;
	const unsigned tallies[] = { call->model_tally, provider->keys[call->key].tally, client_tally(call) };

	end_attempt(call);
	if (complete)
		observe_served(call);
	if (usage->known || complete) {
		pstat_add(provider->index, PSTAT_TOKENS_IN, (int64_t)usage->prompt_tokens);
		pstat_add(provider->index, PSTAT_TOKENS_OUT, (int64_t)usage->completion_tokens);
		for (unsigned i = 0; i < ARRAY_SIZE(tallies); i++)
			tally_add(tallies[i], complete, usage->prompt_tokens, usage->completion_tokens);
	}
	client_leave(call);
	call_to(call, CALL_DONE);
	provider->all->running--;
	TAILQ_REMOVE(&provider->all->calls, call, in_all);
}

static void call_free(struct provider_call *call)
{
	answer_release(&call->answer);
	target_close(call);
	free(call);
}

/* The asker gave it up. */
static void call_drop(struct provider_call *call)
{
	pstat_add(call->provider->index,
		call->ticket.state == TICKET_HELD ? PSTAT_CANCELLED_RUNNING : PSTAT_CANCELLED_QUEUED,
		1);
	log_debug("provider", "[%s] %s: cancelled", call->request_id, call->provider->conf->name);
	let_go(call, false);
	call_free(call);
}

/* What our own limits refuse is counted each time, also when a fallback serves it. */
static enum pstat_id counter_of(enum ending ending)
{
	switch (ending) {
	case END_COMPLETE:
		return PSTAT_COMPLETED;
	case END_LEASE_LOST:
		return PSTAT_LEASE_LOST;
	case END_QUEUE_TIMEOUT:
		return PSTAT_QUEUE_TIMEOUTS;
	case END_QUEUE_FULL:
		return PSTAT_QUEUE_FULL;
	case END_POOL_TIMEOUT:
		return PSTAT_POOL_TIMEOUTS;
	case END_CIRCUIT_OPEN:
		return PSTAT_CIRCUIT_REFUSED;
	case END_RATE_LIMITED:
	case END_TOKENS_LIMITED:
	case END_KEYS_PARKED:
	case END_KEY_RATE:
	case END_KEY_TOKENS:
	case END_KEY_REQUESTS:
		return PSTAT_RATE_LIMITED;
	default:
		return PSTAT_FAILED;
	}
}

/* One line for each failed call, and no flood of them. */
static void log_end(struct provider_call *call, const struct provider_result *result)
{
	const struct ending_facts *facts = &ending_facts[result->ending];
	struct log_rate *rate = &call->provider->all->failures[result->ending];
	char more[48] = "";
	uint64_t missed = 0;

	if (!log_wanted(facts->level) || (facts->level != LOG_DEBUG && !log_rate_ok(rate, &missed)))
		return;
	if (missed)
		snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
	log_line(facts->level, "provider", "[%s] %s: '%s': %s%s", call->request_id, facts->code,
		call->provider->conf->name, result->message ? result->message : facts->text, more);
}

void call_end(struct provider_call *call, struct provider_result *result)
{
	enum pstat_id counter = counter_of(result->ending);
	enum retry_verdict verdict;

	report_end(call, result);
	verdict = retry(call, result);
	if (verdict == RETRY_END || (counter != PSTAT_COMPLETED && counter != PSTAT_FAILED))
		pstat_add(call->provider->index, counter, 1);
	if (verdict != RETRY_END) {
		start_over(call, verdict == RETRY_ELSEWHERE);
		return;
	}
	result->answered = call->told_head;
	result->provider = call->usage.provider;
	log_end(call, result);
	let_go(call, result->ending == END_COMPLETE);
	CALL_ASKER(call, on_end, result, call->arg);
	call_free(call);
}

/* What a client is told to wait: a sane time, clients ignore others. */
static uint64_t sane_wait_ms(uint64_t guess_ms)
{
	return guess_ms < 1000 ? 1000 : guess_ms > 60000 ? 60000 : guess_ms;
}

void call_refuse(struct provider_call *call, enum ending ending, enum provider_limit limit,
	uint64_t retry_after_ms)
{
	struct provider_result result = { .ending = ending, .limit = call->provider->limit[limit],
		.retry_after_ms = sane_wait_ms(retry_after_ms) };

	call_end(call, &result);
}

/* The ending's text, and why, if that is known. */
static const char *explain(struct provider_call *call, enum ending ending, const char *detail)
{
	const char *text = ending_facts[ending].text;
	static char message[512]; /* until the next call ends */
	char said[256];

	if (ending == END_STREAM_ERROR && answer_error_text(&call->answer, said, sizeof(said)))
		detail = said;
	if (ending == END_PROVIDER_STATUS)
		snprintf(message, sizeof(message), "%s: status %d", text,
			call->answer.status);
	else if (detail && *detail)
		snprintf(message, sizeof(message), "%s: %s", text, detail);
	else
		return NULL;
	return message;
}

/* A call that had a transfer ends; `transfer` is how that ended, detail (or NULL) tells more. */
static void end_transfer(struct provider_call *call, enum ending transfer, const char *detail)
{
	struct answer *answer = &call->answer;
	struct provider_result result = { .status = answer->status };

	result.ending = answer_ending(call, transfer, &detail);
	if (result.ending == END_FIRST_TOKEN_TIMEOUT)
		result.limit = call->provider->limit[LIMIT_FIRST_TOKEN];
	else if (result.ending == END_REQUEST_TIMEOUT)
		result.limit = call->provider->limit[LIMIT_REQUEST];
	result.message = explain(call, result.ending, detail);
	if (answer->kind == ANSWER_REFUSAL)
		result.retry_after_ms = headers_retry_after_ms(call);
	if (answer->kind == ANSWER_DOCUMENT && result.ending == END_COMPLETE)
		answer_deliver(call);
	if (call->cancelled) {
		call_drop(call);
		return;
	}
	if (answer->kind == ANSWER_REFUSAL || answer->error) {
		result.body = answer->body.data ? answer->body.data : "";
		result.body_len = answer->body.len;
	}
	call_end(call, &result);
}

/* ---- the way to the provider ------------------------------------------------------- */

void call_tell_queued(struct provider_call *call)
{
	if (call->queued_told)
		return;
	call->queued_told = true;
	CALL_ASKER(call, on_queued, call->arg);
}

/* The pool has let it in. */
static void go_out(struct provider_call *call)
{
	call_to(call, CALL_SENDING);
	call_arm(call);
	transfer_start(call);
}

void call_send(struct provider_call *call)
{
	uint64_t now_us = clock_us();

	if (!call->went_out) {
		call->usage.queue_wait_us += now_us - call->arrived_us;
		observe(call, PSTAT_QUEUE_WAIT, TALLY_QUEUE_WAIT, now_us - call->arrived_us);
		budget_request(call->provider->all->shm, call->provider->index, clock_ms());
	}
	call->went_out = true;
	if (!call->sent_us) {
		call->sent_us = now_us;
		call->attempts++;
	}
	if (pool_enter(call->provider->pool, &call->seat)) {
		go_out(call);
		return;
	}
	call_to(call, CALL_POOL);
	call_arm(call);
	call_tell_queued(call);
}

void call_transfer_done(struct provider_call *call, CURLcode code)
{
	if (call->cancelled) {
		call_drop(call);
	} else if (call->missed) {
		call->missed = false;
		transfer_stop(call);
		call_to(call, CALL_APPOINTED);
		appoint(call);
	} else if (call->stranded && code != CURLE_OK && call->strandings < STRANDINGS_MAX) {
		call->strandings++;
		transfer_stop(call);
		call_to(call, CALL_APPOINTED);
		call_send(call);
	} else if (call->fell_behind) {
		end_transfer(call, END_FELL_BEHIND, NULL);
	} else if (call->stranded && code != CURLE_OK) {
		end_transfer(call, END_CONNECT_FAILED, "the pool has none to spare");
	} else {
		end_transfer(call, transfer_ending(code),
			*call->detail || code == CURLE_OK ? call->detail
							      : curl_easy_strerror(code));
	}
}

/* ---- events -------------------------------------------------------------------- */

static void pool_timed_out(struct provider_call *call)
{
	struct gate_reading line;

	gate_read(call->provider->all->shm, SHM_GATE_POOL(call->provider->index), &line);
	call_refuse(call, END_POOL_TIMEOUT, LIMIT_POOL, line.interval_us * line.waiting / 1000);
}

/* Which time-out ends a transfer now. */
static enum ending timeout_ending(const struct provider_call *call, uint64_t now)
{
	const struct conf_provider *conf = call->provider->conf;

	if (call->state == CALL_ANSWERING && call->answer.done)
		return END_COMPLETE;
	if (now >= call->deadline_ms)
		return END_REQUEST_TIMEOUT;
	if (call->state == CALL_SENDING && call->uploaded < call->body_len)
		return END_WRITE_TIMEOUT;
	if (now < call->progress_ms + conf->read_timeout_ms)
		return END_FIRST_TOKEN_TIMEOUT;
	return END_READ_TIMEOUT;
}

/* Also comes when nothing is due yet: progress only notes the time, and does not set the timer. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct provider_call *call = arg;
	uint64_t now = clock_ms();

	if (call->cancelled)
		return;
	if (now < due_ms(call, now)) {
		call_arm(call);
		return;
	}
	if (transfer_is_on(call)) {
		end_transfer(call, timeout_ending(call, now), NULL);
		return;
	}
	if (now >= call->deadline_ms) {
		call_refuse(call, END_REQUEST_TIMEOUT, LIMIT_REQUEST, 0);
		return;
	}
	switch (call->state) {
	case CALL_CLIENT:
		if (call->client_ticket.state == TICKET_WAITING)
			client_refuse(call);
		break;
	case CALL_IN_LINE:
		line_timed_out(call);
		break;
	case CALL_APPOINTED:
		appoint(call);
		break;
	case CALL_BACKOFF:
		line_enter(call);
		break;
	case CALL_POOL:
		if (call->seat.state == POOL_USER_WAITING)
			pool_timed_out(call);
		break;
	case CALL_NEW:
	case CALL_SENDING:
	case CALL_ANSWERING:
	case CALL_DONE:
		break;
	}
}

static void go_on(struct provider_call *call)
{
	call->resuming = false;
	call->paused = false;
	call_progress(call);
	transfer_resume(call);
}

/* Deferred: libcurl is not inside, nor is the asker being called. */
static void call_turn(void *arg)
{
	struct provider_call *call = arg;

	if (call->cancelled) {
		call_drop(call);
		return;
	}
	switch (call->state) {
	case CALL_NEW:
		if (call->client_ending != END_COMPLETE)
			client_refuse(call);
		else
			line_enter(call);
		break;
	case CALL_CLIENT:
		client_turn(call);
		break;
	case CALL_IN_LINE:
		line_turn(call);
		break;
	case CALL_POOL:
		if (call->seat.state == POOL_USER_IN)
			go_out(call);
		break;
	case CALL_ANSWERING:
		if (call->resuming)
			go_on(call);
		break;
	case CALL_SENDING:
		if (call->over)
			call_transfer_done(call, call->over_code);
		break;
	case CALL_APPOINTED:
	case CALL_BACKOFF:
	case CALL_DONE:
		break;
	}
}

void call_later(struct provider_call *call)
{
	defer_call(&call->defer, call_turn, call);
}

void call_seated(struct pool_user *seat)
{
	call_later(container_of(seat, struct provider_call, seat));
}

/* ---- provider.h ------------------------------------------------------------------ */

/* What is refused ends at the end of the turn. */
static void begin(struct provider_call *call)
{
	switch (client_enter(call)) {
	case CLIENT_IN:
		if (!line_try(call))
			call_later(call);
		break;
	case CLIENT_WAITS:
		call_to(call, CALL_CLIENT);
		call_arm(call);
		call_later(call);
		break;
	case CLIENT_REFUSED:
		call_later(call);
		break;
	}
}

struct provider_call *call_start(struct providers *providers, const struct provider_request *request,
	const struct provider_asker *asker, void *arg)
{
	struct provider_call *call = xcalloc(1, sizeof(*call));

	BUG_ON(request->provider >= providers->count);
	call->provider = &providers->provider[request->provider];
	call->asker = asker;
	call->client = request->client;
	call->arg = arg;
	call->deadline_ms = call->provider->conf->request_timeout_ms
		? clock_ms() + call->provider->conf->request_timeout_ms
		: UINT64_MAX;
	evtimer_assign(&call->timer, providers->base, on_timer, call);
	target_open(call, request);
	providers->running++;
	TAILQ_INSERT_TAIL(&providers->calls, call, in_all);
	begin(call);
	return call;
}

void call_cancel(struct provider_call *call)
{
	if (call->state == CALL_DONE || call->cancelled)
		return;
	call->cancelled = true;
	if (call->calling || curl_loop_inside(&call->provider->loop))
		call_later(call);
	else
		call_drop(call);
}

void call_resume(struct provider_call *call)
{
	if (!call->paused || call->cancelled)
		return;
	call->resuming = true;
	call_later(call);
}

bool call_at_boundary(const struct provider_call *call)
{
	switch (call->answer.kind) {
	case ANSWER_STREAM:
		return call->answer.done || sse_at_boundary(&call->answer.sse);
	case ANSWER_DOCUMENT:
		return !call->told_head;
	default:
		return true;
	}
}

const struct provider_usage *call_usage(const struct provider_call *call)
{
	return &call->usage;
}
