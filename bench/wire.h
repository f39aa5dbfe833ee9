/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.h - what the programs of the benchmark share: clock, sockets, percentiles. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UNUSED_OK __attribute__((unused))

/* One clock for all processes of the machine: a token carries the time at which it was sent. */
static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline void *must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static inline UNUSED_OK void many_descriptors(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static inline UNUSED_OK struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static inline void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Listens on any free port of loopback, and says which. */
static inline UNUSED_OK int listen_anywhere(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 65535) < 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("listen");
	printf("listening on %d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

/* Connects without waiting. from: an address of loopback to come from, as each has ports of its own; NULL: any. */
static inline UNUSED_OK int connect_to(int port, const char *from)
{
	struct sockaddr_in address = loopback(port), own = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		die("socket");
	no_delay(fd);
	if (from) {
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (inet_pton(AF_INET, from, &own.sin_addr) != 1 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
			die(from);
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS)
		die("connect");
	return fd;
}

static inline UNUSED_OK void watch(int epoll, int op, int fd, uint32_t events, void *of)
{
	struct epoll_event event = { .events = events, .data.ptr = of };

	if (epoll_ctl(epoll, op, fd, &event) < 0)
		die("epoll_ctl");
}

/* ---- percentiles of times ---- */

/* Buckets of 2 % each, from 1 us on. */
#define TIMES_BUCKETS 1024
struct times {
	uint64_t count, sum_us, bucket[TIMES_BUCKETS];
};

static inline UNUSED_OK void times_add(struct times *t, uint64_t ns)
{
	double us = (double)ns / 1000;
	unsigned i = us <= 1 ? 0 : (unsigned)(log(us) / log(1.02)) + 1;

	i = i < TIMES_BUCKETS ? i : TIMES_BUCKETS - 1;
	t->count++;
	t->sum_us += (uint64_t)us;
	t->bucket[i]++;
}

static inline UNUSED_OK double times_quantile(const struct times *t, double q)
{
	uint64_t want = (uint64_t)(q * (double)t->count), seen = 0;
	double bound = 1;

	for (unsigned i = 0; i < TIMES_BUCKETS; i++, bound *= 1.02)
		if ((seen += t->bucket[i]) > want)
			return bound;
	return bound;
}

#endif
