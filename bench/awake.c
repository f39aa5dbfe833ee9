/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * awake CPU - takes what nobody else wants of one core, until its parent is gone. A core of a virtual machine that sleeps is
 * woken by the host, which may take half a millisecond; and it does nothing that would push others out of caches.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
	struct sched_param none = { 0 };
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cpu);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || sched_setaffinity(0, sizeof(cpu), &cpu) || sched_setscheduler(0, SCHED_IDLE, &none)) {
		perror("awake");
		return 1;
	}
	for (;;)
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		__asm__ volatile("" ::: "memory");
#endif
}
