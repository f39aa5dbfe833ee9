/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * segment.c - the file behind the segment: made, found, mapped, left.
 *
 * The master makes it under another name, complete with `ready`, and renames it
 * into place: whoever opens the path sees a whole segment or none.
 */
#include "base/base.h"
#include "shm/segment.h"

#include "base/bug.h"
#include "base/clock.h"
#include "shm/flow.h"
#include "shm/house.h"
#include "shm/layout.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define ERROR_BYTES 256
#define WINDOW_ROOM 4		    /* how far a reload may raise a window's limit */
#define WINDOW_CAPACITY_MIN 1024u   /* ... also one that is small, or off, at first */
#define WINDOW_CAPACITY_MAX (1u << 24)

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	while (len--)
		hash = (hash ^ *p++) * 0x100000001b3ull; /* FNV-1a */
	return hash;
}

/* Two builds with the same hash may share a segment. */
static uint64_t layout_hash(void)
{
	const uint32_t sizes[] = { SHM_ABI, sizeof(struct shm_header), sizeof(struct shm_slot),
		sizeof(struct shm_gate), sizeof(struct gate_cell), sizeof(struct shm_window),
		sizeof(struct stats_provider), sizeof(struct stats_block), STAT_COUNT, PSTAT_COUNT, STATS_BUCKETS,
		offsetof(struct shm_header, master_start), offsetof(struct shm_gate, name),
		offsetof(struct shm_window, ring_at), sizeof(struct shm_standing), sizeof(struct shm_lease),
		sizeof(struct shm_cluster) };
	uint64_t hash = hash_bytes(0xcbf29ce484222325ull, sizes, sizeof(sizes));

	for (unsigned i = 0; i < STAT_COUNT; i++)
		hash = hash_bytes(hash, stat_facts[i].name, strlen(stat_facts[i].name) + 1);
	for (unsigned i = 0; i < END_COUNT; i++)
		hash = hash_bytes(hash, ending_facts[i].code, strlen(ending_facts[i].code) + 1);
	for (unsigned i = 0; i < PSTAT_COUNT; i++)
		hash = hash_bytes(hash, pstat_facts[i].name, strlen(pstat_facts[i].name) + 1);
	return hash;
}

uint64_t shm_process_start(int pid)
{
	char path[64], text[1024];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	at = strrchr(text, ')'); /* the name before it may hold anything */
	if (!at || at[1] != ' ' || at[2] == 'Z')
		return 0;
	for (int field = 2; field < 22; field++)
		if (!(at = strchr(at + 1, ' ')))
			return 0;
	return strtoull(at + 1, NULL, 10);
}

static void header_own(struct shm_header *h)
{
	atomic_store(&h->master_pid, (int32_t)getpid());
	atomic_store(&h->master_start, shm_process_start(getpid()));
}

