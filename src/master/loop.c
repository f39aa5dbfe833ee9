/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.c - the master's loop: wait, gather the facts, ask plan_step(), carry it out.
 *
 * Signals are blocked everywhere but in ppoll(), so their handlers only leave a
 * note, and no other line of the master is ever interrupted.
 */
#include "base/base.h"
#include "master/master.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/boot.h"
#include "master/daemon.h"
#include "master/notify.h"
#include "master/plan.h"
#include "master/proc.h"
#include "master/reload.h"
#include "shm/segment.h"

#include <poll.h>
#include <signal.h>

static const int handled[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
static volatile sig_atomic_t came[NSIG];

static void take_note(int signo)
{
	came[signo] = 1;
}

static bool had(int signo)
{
	bool yes = came[signo];

	came[signo] = 0;
	return yes;
}

static void handle_signals(void)
{
	struct sigaction sa = { .sa_handler = take_note };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		sigaddset(&set, handled[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sa.sa_mask = set;
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		sigaction(handled[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Sleep until a signal, a ready pipe or the time that the plan asked for. */
static void wait_for_news(struct master *m, uint64_t wake_ms)
{
	struct pollfd fds[PLAN_SLOTS_MAX + 1];
	unsigned slots[PLAN_SLOTS_MAX];
	struct timespec timeout = { 0 };
	nfds_t n = 0;
	sigset_t none;
	uint64_t now = clock_ms(), wait;

	for (unsigned i = 0; i < m->nslots; i++) {
		if (m->ready_fds[i] < 0)
			continue;
		slots[n] = i;
		fds[n++] = (struct pollfd){ .fd = m->ready_fds[i], .events = POLLIN };
	}
	if (m->upgrade.child_fd >= 0)
		fds[n] = (struct pollfd){ .fd = m->upgrade.child_fd, .events = POLLIN };
	wait = wake_ms > now ? wake_ms - now : 0;
	timeout.tv_sec = (time_t)(wait / 1000);
	timeout.tv_nsec = (long)(wait % 1000) * 1000000;
	sigemptyset(&none);
	if (ppoll(fds, n + (m->upgrade.child_fd >= 0), wake_ms == PLAN_NEVER ? NULL : &timeout, &none) <= 0)
		return;
	if (m->upgrade.child_fd >= 0 && fds[n].revents)
		upgrade_hear(m);
	for (nfds_t i = 0; i < n; i++) {
		if (fds[i].revents)
			proc_hear(m, slots[i]);
	}
}

static void close_doors(struct master *m)
{
	notify_stopping();
	shm_set_draining(m->shm);
	doors_close(m);
}

/* Carry out; the exit status once the plan says to leave, else -1. */
static int carry_out(struct master *m, const struct plan_out *out)
{
	for (unsigned i = 0; i < out->nactions; i++) {
		const struct plan_action *a = &out->action[i];

		switch (a->verb) {
		case PLAN_RECLAIM_AUDIT:
			proc_audit(m);
			break;
		case PLAN_SPAWN:
			proc_spawn(m, a->slot);
			break;
		case PLAN_KILL:
			log_error("master", "worker %u: no heartbeat for worker_timeout (%" PRIu64
				" ms): killed", a->slot, m->conf->worker_timeout_ms);
			proc_signal(m, a->slot, SIGKILL);
			break;
		case PLAN_SIGNAL:
			proc_signal(m, a->slot, a->value);
			break;
		case PLAN_READY:
			shm_set_generation(m->shm, m->memory.serving);
			boot_announce(m);
			upgrade_take_over(m);
			daemon_ready(&m->detached_fd);
			notify_ready();
			break;
		case PLAN_ROLL:
			reload_begin(m, (unsigned)a->value);
			break;
		case PLAN_TOOK_OVER:
			reload_done(m, (unsigned)a->value);
			notify_ready();
			break;
		case PLAN_ROLL_BACK:
			reload_undo(m, (unsigned)a->value);
			notify_ready();
			break;
		case PLAN_WAIT:
			log_warning("master", "reload: new workers wait until a generation that drains has left "
				"(max_generations)");
			break;
		case PLAN_LEAVE_DOORS:
			doors_close(m);
			break;
		case PLAN_ANNOUNCE:
			notify_stopping();
			shm_set_draining(m->shm);
			break;
		case PLAN_SHUT_DOORS:
			doors_shut(m);
			break;
		case PLAN_CLOSE_DOORS:
			close_doors(m);
			break;
		case PLAN_EXIT:
			return a->value;
		}
	}
	return -1;
}

static void say_stage(enum plan_stage stage)
{
	static const char *const text[] = {
		[PLAN_ANNOUNCING] = "about to drain: /health/ready says so for drain_delay, all goes on until then",
		[PLAN_DRAINING] = "draining: running requests end, nothing new is taken",
		[PLAN_STOPPING] = "stopping",
		[PLAN_KILLING] = "killing the workers that are left",
	};

	if (stage < ARRAY_SIZE(text) && text[stage])
		log_info("master", "%s", text[stage]);
}

static uint64_t earliest(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t least = a < b ? a : b;

	return least < c ? least : c;
}

static int run(struct master *m)
{
	struct plan_in in = {
		.nslots = m->nslots,
		.procs = m->procs,
		.max_generations = (unsigned)m->conf->max_generations,
	};
	struct plan_out out;
	uint64_t watch_ms;
	int status = -1;
	bool entered;

	while (status < 0) {
		if (had(SIGCHLD))
			proc_reap(m);
		if (had(SIGUSR1))
			boot_reopen_log(m);
		in.reload = had(SIGHUP) && m->memory.stage < PLAN_DRAINING && reload(m);
		if (had(SIGUSR2))
			upgrade_start(m);
		in.now_ms = clock_ms();
		watch_ms = earliest(upgrade_watch(m, in.now_ms), doors_watch(m, in.now_ms),
			earliest(agent_tend(m, in.now_ms), notify_watchdog(in.now_ms), UINT64_MAX));
		proc_feel_hearts(m);
		in.worker_timeout_ms = m->conf->worker_timeout_ms;
		in.shutdown_timeout_ms = m->conf->shutdown_timeout_ms;
		in.drain_timeout_ms = m->conf->drain_timeout_ms;
		in.drain_delay_ms = m->conf->drain_delay_ms;
		in.stop = had(SIGTERM) | had(SIGINT);
		in.drain = had(SIGQUIT);
		if (in.stop || in.drain)
			upgrade_call_off(m);
		in.handed_over = m->upgrade.handed_over;
		in.audit_owed = m->audit_owed;
		in.ndoors = (unsigned)(m->pending ? m->pending->workers : m->doors.serving.n);
		in.memory = m->memory;
		plan_step(&in, &out);
		entered = out.memory.stage != m->memory.stage;
		m->memory = out.memory;
		status = carry_out(m, &out);
		if (entered) /* it is so by now */
			say_stage(out.memory.stage);
		if (status < 0)
			wait_for_news(m, out.wake_ms < watch_ms ? out.wake_ms : watch_ms);
	}
	return status;
}

bool master_is_upgrade(void)
{
	return getenv("HEADGATE_UPGRADE") != NULL;
}

int master_run(struct conf *conf, int detached_fd, char **argv)
{
	struct master m = { .conf = conf, .detached_fd = detached_fd, .argv = argv };
	int status;

	handle_signals();
	status = boot(&m);
	if (status == EXIT_SUCCESS) {
		status = run(&m);
		agent_end(&m);
		log_info("master", "stopped");
	}
	boot_undo(&m);
	conf_free(m.pending);
	conf_free(m.coming);
	conf_free(m.conf);
	return status;
}
