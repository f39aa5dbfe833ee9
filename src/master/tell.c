/* SPDX-License-Identifier: BSD-2-Clause */
/* tell.c - see tell.h. */
#include "base/base.h"
#include "master/tell.h"

#include "base/clock.h"
#include "conf/conf.h"
#include "master/pidfile.h"
#include "shm/segment.h"

#include <signal.h>

#define ERROR_BYTES 256
#define POLL_US 20000
/* How long a reload may take until its verdict stands in the segment. */
#define VERDICT_MS 30000
/* Beyond the configured time-outs. */
#define GRACE_MS 5000

enum outcome { OUTCOME_NONE, OUTCOME_VERDICT, OUTCOME_GONE, OUTCOME_SUCCESSOR };

static const struct word {
	const char *name;
	int signo;
	enum outcome outcome;
} words[] = {
	{ "reload", SIGHUP, OUTCOME_VERDICT },
	{ "reopen", SIGUSR1, OUTCOME_NONE },
	{ "drain", SIGQUIT, OUTCOME_GONE },
	{ "stop", SIGTERM, OUTCOME_GONE },
	{ "upgrade", SIGUSR2, OUTCOME_SUCCESSOR },
};

const char *tell_words(void)
{
	return "reload, reopen, drain, stop, upgrade";
}

static const struct word *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	return NULL;
}

bool tell_knows(const char *word)
{
	return find(word) != NULL;
}

static int complain(const char *text)
{
	fprintf(stderr, "headgate: %s\n", text);
	return EXIT_FAILURE;
}

/* The last reload's verdict once there are more of them than before. */
static int wait_for_verdict(const struct shm *shm, uint64_t before)
{
	uint64_t end_ms = clock_ms() + VERDICT_MS;
	struct reload_reading r;

	do {
		shm_reload_read(shm, &r);
		if (r.good + r.failed > before) {
			fprintf(r.result == RELOAD_GOOD ? stdout : stderr, "headgate: reload: %s%s\n",
				r.result == RELOAD_GOOD ? "" : "nothing was changed: ", r.text);
			return r.result == RELOAD_GOOD ? EXIT_SUCCESS : EXIT_FAILURE;
		}
		usleep(POLL_US);
	} while (clock_ms() < end_ms);
	return complain("reload: there is no answer; see the log");
}

/* Another pid in its file: 0 for none, or that of a new master. */
static int wait_for_change(const char *path, int pid, uint64_t timeout_ms)
{
	uint64_t end_ms = clock_ms() + timeout_ms;
	char error[ERROR_BYTES];
	int now;

	while ((now = pidfile_read(path, error)) == pid && clock_ms() < end_ms)
		usleep(POLL_US);
	return now;
}

static int reload(const struct conf *conf, int pid)
{
	char *path = conf_segment_path(conf);
	char error[ERROR_BYTES];
	struct shm *shm = shm_attach(path, error);
	struct reload_reading r = { 0 };
	int status = EXIT_SUCCESS;

	if (shm)
		shm_reload_read(shm, &r);
	if (kill(pid, SIGHUP) < 0)
		status = complain(strerror(errno));
	else if (shm)
		status = wait_for_verdict(shm, r.good + r.failed);
	if (shm)
		shm_close(shm, false);
	free(path);
	return status;
}

int tell(const struct conf *conf, const char *name)
{
	const struct word *word = find(name);
	char error[ERROR_BYTES] = "";
	int pid = pidfile_read(conf->pid_file, error);
	int now;

	if (pid <= 0) {
		fprintf(stderr, "headgate: %s: %s%s\n", name,
			pid < 0 ? error : "no headgate runs with pid_file ", pid < 0 ? "" : conf->pid_file);
		return EXIT_FAILURE;
	}
	if (word->outcome == OUTCOME_VERDICT)
		return reload(conf, pid);
	if (kill(pid, word->signo) < 0) {
		fprintf(stderr, "headgate: %s: pid %d: %s\n", name, pid, strerror(errno));
		return EXIT_FAILURE;
	}
	switch (word->outcome) {
	case OUTCOME_GONE:
		now = wait_for_change(conf->pid_file, pid,
			conf->shutdown_timeout_ms + (word->signo == SIGQUIT ? conf->drain_timeout_ms : 0) + GRACE_MS);
		return now == pid ? complain("it has not left yet; see the log") : EXIT_SUCCESS;
	case OUTCOME_SUCCESSOR:
		now = wait_for_change(conf->pid_file, pid, VERDICT_MS);
		if (now == pid)
			return complain("upgrade: the new binary does not serve; the old one goes on, the log says why");
		printf("headgate: upgrade: pid %d serves\n", now);
		return EXIT_SUCCESS;
	default:
		return EXIT_SUCCESS;
	}
}
