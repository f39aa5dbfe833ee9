/* SPDX-License-Identifier: BSD-2-Clause */
/* daemon.c - see daemon.h. */
#include "base/base.h"
#include "master/daemon.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <sys/wait.h>

#define ERROR_BYTES 256

/* Wait for the byte; without one it did not come up, and has said why. */
static NORETURN void wait_for_daemon(int fd)
{
	char byte;
	ssize_t n;

	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	_exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int daemon_begin(char *error_r)
{
	int fds[2] = { -1, -1 };
	pid_t pid = -1;

	fflush(NULL);
	if (pipe2(fds, O_CLOEXEC) == 0)
		pid = fork();
	if (pid < 0) {
		snprintf(error_r, ERROR_BYTES, "cannot go into the background: %s", strerror(errno));
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return -1;
	}
	if (pid > 0) {
		fd_close(&fds[1]);
		wait_for_daemon(fds[0]);
	}
	fd_close(&fds[0]);
	setsid();
	/* not the leader of the session: no terminal can become ours */
	pid = fork();
	if (pid > 0)
		_exit(EXIT_SUCCESS);
	if (pid < 0) {
		snprintf(error_r, ERROR_BYTES, "cannot go into the background: %s", strerror(errno));
		fd_close(&fds[1]);
	}
	return fds[1];
}

void daemon_be_silent(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	log_reopened();
}

void daemon_ready(int *fd)
{
	if (*fd < 0)
		return;
	daemon_be_silent();
	if (write(*fd, "", 1) != 1)
		*fd = *fd; /* it was killed: nobody wants to know */
	fd_close(fd);
}
