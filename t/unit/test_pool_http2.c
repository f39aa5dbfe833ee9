/* SPDX-License-Identifier: BSD-2-Clause */
/* provider: the pool where connections are shared: HTTP/2. */
#include "pool_unit.h"

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

/* So many sockets, all of which may be idle; the first is open and shared, its one user is t. */
static int open_shared(unsigned sockets, struct transfer *t)
{
	open_streams(sockets, sockets, 60000, STREAMS);
	ck_assert(enter(0, t));
	return dial_shared(0, t);
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

	fd = open_shared(2, &a);
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

	fd = open_shared(2, &a);
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

	fd = open_shared(1, &a);
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

	fd = open_shared(2, &a);
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

	fd = open_shared(2, &a);
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

	fd = open_shared(1, &own[0]);
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
	UNIT_RUN("pool_http2", a_burst_makes_one_connection,
		older_sockets_are_joined_while_another_connects,
		a_full_socket_takes_the_next_when_one_leaves,
		companions_are_those_on_the_same_socket, a_dial_that_fails_passes_to_the_next,
		without_http2_each_needs_a_ticket, libcurl_sees_less_room_than_we,
		a_shared_socket_that_dies_leaves_strays, a_refused_stream_moves,
		a_doomed_socket_goes_with_its_last_user, both_protocols_at_once,
		a_shared_socket_is_left_to_others_in_the_end);
}
