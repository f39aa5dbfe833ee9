/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * agent.h - the cluster's agent: the one process of a node that talks to Redis. It turns leases from there into
 * the limits of this node's segment; workers never know. The master forks it, and starts another when it dies.
 */
#ifndef CLUSTER_AGENT_H
#define CLUSTER_AGENT_H

#include "base/base.h"

struct conf;
struct shm;

struct agent_heritage {
	const struct conf *conf;
	struct shm *shm;
	const int *wake_fds; /* eventfd of every worker */
	int lifeline_fd;     /* end of file: the master is gone; so are we */
	int log_fd;	     /* of logging.file, or -1 */
};

/* Runs until the master is gone, or TERM: then what this node has is given back, if Redis answers soon. USR1 opens logging.file again. */
int agent_main(const struct agent_heritage *heritage);

#endif