bool shm_master_alive(const struct shm *shm)
{
	int pid = atomic_load(&shm->header->master_pid);
	uint64_t start = atomic_load(&shm->header->master_start);

	return pid > 0 && start && shm_process_start(pid) == start;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static uint32_t window_capacity(const struct shm_window_spec *spec)
{
	uint64_t want = (uint64_t)spec->limit * WINDOW_ROOM;
	uint32_t capacity = WINDOW_CAPACITY_MIN;

	while (capacity < want && capacity < WINDOW_CAPACITY_MAX)
		capacity *= 2;
	return capacity;
}

/* Those behind the ones asked for are room for a reload. */
static const struct shm_window_spec *window_spec(const struct shm_spec *spec, unsigned i)
{
	return i < spec->nwindows ? &spec->windows[i] : &spec->spare_window;
}

/* Lay everything out: fills the counts and offsets of h. */
static void plan(struct shm_header *h, const struct shm_spec *spec)
{
	uint64_t at = round_up(sizeof(*h), SHM_LINE);

	unsigned spare = spec->spare_providers;

	h->nslots = spec->nslots;
	h->ngates = spec->ngates + 3 * spare;
	h->nwindows = spec->nwindows + spare;
	h->nproviders = spec->nproviders + spare;
	h->gate_bytes = (uint32_t)(sizeof(struct shm_gate) +
		(spec->nslots + 1) * sizeof(struct gate_cell));
	h->stats_block_bytes = round_up(sizeof(struct stats_block) +
		h->nproviders * sizeof(struct stats_provider), SHM_LINE);
	h->slots_at = at;
	at += spec->nslots * sizeof(struct shm_slot);
	h->gates_at = at;
	at += (uint64_t)h->ngates * h->gate_bytes;
	h->windows_at = at;
	at += h->nwindows * sizeof(struct shm_window);
	for (unsigned i = 0; i < h->nwindows; i++)
		at += (uint64_t)window_capacity(window_spec(spec, i)) * (sizeof(uint64_t) + sizeof(uint32_t));
	h->providers_at = at;
	at = round_up(at + h->nproviders * SHM_NAME_BYTES, SHM_LINE);
	h->tallies_at = at;
	at = round_up(at + SHM_TALLIES * sizeof(struct shm_tally), SHM_LINE);
	h->stats_at = at;
	at += sizeof(struct shm_stats) + (spec->nslots + STATS_EXTRA) * h->stats_block_bytes;
	h->standing_at = at;
	at += h->nproviders * sizeof(struct shm_standing);
	h->cluster_at = at;
	at += sizeof(struct shm_cluster);
	at = house_plan(h, spec, at);
	h->total_bytes = round_up(at, 4096);
}

/* Fill a zeroed mapping; `ready` stays for the caller. */
static void fill(struct shm *shm, const struct shm_header *planned, const struct shm_spec *spec)
{
	struct shm_header *h = shm->header;
	uint64_t at = planned->windows_at + planned->nwindows * sizeof(struct shm_window);

	*h = *planned;
	h->magic = SHM_MAGIC;
	h->abi = SHM_ABI;
	h->layout_hash = layout_hash();
	h->started_ms = clock_ms();
	atomic_store(&h->providers_used, spec->nproviders);
	atomic_store(&h->gates_used, spec->ngates);
	atomic_store(&h->windows_used, spec->nwindows);
	header_own(h);
	for (unsigned i = 0; i < spec->ngates; i++) {
		struct shm_gate *gate = shm_gate_at(shm, i);

		atomic_store(&gate->limit, spec->gates[i].limit);
		shm_copy_name(gate->name, spec->gates[i].name);
	}
	for (unsigned i = 0; i < h->nwindows; i++) {
		struct shm_window *window = shm_window_at(shm, i);
		const struct shm_window_spec *wanted = window_spec(spec, i);

		atomic_store(&window->cursor, 1ull << 32); /* round 0 is "never taken" */
		window->capacity = window_capacity(wanted);
		if (i < spec->nwindows)
			atomic_store(&window->limit, wanted->limit < window->capacity ? wanted->limit
										      : window->capacity);
		window->window_ms = wanted->window_ms;
		window->ring_at = at;
		at += window->capacity * sizeof(uint64_t);
		window->hints_at = at;
		at += window->capacity * sizeof(uint32_t);
		shm_copy_name(window->name, wanted->name);
	}
	for (unsigned i = 0; i < spec->nproviders; i++)
		shm_copy_name(shm_at(shm, h->providers_at + i * SHM_NAME_BYTES), spec->providers[i]);
	house_fill(shm, spec);
}

/* Open, without trusting it, what `path` names. NULL: error_r says why. */
static struct shm *map_old(const char *path, bool writable, char *error_r)
{
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	struct shm_header *h = MAP_FAILED;
	struct shm *shm = NULL;
	struct stat st;

	if (fd < 0) {
		snprintf(error_r, ERROR_BYTES, "'%.180s': %s", path, strerror(errno));
		return NULL;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size < sizeof(*h))
		snprintf(error_r, ERROR_BYTES, "'%.180s': not a headgate segment", path);
	else if ((h = mmap(NULL, (size_t)st.st_size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED,
			  fd, 0)) == MAP_FAILED)
		snprintf(error_r, ERROR_BYTES, "'%.180s': cannot be mapped: %s", path, strerror(errno));
	close(fd);
	if (h == MAP_FAILED)
		return NULL;
	shm = xcalloc(1, sizeof(*shm));
	*shm = (struct shm){ .header = h, .bytes = (size_t)st.st_size, .path = xstrdup(path),
		.dev = st.st_dev, .ino = st.st_ino, .writable = writable, .slot = SHM_MASTER };
	return shm;
}

/* What a build of this layout must find; everything later trusts it. */
static const char *why_unfit(const struct shm *shm)
{
	const struct shm_header *h = shm->header;

	if (h->magic != SHM_MAGIC)
		return "not a headgate segment";
	if (!atomic_load_explicit(&shm->header->ready, memory_order_acquire))
		return "not ready yet";
	if (h->abi != SHM_ABI)
		return "made by a headgate with another ABI";
	if (h->layout_hash != layout_hash())
		return "made by a headgate with another layout";
	if (h->total_bytes != shm->bytes || !h->nslots || h->nslots > SHM_MAX_SLOTS ||
		h->slots_at > h->gates_at || h->gates_at > h->windows_at ||
		h->windows_at > h->providers_at || h->providers_at > h->tallies_at ||
		h->tallies_at + SHM_TALLIES * sizeof(struct shm_tally) > h->stats_at ||
		h->stats_at + sizeof(struct shm_stats) + (h->nslots + STATS_EXTRA) * h->stats_block_bytes >
			h->standing_at ||
		h->standing_at + h->nproviders * sizeof(struct shm_standing) > h->cluster_at ||
		h->cluster_at + sizeof(struct shm_cluster) > h->house_at ||
		h->house_at > h->client_tokens_at ||
		h->client_tokens_at + h->nclients * sizeof(struct shm_tokens) > h->client_windows_at ||
		h->client_windows_at > h->addresses_at ||
		h->addresses_at + FLOW_ADDRESSES * sizeof(uint64_t) > h->flows_at ||
		h->flows_at > h->total_bytes)
		return "damaged";
	return NULL;
}

/* False: a living master owns the file, and error_r says so. */
static bool may_replace(const char *path, char *error_r)
{
	struct shm *old = map_old(path, false, error_r);
	bool free = true;

	if (!old)
		return true; /* nothing there, or nothing of ours: the rename decides */
	if (old->header->magic == SHM_MAGIC && shm_master_alive(old)) {
		snprintf(error_r, ERROR_BYTES, "'%.160s' belongs to a running headgate (pid %d)", path,
			shm_master_pid(old));
		free = false;
	}
	shm_close(old, false);
	return free;
}

static int open_new(const char *name, uint64_t bytes)
{
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640), error;

	if (fd < 0 && errno == EEXIST && unlink(name) == 0) /* of a dead process with our pid */
		fd = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	/* All of it now: a full file system shall be an error here, not a SIGBUS later. */
	error = fchmod(fd, 0640) < 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes);
	if (error) {
		close(fd);
		unlink(name);
		return -error;
	}
	return fd;
}

