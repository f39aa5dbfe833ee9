/* SPDX-License-Identifier: BSD-2-Clause */
/* base: buffers, deferred calls. */
#include "base/base.h"
#include "base/buf.h"
#include "base/defer.h"
#include "base/listening.h"
#include "base/log_sink.h"
#include "unit.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>

START_TEST(buf_grows_and_drops)
{
	struct buf b = BUF_INIT;

	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%03d,", i);
	ck_assert_uint_eq(b.len, 4000);
	buf_drop(&b, 3996);
	ck_assert_str_eq(b.data, "999,");
	buf_release(&b);
	ck_assert_ptr_null(b.data);
}
END_TEST

static int calls;
static struct defer second;
static void count(void *arg)
{
	calls++;
	if (arg)
		defer_call(&second, count, NULL);
}

START_TEST(deferred_calls_run_once_with_those_they_queue)
{
	struct defer first = { 0 }, cancelled = { 0 };

	defer_call(&first, count, &first);
	defer_call(&first, count, &first);
	defer_call(&cancelled, count, NULL);
	defer_cancel(&cancelled);
	ck_assert(defer_pending());
	defer_run();
	ck_assert_int_eq(calls, 2);
	ck_assert(!defer_pending());
}
END_TEST

/* Listening sockets at one address, SO_REUSEPORT. */
static unsigned listen_at_one_address(int *fds, unsigned n)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int on = 1;

	for (unsigned i = 0; i < n; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
		ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&a, sizeof(a)), 0);
		ck_assert_int_eq(listen(fds[i], 100), 0);
		ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&a, &len), 0);
	}
	return ntohs(a.sin_port);
}

/* Connect n times, without waiting; then count what each socket has got. */
static void knock(unsigned port, unsigned n, int *fds, unsigned *got, unsigned nfds)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int clients[64], fd;

	ck_assert_uint_le(n, ARRAY_SIZE(clients));
	for (unsigned i = 0; i < n; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(clients[i], (struct sockaddr *)&a, sizeof(a));
	}
	for (unsigned i = 0; i < nfds; i++) {
		got[i] = 0;
		while ((fd = accept(fds[i], NULL, NULL)) >= 0) {
			got[i]++;
			close(fd);
		}
	}
	for (unsigned i = 0; i < n; i++)
		close(clients[i]);
}

START_TEST(a_socket_that_is_shut_keeps_what_it_has_and_gets_no_more)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd, error, client = socket(AF_INET, SOCK_STREAM, 0);
	unsigned port = listen_at_one_address(&fd, 1), got;

	a.sin_port = htons((uint16_t)port);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert(!listening_is_shut(fd));
	ck_assert(listening_has_client(fd));
	error = listening_shut(fd);
	ck_assert(error == 0 || error == -EPERM); /* marked, without the filter */
	ck_assert(listening_is_shut(fd));
	knock(port, 20, &fd, &got, 1);
	ck_assert_uint_eq(got, error ? 21 : 1); /* the one of before */
	ck_assert(!listening_has_client(fd));
	listening_open(fd);
	listening_open(fd); /* again: nothing */
	ck_assert(!listening_is_shut(fd));
	knock(port, 20, &fd, &got, 1);
	ck_assert_uint_eq(got, 20);
	close(client);
	close(fd);
}
END_TEST

START_TEST(the_first_of_an_address_share_it)
{
	int fds[4];
	unsigned port = listen_at_one_address(fds, 4), got[4], rounds = 0, all[4] = { 0 };

	ck_assert_int_eq(listening_share(fds[0], 2), 0);
	for (; rounds < 5; rounds++) {
		knock(port, 60, fds, got, 4);
		for (unsigned i = 0; i < 4; i++)
			all[i] += got[i];
	}
	ck_assert_uint_eq(all[0] + all[1], 300);
	ck_assert_uint_gt(all[0], 50);
	ck_assert_uint_gt(all[1], 50);
	ck_assert_int_eq(listening_share(fds[3], 0), 0);
	ck_assert_int_eq(listening_share(fds[3], 0), 0); /* again: nothing */
	knock(port, 60, fds, got, 4);
	ck_assert_uint_gt(got[2] + got[3], 0);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
}
END_TEST

/* Lines into fd until it takes no more; how many went. */
static unsigned fill(struct log_sink *sink, int fd)
{
	unsigned n = 0;

	*sink = (struct log_sink){ .own = -1 };
	log_sink_set(sink, fd);
	while (log_sink_write(sink, "line\n", 5) == 0)
		n++;
	ck_assert_int_eq(log_sink_write(sink, "line\n", 5), -EAGAIN);
	return n;
}

START_TEST(nobody_waits_for_a_log_that_is_full)
{
	struct log_sink sink;
	int fds[2], other;
	char bytes[5];
	unsigned n;

	ck_assert_int_eq(pipe(fds), 0);
	n = fill(&sink, fds[1]);
	ck_assert_int_eq(sink.how, SINK_OWN);
	ck_assert_int_eq(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0); /* others who have it wait as before */
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(read(fds[0], bytes, 5), 5);
	ck_assert_int_eq(log_sink_write(&sink, "more\n", 5), 0);
	other = sink.own;
	log_sink_set(&sink, fds[1]);
	ck_assert_int_eq(sink.own, other); /* the same as before */
	log_sink_set(&sink, open("/dev/null", O_WRONLY));
	ck_assert_int_eq(log_sink_write(&sink, "more\n", 5), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	fill(&sink, fds[1]);
	ck_assert_int_eq(sink.how, SINK_SOCKET);
}
END_TEST

START_TEST(a_pipe_that_must_not_be_opened_anew_is_asked_first)
{
	struct log_sink sink = { .how = SINK_POLL };
	char line[3 * PIPE_BUF], bytes[PIPE_BUF + 1];
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	sink.given = fds[1];
	memset(line, 'x', sizeof(line));
	ck_assert_int_eq(log_sink_write(&sink, line, sizeof(line)), -EAGAIN); /* a part of it went */
	ck_assert_int_eq(log_sink_write(&sink, "line\n", 5), 0);
	ck_assert_int_eq(read(fds[0], line, sizeof(line)), PIPE_BUF + 6);
	memcpy(bytes, line + PIPE_BUF, 6);
	ck_assert_int_eq(memcmp(bytes, "\nline\n", 6), 0); /* and the next begins a line */
	while (log_sink_write(&sink, line, PIPE_BUF) == 0)
		;
	ck_assert_int_eq(log_sink_write(&sink, "line\n", 5), -EAGAIN);
}
END_TEST

int main(void)
{
	UNIT_RUN("base", buf_grows_and_drops, deferred_calls_run_once_with_those_they_queue,
		a_socket_that_is_shut_keeps_what_it_has_and_gets_no_more, the_first_of_an_address_share_it,
		nobody_waits_for_a_log_that_is_full, a_pipe_that_must_not_be_opened_anew_is_asked_first);
}
