/* SPDX-License-Identifier: BSD-2-Clause */
/* upgrade.c - see upgrade.h. The elder tells the new one by an environment variable, as nginx does. */
#include "base/base.h"
#include "master/upgrade.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conf/conf.h"
#include "master/limits.h"
#include "master/master.h"
#include "master/notify.h"
#include "master/pidfile.h"
#include "shm/lease.h"
#include "shm/reclaim.h"
#include "shm/segment.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define ERROR_BYTES 256
#define VARIABLE "HEADGATE_UPGRADE"
#define WATCH_MS 100
/* A new binary that is neither ready nor dead by then is stopped. */
#define TIMEOUT_MS 60000
#define FDS_MAX 256u

/* ---- the elder ------------------------------------------------------------------------ */

static void add_list(struct buf *out, const char *name, const int *fds, unsigned n)
{
	buf_addf(out, " %s=", name);
	for (unsigned i = 0; i < n; i++)
		buf_addf(out, "%s%d", i ? "," : "", fds[i]);
}

/* Slots that nobody of ours is in, or comes into. */
static void lend_slots(struct master *m, struct buf *out)
{
	int *usable = xcalloc(m->nslots, sizeof(*usable));

	for (unsigned i = 0; i < m->nslots; i++) {
		usable[i] = !m->memory.slot[i].generation && !m->procs[i].pid && !m->procs[i].foreign;
		m->procs[i].foreign |= usable[i];
	}
	add_list(out, "usable", usable, m->nslots);
	free(usable);
}