struct shm *shm_replace(const char *path, const struct shm_spec *spec, char *error_r)
{
	struct shm_header planned = { 0 };
	char *name = xasprintf("%s.%d.new", path, (int)getpid());
	struct shm *shm = NULL;
	struct stat st;
	void *map;
	int fd;

	BUG_ON(spec->nslots < 1 || spec->nslots > SHM_MAX_SLOTS);
	plan(&planned, spec);
	fd = open_new(name, planned.total_bytes);
	if (fd < 0) {
		snprintf(error_r, ERROR_BYTES, "'%.180s': %s", name, strerror(-fd));
		free(name);
		return NULL;
	}
	map = mmap(NULL, planned.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED && fstat(fd, &st) == 0) {
		shm = xcalloc(1, sizeof(*shm));
		*shm = (struct shm){ .header = map, .bytes = planned.total_bytes, .path = xstrdup(path),
			.dev = st.st_dev, .ino = st.st_ino, .writable = true, .slot = SHM_MASTER };
		fill(shm, &planned, spec);
		atomic_store_explicit(&shm->header->ready, 1, memory_order_release);
	}
	if (!shm || rename(name, path) < 0) {
		snprintf(error_r, ERROR_BYTES, "'%.180s': %s", path, strerror(errno));
		unlink(name);
		if (shm)
			shm_close(shm, false);
		shm = NULL;
	}
	close(fd);
	free(name);
	return shm;
}

struct shm *shm_create(const char *path, const struct shm_spec *spec, char *error_r)
{
	return may_replace(path, error_r) ? shm_replace(path, spec, error_r) : NULL;
}

static struct shm *attach(const char *path, bool writable, char *error_r)
{
	struct shm *shm = map_old(path, writable, error_r);
	const char *why = shm ? why_unfit(shm) : NULL;

	if (why) {
		snprintf(error_r, ERROR_BYTES, "'%.180s': %s", path, why);
		shm_close(shm, false);
		return NULL;
	}
	return shm;
}

struct shm *shm_attach(const char *path, char *error_r)
{
	return attach(path, false, error_r);
}

struct shm *shm_adopt(const char *path, char *error_r)
{
	struct shm *shm = attach(path, true, error_r);

	if (shm)
		shm->adopted = true;
	return shm;
}

bool shm_is_adopted(const struct shm *shm)
{
	return shm->adopted;
}

void shm_own(struct shm *shm)
{
	shm->adopted = false;
	atomic_store(&shm->header->draining, 0); /* the one before may have been told to leave meanwhile */
	header_own(shm->header);
}

int shm_claim_leases(const struct shm *shm)
{
	int fd = open(shm->path, O_RDONLY | O_CLOEXEC), error = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		error = errno;
	else if (st.st_dev != shm->dev || st.st_ino != shm->ino) /* a successor has put its own there */
		error = ENOENT;
	else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		error = errno;
	if (!error)
		return fd;
	close(fd);
	return -error;
}

