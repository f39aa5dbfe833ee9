/* SPDX-License-Identifier: BSD-2-Clause */
/* admit: places, and what is said of them. */
#include "base/base.h"
#include "base/clock.h"
#include "base/defer.h"
#include "base/log.h"
#include "conf/conf.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "unit.h"
#include "worker/admit/admit.h"
#include "worker/exchange/exchange.h"

#include <event2/event.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/eventfd.h>

static struct shm *shm;
static struct admit *admit;
static struct event_base *base;
static struct conf conf;
static int wake_fd, log_fd, marked;

static void mark(struct exchange *x, bool yes)
{
	marked += yes ? 1 : -1;
}
static const struct exchange_port port = { .admitted = mark };
static struct exchange guest = { .port = &port };

static void open_house(uint64_t places)
{
	struct shm_gate_spec gate = { "chat.websocket.concurrency.max_connections", places };
	struct shm_client_spec clients[] = { { "alice", 2, 0, 0, 0 } };
	struct shm_spec spec = { .nslots = 1, .ngates = 1, .gates = &gate, .pending = 2, .nclients = 1,
		.clients = clients, .client_window_ms = 60000 };
	char error[256], path[64], log_path[] = "/tmp/headgate-unit-log-XXXXXX";

	snprintf(path, sizeof(path), "/tmp/headgate-unit-%d", getpid());
	shm = shm_create(path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	shm_slot_claim(shm, 0, clock_ms());
	wake_fd = eventfd(0, EFD_NONBLOCK);
	shm_bind(shm, 0, &wake_fd);
	log_fd = mkstemp(log_path);
	ck_assert_int_ge(log_fd, 0);
	unlink(log_path);
	log_setup(log_fd, LOG_INFO, LOG_CONSOLE);
	base = event_base_new();
	conf.nclients = 1;
	conf.clients = xcalloc(1, sizeof(*conf.clients));
	conf.clients[0].name = xstrdup("alice");
	admit = admit_open(base, &conf, shm);
}

static void close_house(void)
{
	struct gate_reading r;

	gate_read(shm, SHM_GATE_PLACES, &r);
	ck_assert_uint_eq(r.used, 0);
	ck_assert_uint_eq(r.waiting, 0);
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 0);
	ck_assert_uint_eq(stat_sum(shm, STAT_STREAMS), 0);
	ck_assert_int_eq(marked, 0);
	admit_close(admit);
	event_base_free(base);
	free(conf.clients[0].name);
	free(conf.clients);
	shm_close(shm, true);
	close(wake_fd);
	close(log_fd);
}

static unsigned told;
static void note_decided(struct admit_place *place)
{
	told++;
}

static bool enter(struct admit_place *place, enum admit_kind kind)
{
	return admit_enter(admit, place, &guest, kind, note_decided) == ADMIT_IN;
}

/* How often the log has this text. */
static unsigned logged(const char *text)
{
	static char all[65536];
	ssize_t n = pread(log_fd, all, sizeof(all) - 1, 0);
	unsigned found = 0;

	ck_assert_int_ge(n, 0);
	all[n] = 0;
	for (const char *at = all; (at = strstr(at, text)); at++)
		found++;
	return found;
}

