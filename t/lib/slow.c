/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slow.c - for LD_PRELOAD: a machine that has much else to do. Each close() takes a millisecond longer, and a parent
 * comes back from fork() when its child has been running for a while.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

int close(int fd)
{
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");

	usleep(1000);
	return next(fd);
}

pid_t fork(void)
{
	pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
	pid_t pid = next();

	if (pid > 0)
		usleep(500000);
	return pid;
}
