/* SPDX-License-Identifier: BSD-2-Clause */
/* The cluster's agent without its Redis: requests as arguments, answers taken apart, and the ledger by a clock of the test's own. */
#include "base/base.h"
#include "base/clock.h"
#include "cluster/ledger.h"
#include "cluster/wire.h"
#include "shm_unit.h"

#include <hiredis/hiredis.h>

#define T 5000u
#define V (T / 2)
#define W (2 * T)

/* ---- wire ---- */

START_TEST(a_request_is_what_the_script_reads)
{
	const struct wire_ask asks[] = { { "a.b", false, 25, 3, 7, 8 }, { "rpm", true, 3500, 12, 0, 9 } };
	const struct wire_request request = { .incarnation = "abc", .node = "n1", .epoch = "", .new_epoch = "e9",
		.run = "r1", .call = 4, .nodes = 3, .ttl_ms = T, .share = 0.25, .number = 6, .q = 17,
		.sigma = { 9, 5 }, .rho = -1, .ask = asks, .nasks = 2 };
	static const char *const want[] = { "abc", "n1", "4", "", "e9", "r1", "3", "0.25", "5000", "0", "6", "17", "9", "5",
		"-1", "a.b", "0", "25", "3", "7", "8", "rpm", "1", "3500", "12", "0", "9" };
	struct wire_args args;

	wire_build(&request, &args);
	ck_assert_uint_eq(args.count, ARRAY_SIZE(want));
	for (unsigned i = 0; i < args.count; i++) {
		ck_assert_str_eq(args.text[i], want[i]);
		ck_assert_uint_eq(args.len[i], strlen(want[i]));
	}
	wire_release(&args);
}
END_TEST

/* A reply by hand: 's' takes a text, 'i' a number. */
static redisReply parts[40];
static redisReply *list[40];

static redisReply *said(const char *kinds, ...)
{
	static redisReply reply;
	va_list ap;

	va_start(ap, kinds);
	for (size_t i = 0; kinds[i]; i++) {
		parts[i] = (redisReply){ .type = kinds[i] == 's' ? REDIS_REPLY_STRING : REDIS_REPLY_INTEGER };
		if (kinds[i] == 's')
			parts[i].str = va_arg(ap, char *);
		else
			parts[i].integer = va_arg(ap, int);
		list[i] = &parts[i];
	}
	va_end(ap);
	reply = (redisReply){ .type = REDIS_REPLY_ARRAY, .elements = strlen(kinds), .element = list };
	return &reply;
}

static enum wire_status status_of(const redisReply *from, unsigned nasks)
{
	struct wire_reply reply;
	enum wire_status status;

	wire_parse(from, nasks, &reply);
	status = reply.status;
	ck_assert(status != WIRE_BROKEN || *reply.why);
	wire_reply_release(&reply);
	return status;
}

START_TEST(an_answer_is_taken_apart)
{
	struct wire_reply reply;

	wire_parse(said("siiiiiiiiii", "ok", 7, 1, 2, 3, 10, 12, 25, 8, 1, 0), 1, &reply);
	ck_assert_int_eq(reply.status, WIRE_OK);
	ck_assert_uint_eq(reply.seq, 7);
	ck_assert(reply.again);
	ck_assert_uint_eq(reply.members, 2);
	ck_assert_uint_eq(reply.nodes, 3);
	ck_assert_uint_eq(reply.ngrants, 1);
	ck_assert_uint_eq(reply.grant[0].lease, 10);
	ck_assert_uint_eq(reply.grant[0].target, 12);
	ck_assert_uint_eq(reply.grant[0].limit, 25);
	ck_assert_uint_eq(reply.grant[0].guaranteed, 8);
	ck_assert(reply.grant[0].contended && !reply.grant[0].mismatch);
	wire_reply_release(&reply);
	wire_parse(said("ss", "refused", "too many"), 1, &reply);
	ck_assert_int_eq(reply.status, WIRE_REFUSED);
	ck_assert_str_eq(reply.why, "too many");
	wire_parse(said("ssi", "hello", "e1", 7), 1, &reply);
	ck_assert_int_eq(reply.status, WIRE_HELLO);
	ck_assert_str_eq(reply.epoch, "e1");
	ck_assert_uint_eq(reply.seq, 7);
	ck_assert_int_eq(status_of(said("s", "stale"), 1), WIRE_STALE);
	ck_assert_int_eq(status_of(said("s", "superseded"), 1), WIRE_SUPERSEDED);
}
END_TEST