START_TEST(kinds_share_the_places)
{
	struct admit_place place[6] = { 0 };
	struct exchange_error error;

	open_house(5);
	for (int i = 0; i < 5; i++)
		ck_assert(enter(&place[i], i % 2 ? ADMIT_STREAM : ADMIT_WEBSOCKET));
	ck_assert(!enter(&place[5], ADMIT_STREAM));
	ck_assert_int_eq(place[5].ending, END_HOUSE_FULL);
	ck_assert_int_eq(marked, 5);
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_STREAMS), 2);
	ck_assert_uint_eq(logged("WebSocket connection established. Active connections: 5/5\n"), 1);
	ck_assert_uint_eq(logged("established"), 3);
	ck_assert_uint_eq(stat_sum(shm, STAT_ADMITTED), 5);
	ck_assert_uint_eq(stat_sum(shm, STAT_REJECTED_FULL), 1);
	admit_refusal(admit, &place[5], &error);
	ck_assert_str_eq(error.limit, "chat.websocket.concurrency.max_connections");
	ck_assert_uint_ge(error.retry_after_ms, 1000);
	/* Who holds none gives none back, however often. */
	admit_leave(&place[5]);
	admit_leave(&place[1]);
	admit_leave(&place[1]);
	ck_assert(enter(&place[5], ADMIT_WEBSOCKET));
	ck_assert(!enter(&place[1], ADMIT_WEBSOCKET));
	ck_assert_uint_eq(stat_sum(shm, STAT_WEBSOCKETS), 4);
	for (int i = 0; i < 6; i++)
		admit_leave(&place[i]);
	admit_poll(admit);
	close_house();
}
END_TEST

START_TEST(a_storm_of_rejections_is_one_line)
{
	struct admit_place holds = { 0 }, wants = { 0 };

	open_house(1);
	ck_assert(enter(&holds, ADMIT_WEBSOCKET));
	for (int i = 0; i < 100; i++)
		ck_assert(!enter(&wants, ADMIT_WEBSOCKET));
	ck_assert_uint_eq(stat_sum(shm, STAT_REJECTED_FULL), 100);
	ck_assert_uint_ge(logged("WebSocket connection rejected: max_connections=1 reached"), 1);
	ck_assert_uint_lt(logged("rejected"), 10);
	admit_leave(&holds);
	close_house();
}
END_TEST

START_TEST(a_key_has_a_limit_of_its_own)
{
	struct admit_place place[3] = { 0 };
	struct exchange_error error;

	open_house(10);
	guest.client = (struct exchange_client){ .name = "alice", .flow = flow_of_key(0, 1) };
	ck_assert(enter(&place[0], ADMIT_WEBSOCKET) && enter(&place[1], ADMIT_STREAM));
	ck_assert(!enter(&place[2], ADMIT_STREAM));
	ck_assert_int_eq(place[2].ending, END_KEY_CONNECTIONS);
	admit_refusal(admit, &place[2], &error);
	ck_assert_str_eq(error.limit, "clients.keys.alice.max_connections");
	ck_assert_uint_eq(logged("SSE stream rejected: alice's max_connections=2 reached"), 1);
	guest.client.name = NULL; /* others are not concerned */
	ck_assert(enter(&place[2], ADMIT_STREAM));
	admit_leave(&place[2]);
	guest.client.name = "alice";
	admit_leave(&place[0]);
	ck_assert(enter(&place[0], ADMIT_STREAM));
	admit_leave(&place[0]);
	admit_leave(&place[1]);
	close_house();
}
END_TEST

/* connection_queue_timeout: who finds the house full is told later. */
START_TEST(who_may_wait_is_told_later)
{
	struct admit_place place[4] = { 0 };

	conf.connection_queue_timeout_ms = 30;
	open_house(1);
	ck_assert(enter(&place[0], ADMIT_STREAM));
	for (int i = 1; i < 4; i++)
		ck_assert_int_eq(admit_enter(admit, &place[i], &guest, ADMIT_STREAM, note_decided), ADMIT_LATER);
	admit_leave(&place[1]); /* its client left */
	admit_leave(&place[0]);
	admit_poll(admit);
	ck_assert_uint_eq(told, 0); /* not inside another call */
	defer_run();
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(place[2].ending, END_COMPLETE);
	ck_assert_int_eq(place[2].ticket.state, TICKET_HELD);
	ck_assert_int_eq(marked, 1);
	while (told < 2) {
		event_base_loop(base, EVLOOP_ONCE);
		defer_run();
	}
	ck_assert_int_eq(place[3].ending, END_HOUSE_FULL);
	ck_assert_uint_eq(stat_sum(shm, STAT_REJECTED_FULL), 1);
	admit_leave(&place[3]);
	admit_leave(&place[2]);
	close_house();
}
END_TEST

