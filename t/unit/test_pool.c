/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool of sockets: two workers are played in one process; the test is libcurl, and
 * listens at the other end.
 */
#include "base/base.h"
#include "base/clock.h"
#include "shm/gate.h"
#include "shm/reclaim.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "unit.h"
#include "worker/provider/pool.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define WORKERS 2

/* A transfer: its place in the pool and, while it has one, its socket. */
struct transfer {
	struct pool_user user;
	int fd;
	unsigned granted;
};

static struct shm *shm;
static struct event_base *base;
static struct pool *pool[WORKERS];
static int wake_fds[WORKERS], listener = -1;
static struct sockaddr_in there = { .sin_family = AF_INET };

static void on_granted(struct pool_user *user)
{
	container_of(user, struct transfer, user)->granted++;
}

static void open_streams(uint64_t sockets, uint64_t idle, uint64_t expiry_ms, unsigned streams)
{
	const struct shm_gate_spec gates[SHM_GATES(1)] = { { "places", 1 }, { "permits", 1 },
		{ "sockets", sockets }, { "idle", idle } };
	const char *const names[] = { "sim" };
	const struct shm_spec spec = { .nslots = WORKERS, .ngates = ARRAY_SIZE(gates), .gates = gates,
		.nproviders = 1, .providers = names };
	socklen_t len = sizeof(there);
	char path[64], error[256];

	snprintf(path, sizeof(path), "/tmp/headgate-test-pool.%d", (int)getpid());
	shm = shm_create(path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	unlink(path);
	base = event_base_new();
	for (unsigned i = 0; i < WORKERS; i++) {
		wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		shm_bind(shm, i, wake_fds);
		pool[i] = pool_open(base, shm, 0, expiry_ms, streams, on_granted);
	}
	there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(listen(listener, 64) == 0);
	ck_assert(getsockname(listener, (struct sockaddr *)&there, &len) == 0);
}

static void open_pools(uint64_t sockets, uint64_t idle, uint64_t expiry_ms)
{
	open_streams(sockets, idle, expiry_ms, 1);
}

/* All is given back. */
static void close_pools(void)
{
	char text[512];

	for (unsigned gate = 0; gate < shm_ngates(shm); gate++) {
		struct gate_reading r;

		gate_read(shm, gate, &r);
		ck_assert_uint_eq(r.used, 0);
		ck_assert_uint_eq(r.waiting, 0);
	}
	ck_assert_int_eq(shm_check(shm, 10, text), 0);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_OPEN), 0);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_IDLE), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		pool_close(pool[i]);
		close(wake_fds[i]);
	}
	event_base_free(base);
	close(listener);
	shm_close(shm, false);
}

static uint64_t used(unsigned gate)
{
	struct gate_reading r;

	gate_read(shm, gate, &r);
	return r.used;
}
#define OPEN used(SHM_GATE_POOL(0))
#define IDLE used(SHM_GATE_IDLE(0))

/* Who does something does it as that worker. */
static struct pool *as(unsigned worker)
{
	shm_bind(shm, worker, wake_fds);
	return pool[worker];
}

static bool enter(unsigned worker, struct transfer *t)
{
	*t = (struct transfer){ .fd = -1 };
	return pool_enter(as(worker), &t->user);
}

/* A new connection that does not stand yet; -1: not allowed. */
static int knock(unsigned worker, struct transfer *t)
{
	t->fd = pool_socket_open(as(worker), &t->user, AF_INET, SOCK_STREAM, 0);
	if (t->fd >= 0)
		ck_assert(connect(t->fd, (struct sockaddr *)&there, sizeof(there)) == 0);
	return t->fd;
}

static bool send_as(unsigned worker, struct transfer *t, int fd, bool shared)
{
	struct sockaddr_in here;
	socklen_t len = sizeof(here);

	ck_assert(getsockname(fd, (struct sockaddr *)&here, &len) == 0);
	t->fd = fd;
	return pool_seat(as(worker), &t->user, "127.0.0.1", ntohs(here.sin_port), shared);
}

