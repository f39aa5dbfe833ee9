/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.c - what a permit costs: processes that contend for one gate of a real segment (src/shm/gate.h) for so long.
 * Who has to wait sleeps until its wake descriptor is written, as a worker does.
 *
 *	gate contend PROCESSES PERMITS MS	each arrives and leaves as fast as it can
 *	gate cross PROCESSES PERMITS MS		each stands in line again before it leaves: every grant goes to another process
 *	gate wakes 2 0 MS			two that wake each other and do nothing else: the floor of a grant that crosses
 *
 * Prints one line of JSON: pairs of arrive and leave, those that had to wait, how often a wake descriptor was written,
 * processor time of all. Fails if a permit is lost.
 */
#include "wire.h"

#include "base/base.h"
#include "shm/gate.h"
#include "shm/reclaim.h"
#include "shm/segment.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define CONTENDERS_MAX 64
#define LOOKS 64 /* pairs between two looks at the clock */

enum mode { CONTEND, CROSS, WAKES, MODES };
static const char *const mode_names[MODES] = { "contend", "cross", "wakes" };
static enum mode mode;

/* What they tell, in a mapping of all; a line of cache each. */
struct told {
	_Alignas(64) uint64_t pairs, waits, wakes;
};
struct common {
	_Atomic unsigned there;
	_Atomic uint64_t began_ns; /* by the last one to come */
	struct told told[CONTENDERS_MAX];
};
static struct common *common;
static unsigned contenders;
static uint64_t ms;
static int wake_fds[CONTENDERS_MAX];
static char dir[] = "/dev/shm/headgate-bench-XXXXXX", path[sizeof(dir) + 16];

static void note(struct gate_ticket *ticket, void *arg)
{
	(void)ticket;
	(void)arg;
}

/* Sleep until somebody wakes us; how often that was done. */
static uint64_t sleep_at(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, 10) != 1 || read(fd, &n, sizeof(n)) < 0)
		return 0;
	return n;
}

static void leave(struct gate_line *line, struct gate_ticket *ticket)
{
	if (ticket->state != TICKET_IDLE)
		gate_leave(line, ticket);
}

/* A waiting ticket becomes a held one. False: the time was over before. */
static bool wait_for(struct gate_line *line, struct gate_ticket *ticket, int fd, uint64_t until_ns, struct told *mine)
{
	mine->waits++;
	while (ticket->state == TICKET_WAITING && now_ns() < until_ns) {
		if (!gate_pending(line))
			mine->wakes += sleep_at(fd);
		gate_poll(line);
	}
	mine->pairs += ticket->state == TICKET_HELD;
	return ticket->state == TICKET_HELD;
}

/* Until all are there; when it is over. */
static uint64_t begin(void)
{
	uint64_t began;

	if (atomic_fetch_add(&common->there, 1) + 1 == contenders)
		atomic_store(&common->began_ns, now_ns());
	while (!(began = atomic_load(&common->began_ns)))
		sched_yield();
	return began + ms * 1000000;
}

static void contend(struct shm *shm, unsigned slot)
{
	struct gate_ticket tickets[2] = { 0 }, *now = &tickets[0], *next = &tickets[mode == CROSS];
	struct gate_line *line;
	struct told mine = { 0 };
	uint64_t until_ns;

	shm_bind(shm, slot, wake_fds);
	shm_slot_set_state(shm, slot, SLOT_READY);
	line = gate_line_open(shm, SHM_GATE_PLACES, note, NULL);
	/* all stand in line, or have a permit, before the first one leaves */
	if (gate_arrive(line, now))
		mine.pairs++;
	until_ns = begin();
	while (now->state == TICKET_HELD || wait_for(line, now, wake_fds[slot], until_ns, &mine)) {
		struct gate_ticket *left = now;

		if (mine.pairs % LOOKS == 0 && now_ns() >= until_ns)
			break;
		if (mode == CONTEND)
			leave(line, left);
		if (gate_arrive(line, next))
			mine.pairs++;
		if (mode == CROSS)
			leave(line, left);
		now = next;
		next = left;
	}
	leave(line, &tickets[0]);
	leave(line, &tickets[1]);
	gate_line_close(line);
	common->told[slot] = mine;
}

