/* SPDX-License-Identifier: BSD-2-Clause */
/* agent.c - see agent.h. */
#include "base/base.h"
#include "master/agent.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "cluster/agent.h"
#include "conf/conf.h"
#include "master/daemon.h"
#include "master/master.h"
#include "shm/lease.h"
#include "shm/segment.h"
#include "shm/stats.h"
#include "worker/worker.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 5000u
#define HEALTHY_MS 10000u /* who lives this long makes quick deaths forgotten */
#define PREDECESSOR_MS 20u
#define END_MS 800u

static NORETURN void become_agent(struct master *m)
{
	static const int reset[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
	const struct doors none = { 0 };
	struct agent_heritage heritage = { .conf = m->conf, .shm = m->shm, .wake_fds = m->wake_fds,
		.lifeline_fd = m->lifeline[0], .log_fd = m->log_fd };

	for (size_t i = 0; i < ARRAY_SIZE(reset); i++)
		signal(reset[i], SIG_DFL);
	fd_close(&m->lifeline[1]);
	fd_close(&m->pid_fd);
	if (m->detached_fd >= 0)
		daemon_be_silent();
	fd_close(&m->detached_fd);
	for (unsigned i = 0; i < m->nslots; i++)
		fd_close(&m->ready_fds[i]);
	doors_keep_only(m, &none);
	if (!privileges_drop(&m->privileges, m->conf->core_dumps))
		exit(WORKER_EXIT_SETUP);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* beside the lifeline: also when it is stopped */
	exit(agent_main(&heritage));
}

/* Claim: what only the agent keeps, so that it ends with it. */
static void spawn(struct master *m, uint64_t now_ms, int claim)
{
	pid_t pid;

	fflush(NULL);
	m->agent.spawned_ms = now_ms;
	pid = fork();
	if (pid == 0)
		become_agent(m);
	close(claim);
	if (pid < 0) {
		log_error("master", "cannot start the cluster agent: %s", strerror(errno));
		m->agent.spawn_ms = now_ms + BACKOFF_MAX_MS;
		return;
	}
	m->agent.pid = pid;
	cluster_set_agent(m->shm, pid);
	log_debug("master", "cluster agent: started, pid %d", (int)pid);
}

uint64_t agent_tend(struct master *m, uint64_t now_ms)
{
	struct agent_proc *agent = &m->agent;
	int claim;

	if (agent->pid || !shm_is_clustered(m->shm) || m->upgrade.handed_over || shm_is_adopted(m->shm))
		return UINT64_MAX;
	if (now_ms < agent->spawn_ms)
		return agent->spawn_ms;
	claim = shm_claim_leases(m->shm);
	if (claim == -EWOULDBLOCK) /* the agent of the master before us */
		return now_ms + PREDECESSOR_MS;
	if (claim < 0) {
		log_error("master", "cannot start the cluster agent: the segment's file: %s", strerror(-claim));
		return agent->spawn_ms = now_ms + BACKOFF_MAX_MS;
	}
	spawn(m, now_ms, claim);
	return agent->pid ? UINT64_MAX : agent->spawn_ms;
}

bool agent_reaped(struct master *m, int pid, int status)
{
	struct agent_proc *agent = &m->agent;
	uint64_t now_ms = clock_ms(), wait_ms = BACKOFF_MIN_MS;

	if (!agent->pid || pid != agent->pid)
		return false;
	agent->pid = 0;
	cluster_unset_agent(m->shm, pid);
	if (now_ms - agent->spawned_ms >= HEALTHY_MS)
		agent->quick_deaths = 0;
	for (unsigned i = 0; i < agent->quick_deaths && wait_ms < BACKOFF_MAX_MS; i++)
		wait_ms *= 2;
	agent->quick_deaths++;
	agent->spawn_ms = now_ms + (wait_ms < BACKOFF_MAX_MS ? wait_ms : BACKOFF_MAX_MS);
	stat_add(STAT_CLUSTER_AGENT_DEATHS, 1);
	log_warning("master", "cluster agent: pid %d ended after %.1f s: %s %d; leases stand meanwhile", pid,
		(double)(now_ms - agent->spawned_ms) / 1000, WIFSIGNALED(status) ? "signal" : "exit code",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return true;
}

/* Whether it is gone by then. */
static bool await(int pid, uint64_t until_ms)
{
	const struct timespec moment = { 0, 5000000 };

	while (waitpid(pid, NULL, WNOHANG) == 0) {
		if (clock_ms() >= until_ms)
			return false;
		nanosleep(&moment, NULL);
	}
	return true;
}

static void stop(struct master *m, int signo)
{
	int pid = m->agent.pid;

	if (!pid)
		return;
	m->agent.pid = 0;
	kill(pid, signo);
	kill(pid, SIGCONT);
	if (!await(pid, clock_ms() + END_MS)) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	cluster_unset_agent(m->shm, pid);
}

void agent_hand_over(struct master *m)
{
	stop(m, SIGKILL);
}

void agent_end(struct master *m)
{
	stop(m, SIGTERM);
}