static bool send_on(unsigned worker, struct transfer *t, int fd)
{
	return send_as(worker, t, fd, false);
}

/* A new connection, and a request on it. */
static int dial(unsigned worker, struct transfer *t)
{
	int fd = knock(worker, t);

	if (fd >= 0)
		ck_assert(send_on(worker, t, fd));
	return fd;
}

static void hang_up(unsigned worker, int fd)
{
	ck_assert_int_eq(pool_socket_close(as(worker), fd), 0);
}

static void leave(unsigned worker, struct transfer *t)
{
	pool_leave(as(worker), &t->user);
}

/* The connection was shut down, and its descriptor is still open. */
static bool is_shut(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

START_TEST(a_socket_counts_from_open_to_close)
{
	struct transfer a, b, c;

	open_pools(2, 2, 60000);
	ck_assert(enter(0, &a) && enter(1, &b));
	ck_assert_uint_eq(OPEN, 2); /* the promise counts */
	ck_assert(dial(0, &a) >= 0 && dial(1, &b) >= 0);
	ck_assert(!enter(0, &c));
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_POOL_WAITS), 1);
	leave(0, &a);
	ck_assert_uint_eq(c.granted, 1); /* it takes over the one that came free */
	ck_assert(send_on(0, &c, a.fd));
	ck_assert_uint_eq(IDLE, 0);
	leave(0, &c);
	ck_assert_uint_eq(IDLE, 1);
	ck_assert_uint_eq(OPEN, 2);
	hang_up(0, c.fd);
	ck_assert_uint_eq(IDLE, 0);
	ck_assert_uint_eq(OPEN, 1);
	hang_up(1, b.fd);
	leave(1, &b);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_OPENED), 2);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_REUSED), 1);
	close_pools();
}
END_TEST

START_TEST(only_so_many_stay_idle_over_all_workers)
{
	struct transfer a, b, c;

	open_pools(9, 2, 60000);
	ck_assert(enter(0, &a) && enter(0, &b) && enter(1, &c));
	ck_assert(dial(0, &a) >= 0 && dial(0, &b) >= 0 && dial(1, &c) >= 0);
	leave(0, &a);
	leave(0, &b);
	ck_assert_uint_eq(IDLE, 2);
	leave(1, &c);
	ck_assert_uint_eq(IDLE, 2);
	ck_assert_uint_eq(OPEN, 2);
	ck_assert(is_shut(c.fd) && !is_shut(a.fd) && !is_shut(b.fd));
	hang_up(0, a.fd);
	hang_up(0, b.fd);
	hang_up(1, c.fd);
	close_pools();
}
END_TEST

START_TEST(who_is_short_gets_an_idle_one_of_another)
{
	struct transfer a, b;
	uint64_t wakes;

	open_pools(1, 1, 60000);
	ck_assert(enter(0, &a) && dial(0, &a) >= 0);
	ck_assert(!enter(1, &b)); /* busy: nobody could give anything */
	ck_assert_int_lt((int)read(wake_fds[0], &wakes, sizeof(wakes)), 0);
	leave(1, &b);
	leave(0, &a);
	pool_poll(as(0));
	ck_assert_uint_eq(IDLE, 1);
	ck_assert(!enter(1, &b));
	ck_assert_int_eq((int)read(wake_fds[0], &wakes, sizeof(wakes)), (int)sizeof(wakes));
	pool_poll(as(0));
	ck_assert(is_shut(a.fd)); /* libcurl has not closed it yet */
	ck_assert_uint_eq(IDLE, 0);
	pool_poll(as(1));
	ck_assert_uint_eq(b.granted, 1);
	ck_assert(dial(1, &b) >= 0);
	ck_assert_uint_eq(OPEN, 1);
	hang_up(0, a.fd);
	ck_assert_uint_eq(OPEN, 1);
	hang_up(1, b.fd);
	ck_assert_uint_eq(OPEN, 1); /* libcurl may try again */
	leave(1, &b);
	close_pools();
}
END_TEST

