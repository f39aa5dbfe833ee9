/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counted.c - counts what a program asks of the C library and of libevent: allocations, copies, timers. A library to be
 * loaded in front of the others:
 *
 *	COUNTED=FILE LD_PRELOAD=counted.so headgate ...
 *
 * The counts of all its processes stand in FILE, words of 64 bits in the order of enum count; bench/count reads them.
 * Copies that the compiler made itself (small ones, of a size that it knows) are not seen.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum count { ALLOCATIONS, FREES, COPIES, COPIED_BYTES, TIMERS_SET, EVENTS_REMOVED, COUNTS };

static _Atomic uint64_t none[COUNTS], *counts = none;
typedef void *copy_fn(void *to, const void *from, size_t len);
static copy_fn *real_copy, *real_move;

/* glibc's own names of its allocator */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

/* those that we stand in front of */
struct event;
void *__memcpy_chk(void *to, const void *from, size_t len, size_t room);
void *__memmove_chk(void *to, const void *from, size_t len, size_t room);
int event_add(struct event *event, const struct timeval *in);
int event_del(struct event *event);

static void count(enum count what, uint64_t n)
{
	atomic_fetch_add_explicit(&counts[what], n, memory_order_relaxed);
}

__attribute__((constructor)) static void open_counts(void)
{
	const char *path = getenv("COUNTED");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *at = MAP_FAILED;

	real_copy = (copy_fn *)dlsym(RTLD_NEXT, "memcpy");
	real_move = (copy_fn *)dlsym(RTLD_NEXT, "memmove");
	if (fd >= 0) {
		at = mmap(NULL, sizeof(none), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (at != MAP_FAILED)
		counts = at;
}

void *malloc(size_t len)
{
	count(ALLOCATIONS, 1);
	return __libc_malloc(len);
}

void *calloc(size_t n, size_t len)
{
	count(ALLOCATIONS, 1);
	return __libc_calloc(n, len);
}

void *realloc(void *old, size_t len)
{
	count(ALLOCATIONS, 1);
	return __libc_realloc(old, len);
}

void free(void *p)
{
	count(FREES, p != NULL);
	__libc_free(p);
}

/* Before we know where the real ones are. */
static void *by_bytes(void *to, const void *from, size_t len)
{
	volatile char *t = to;
	const char *f = from;

	if (t <= f)
		for (size_t i = 0; i < len; i++)
			t[i] = f[i];
	else
		while (len--)
			t[len] = f[len];
	return to;
}

static void *copy(copy_fn *real, void *to, const void *from, size_t len)
{
	count(COPIES, 1);
	count(COPIED_BYTES, len);
	return (real ? real : by_bytes)(to, from, len);
}

void *memcpy(void *to, const void *from, size_t len)
{
	return copy(real_copy, to, from, len);
}

void *memmove(void *to, const void *from, size_t len)
{
	return copy(real_move, to, from, len);
}

void *__memcpy_chk(void *to, const void *from, size_t len, size_t room)
{
	if (len > room)
		abort();
	return copy(real_copy, to, from, len);
}

void *__memmove_chk(void *to, const void *from, size_t len, size_t room)
{
	if (len > room)
		abort();
	return copy(real_move, to, from, len);
}

int event_add(struct event *event, const struct timeval *in)
{
	static int (*real)(struct event *, const struct timeval *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "event_add");
	if (in)
		count(TIMERS_SET, 1);
	return real(event, in);
}

int event_del(struct event *event)
{
	static int (*real)(struct event *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "event_del");
	count(EVENTS_REMOVED, 1);
	return real(event);
}
