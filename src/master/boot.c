/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot.c - see boot.h. In the order of what is most likely to fail: the address
 * first, then the run directory and the segment; nothing is forked before all of
 * it stands.
 */
#include "base/base.h"
#include "master/boot.h"

#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/limits.h"
#include "master/listen.h"
#include "master/master.h"
#include "master/notify.h"
#include "master/pidfile.h"
#include "master/proc.h"
#include "shm/segment.h"
#include "shm/stats.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define ERROR_BYTES 256

static bool open_log(struct master *m)
{
	const struct conf *conf = m->conf;

	if (*conf->log_file) {
		m->log_fd = open(conf->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
		if (m->log_fd < 0) {
			log_error("master", "'%s': cannot open logging.file: %s", conf->log_file,
				strerror(errno));
			return false;
		}
		if (m->privileges.drop && fchown(m->log_fd, m->privileges.uid, m->privileges.gid) < 0)
			log_warning("master", "'%s': cannot give it to the user of workers: %s",
				conf->log_file, strerror(errno));
	}
	conf_apply_logging(conf, m->log_fd < 0 ? STDERR_FILENO : m->log_fd);
	return true;
}

/* Every client and every request to a provider is a descriptor, and any worker may get all of them. */
static void check_descriptors(const struct conf *conf)
{
	uint64_t have = fd_set_limit(conf->rlimit_nofile);
	uint64_t want = conf_descriptors(conf);

	if (have < want)
		log_warning("master",
			"a worker may open %" PRIu64 " descriptors, the configured limits can need %" PRIu64
			": raise it (ulimit -Hn, LimitNOFILE=)",
			have, want);
}

static void check_backlog(const struct conf *conf)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
	uint64_t most;

	if (!f)
		return;
	if (fscanf(f, "%" SCNu64, &most) == 1 && most < conf->backlog)
		log_warning("master",
			"backlog is %" PRIu64 ", but the kernel cuts it to %" PRIu64
			": raise net.core.somaxconn",
			conf->backlog, most);
	fclose(f);
}

/* Nobody else may own or write the directory: who can replace the segment can break all limits. */
static bool make_run_dir(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0750) < 0 && errno != EEXIST) {
		log_error("master", "'%s': cannot make the run directory: %s", dir, strerror(errno));
		return false;
	}
	if (lstat(dir, &st) < 0) {
		log_error("master", "'%s': run directory: %s", dir, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) {
		log_error("master",
			"'%s': the run directory must be a directory (no link) of our own that nobody "
			"else may write to; set run_dir to another one",
			dir);
		return false;
	}
	return true;
}

static bool open_segment(struct master *m)
{
	char *path = conf_segment_path(m->conf);
	char *slash = strrchr(path, '/');
	char error[ERROR_BYTES];
	char *dir = slash && slash > path ? xmemdup0(path, (size_t)(slash - path)) : xstrdup("/");

	if (make_run_dir(dir)) {
		m->shm = limits_segment(m->conf, m->nslots, path, m->upgrade.elder, error);
		if (!m->shm)
			log_error("master", "%s", error);
		else {
			privileges_share(&m->privileges, dir);
			privileges_share(&m->privileges, path);
		}
	}
	free(dir);
	free(path);
	return m->shm != NULL;
}

/* Is our segment the one that our elder made? */
static bool is_adopted(const struct master *m)
{
	return m->upgrade.elder && m->shm && shm_is_adopted(m->shm);
}

static bool open_wakes(struct master *m)
{
	for (unsigned i = 0; i < m->nslots; i++) {
		if (is_adopted(m)) {
			m->wake_fds[i] = m->upgrade.wake_fds[i];
			continue;
		}
		m->wake_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (m->wake_fds[i] < 0)
			return false;
	}
	return pipe2(m->lifeline, O_CLOEXEC) == 0;
}

static int *no_fds(unsigned n)
{
	int *fds = xcalloc(n, sizeof(*fds));

	for (unsigned i = 0; i < n; i++)
		fds[i] = -1;
	return fds;
}

static bool open_pid_file(struct master *m)
{
	char error[ERROR_BYTES];
	int stale;

	if (m->upgrade.elder && pidfile_is(m->upgrade.pid_fd, m->conf->pid_file)) {
		m->pid_fd = m->upgrade.pid_fd; /* locked; it says our elder's pid until we are ready */
		return true;
	}
	m->pid_fd = pidfile_open(m->conf->pid_file, &stale, error);
	if (m->pid_fd < 0) {
		log_error("master", "%s", error);
		return false;
	}
	if (stale)
		log_info("master", "'%s' was left by pid %d, which runs no more: it is ours now",
			m->conf->pid_file, stale);
	if (!pidfile_write(m->pid_fd)) {
		log_error("master", "'%s': cannot write pid_file: %s", m->conf->pid_file, strerror(errno));
		return false;
	}
	return true;
}

void boot_reopen_log(struct master *m)
{
	int error = 0;

	if (m->log_fd < 0)
		return;
	error = fd_reopen_log(m->log_fd, m->conf->log_file, true);
	log_reopened();
	if (!error && m->privileges.drop && fchown(m->log_fd, m->privileges.uid, m->privileges.gid) < 0)
		error = -errno;
	if (error)
		log_error("master", "'%s': cannot open logging.file again: %s; lines go on into the old one",
			m->conf->log_file, strerror(-error));
	else
		log_info("master", "'%s' was opened again", m->conf->log_file);
	for (unsigned i = 0; i < m->nslots; i++)
		proc_signal(m, i, SIGUSR1);
	if (m->agent.pid)
		kill(m->agent.pid, SIGUSR1);
}