static struct gate_ticket *granted_ticket;
static void note_pending(struct gate_ticket *ticket)
{
	granted_ticket = ticket;
}

START_TEST(pending_connections_are_bounded)
{
	struct gate_ticket t[3] = { 0 };

	open_house(1);
	admit_on_pending(admit, note_pending);
	ck_assert(admit_pending(admit, &t[0]) && admit_pending(admit, &t[1]));
	ck_assert(!admit_pending(admit, &t[2]));
	ck_assert(!admit_pending_wait(admit, &t[2])); /* nobody has an idle one */
	stat_add(STAT_IDLE, 1);
	ck_assert(admit_pending_wait(admit, &t[2]));
	ck_assert(!admit_pending_wanted(admit)); /* not by others */
	admit_settled(admit, &t[0]);
	admit_poll(admit);
	ck_assert_ptr_eq(granted_ticket, &t[2]);
	for (int i = 0; i < 3; i++)
		admit_settled(admit, &t[i]);
	stat_add(STAT_IDLE, -1);
	close_house();
}
END_TEST

/* ---- keys ---- */

static void brought(const char *authorization, const char *protocols, bool websocket)
{
	static struct exchange_header h[2];

	guest.request = (struct exchange_request){ .headers = h, .peer = "test", .websocket = websocket };
	free(guest.subprotocol);
	guest.subprotocol = NULL;
	if (authorization)
		h[guest.request.nheaders++] = (struct exchange_header){ "Authorization", authorization };
	if (protocols)
		h[guest.request.nheaders++] = (struct exchange_header){ "sec-websocket-protocol", protocols };
}

static void identified(enum ending want, const char *subprotocol)
{
	ck_assert_int_eq(admit_identify(admit, &guest), want);
	ck_assert_str_eq(guest.subprotocol ? guest.subprotocol : "", subprotocol);
	if (want == END_COMPLETE)
		ck_assert_str_eq(guest.client.name, "alice");
	else
		ck_assert_ptr_null(guest.client.name);
}

START_TEST(keys_come_in_two_ways)
{
	unsigned len;

	open_house(1);
	EVP_Digest("secret", 6, conf.clients[0].sha256, &len, EVP_sha256(), NULL);
	brought("Bearer secret", NULL, false);
	identified(END_COMPLETE, "");
	brought("BEARER   secret", NULL, false);
	identified(END_COMPLETE, "");
	brought("Bearer secre", NULL, false);
	identified(END_WRONG_KEY, "");
	brought("secret", NULL, false);
	identified(END_NO_KEY, "");
	brought(NULL, "openai-insecure-api-key.secret", false);
	identified(END_NO_KEY, "");
	brought(NULL, "openai-insecure-api-key.secret", true);
	identified(END_COMPLETE, "");
	brought(NULL, " a ,openai-insecure-api-key.secret,b", true);
	identified(END_COMPLETE, "a");
	brought(NULL, "openai-insecure-api-key.secret,b", true);
	identified(END_COMPLETE, "b");
	brought(NULL, "a,,openai-insecure-api-key., x y", true);
	identified(END_NO_KEY, "");
	brought(NULL, "a, openai-insecure-api-key.wrong", true);
	ck_assert_int_eq(admit_identify(admit, &guest), END_WRONG_KEY);
	conf.allow_anonymous = true;
	brought(NULL, NULL, false);
	ck_assert_int_eq(admit_identify(admit, &guest), END_COMPLETE);
	ck_assert_ptr_null(guest.client.name);
	close_house();
}
END_TEST

int main(void)
{
	UNIT_RUN("admit", kinds_share_the_places, a_storm_of_rejections_is_one_line, a_key_has_a_limit_of_its_own,
		who_may_wait_is_told_later, pending_connections_are_bounded, keys_come_in_two_ways);
}