START_TEST(nothing_in_an_answer_is_trusted)
{
	redisReply error = { .type = REDIS_REPLY_ERROR, .str = (char *)"NOSCRIPT No matching script." };
	redisReply status = { .type = REDIS_REPLY_STATUS, .str = (char *)"OK" };

	ck_assert_int_eq(status_of(NULL, 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(&error, 1), WIRE_NOT_LOADED);
	error.str = (char *)"OOM command not allowed";
	ck_assert_int_eq(status_of(&error, 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(&status, 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said(""), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("i", 1), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("s", "welcome"), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("s", "hello"), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("ss", "hello", "e1"), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("ssi", "hello", "e1", 0), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("ssi", "hello", "", 7), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("ssi", "hello", "an epoch that is longer than any of ours can be", 7), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("s", "refused"), 1), WIRE_BROKEN);
	/* too few, too many, of another kind, negative, out of range, not one with another */
	ck_assert_int_eq(status_of(said("siiii", "ok", 7, 1, 2, 3), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiii", "ok", 7, 1, 2, 3), 0), WIRE_OK);
	ck_assert_int_eq(status_of(said("siiiii", "ok", 7, 1, 2, 3, 4), 0), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiii", "ok", 0, 1, 2, 3), 0), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("sisii", "ok", 7, "1", 2, 3), 0), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiiiiiiiii", "ok", 7, 1, 2, 3, -1, 12, 25, 8, 1, 0), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiiiiiiiii", "ok", 7, 1, 2, 3, 10, 26, 25, 8, 1, 0), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiiiiiiiii", "ok", 7, 1, 2, 3, 10, 12, 25, 26, 1, 0), 1), WIRE_BROKEN);
	ck_assert_int_eq(status_of(said("siiiiiiiiii", "ok", 7, 1, 2, 3, 10, 12, 25, 8, 2, 0), 1), WIRE_BROKEN);
}
END_TEST

/* ---- the ledger ---- */

static struct ledger ledger;

static struct shm *open_ledger(void)
{
	ledger_open(&ledger, T);
	return unit_clustered(100, 25, 0);
}

/* Redis has this epoch, and gives us this number. */
static bool greeted(const char *epoch, uint64_t number)
{
	struct wire_reply reply = { .status = WIRE_HELLO, .seq = number };

	snprintf(reply.epoch, sizeof(reply.epoch), "%s", epoch);
	return ledger_greeted(&ledger, &reply);
}

/* Ask at `sent`, and be told at `received`: the schedule of limit number `which` of the request. */
static struct wire_request exchange(uint64_t sent, uint64_t received, uint64_t seq, struct wire_grant grant,
	struct lease_schedule *schedule)
{
	struct wire_grant grants[2] = { grant, grant };
	struct wire_reply reply = { .status = WIRE_OK, .seq = seq, .members = 3, .nodes = 3, .grant = grants, .ngrants = 2 };
	struct wire_request request = { 0 };

	ledger_ask(&ledger, sent, &request);
	ck_assert_uint_eq(request.nasks, 2); /* what is no limit is not asked for */
	if (ledger_take(&ledger, &reply, sent, received))
		ledger_schedule(&ledger, 1, sent, received, schedule);
	return request;
}

static struct wire_ask ask_of(uint64_t now)
{
	struct wire_request request = { 0 };

	ledger_ask(&ledger, now, &request);
	return request.ask[1];
}

START_TEST(a_schedule_is_safe_if_nobody_acts_any_more)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct lease_schedule s;

	ledger_look(&ledger, shm, now);
	exchange(now, now + 100, 1, (struct wire_grant){ 20, 14, 25, 8, true, false }, &s);
	ck_assert_uint_eq(s.limit, 14);		    /* no more than what is to be reached */
	ck_assert_uint_eq(s.until_ms, now + V);	    /* from when it was sent */
	ck_assert_uint_eq(s.after, 8);
	ck_assert_uint_eq(s.rise_ms, now + 100 + W); /* from when it was received */
	ck_assert_uint_eq(s.rise_to, 8);
	ck_assert_uint_eq(s.keep, 20); /* what runs may run on */
	ck_assert_uint_eq(s.keep_until_ms, now + V);
	ck_assert_uint_eq(ask_of(now + 400).guaranteed, 8); /* what it would rise to is said */
	/* The next lease is lower: what runs has until the end of the one before. */
	exchange(now + 500, now + 600, 2, (struct wire_grant){ 5, 5, 25, 8, true, false }, &s);
	ck_assert_uint_eq(s.limit, 5);
	ck_assert_uint_eq(s.after, 5); /* it has said that it holds no more */
	ck_assert_uint_eq(s.keep, 20);
	ck_assert_uint_eq(s.keep_until_ms, now + V);
	exchange(now + V, now + V + 1, 3, (struct wire_grant){ 5, 5, 25, 8, true, false }, &s);
	ck_assert_uint_eq(s.keep, 5);
	ck_assert_uint_eq(s.keep_until_ms, now + 2 * V);
	ledger_give_up(&ledger, 1, &s);
	ck_assert_uint_eq(s.limit + s.after + s.rise_to, 0);
	ck_assert_uint_eq(s.keep_until_ms, now + 2 * V);
	ck_assert_uint_eq(ask_of(now + V + 2).guaranteed, 0);
	ledger_release(&ledger);
}
END_TEST

