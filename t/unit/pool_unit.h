/* SPDX-License-Identifier: BSD-2-Clause */
/* pool_unit.h - pools of two workers, and transfers that do what libcurl would. */
#ifndef POOL_UNIT_H
#define POOL_UNIT_H

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

static inline void on_granted(struct pool_user *user)
{
	container_of(user, struct transfer, user)->granted++;
}

static inline void open_streams(uint64_t sockets, uint64_t idle, uint64_t expiry_ms, unsigned streams)
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

static inline void open_pools(uint64_t sockets, uint64_t idle, uint64_t expiry_ms)
{
	open_streams(sockets, idle, expiry_ms, 1);
}

/* All is given back. */
static inline void close_pools(void)
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

static inline uint64_t used(unsigned gate)
{
	struct gate_reading r;

	gate_read(shm, gate, &r);
	return r.used;
}
#define OPEN used(SHM_GATE_POOL(0))
#define IDLE used(SHM_GATE_IDLE(0))

/* Who does something does it as that worker. */
static inline struct pool *as(unsigned worker)
{
	shm_bind(shm, worker, wake_fds);
	return pool[worker];
}

static inline bool enter(unsigned worker, struct transfer *t)
{
	*t = (struct transfer){ .fd = -1 };
	return pool_enter(as(worker), &t->user);
}

/* A new connection that does not stand yet; -1: not allowed. */
static inline int knock(unsigned worker, struct transfer *t)
{
	t->fd = pool_socket_open(as(worker), &t->user, AF_INET, SOCK_STREAM, 0);
	if (t->fd >= 0)
		ck_assert(connect(t->fd, (struct sockaddr *)&there, sizeof(there)) == 0);
	return t->fd;
}

static inline bool send_as(unsigned worker, struct transfer *t, int fd, bool shared)
{
	struct sockaddr_in here;
	socklen_t len = sizeof(here);

	ck_assert(getsockname(fd, (struct sockaddr *)&here, &len) == 0);
	t->fd = fd;
	return pool_seat(as(worker), &t->user, "127.0.0.1", ntohs(here.sin_port), shared);
}

static inline bool send_on(unsigned worker, struct transfer *t, int fd)
{
	return send_as(worker, t, fd, false);
}

/* A new connection, and a request on it. */
static inline int dial(unsigned worker, struct transfer *t)
{
	int fd = knock(worker, t);

	if (fd >= 0)
		ck_assert(send_on(worker, t, fd));
	return fd;
}

static inline void hang_up(unsigned worker, int fd)
{
	ck_assert_int_eq(pool_socket_close(as(worker), fd), 0);
}

static inline void leave(unsigned worker, struct transfer *t)
{
	pool_leave(as(worker), &t->user);
}

/* The connection was shut down, and its descriptor is still open. */
static inline bool is_shut(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

#endif
