/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proc.c - see proc.h. proc_reap() is the one place where a worker's death is
 * noticed, and so the one place where what it held comes back.
 */
#include "base/base.h"
#include "master/proc.h"

#include "base/bug.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/daemon.h"
#include "master/limits.h"
#include "master/master.h"
#include "shm/reclaim.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/heritage.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* The configuration of its generation. */
static const struct conf *conf_of(const struct master *m, unsigned slot)
{
	return m->coming && m->memory.slot[slot].generation == m->memory.coming ? m->coming : m->conf;
}

/* And where it accepts. */
static const struct doors *doors_of(const struct master *m, unsigned slot)
{
	return m->coming && m->memory.slot[slot].generation == m->memory.coming ? &m->doors.coming :
										  &m->doors.serving;
}

/*
 * The child's side of fork. Signals stay blocked: what the master sends while the
 * worker is being set up waits until worker_main() is ready to hear it.
 */
static NORETURN void become_worker(struct master *m, unsigned slot, int ready_fd)
{
	static const int reset[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
	const struct doors *doors = doors_of(m, slot);
	struct heritage heritage = {
		.conf = conf_of(m, slot),
		.shm = m->shm,
		.slot = slot,
		.generation = m->lives[slot],
		.door = m->memory.slot[slot].door,
		.ndoors = doors->n,
		.wake_fds = m->wake_fds,
		.listen_fds = doors->main.fds,
		.nlisten = doors->main.n,
		.admin_fd = doors->admin.n ? doors->admin.fds[0] : -1,
		.nslots = m->nslots,
		.ready_fd = ready_fd,
		.lifeline_fd = m->lifeline[0],
		.log_fd = m->log_fd,
	};

	for (size_t i = 0; i < ARRAY_SIZE(reset); i++)
		signal(reset[i], SIG_DFL);
	fd_close(&m->lifeline[1]);
	fd_close(&m->pid_fd); /* the lock stays the master's */
	if (m->detached_fd >= 0)
		daemon_be_silent(); /* who waits for the end of our output waits for the master's */
	fd_close(&m->detached_fd);
	for (unsigned i = 0; i < m->nslots; i++)
		fd_close(&m->ready_fds[i]);
	doors_keep_only(m, doors);
	if (!privileges_drop(&m->privileges, m->conf->core_dumps))
		exit(WORKER_EXIT_SETUP);
	crash_point_arm(slot, m->lives[slot]);
	exit(worker_main(&heritage));
}

static void count_death(struct plan_proc *proc)
{
	proc->pid = 0;
	proc->deaths++;
	proc->ended_ms = clock_ms();
}

void proc_spawn(struct master *m, unsigned slot)
{
	struct plan_proc *proc = &m->procs[slot];
	int pipe_fds[2] = { -1, -1 };
	pid_t pid = -1;

	proc->ready = proc->setup_failed = false;
	proc->heartbeat_ms = 0;
	proc->spawned_ms = clock_ms();
	m->lives[slot] = shm_slot_claim(m->shm, slot, proc->spawned_ms);
	m->places[slot] = limits_places(conf_of(m, slot));
	shm_slot_set_duty(m->shm, slot, m->memory.slot[slot].door, m->memory.slot[slot].generation);
	fflush(NULL);
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0)
		pid = fork();
	if (pid == 0) {
		fd_close(&pipe_fds[0]);
		become_worker(m, slot, pipe_fds[1]);
	}
	if (pid < 0) {
		log_error("master", "cannot start worker %u: %s", slot, strerror(errno));
		fd_close(&pipe_fds[0]);
		fd_close(&pipe_fds[1]);
		shm_reclaim(m->shm, slot);
		m->audit_owed = true;
		count_death(proc);
		return;
	}
	fd_close(&pipe_fds[1]);
	m->ready_fds[slot] = pipe_fds[0];
	proc->pid = pid;
	shm_slot_set_pid(m->shm, slot, pid);
	log_debug("master", "worker %u: started, pid %d, generation %u", slot, (int)pid, m->lives[slot]);
}