START_TEST(what_comes_too_late_changes_nothing)
{
	struct shm *shm = open_ledger();
	struct lease_schedule s = { .limit = 77 };
	struct wire_request request;
	uint64_t now = clock_boot_ms();

	ledger_look(&ledger, shm, now);
	exchange(now, now + V, 1, (struct wire_grant){ 20, 14, 25, 8, true, false }, &s);
	ck_assert_uint_eq(s.limit, 77);
	request = exchange(now + V, now + V + 1, 2, (struct wire_grant){ 20, 14, 25, 8, true, false }, &s);
	ck_assert_uint_eq(request.q, 0);
	ck_assert_uint_eq(s.limit, 14);
	ledger_release(&ledger);
}
END_TEST

START_TEST(time_is_told_by_numbers)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms(), loan = W - V - T / 10;
	struct wire_request r = { 0 };
	struct lease_schedule s;

	ledger_look(&ledger, shm, now);
	ck_assert(!greeted("e", 1)); /* nothing was lost */
	for (unsigned i = 0; i < 20; i++) /* 10, 20, ... every second, answered after 50 ms */
		r = exchange(now + i * 1000, now + i * 1000 + 50, 10 * (i + 1),
			(struct wire_grant){ 5, 5, 25, 8, false, false }, &s);
	ck_assert_uint_eq(r.q, 190);
	/* It is 19 s: answers that came 3 s ago or earlier: up to that of second 15. */
	ck_assert_uint_eq(r.sigma[0], 160);
	/* The first that was sent within the last 7 s. */
	ck_assert_int_eq(r.rho, 10 * (19 - (int)(loan / 1000) + 1));
	/* Another epoch: all of it means nothing, and nothing was promised. */
	ck_assert(greeted("f", 1));
	r = (struct wire_request){ 0 };
	ledger_ask(&ledger, now + 20000, &r);
	ck_assert_str_eq(r.epoch, "f");
	ck_assert_uint_eq(r.number, 1);
	ck_assert_uint_eq(r.q + r.sigma[0], 0);
	ck_assert_int_eq(r.rho, -1);
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 100); /* it is to come again soon */
	exchange(now + 20000, now + 20050, 2, (struct wire_grant){ 5, 5, 25, 8, false, false }, &s);
	r = exchange(now + 21000, now + 21050, 3, (struct wire_grant){ 5, 5, 25, 8, false, false }, &s);
	ck_assert_uint_eq(r.q, 2);
	ck_assert_uint_eq(r.sigma[0], 0);
	ck_assert_int_eq(r.rho, 2);
	ledger_release(&ledger);
}
END_TEST

