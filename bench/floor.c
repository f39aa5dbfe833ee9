/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * floor.c - the least that a relay can do: for each connection one to the provider, and what comes
 * from either side goes to the other, one recv and one send per burst. Nothing is parsed,
 * limited or counted, so no gateway can cost less.
 *
 *	floor PROVIDER_PORT
 */
#include "wire.h"

#define BURST_BYTES 65536

struct side {
	int fd;
	struct side *other;
	char *held; /* what the other side did not take yet */
	size_t nheld;
	bool gone;
};

static int epoll;

static void end(struct side *s)
{
	struct side *pair[] = { s, s->other };

	for (int i = 0; i < 2; i++) {
		close(pair[i]->fd);
		free(pair[i]->held);
		pair[i]->held = NULL;
		pair[i]->gone = true;
	}
}

/* Send what is held for this side; it is watched for room as long as something is left. */
static void drain(struct side *s)
{
	ssize_t n = send(s->fd, s->held, s->nheld, MSG_NOSIGNAL);

	if (n < 0)
		return;
	memmove(s->held, s->held + n, s->nheld - (size_t)n);
	s->nheld -= (size_t)n;
	if (!s->nheld) {
		watch(epoll, EPOLL_CTL_MOD, s->fd, EPOLLIN, s);
		watch(epoll, EPOLL_CTL_MOD, s->other->fd, EPOLLIN, s->other);
	}
}

static void pass(struct side *s)
{
	static char burst[BURST_BYTES];
	ssize_t n = recv(s->fd, burst, sizeof(burst), 0), sent;

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			end(s);
		return;
	}
	sent = s->other->nheld ? 0 : send(s->other->fd, burst, (size_t)n, MSG_NOSIGNAL);
	if (sent == n)
		return;
	if (sent < 0)
		sent = 0;
	s->other->held = must(realloc(s->other->held, s->other->nheld + (size_t)(n - sent)));
	memcpy(s->other->held + s->other->nheld, burst + sent, (size_t)(n - sent));
	s->other->nheld += (size_t)(n - sent);
	watch(epoll, EPOLL_CTL_MOD, s->fd, 0, s); /* no more until that is gone */
	watch(epoll, EPOLL_CTL_MOD, s->other->fd, EPOLLIN | EPOLLOUT, s->other);
}

static void take_in(int listener, int port)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct side *pair = must(calloc(2, sizeof(*pair)));

		no_delay(fd);
		pair[0] = (struct side){ .fd = fd, .other = &pair[1] };
		pair[1] = (struct side){ .fd = connect_to(port, NULL), .other = &pair[0] };
		watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, &pair[0]);
		watch(epoll, EPOLL_CTL_ADD, pair[1].fd, EPOLLIN, &pair[1]);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event ready[256];
	int listener, port = argc == 2 ? atoi(argv[1]) : 0;

	if (!port) {
		fprintf(stderr, "usage: floor PROVIDER_PORT\n");
		return 2;
	}
	many_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	listener = listen_anywhere();
	watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
	for (;;) {
		struct side *dead[2 * 256];
		int n = epoll_wait(epoll, ready, 256, -1), ndead = 0;

		for (int i = 0; i < n; i++) {
			struct side *s = ready[i].data.ptr;

			if (!s) {
				take_in(listener, port);
				continue;
			}
			if (s->gone)
				continue;
			if (ready[i].events & EPOLLOUT)
				drain(s);
			if (ready[i].events & ~(uint32_t)EPOLLOUT)
				pass(s);
			if (s->gone)
				dead[ndead++] = s < s->other ? s : s->other;
		}
		while (ndead)
			free(dead[--ndead]);
	}
}