/* The ball goes to and fro. */
static void play(unsigned slot)
{
	const uint64_t one = 1;
	struct told mine = { 0 };
	uint64_t until_ns = begin();

	while (now_ns() < until_ns) {
		uint64_t n = sleep_at(wake_fds[slot]);

		mine.pairs += n != 0;
		mine.wakes += n;
		if (n && write(wake_fds[1 - slot], &one, sizeof(one)) < 0)
			break;
	}
	common->told[slot] = mine;
}

static struct shm *make_segment(uint64_t permits)
{
	const struct shm_gate_spec gate = { "bench", permits };
	const struct shm_spec spec = { .nslots = contenders, .ngates = 1, .gates = &gate };
	char error[256];
	struct shm *shm;

	if (!mkdtemp(dir))
		die(dir);
	snprintf(path, sizeof(path), "%s/segment", dir);
	shm = shm_create(path, &spec, error);
	if (!shm) {
		fprintf(stderr, "gate: %s\n", error);
		exit(1);
	}
	shm_bind(shm, SHM_MASTER, wake_fds);
	return shm;
}

/* All permits are back, and the books say so. */
static bool all_came_back(struct shm *shm)
{
	char text[512] = "";
	struct gate_reading r;
	bool good;

	gate_read(shm, SHM_GATE_PLACES, &r);
	good = r.used == 0 && shm_check(shm, 1000, text) == 0;
	if (!good)
		fprintf(stderr, "gate: %" PRIu64 " permits did not come back; %s\n", r.used, text);
	shm_close(shm, true);
	rmdir(dir);
	return good;
}

static bool run(struct shm *shm)
{
	bool good = true;
	int status;

	for (unsigned i = 0; i < contenders; i++) {
		pid_t pid;

		if (shm)
			(void)shm_slot_claim(shm, i, now_ns() / 1000000);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (shm)
				contend(shm, i);
			else
				play(i);
			_exit(0);
		}
		if (shm)
			shm_slot_set_pid(shm, i, pid);
	}
	while (wait(&status) > 0)
		good = good && status == 0;
	return good;
}

static void print_told(void)
{
	struct told sum = { 0 };
	struct rusage use;
	double cpu_s;

	for (unsigned i = 0; i < contenders; i++) {
		uint64_t rest;

		sum.pairs += common->told[i].pairs;
		sum.waits += common->told[i].waits;
		sum.wakes += common->told[i].wakes;
		if (read(wake_fds[i], &rest, sizeof(rest)) == sizeof(rest))
			sum.wakes += rest;
	}
	getrusage(RUSAGE_CHILDREN, &use);
	cpu_s = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
		(double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
	printf("{\"seconds\":%.3f,\"pairs\":%" PRIu64 ",\"waits\":%" PRIu64 ",\"wakes\":%" PRIu64 ",\"cpu_s\":%.4f}\n",
		(double)ms / 1000, sum.pairs, sum.waits, sum.wakes, cpu_s);
}

int main(int argc, char **argv)
{
	uint64_t permits = argc == 5 ? strtoull(argv[3], NULL, 10) : 0;
	struct shm *shm = NULL;
	bool good;

	contenders = argc == 5 ? (unsigned)atoi(argv[2]) : 0;
	ms = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
	while (argc == 5 && mode < MODES && strcmp(argv[1], mode_names[mode]))
		mode++;
	if (argc != 5 || mode == MODES || !contenders || contenders > CONTENDERS_MAX || !ms ||
		(mode == WAKES ? contenders != 2 : !permits)) {
		fprintf(stderr, "usage: gate MODE PROCESSES (1..%d) PERMITS MS (see gate.c)\n", CONTENDERS_MAX);
		return 2;
	}
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (common == MAP_FAILED)
		die("mmap");
	for (unsigned i = 0; i < contenders; i++)
		wake_fds[i] = eventfd(mode == WAKES && !i, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mode != WAKES)
		shm = make_segment(permits);
	good = run(shm);
	print_told();
	if (shm)
		good = all_came_back(shm) && good;
	return !good;
}
