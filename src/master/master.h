/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * master.h - the process that owns everything and serves nobody: it makes the
 * segment and the sockets, starts workers, and gives back what dead ones held.
 *
 * It has no event loop of a library and never touches a client's byte, so that
 * nothing a client or a provider sends can hurt it.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "base/base.h"
#include "master/agent.h"
#include "master/doors.h"
#include "master/plan.h"
#include "master/privileges.h"
#include "master/upgrade.h"

struct conf;
struct shm;

struct master {
	struct conf *conf;    /* of the generation that serves */
	struct conf *coming;  /* of the one that starts; or NULL */
	struct conf *pending; /* accepted, of the one after it; or NULL */
	struct shm *shm;
	unsigned nslots;
	int *wake_fds; /* eventfd of each slot */
	struct doors_all doors;
	int lifeline[2]; /* workers hold the read end; our end closes when we die, however that is */
	int log_fd;	 /* of logging.file; -1: standard error */
	int pid_fd;	 /* of pid_file, locked */
	int detached_fd; /* daemon_ready(); -1: in the foreground */
	struct privileges privileges;
	char **argv; /* how we were started, for the binary that comes after us */
	struct upgrade upgrade;
	struct agent_proc agent;
	struct plan_proc *procs; /* one per slot */
	int *ready_fds;		 /* read ends, -1 once it is ready or dead */
	unsigned *lives;   /* how many each slot has had */
	uint32_t *places;  /* providers' places that the process of each slot uses, a bit each */
	struct plan_memory memory;
	bool audit_owed;
	uint64_t recovered; /* permits, by the audit that is going on */
};

/*
 * Run the daemon with this configuration, and free it, until it is told to leave; the exit status.
 * detached_fd is what daemon_begin() gave, or -1; argv is main()'s.
 */
int master_run(struct conf *conf, int detached_fd, char **argv);
/* Were we started by a master that wants to be replaced? Then we are in the background already if it is. */
bool master_is_upgrade(void);

#endif