void shm_close(struct shm *shm, bool remove)
{
	struct stat st;

	/* A successor may have put its own file there. */
	if (remove && stat(shm->path, &st) == 0 && st.st_dev == shm->dev && st.st_ino == shm->ino)
		unlink(shm->path);
	stats_unbind(shm);
	munmap(shm->header, shm->bytes);
	free(shm->path);
	free(shm);
}

static void use_slot(struct shm_header *h, uint32_t slot)
{
	uint32_t used = atomic_load(&h->slots_used);

	while (used <= slot && !atomic_compare_exchange_weak(&h->slots_used, &used, slot + 1))
		;
}

void shm_bind(struct shm *shm, uint32_t slot, const int *wake_fds)
{
	BUG_ON(!shm->writable);
	shm->slot = slot;
	shm->wake_fds = wake_fds;
	if (slot == SHM_AGENT) {
		/* it has no gates and no last words */
	} else if (slot == SHM_MASTER) {
		if (!shm->adopted)
			header_own(shm->header); /* it may have become a daemon since */
	} else {
		use_slot(shm->header, slot);
		bug_last_words(shm_slot_at(shm, slot)->last_words, SHM_LAST_WORDS_BYTES);
	}
	stats_bind(shm, slot);
}

void shm_wake(const struct shm *shm, unsigned slot)
{
	const uint64_t one = 1;

	/* Failure means that it is full: the worker has been woken already. */
	if (shm->wake_fds && shm->wake_fds[slot] >= 0 &&
		write(shm->wake_fds[slot], &one, sizeof(one)) < 0)
		return;
}

void shm_wake_all(const struct shm *shm)
{
	for (unsigned i = 0; i < shm->header->nslots; i++)
		if (i != shm->slot)
			shm_wake(shm, i);
}

struct shm_gate *shm_gate_at(const struct shm *shm, unsigned gate)
{
	const struct shm_header *h = shm->header;

	if (gate >= SHM_HOUSE) {
		gate -= SHM_HOUSE;
		BUG_ON(gate > 2 * h->nclients);
		return shm_at(shm, h->house_at + (uint64_t)gate * h->gate_bytes);
	}
	BUG_ON(gate >= h->ngates);
	return shm_at(shm, h->gates_at + (uint64_t)gate * h->gate_bytes);
}

struct shm_window *shm_window_at(const struct shm *shm, unsigned window)
{
	const struct shm_header *h = shm->header;

	if (window >= SHM_HOUSE) {
		window -= SHM_HOUSE;
		BUG_ON(window >= h->nclients);
		return shm_at(shm, h->client_windows_at + window * sizeof(struct shm_window));
	}
	BUG_ON(window >= h->nwindows);
	return shm_at(shm, h->windows_at + window * sizeof(struct shm_window));
}

struct shm_standing *shm_standing_at(const struct shm *shm, unsigned provider)
{
	BUG_ON(provider >= shm->header->nproviders);
	return shm_at(shm, shm->header->standing_at + provider * sizeof(struct shm_standing));
}

struct shm_tokens *shm_tokens_at(const struct shm *shm, unsigned which)
{
	const struct shm_header *h = shm->header;

	if (which < SHM_HOUSE)
		return &shm_standing_at(shm, which)->tokens;
	BUG_ON(which - SHM_HOUSE >= h->nclients);
	return shm_at(shm, h->client_tokens_at + (which - SHM_HOUSE) * sizeof(struct shm_tokens));
}

unsigned shm_nslots(const struct shm *shm)
{
	return shm->header->nslots;
}

unsigned shm_ngates(const struct shm *shm)
{
	return atomic_load(&shm->header->gates_used);
}

unsigned shm_nwindows(const struct shm *shm)
{
	return atomic_load(&shm->header->windows_used);
}

unsigned shm_nproviders(const struct shm *shm)
{
	return atomic_load(&shm->header->providers_used);
}

const char *shm_gate_name(const struct shm *shm, unsigned gate)
{
	return shm_gate_at(shm, gate)->name;
}

const char *shm_window_name(const struct shm *shm, unsigned window)
{
	return shm_window_at(shm, window)->name;
}

const char *shm_provider_name(const struct shm *shm, unsigned provider)
{
	BUG_ON(provider >= shm->header->nproviders);
	return shm_at(shm, shm->header->providers_at + provider * SHM_NAME_BYTES);
}

int shm_master_pid(const struct shm *shm)
{
	return atomic_load(&shm->header->master_pid);
}

uint64_t shm_started_ms(const struct shm *shm)
{
	return shm->header->started_ms;
}

bool shm_draining(const struct shm *shm)
{
	return atomic_load(&shm->header->draining) != 0;
}

void shm_set_draining(struct shm *shm)
{
	atomic_store(&shm->header->draining, 1);
}