START_TEST(an_idle_one_that_was_promised_is_not_given_up)
{
	struct transfer a, b, c;

	open_pools(1, 1, 0);
	ck_assert(enter(0, &a) && dial(0, &a) >= 0);
	leave(0, &a);
	ck_assert(enter(0, &b));
	ck_assert(!enter(1, &c));
	pool_poll(as(0));
	event_base_loop(base, EVLOOP_NONBLOCK); /* it has expired, but is wanted */
	ck_assert(!is_shut(a.fd));
	ck_assert(send_on(0, &b, a.fd));
	leave(0, &b);
	pool_poll(as(0));
	ck_assert(is_shut(a.fd));
	pool_poll(as(1));
	ck_assert_uint_eq(c.granted, 1);
	leave(1, &c);
	hang_up(0, a.fd);
	close_pools();
}
END_TEST

START_TEST(the_ticket_of_a_dead_socket_passes_to_its_successor)
{
	struct transfer a, b, c;

	open_pools(1, 1, 60000);
	ck_assert(enter(0, &a) && dial(0, &a) >= 0);
	leave(0, &a);
	ck_assert(enter(0, &b));
	ck_assert(!enter(1, &c));
	hang_up(0, a.fd); /* libcurl finds it dead when it looks */
	pool_poll(as(1));
	ck_assert_uint_eq(c.granted, 0);
	ck_assert(dial(0, &b) >= 0);
	hang_up(0, b.fd); /* or when it writes */
	pool_poll(as(1));
	ck_assert_uint_eq(c.granted, 0);
	ck_assert(dial(0, &b) >= 0);
	hang_up(0, b.fd);
	leave(0, &b);
	pool_poll(as(1));
	ck_assert_uint_eq(c.granted, 1);
	leave(1, &c);
	close_pools();
}
END_TEST

START_TEST(a_second_address_needs_a_second_ticket)
{
	struct transfer a, b;
	int first, second;

	open_pools(2, 2, 60000);
	ck_assert(enter(0, &a));
	first = knock(0, &a);
	second = knock(0, &a);
	ck_assert(first >= 0 && second >= 0);
	ck_assert_uint_eq(OPEN, 2);
	ck_assert_int_eq(knock(0, &a), -1);
	ck_assert(send_on(0, &a, second)); /* the race is decided: libcurl has closed the other */
	ck_assert_uint_eq(OPEN, 1);
	close(first);
	ck_assert(enter(1, &b));
	leave(1, &b);
	leave(0, &a);
	ck_assert_uint_eq(IDLE, 1);
	hang_up(0, second);
	close_pools();
}
END_TEST

/* libcurl does not call back for a connection that never stood. */
START_TEST(a_connect_that_was_cancelled_is_closed)
{
	struct transfer a, b;

	open_pools(1, 1, 60000);
	ck_assert(enter(0, &a) && knock(0, &a) >= 0);
	ck_assert(!enter(1, &b));
	close(a.fd);
	leave(0, &a);
	ck_assert_uint_eq(IDLE, 0);
	pool_poll(as(1));
	ck_assert_uint_eq(b.granted, 1);
	leave(1, &b);
	close_pools();
}
END_TEST

START_TEST(an_idle_one_that_libcurl_does_not_want_makes_room)
{
	struct transfer a, b;

	open_pools(1, 1, 60000);
	ck_assert(enter(0, &a) && dial(0, &a) >= 0);
	leave(0, &a);
	ck_assert(enter(0, &b) && dial(0, &b) >= 0);
	ck_assert(is_shut(a.fd));
	ck_assert_uint_eq(OPEN, 1);
	ck_assert_uint_eq(IDLE, 0);
	hang_up(0, b.fd);
	leave(0, &b);
	hang_up(0, a.fd);
	close_pools();
}
END_TEST

