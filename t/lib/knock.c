/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * knock.c - a client that connects once a millisecond, asks for something small, and reads the answer to its end.
 *
 *	knock PORT	until TERM; then it waits for the answers that are still to come
 *
 * Prints a line of JSON every 50 ms and a last one at the end: {"asked":N,"answered":N,"refused":N,"slowest_ms":N,"seconds":N,
 * "over":BOOL,"lost":["why",...]}. Answered: 200, to the end. Refused: nobody listened. Lost: anything else, the
 * first few of them by name.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
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

#define ASK "GET /v1/models HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
#define GOOD "HTTP/1.1 200 "
#define AT_ONCE 4000
#define PATIENCE_US 30000000u
#define TELL_US 50000u
#define BEHIND_US 50000u /* what was missed before that is not caught up with */
#define REASONS 10

struct client {
	int fd; /* -1: nobody */
	bool asked, good;
	unsigned port; /* its own */
	uint64_t since_us;
};

static struct client clients[AT_ONCE];
static int epoll;
static uint64_t asked, answered, refused, lost, running, slowest_us;
static char reasons[REASONS][80];
static volatile sig_atomic_t told_to_end;

static void on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void tell(uint64_t began_us, bool over)
{
	printf("{\"asked\":%ju,\"answered\":%ju,\"refused\":%ju,\"slowest_ms\":%ju,\"seconds\":%.3f,\"over\":%s,\"lost\":[",
		(uintmax_t)asked, (uintmax_t)answered, (uintmax_t)refused, (uintmax_t)slowest_us / 1000,
		(double)(now_us() - began_us) / 1e6, over ? "true" : "false");
	for (uint64_t i = 0; i < lost; i++)
		printf("%s\"%s\"", i ? "," : "", i < REASONS ? reasons[i] : "and so on");
	puts("]}");
	fflush(stdout);
}

static void leave(struct client *c)
{
	uint64_t took = now_us() - c->since_us;

	if (took > slowest_us)
		slowest_us = took;
	close(c->fd);
	c->fd = -1;
	running--;
}

static void lose(struct client *c, const char *what, const char *why)
{
	if (lost < REASONS)
		snprintf(reasons[lost], sizeof(reasons[0]), "port %u: %s: %s", c->port, what, why);
	lost++;
	leave(c);
}

static void come(struct client *c, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = c };
	struct sockaddr_in own = { 0 };
	socklen_t size = sizeof(own);

	*c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .since_us = now_us() };
	asked++;
	running++;
	if (c->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) {
		perror("knock");
		exit(1);
	}
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		lose(c, "connect", strerror(errno));
	else if (!getsockname(c->fd, (struct sockaddr *)&own, &size))
		c->port = ntohs(own.sin_port);
}

static void ask(struct client *c)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error == ECONNREFUSED) {
		refused++;
		leave(c);
	} else if (error) {
		lose(c, "connect", strerror(error));
	} else if (send(c->fd, ASK, strlen(ASK), MSG_NOSIGNAL) != (ssize_t)strlen(ASK)) {
		lose(c, "send", strerror(errno));
	} else {
		c->asked = true;
		epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
	}
}

static void listen_to(struct client *c)
{
	char text[4096];
	ssize_t n = recv(c->fd, text, sizeof(text), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		lose(c, "read", strerror(errno));
	} else if (n == 0 && c->good) {
		answered++;
		leave(c);
	} else if (n == 0) {
		lose(c, "read", "the end, without an answer");
	} else if (!c->good && ((size_t)n < strlen(GOOD) || memcmp(text, GOOD, strlen(GOOD)))) {
		text[n < 13 ? n : 13] = 0;
		lose(c, "answer", text);
	} else {
		c->good = true;
	}
}

/* One that is free, or NULL. Those who have waited too long are given up. */
static struct client *room(void)
{
	static size_t at;

	for (size_t i = 0; i < AT_ONCE; i++) {
		struct client *c = &clients[at++ % AT_ONCE];

		if (c->fd < 0)
			return c;
		if (now_us() - c->since_us > PATIENCE_US) {
			lose(c, "no answer", "after 30 s");
			return c;
		}
	}
	return NULL;
}

static void look(int timeout_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(epoll, events, 256, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct client *c = events[i].data.ptr;

		if (c->asked)
			listen_to(c);
		else
			ask(c);
	}
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_term };
	struct rlimit files = { 2 * AT_ONCE, 2 * AT_ONCE };
	uint64_t began = now_us(), due = began, told = began, ended = 0;
	struct client *c;

	if (argc != 2) {
		fprintf(stderr, "usage: knock PORT\n");
		return 2;
	}
	sigaction(SIGTERM, &act, NULL);
	setrlimit(RLIMIT_NOFILE, &files);
	epoll = epoll_create1(0);
	for (size_t i = 0; i < AT_ONCE; i++)
		clients[i].fd = -1;
	while (!ended || (running && now_us() - ended < PATIENCE_US)) {
		uint64_t now = now_us();

		if (told_to_end && !ended)
			ended = now;
		if (due + BEHIND_US < now)
			due = now - BEHIND_US;
		for (; !ended && due <= now && (c = room()); due += 1000)
			come(c, atoi(argv[1]));
		if (now - told >= TELL_US) {
			told = now;
			tell(began, false);
		}
		look(1);
	}
	for (size_t i = 0; i < AT_ONCE; i++)
		if (clients[i].fd >= 0)
			lose(&clients[i], "no answer", "at the end");
	tell(began, true);
	return 0;
}