void proc_hear(struct master *m, unsigned slot)
{
	char byte;
	ssize_t n = read(m->ready_fds[slot], &byte, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1) {
		m->procs[slot].ready = true;
		log_debug("master", "worker %u: ready", slot);
		if (m->memory.stage == PLAN_SERVING &&
			m->memory.slot[slot].generation == m->memory.serving)
			log_info("master", "worker %u: pid %d took its place, generation %u", slot,
				m->procs[slot].pid, m->lives[slot]);
	}
	fd_close(&m->ready_fds[slot]);
}

void proc_feel_hearts(struct master *m)
{
	struct slot_reading reading;

	for (unsigned i = 0; i < m->nslots; i++) {
		if (!m->procs[i].pid)
			continue;
		shm_slot_read(m->shm, i, &reading);
		m->procs[i].heartbeat_ms = reading.heartbeat_ms;
	}
}

void proc_signal(const struct master *m, unsigned slot, int signo)
{
	if (m->procs[slot].pid)
		kill(m->procs[slot].pid, signo);
}

/* "killed by signal 11 (Segmentation fault), core dumped" */
static const char *how_it_ended(int status, char *text, size_t bytes)
{
	if (WIFSIGNALED(status))
		snprintf(text, bytes, "killed by signal %d (%s)%s", WTERMSIG(status),
			strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
	else
		snprintf(text, bytes, "exit code %d", WEXITSTATUS(status));
	return text;
}

/*
 * One line about a life. A worker that was told to leave is no news; one that somebody
 * killed is a warning; one that fell by itself is an error.
 */
static void write_obituary(const struct master *m, unsigned slot, int pid, int status)
{
	const struct plan_proc *proc = &m->procs[slot];
	const char *words = shm_slot_last_words(m->shm, slot);
	bool left = (m->memory.stage >= PLAN_DRAINING || m->memory.slot[slot].leave_ms) &&
		    WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_OK;
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	char how[96], recovered[64] = "not counted yet";

	if (!left)
		stat_add(STAT_WORKER_DEATHS, 1);
	if (!m->audit_owed)
		snprintf(recovered, sizeof(recovered), "%" PRIu64, m->recovered);
	log_line(left ? LOG_INFO : killed ? LOG_WARNING : LOG_ERROR, "master",
		"worker %u: pid %d, generation %u, ended after %.1f s: %s; last words: %s; permits "
		"recovered: %s",
		slot, pid, m->lives[slot], (double)(proc->ended_ms - proc->spawned_ms) / 1000,
		how_it_ended(status, how, sizeof(how)), *words ? words : "none", recovered);
}

static int slot_of_pid(const struct master *m, int pid)
{
	for (unsigned i = 0; i < m->nslots; i++) {
		if (m->procs[i].pid == pid)
			return (int)i;
	}
	return -1;
}

static void try_audit(struct master *m)
{
	m->audit_owed = !shm_reclaim_audit(m->shm, &m->recovered);
}

void proc_audit(struct master *m)
{
	try_audit(m);
	if (m->audit_owed)
		return;
	log_info("master", "permits recovered from dead workers: %" PRIu64, m->recovered);
	m->recovered = 0;
}

void proc_reap(struct master *m)
{
	struct dead {
		unsigned slot;
		int pid, status;
	} dead[PLAN_SLOTS_MAX];
	unsigned ndead = 0;
	int pid, status;

	while (ndead < ARRAY_SIZE(dead) && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		int slot = slot_of_pid(m, pid);

		if (slot < 0) {
			if (!agent_reaped(m, pid, status))
				upgrade_reaped(m, pid, status);
			continue;
		}
		if (m->ready_fds[slot] >= 0)
			proc_hear(m, (unsigned)slot); /* it may have become ready just before */
		fd_close(&m->ready_fds[slot]);
		m->procs[slot].setup_failed = WIFEXITED(status) &&
					      WEXITSTATUS(status) == WORKER_EXIT_SETUP;
		count_death(&m->procs[slot]);
		shm_reclaim(m->shm, (unsigned)slot);
		dead[ndead++] = (struct dead){ (unsigned)slot, pid, status };
	}
	if (!ndead)
		return;
	try_audit(m);
	/* what several held who died together is counted with the first of them */
	for (unsigned i = 0; i < ndead; i++) {
		write_obituary(m, dead[i].slot, dead[i].pid, dead[i].status);
		if (!m->audit_owed)
			m->recovered = 0;
	}
}