START_TEST(our_own_waiters_overtake_others_only_so_often)
{
	struct transfer other, own[20];
	unsigned overtakes = 0;

	open_pools(1, 1, 60000);
	ck_assert(enter(0, &own[0]) && dial(0, &own[0]) >= 0);
	ck_assert(!enter(1, &other));
	for (; overtakes + 1 < ARRAY_SIZE(own); overtakes++) {
		struct transfer *next = &own[overtakes + 1];

		ck_assert(!enter(0, next));
		leave(0, &own[overtakes]);
		pool_poll(as(0));
		if (!next->granted) {
			leave(0, next);
			break;
		}
		ck_assert(send_on(0, next, own[0].fd));
	}
	ck_assert_uint_eq(overtakes, 8);
	ck_assert(is_shut(own[0].fd));
	pool_poll(as(1));
	ck_assert_uint_eq(other.granted, 1);
	leave(1, &other);
	hang_up(0, own[0].fd);
	close_pools();
}
END_TEST

START_TEST(idle_ones_expire_the_oldest_first)
{
	struct transfer a, b;

	open_pools(9, 9, 30);
	ck_assert(enter(0, &a) && enter(0, &b));
	ck_assert(dial(0, &a) >= 0 && dial(0, &b) >= 0);
	leave(0, &b);
	leave(0, &a);
	ck_assert_uint_eq(IDLE, 2);
	while (IDLE == 2)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert(is_shut(b.fd));
	while (IDLE)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert(is_shut(a.fd));
	ck_assert_uint_eq(OPEN, 0);
	hang_up(0, a.fd);
	hang_up(0, b.fd);
	close_pools();
}
END_TEST

START_TEST(a_lower_limit_takes_idle_ones_away)
{
	struct transfer a, b;

	open_pools(2, 2, 60000);
	ck_assert(enter(0, &a) && enter(0, &b));
	ck_assert(dial(0, &a) >= 0 && dial(0, &b) >= 0);
	leave(0, &a);
	leave(0, &b);
	shm_bind(shm, SHM_MASTER, wake_fds);
	gate_set_limit(shm, SHM_GATE_POOL(0), 1);
	pool_poll(as(0));
	ck_assert_uint_eq(OPEN, 1);
	ck_assert(is_shut(a.fd) && !is_shut(b.fd));
	hang_up(0, a.fd);
	hang_up(0, b.fd);
	close_pools();
}
END_TEST

START_TEST(an_unknown_connection_is_not_sent_on)
{
	struct transfer a, b;

	open_pools(2, 2, 60000);
	ck_assert(enter(0, &a) && dial(0, &a) >= 0);
	ck_assert(enter(1, &b));
	ck_assert(!send_on(1, &b, a.fd)); /* it is another worker's */
	leave(1, &b);
	hang_up(0, a.fd);
	leave(0, &a);
	close_pools();
}
END_TEST

/* ---- HTTP/2: four streams on a socket --------------------------------------------- */

#define STREAMS 4

/* A new connection of HTTP/2, and a request on it. */
static int dial_shared(unsigned worker, struct transfer *t)
{
	int fd = knock(worker, t);

	ck_assert(fd >= 0);
	ck_assert(send_as(worker, t, fd, true));
	return fd;
}

static bool join_on(unsigned worker, struct transfer *t, int fd)
{
	return send_as(worker, t, fd, true);
}

START_TEST(a_burst_makes_one_connection)
{
	struct transfer t[6];
	int first, second;

	open_streams(9, 9, 60000, STREAMS);
	ck_assert(enter(0, &t[0]));
	ck_assert(pool_must_dial(&t[0].user));
	for (unsigned i = 1; i < 4; i++)
		ck_assert(!enter(0, &t[i])); /* there will be room for them */
	ck_assert_uint_eq(OPEN, 1);
	ck_assert(!enter(0, &t[4])); /* not for so many */
	ck_assert(t[1].granted && pool_must_dial(&t[1].user)); /* who came first */
	ck_assert(!enter(0, &t[5]));
	ck_assert_uint_eq(OPEN, 2);
	first = dial_shared(0, &t[0]);
	ck_assert_uint_eq(t[2].granted, 0); /* libcurl might take the other, which does not stand yet */
	second = dial_shared(0, &t[1]);
	for (unsigned i = 2; i < 6; i++) {
		ck_assert_uint_eq(t[i].granted, 1);
		ck_assert(!pool_must_dial(&t[i].user));
		ck_assert(join_on(0, &t[i], i < 5 ? first : second));
	}
	ck_assert_uint_eq(OPEN, 2);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_HTTP2), 2);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_REUSED), 4);
	for (unsigned i = 0; i < 6; i++)
		leave(0, &t[i]);
	ck_assert_uint_eq(IDLE, 2);
	hang_up(0, first);
	hang_up(0, second);
	ck_assert_uint_eq(pstat_sum(shm, 0, PSTAT_SOCKETS_HTTP2), 0);
	close_pools();
}
END_TEST