/* One generation serves, and some may drain. */
static unsigned slots_for(const struct conf *conf)
{
	uint64_t n = conf->workers * (1 + conf->max_generations);

	return n < PLAN_SLOTS_MAX ? (unsigned)n : PLAN_SLOTS_MAX;
}

static void make_tables(struct master *m)
{
	m->wake_fds = no_fds(m->nslots);
	m->ready_fds = no_fds(m->nslots);
	m->procs = xcalloc(m->nslots, sizeof(*m->procs));
	m->lives = xcalloc(m->nslots, sizeof(*m->lives));
	m->places = xcalloc(m->nslots, sizeof(*m->places));
	for (unsigned i = 0; i < m->nslots && is_adopted(m); i++)
		m->procs[i].foreign = !m->upgrade.usable[i];
	if (is_adopted(m))
		m->memory.newest = shm_generation(m->shm);
}

static void say_what_is_doubtful(const struct master *m)
{
	const struct conf *conf = m->conf;

	if (geteuid() == 0 && !*conf->user)
		log_warning("master", "workers run as root; set user to one that owns nothing");
	else if (*conf->user && !m->privileges.drop)
		log_info("master", "only root can run workers as another user; they run as we do");
	for (size_t i = 0; i < conf->warnings.count; i++)
		log_warning("conf", "%s", conf->warnings.text[i]);
	check_descriptors(conf);
	check_backlog(conf);
}

void boot_say_who_reaches(const struct conf *conf)
{
	if (!listen_is_local(conf->host) && (conf->allow_anonymous || !conf->nclients))
		log_warning("master",
			"chat.websocket.host is %s and clients need no key: anybody who reaches this "
			"address can use the providers",
			conf->host);
	if (*conf->admin_host && !listen_is_local(conf->admin_host))
		log_warning("master", "admin.listen is %s: anybody who reaches this address sees /status and /metrics",
			conf->admin_listen);
}

static void count_loss(void)
{
	stat_add(STAT_LOG_LOST, 1);
}

int boot(struct master *m)
{
	const struct conf *conf = m->conf;
	char error[ERROR_BYTES];

	m->nslots = slots_for(conf);
	m->lifeline[0] = m->lifeline[1] = m->log_fd = m->pid_fd = -1;
	log_who("master");
	umask(027);
	if (!upgrade_inherit(m, error) || !privileges_find(conf, &m->privileges, error)) {
		log_error("master", "%s", error);
		return EXIT_FAILURE;
	}
	if (!open_log(m))
		return EXIT_FAILURE;
	privileges_limit_core(conf->core_dumps);
	say_what_is_doubtful(m);
	boot_say_who_reaches(conf);
	if (!doors_open(m))
		return EXIT_FAILURE;
	if (!(m->upgrade.elder && upgrade_adopt(m)) && !open_segment(m))
		return EXIT_FAILURE;
	make_tables(m);
	if (!open_pid_file(m))
		return EXIT_FAILURE;
	if (!open_wakes(m)) {
		log_error("master", "no descriptors for %u workers: %s; raise their limit (ulimit -n, LimitNOFILE=)",
			m->doors.serving.n, strerror(errno));
		return EXIT_FAILURE;
	}
	shm_bind(m->shm, SHM_MASTER, m->wake_fds);
	log_on_loss(count_loss);
	limits_apply(m->shm, conf);
	return EXIT_SUCCESS;
}

/* Seconds as Python writes a float, which is how the seed's lines look: 5.0, 0.25. */
static const char *seconds_text(uint64_t ms, char out[32])
{
	snprintf(out, 32, ms % 100 ? "%.3f" : "%.1f", (double)ms / 1000);
	if (ms % 100 && ms % 10 == 0)
		out[strlen(out) - 1] = 0;
	return out;
}

void boot_announce(const struct master *m)
{
	const struct conf *conf = m->conf;
	char seconds[32];

	log_info("http",
		"WebSocket server configured with max_connections=%" PRIu64 ", queue_size=%" PRIu64
		", uvicorn_backlog=%" PRIu64,
		conf->max_connections, conf->connection_queue_size, conf->backlog);
	for (unsigned i = 0; i < conf->nproviders; i++) {
		const struct conf_provider *p = &conf->providers[i];

		log_info("provider",
			"LLM HTTP client configured with max_connections=%" PRIu64
			", concurrent_requests=%" PRIu64 ", pool_timeout=%ss",
			p->pool_max_connections, p->concurrent_requests,
			seconds_text(p->pool_timeout_ms, seconds));
	}
	boot_announce_doors(m);
}

void boot_announce_doors(const struct master *m)
{
	const struct doors *doors = &m->doors.serving;

	if (doors->admin.n)
		log_info("master", "live statistics at %s/status", doors->admin.url);
	log_info("master", "listening on http%s%s (%u workers)", *m->conf->tls_certificate ? "s" : "",
		strchr(doors->main.url, ':'), doors->n);
}

void boot_undo(struct master *m)
{
	doors_release(m);
	if (m->ready_fds) {
		listen_close(m->ready_fds, m->nslots);
		listen_close(m->wake_fds, m->nslots);
	}
	fd_close(&m->lifeline[0]);
	fd_close(&m->lifeline[1]);
	/* what another master works with is not ours to remove */
	log_on_loss(NULL);
	if (m->shm)
		shm_close(m->shm, shm_master_pid(m->shm) == getpid());
	upgrade_release(&m->upgrade);
	pidfile_remove(m->pid_fd, m->conf->pid_file);
	fd_close(&m->pid_fd);
	fd_close(&m->detached_fd);
	free(m->wake_fds);
	free(m->ready_fds);
	free(m->procs);
	free(m->lives);
	free(m->places);
	log_setup(STDERR_FILENO, LOG_INFO, LOG_CONSOLE);
	fd_close(&m->log_fd);
}
