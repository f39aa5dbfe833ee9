/* SPDX-License-Identifier: BSD-2-Clause */
/* notify.c - see notify.h. */
#include "base/base.h"
#include "master/notify.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <sys/socket.h>
#include <sys/un.h>

#define LISTEN_FDS_MAX 64u

static void tell(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, len);
	if (*path == '@')
		to.sun_path[0] = 0; /* the abstract name space */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_debug("master", "NOTIFY_SOCKET '%s': %s", path, strerror(errno));
	fd_close(&fd);
}

void notify_ready(void)
{
	tell("READY=1");
}

void notify_reloading(void)
{
	char text[80];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
	tell(text);
}

void notify_stopping(void)
{
	tell("STOPPING=1");
}

void notify_main_pid(int pid)
{
	char text[32];

	snprintf(text, sizeof(text), "MAINPID=%d", pid);
	tell(text);
}

/* A number in the environment; 0: none. */
static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : 0;
}

uint64_t notify_watchdog(uint64_t now_ms)
{
	static uint64_t due_ms;
	uint64_t period_us = number_of("WATCHDOG_USEC"), pid = number_of("WATCHDOG_PID");

	/* a master after an upgrade has another pid than the one that systemd started */
	if (!period_us || (pid && pid != (uint64_t)getpid() && pid != (uint64_t)getppid()))
		return UINT64_MAX;
	if (now_ms >= due_ms) {
		tell("WATCHDOG=1");
		due_ms = now_ms + period_us / 3000;
	}
	return due_ms;
}

unsigned notify_listen_fds(void)
{
	uint64_t n = number_of("LISTEN_FDS");

	return number_of("LISTEN_PID") == (uint64_t)getpid() && n <= LISTEN_FDS_MAX ? (unsigned)n : 0;
}