START_TEST(older_sockets_are_joined_while_another_connects)
{
	struct transfer t[5], late;
	int fd;

	open_streams(2, 2, 60000, STREAMS);
	ck_assert(enter(0, &t[0]));
	fd = dial_shared(0, &t[0]);
	for (unsigned i = 1; i < 4; i++)
		ck_assert(enter(0, &t[i]) && join_on(0, &t[i], fd));
	pool_poll(as(0)); /* a turn of the loop */
	ck_assert(enter(0, &t[4]) && pool_must_dial(&t[4].user));
	ck_assert(knock(0, &t[4]) >= 0);
	leave(0, &t[1]);
	ck_assert(enter(0, &late) && !pool_must_dial(&late.user));
	ck_assert(join_on(0, &late, fd));
	leave(0, &late);
	close(t[4].fd);
	for (unsigned i = 0; i < 5; i++)
		leave(0, &t[i]);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(a_full_socket_takes_the_next_when_one_leaves)
{
	struct transfer t[STREAMS], late;
	int fd;

	open_streams(1, 1, 60000, STREAMS);
	ck_assert(enter(0, &t[0]));
	fd = dial_shared(0, &t[0]);
	for (unsigned i = 1; i < STREAMS; i++)
		ck_assert(enter(0, &t[i]) && join_on(0, &t[i], fd));
	ck_assert(!enter(0, &late));
	leave(0, &t[2]);
	ck_assert_uint_eq(late.granted, 1);
	ck_assert(join_on(0, &late, fd));
	ck_assert_uint_eq(OPEN, 1);
	for (unsigned i = 0; i < STREAMS; i++)
		leave(0, &t[i]); /* t[2] is out: harmless */
	ck_assert_uint_eq(IDLE, 0);
	leave(0, &late);
	ck_assert_uint_eq(IDLE, 1);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(companions_are_those_on_the_same_socket)
{
	struct transfer a, b, c;
	int fd;

	open_streams(2, 2, 60000, STREAMS);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	ck_assert(enter(0, &b));
	ck_assert_ptr_null(pool_companion(&b.user, NULL)); /* not yet on it */
	ck_assert_ptr_null(pool_companion(&a.user, NULL));
	ck_assert(enter(0, &c) && join_on(0, &b, fd) && join_on(0, &c, fd));
	ck_assert_ptr_eq(pool_companion(&b.user, NULL), &a.user);
	ck_assert_ptr_eq(pool_companion(&b.user, &a.user), &c.user);
	ck_assert_ptr_null(pool_companion(&b.user, &c.user));
	leave(0, &a);
	leave(0, &b);
	leave(0, &c);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(a_dial_that_fails_passes_to_the_next)
{
	struct transfer a, b, c;
	int fd;

	open_streams(1, 1, 60000, STREAMS);
	ck_assert(enter(0, &a) && !enter(0, &b) && !enter(0, &c));
	ck_assert(knock(0, &a) >= 0);
	close(a.fd);
	leave(0, &a);
	ck_assert_uint_eq(b.granted, 1);
	ck_assert(pool_must_dial(&b.user));
	ck_assert_uint_eq(c.granted, 0);
	fd = dial_shared(0, &b);
	ck_assert(join_on(0, &c, fd));
	leave(0, &b);
	leave(0, &c);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(without_http2_each_needs_a_ticket)
{
	struct transfer a, b, c, d;

	open_streams(3, 3, 60000, STREAMS);
	ck_assert(enter(0, &a) && !enter(0, &b) && !enter(0, &c) && !enter(0, &d));
	ck_assert(dial(0, &a) >= 0); /* it speaks HTTP/1.1 */
	ck_assert_uint_eq(b.granted, 1);
	ck_assert_uint_eq(c.granted, 1);
	ck_assert_uint_eq(d.granted, 0);
	ck_assert_uint_eq(OPEN, 3);
	ck_assert(dial(0, &b) >= 0 && dial(0, &c) >= 0);
	ck_assert(!send_on(0, &d, a.fd)); /* libcurl takes it for a shared one */
	leave(0, &b);
	ck_assert_uint_eq(d.granted, 1);
	ck_assert(!pool_must_dial(&d.user));
	ck_assert(send_on(0, &d, b.fd));
	leave(0, &a);
	leave(0, &c);
	leave(0, &d);
	ck_assert_uint_eq(IDLE, 3);
	hang_up(0, a.fd);
	hang_up(0, b.fd);
	hang_up(0, c.fd);
	close_pools();
}
END_TEST

/* GOAWAY, or the provider takes fewer streams than we would send. */
START_TEST(libcurl_sees_less_room_than_we)
{
	struct transfer a, b, c, d;
	int fd, other;

	open_streams(2, 2, 60000, STREAMS);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	ck_assert(enter(0, &b) && join_on(0, &b, fd));
	ck_assert(enter(0, &c) && !pool_must_dial(&c.user));
	other = dial_shared(0, &c);
	ck_assert_uint_eq(OPEN, 2);
	ck_assert(enter(0, &d) && join_on(0, &d, other));
	leave(0, &c);
	leave(0, &d);
	ck_assert_uint_eq(IDLE, 1);
	hang_up(0, other);
	ck_assert(enter(0, &c) && pool_must_dial(&c.user)); /* no more than two on the first one */
	leave(0, &c);
	leave(0, &a);
	ck_assert(enter(0, &c) && !pool_must_dial(&c.user));
	ck_assert(join_on(0, &c, fd));
	leave(0, &b);
	leave(0, &c);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(a_shared_socket_that_dies_leaves_strays)
{
	struct transfer a, b, c;
	int fd;

	open_streams(1, 1, 60000, STREAMS);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	ck_assert(enter(0, &b) && join_on(0, &b, fd));
	hang_up(0, fd);
	ck_assert_uint_eq(OPEN, 0);
	ck_assert(enter(1, &c) && dial(1, &c) >= 0);
	ck_assert_int_eq(knock(0, &a), -1); /* libcurl tries again: there is no ticket */
	leave(0, &a);
	leave(0, &b);
	hang_up(1, c.fd);
	leave(1, &c);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	hang_up(0, fd); /* it was alone: its ticket is its own */
	ck_assert(!enter(1, &c));
	fd = dial_shared(0, &a);
	leave(1, &c);
	leave(0, &a);
	hang_up(0, fd);
	close_pools();
}
END_TEST

START_TEST(a_doomed_socket_goes_with_its_last_user)
{
	struct transfer a, b, c;
	int fd, other;

	open_streams(2, 2, 60000, STREAMS);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	ck_assert(enter(0, &b) && join_on(0, &b, fd));
	pool_doom(as(0), &a.user);
	leave(0, &a);
	ck_assert(enter(0, &c) && pool_must_dial(&c.user));
	other = dial_shared(0, &c);
	ck_assert(!is_shut(fd));
	leave(0, &b);
	ck_assert(is_shut(fd));
	ck_assert_uint_eq(OPEN, 1);
	ck_assert_uint_eq(IDLE, 0);
	leave(0, &c);
	hang_up(0, fd);
	hang_up(0, other);
	close_pools();
}
END_TEST

/* A balancer in front of old and new servers: libcurl mixes up what may be shared. */
START_TEST(both_protocols_at_once)
{
	struct transfer a, b, c, d;
	int old, fd;

	open_streams(3, 3, 60000, STREAMS);
	ck_assert(enter(0, &a) && !enter(0, &b) && !enter(0, &c));
	old = dial(0, &a); /* it speaks HTTP/1.1 */
	ck_assert(b.granted && c.granted);
	fd = dial_shared(0, &b);
	ck_assert_uint_eq(OPEN, 3);
	ck_assert(!enter(0, &d)); /* the shared one has room, but libcurl might take the other */
	leave(0, &a);
	pool_poll(as(0));
	ck_assert(is_shut(old)); /* its ticket goes on */
	pool_poll(as(0));
	ck_assert_uint_eq(d.granted, 1);
	leave(0, &c);
	leave(0, &d);
	ck_assert(enter(0, &a) && !pool_must_dial(&a.user)); /* the last of HTTP/1.1 is gone */
	ck_assert(join_on(0, &a, fd));
	leave(0, &a);
	leave(0, &b);
	hang_up(0, old);
	hang_up(0, fd);
	close_pools();
}
END_TEST

/* libcurl gives up a connection for one of its streams: the request goes out on another one. */
START_TEST(a_refused_stream_moves)
{
	struct transfer a, b;
	int fd, other;

	open_streams(2, 2, 60000, STREAMS);
	ck_assert(enter(0, &a));
	fd = dial_shared(0, &a);
	ck_assert(enter(0, &b) && join_on(0, &b, fd));
	other = dial_shared(0, &b);
	ck_assert_uint_eq(OPEN, 2);
	ck_assert_ptr_null(pool_companion(&a.user, NULL));
	leave(0, &a);
	leave(0, &b);
	hang_up(0, fd);
	hang_up(0, other);
	close_pools();
}
END_TEST

START_TEST(a_shared_socket_is_left_to_others_in_the_end)
{
	struct transfer other, own[40];
	unsigned n = 1;
	int fd;

	open_streams(1, 1, 60000, STREAMS);
	ck_assert(enter(0, &own[0]));
	fd = dial_shared(0, &own[0]);
	ck_assert(!enter(1, &other));
	for (; n < ARRAY_SIZE(own) && enter(0, &own[n]); n++) {
		ck_assert(join_on(0, &own[n], fd));
		leave(0, &own[n - 1]);
		pool_poll(as(0));
	}
	ck_assert_uint_eq(n, 9); /* so many joined past the one who waits */
	ck_assert(!is_shut(fd));
	leave(0, &own[n - 1]);
	pool_poll(as(0));
	ck_assert(is_shut(fd));
	pool_poll(as(1));
	ck_assert_uint_eq(other.granted, 1);
	leave(1, &other);
	pool_poll(as(0));
	ck_assert_uint_eq(own[n].granted, 1);
	leave(0, &own[n]);
	hang_up(0, fd);
	close_pools();
}
END_TEST

int main(void)
{
	UNIT_RUN("pool", a_socket_counts_from_open_to_close, only_so_many_stay_idle_over_all_workers,
		who_is_short_gets_an_idle_one_of_another, an_idle_one_that_was_promised_is_not_given_up,
		the_ticket_of_a_dead_socket_passes_to_its_successor,
		a_second_address_needs_a_second_ticket, a_connect_that_was_cancelled_is_closed,
		an_idle_one_that_libcurl_does_not_want_makes_room,
		our_own_waiters_overtake_others_only_so_often, idle_ones_expire_the_oldest_first,
		a_lower_limit_takes_idle_ones_away, an_unknown_connection_is_not_sent_on,
		a_burst_makes_one_connection, older_sockets_are_joined_while_another_connects,
		a_full_socket_takes_the_next_when_one_leaves,
		companions_are_those_on_the_same_socket, a_dial_that_fails_passes_to_the_next,
		without_http2_each_needs_a_ticket, libcurl_sees_less_room_than_we,
		a_shared_socket_that_dies_leaves_strays, a_refused_stream_moves,
		a_doomed_socket_goes_with_its_last_user, both_protocols_at_once,
		a_shared_socket_is_left_to_others_in_the_end);
}