static void keep_open(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

static NORETURN void become_the_new_one(struct master *m, int ready_fd, const char *heritage)
{
	sigset_t none;

	const struct doors *doors = &m->doors.serving;

	for (unsigned i = 0; i < doors->main.n; i++)
		keep_open(doors->main.fds[i]);
	for (unsigned i = 0; i < m->nslots; i++)
		keep_open(m->wake_fds[i]);
	for (unsigned i = 0; i < doors->admin.n; i++)
		keep_open(doors->admin.fds[i]);
	keep_open(m->pid_fd);
	keep_open(ready_fd);
	setenv(VARIABLE, heritage, 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(m->argv[0], m->argv);
	log_error("master", "upgrade: '%s': %s", m->argv[0], strerror(errno));
	_exit(127);
}

static const char *why_not_now(const struct master *m)
{
	if (m->upgrade.child)
		return "one is under way";
	if (m->upgrade.elder)
		return "the one before is not over: the old master still drains";
	if (m->memory.stage != PLAN_SERVING || m->memory.coming || m->memory.reload_wanted ||
		m->doors.leaving.n)
		return "workers are being started or stopped; try again in a moment";
	return NULL;
}

void upgrade_start(struct master *m)
{
	const char *why = why_not_now(m);
	struct buf heritage = BUF_INIT;
	int fds[2] = { -1, -1 };
	pid_t pid = -1;

	if (why) {
		log_warning("master", "upgrade: not now: %s", why);
		return;
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		log_error("master", "upgrade: %s", strerror(errno));
		return;
	}
	buf_addf(&heritage, "elder=%d ready=%d pidfile=%d", (int)getpid(), fds[1], m->pid_fd);
	add_list(&heritage, "listen", m->doors.serving.main.fds, m->doors.serving.main.n);
	buf_addf(&heritage, " given=%u", m->doors.serving.main.ngiven);
	add_list(&heritage, "admin", m->doors.serving.admin.fds, m->doors.serving.admin.n);
	add_list(&heritage, "wake", m->wake_fds, m->nslots);
	lend_slots(m, &heritage);
	log_info("master", "upgrade: starting '%s'", m->argv[0]);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		become_the_new_one(m, fds[1], heritage.data);
	buf_release(&heritage);
	fd_close(&fds[1]);
	if (pid < 0) {
		log_error("master", "upgrade: %s", strerror(errno));
		fd_close(&fds[0]);
		return;
	}
	m->upgrade.child = pid;
	m->upgrade.child_fd = fds[0];
	m->upgrade.since_ms = clock_ms();
}

void upgrade_hear(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char byte;
	ssize_t n = read(u->child_fd, &byte, 1);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	fd_close(&u->child_fd);
	if (n != 1)
		return; /* it is dying: upgrade_reaped() tells */
	log_info("master", "upgrade: pid %d serves; we drain", u->child);
	notify_main_pid(u->child);
	u->handed_over = true;
	u->child = 0;
	agent_hand_over(m);
}

void upgrade_reaped(struct master *m, int pid, int status)
{
	if (pid != m->upgrade.child)
		return;
	m->upgrade.child = 0;
	fd_close(&m->upgrade.child_fd);
	log_error("master", "upgrade: the new binary (pid %d) ended before it served (%s %d); we go on", pid,
		WIFSIGNALED(status) ? "signal" : "exit code",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void upgrade_call_off(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int status;

	if (u->child && u->child_fd >= 0)
		upgrade_hear(m); /* it may have become ready just before */
	if (!u->child)
		return;
	log_warning("master", "upgrade: called off, for we are to leave: stopping the new binary (pid %d)", u->child);
	kill(u->child, SIGKILL);
	while (waitpid(u->child, &status, 0) < 0 && errno == EINTR)
		;
	u->child = 0;
	fd_close(&u->child_fd);
	/* it may have been about to say that it serves */
	shm_own(m->shm);
	(void)!pidfile_write(m->pid_fd);
}

/* ---- the new one ---------------------------------------------------------------------- */

/* The numbers behind " name=", separated by commas; how many there are. */
static unsigned take_list(const char *text, const char *name, int *numbers)
{
	char *key = xasprintf(" %s=", name), *end;
	const char *at = strstr(text, key);
	unsigned n = 0;

	at = at ? at + strlen(key) : "";
	while (n < FDS_MAX && *at >= '0' && *at <= '9') {
		numbers[n++] = (int)strtol(at, &end, 10);
		at = *end == ',' ? end + 1 : end;
	}
	free(key);
	return n;
}

/* Its listening sockets; the list is to be freed. */
static void take_sockets(const char *text, const char *name, struct listener *l)
{
	l->fds = xcalloc(FDS_MAX, sizeof(*l->fds));
	l->n = take_list(text, name, l->fds);
	for (unsigned i = 0; i < l->n; i++)
		if (!listen_take(l->fds[i]))
			l->fds[i] = -1;
}

static int take_number(const char *text, const char *name)
{
	int numbers[FDS_MAX];

	return take_list(text, name, numbers) == 1 ? numbers[0] : -1;
}

bool upgrade_inherit(struct master *m, char *error_r)
{
	struct upgrade *u = &m->upgrade;
	const char *value = getenv(VARIABLE);
	int usable[FDS_MAX], given;
	char *text;

	u->child_fd = u->elder_fd = u->pid_fd = -1;
	if (!value)
		return true;
	text = xasprintf(" %s", value);
	unsetenv(VARIABLE);
	unsetenv("WATCHDOG_PID"); /* the elder's; we speak to the watchdog from now on */
	u->wake_fds = xcalloc(FDS_MAX, sizeof(int));
	u->usable = xcalloc(FDS_MAX, sizeof(bool));
	u->elder = take_number(text, "elder");
	u->elder_fd = take_number(text, "ready");
	u->pid_fd = take_number(text, "pidfile");
	take_sockets(text, "listen", &u->doors.main);
	take_sockets(text, "admin", &u->doors.admin);
	given = take_number(text, "given"); /* an older elder does not say */
	u->doors.main.ngiven = given > 0 ? (unsigned)given : 0;
	u->nslots = take_list(text, "wake", u->wake_fds);
	if (u->elder != getppid() || u->elder_fd < 0 || u->pid_fd < 0 || !u->doors.main.n || !u->nslots ||
		take_list(text, "usable", usable) != u->nslots || fd_set_cloexec(u->pid_fd) < 0 ||
		fd_set_cloexec(u->elder_fd) < 0) {
		snprintf(error_r, ERROR_BYTES, "upgrade: the environment variable " VARIABLE
			" is not what a headgate of this kind leaves behind; unset it");
		free(text);
		return false;
	}
	for (unsigned i = 0; i < u->nslots; i++) {
		u->usable[i] = usable[i];
		if (fd_set_cloexec(u->wake_fds[i]) < 0)
			u->wake_fds[i] = -1;
	}
	free(text);
	return true;
}

static unsigned usable_slots(const struct upgrade *u)
{
	unsigned n = 0;

	for (unsigned i = 0; i < u->nslots; i++)
		n += u->usable[i];
	return n;
}

static void refuse(struct shm *shm, const char *why)
{
	log_warning("master",
		"upgrade: a new segment is made: %s; until the old master has left, its clients do not count "
		"against our limits",
		why);
	if (shm)
		shm_close(shm, false);
}

static bool same_node(const struct shm *shm, const struct conf *conf)
{
	struct cluster_reading node;

	cluster_read(shm, &node);
	return !shm_is_clustered(shm) || strcmp(node.node, conf->cluster_node) == 0;
}

bool upgrade_adopt(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char *path = conf_segment_path(m->conf);
	char error[ERROR_BYTES] = "";
	struct shm *shm = shm_adopt(path, error);
	uint32_t all;

	free(path);
	if (!shm) {
		refuse(NULL, error);
		return false;
	}
	all = shm_nproviders(shm) < 32 ? (1u << shm_nproviders(shm)) - 1 : UINT32_MAX;
	if (shm_master_pid(shm) != u->elder || shm_nslots(shm) != u->nslots) {
		refuse(shm, "the one in run_dir is not the old master's");
	} else if (usable_slots(u) < m->doors.serving.n) {
		refuse(shm, "the old one has no room for as many workers beside its own");
	} else if (shm_is_clustered(shm) != (*m->conf->redis_address != 0) || !same_node(shm, m->conf)) {
		refuse(shm, "cluster.redis was switched on or off, or cluster.node is another");
	} else if (!limits_place(shm, m->conf, all, error)) {
		refuse(shm, error);
	} else {
		u->places = all;
		m->shm = shm;
		m->nslots = u->nslots;
		return true;
	}
	return false;
}

void upgrade_take_over(struct master *m)
{
	struct upgrade *u = &m->upgrade;

	if (u->elder_fd < 0) /* open until we have; the elder may be gone by then */
		return;
	doors_leave_elder(m);
	shm_own(m->shm);
	if (!pidfile_write(m->pid_fd))
		log_warning("master", "'%s': cannot write pid_file: %s", m->conf->pid_file, strerror(errno));
	if (u->elder && write(u->elder_fd, "", 1) != 1)
		log_warning("master", "upgrade: the old master does not hear us: %s", strerror(errno));
	fd_close(&u->elder_fd);
}

/* ---- both ----------------------------------------------------------------------------- */

/* The other master is gone: what its workers left is ours to give back, once each is dead. */
static bool watch_orphans(struct master *m)
{
	bool left = false;

	for (unsigned i = 0; i < m->nslots; i++) {
		struct slot_reading r;

		if (!m->procs[i].foreign)
			continue;
		shm_slot_read(m->shm, i, &r);
		if (r.state != SLOT_EMPTY && shm_slot_is_orphaned(m->shm, i)) {
			shm_reclaim(m->shm, i);
			m->audit_owed = true;
			r.state = SLOT_EMPTY;
		}
		m->procs[i].foreign = r.state != SLOT_EMPTY;
		left |= m->procs[i].foreign;
	}
	return left;
}

uint64_t upgrade_watch(struct master *m, uint64_t now_ms)
{
	struct upgrade *u = &m->upgrade;

	if (u->child) {
		if (now_ms - u->since_ms > TIMEOUT_MS) {
			log_error("master", "upgrade: the new binary (pid %d) does not get ready: stopping it", u->child);
			kill(u->child, SIGKILL);
			u->since_ms = now_ms;
		}
		return u->since_ms + TIMEOUT_MS + 1;
	}
	if (u->handed_over)
		return UINT64_MAX;
	if (u->elder && getppid() == u->elder)
		return now_ms + WATCH_MS;
	if (u->elder)
		log_info("master", "upgrade: the old master has left");
	u->elder = 0;
	return watch_orphans(m) ? now_ms + WATCH_MS : UINT64_MAX;
}

void upgrade_release(struct upgrade *u)
{
	fd_close(&u->child_fd);
	fd_close(&u->elder_fd);
	free(u->doors.main.fds);
	free(u->doors.admin.fds);
	free(u->wake_fds);
	free(u->usable);
}
