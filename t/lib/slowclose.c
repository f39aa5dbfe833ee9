/* SPDX-License-Identifier: BSD-2-Clause */
/* slowclose.c - for LD_PRELOAD: each close() takes a millisecond longer, as on a machine that has much else to do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int close(int fd)
{
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");

	usleep(1000);
	return next(fd);
}
