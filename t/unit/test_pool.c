/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool of sockets: two workers are played in one process; the test is libcurl, and
 * listens at the other end.
 */
#include "pool_unit.h"

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

int main(void)
{
	UNIT_RUN("pool", a_socket_counts_from_open_to_close,
		only_so_many_stay_idle_over_all_workers,
		who_is_short_gets_an_idle_one_of_another,
		an_idle_one_that_was_promised_is_not_given_up,
		the_ticket_of_a_dead_socket_passes_to_its_successor,
		a_second_address_needs_a_second_ticket, a_connect_that_was_cancelled_is_closed,
		an_idle_one_that_libcurl_does_not_want_makes_room,
		our_own_waiters_overtake_others_only_so_often,
		idle_ones_expire_the_oldest_first, a_lower_limit_takes_idle_ones_away,
		an_unknown_connection_is_not_sent_on);
}