static const struct lease_subject permits = { .kind = LEASE_GATE, .number = SHM_GATE_PROVIDER(0), .configured = 25 };

/* Redis has granted 6 of 25 permits; a line at their gate. */
static struct gate_line *be_granted_six(struct shm *shm, uint64_t now)
{
	struct lease_schedule s;
	struct gate_line *line;

	shm_bind(shm, 0, NULL);
	line = gate_line_open(shm, SHM_GATE_PROVIDER(0), NULL, NULL);
	ledger_look(&ledger, shm, now);
	exchange(now, now + 1, 1, (struct wire_grant){ 6, 6, 25, 8, false, false }, &s);
	lease_write(shm, &permits, &s, now);
	return line;
}

static void leave_all(struct gate_line *line, struct gate_ticket *tickets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		gate_leave(line, &tickets[i]);
	gate_line_close(line);
	ledger_release(&ledger);
}

START_TEST(all_that_is_used_is_said_to_be_held)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct gate_ticket tickets[6] = { 0 };
	struct lease_schedule s;
	struct wire_request r;
	struct gate_line *line = be_granted_six(shm, now);

	for (unsigned i = 0; i < 6; i++)
		ck_assert(gate_try(line, &tickets[i]));
	ledger_look(&ledger, shm, now);
	r = exchange(now + 300, now + 301, 2, (struct wire_grant){ 6, 4, 25, 8, true, false }, &s);
	ck_assert_uint_eq(r.ask[1].hold, 6);
	ck_assert_uint_eq(r.ask[1].want, 6);
	lease_write(shm, &permits, &s, now);
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 100); /* what comes free is to be reported soon */
	gate_leave(line, &tickets[0]);
	ledger_look(&ledger, shm, now);
	r = exchange(now + 600, now + 601, 3, (struct wire_grant){ 3, 3, 25, 8, false, false }, &s);
	ck_assert_uint_eq(r.ask[1].hold, 5);
	lease_write(shm, &permits, &s, now);
	/* The lease of 6 has lapsed, and 5 are used all the same, until they are ended: nobody may have them yet. */
	ledger_look(&ledger, shm, now + 300 + V);
	r = exchange(now + 300 + V, now + 300 + V + 1, 4, (struct wire_grant){ 3, 3, 25, 8, false, false }, &s);
	ck_assert_uint_eq(r.ask[1].hold, 5);
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 100); /* more is wanted than there is */
	leave_all(line, tickets + 1, 5);
}
END_TEST

/* In haste, then at rest: where what is wanted by a node, or is idle, says so, and not because others are short. */
START_TEST(in_haste_is_whose_share_does_not_fit)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct gate_ticket tickets[6] = { 0 };
	struct lease_schedule s;
	struct gate_line *line = be_granted_six(shm, now);

	ledger.limit[0].grant.contended = false;
	ledger_look(&ledger, shm, now);
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 300); /* it has some idle, and nobody wants it */
	exchange(now + 10, now + 11, 2, (struct wire_grant){ 6, 6, 25, 8, true, false }, &s);
	ledger.limit[0].grant.contended = false;
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 100); /* somebody does */
	for (unsigned i = 0; i < 6; i++)
		ck_assert(gate_try(line, &tickets[i]));
	ledger_look(&ledger, shm, now + 20);
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 300); /* all of it is used */
	leave_all(line, tickets, 6);
}
END_TEST

START_TEST(redis_is_not_asked_for_more_than_it_can_do)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct lease_schedule s;

	ledger_look(&ledger, shm, now);
	exchange(now, now + 1, 1, (struct wire_grant){ 6, 6, 25, 8, true, false }, &s);
	ledger.again = true; /* in haste */
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 100);
	ck_assert_uint_lt(ledger_bearable_ttl_ms(&ledger), 100);
	ledger.members = 100; /* a renewal of 2 limits takes about 0.7 ms */
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 140);
	ledger.again = false; /* at rest it is a twentieth of its time, or three times in lease_ttl */
	ck_assert_uint_eq(ledger_pace_ms(&ledger), 1400);
	ck_assert_uint_eq(ledger_bearable_ttl_ms(&ledger), 840);
	ledger.members = 1000; /* not even that */
	ck_assert_uint_eq(ledger_pace_ms(&ledger), T / 3);
	ledger.again = true;
	ck_assert_uint_eq(ledger_pace_ms(&ledger), T / 3);
	ck_assert_uint_eq(ledger_bearable_ttl_ms(&ledger), 73200);
	ledger_release(&ledger);
}
END_TEST

