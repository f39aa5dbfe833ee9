/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heap.c - who allocated what is allocated now: to be preloaded into a daemon by owners.py. On SIGRTMIN + 5 it writes to
 * HEAP_DIR/PID the executable mappings ("M ..."), a line for each block ("A bytes address address ...", callers, the
 * nearest first), and "END". For a process of one thread.
 */
#include <execinfo.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEPTH 10
#define SLOTS (1u << 21) /* of a hash table that is never full */
#define GONE ((void *)1)

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *block);

struct block {
	void *at;
	size_t bytes;
	void *caller[DEPTH];
};

static struct block *blocks;
static int busy; /* backtrace() and stdio allocate, too */

static struct block *slot_of(void *at)
{
	struct block *b = &blocks[((uintptr_t)at >> 4) * 0x9e3779b97f4a7c15u >> 43];

	while (b->at && b->at != at)
		if (++b == blocks + SLOTS)
			b = blocks;
	return b;
}

static void *added(void *at)
{
	void *frames[DEPTH + 2];
	struct block *b;
	int n;

	if (!blocks || !at || busy)
		return at;
	busy = 1;
	n = backtrace(frames, DEPTH + 2);
	b = slot_of(at);
	*b = (struct block){ .at = at, .bytes = malloc_usable_size(at) + sizeof(size_t) };
	for (int i = 2; i < n; i++)
		b->caller[i - 2] = frames[i];
	busy = 0;
	return at;
}

static void removed(void *at)
{
	if (blocks && at && slot_of(at)->at)
		slot_of(at)->at = GONE;
}

void *malloc(size_t size)
{
	return added(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return added(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
	removed(old);
	return added(__libc_realloc(old, size));
}

void free(void *block)
{
	removed(block);
	__libc_free(block);
}

static void write_all(int signal)
{
	char name[4096], line[512];
	FILE *out, *maps;

	busy = 1;
	snprintf(name, sizeof(name), "%s/%d", getenv("HEAP_DIR"), getpid());
	out = fopen(name, "w");
	maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "r-xp"))
			fprintf(out, "M %s", line);
	fclose(maps);
	for (struct block *b = blocks; b < blocks + SLOTS; b++) {
		if (!b->at || b->at == GONE)
			continue;
		fprintf(out, "A %zu", b->bytes);
		for (int i = 0; i < DEPTH && b->caller[i]; i++)
			fprintf(out, " %lx", (unsigned long)b->caller[i]);
		fputc('\n', out);
	}
	fputs("END\n", out);
	fclose(out);
	busy = 0;
}

__attribute__((constructor)) static void begin(void)
{
	void *frames[2];

	backtrace(frames, 2); /* loads what it needs */
	blocks = mmap(NULL, SLOTS * sizeof(*blocks), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	signal(SIGRTMIN + 5, write_all);
}