START_TEST(who_has_left_rises_to_nothing)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct lease_schedule s;

	ledger_look(&ledger, shm, now);
	ledger.draining = true;
	/* It said that it holds nothing, and is given something nevertheless: it has not left. */
	exchange(now, now + 1, 1, (struct wire_grant){ 2, 2, 25, 8, false, false }, &s);
	ck_assert(ledger.holds_nothing && !ledger.left);
	ck_assert_uint_eq(s.limit, 2);
	ck_assert_uint_eq(s.rise_to, 8);
	exchange(now + 100, now + 101, 2, (struct wire_grant){ 0, 0, 25, 8, false, false }, &s);
	ck_assert(ledger.left);
	ck_assert_uint_eq(s.limit + s.after + s.rise_to, 0);
	ck_assert_uint_eq(s.rise_ms, UINT64_MAX);
	/* It stays after all. */
	ledger.draining = false;
	exchange(now + 200, now + 201, 3, (struct wire_grant){ 4, 4, 25, 8, false, false }, &s);
	ck_assert(!ledger.left);
	ck_assert_uint_eq(s.rise_to, 8);
	ledger_release(&ledger);
}
END_TEST

START_TEST(another_agent_goes_on_with_what_stands_in_the_segment)
{
	struct shm *shm = open_ledger();
	uint64_t now = clock_boot_ms();
	struct lease_schedule s;
	struct wire_request r;

	ledger_look(&ledger, shm, now);
	ck_assert(!greeted("e", 1));
	exchange(now, now + 1, 2, (struct wire_grant){ 20, 20, 25, 8, false, false }, &s);
	lease_write(shm, &permits, &s, now);
	ledger_note(&ledger, shm);
	exchange(now + 50, now + 51, 3, (struct wire_grant){ 20, 20, 25, 8, false, false }, &s);
	ledger_note(&ledger, shm);
	exchange(now + 100, now + 101, 4, (struct wire_grant){ 20, 20, 25, 8, false, false }, &s); /* is killed */
	ledger_release(&ledger);
	ledger_open(&ledger, T);
	ledger_resume(&ledger, shm);
	ledger_look(&ledger, shm, now + 200);
	r = exchange(now + 200, now + 201, 5, (struct wire_grant){ 20, 20, 25, 8, false, false }, &s);
	ck_assert_uint_eq(r.ask[1].hold, 20);
	ck_assert_str_eq(r.epoch, "e");
	ck_assert_uint_eq(r.q, 3);  /* promises go on, but not one of which nothing stands there */
	ck_assert_int_eq(r.rho, 2); /* renewals shortly after another one are not kept */
	/* In another epoch all of that means nothing. */
	ck_assert(greeted("f", 1));
	exchange(now + 300, now + 301, 2, (struct wire_grant){ 20, 20, 25, 8, false, false }, &s);
	ledger_note(&ledger, shm);
	ledger_release(&ledger);
	ledger_open(&ledger, T);
	ledger_resume(&ledger, shm);
	ck_assert_str_eq(ledger.epoch, "f");
	ck_assert_uint_eq(ledger.q, 2);
	ck_assert_uint_eq(ledger.npast, 1);
	ledger_release(&ledger);
}
END_TEST

int main(void)
{
	UNIT_RUN("cluster", a_request_is_what_the_script_reads, an_answer_is_taken_apart, nothing_in_an_answer_is_trusted,
		a_schedule_is_safe_if_nobody_acts_any_more, what_comes_too_late_changes_nothing, time_is_told_by_numbers,
		all_that_is_used_is_said_to_be_held, in_haste_is_whose_share_does_not_fit,
		redis_is_not_asked_for_more_than_it_can_do,
		who_has_left_rises_to_nothing, another_agent_goes_on_with_what_stands_in_the_segment);
}
