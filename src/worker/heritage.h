/* SPDX-License-Identifier: BSD-2-Clause */
/* heritage.h - what a worker has from its master across fork: the whole agreement between them. */
#ifndef WORKER_HERITAGE_H
#define WORKER_HERITAGE_H

#include "base/base.h"

struct conf;
struct shm;

struct heritage {
	const struct conf *conf;
	struct shm *shm;
	unsigned slot;
	unsigned generation; /* which life of its slot this is */
	unsigned door;	     /* its share of the listening sockets */
	unsigned ndoors;
	const int *wake_fds;   /* eventfd of every slot */
	const int *listen_fds; /* SO_REUSEPORT sockets; number i is served at door i % ndoors */
	unsigned nlisten;      /* as many as doors, at least */
	int admin_fd;	       /* of admin.listen, shared by all workers; -1: there is none */
	unsigned nslots;
	int ready_fd;	 /* write one byte when the loop is armed, then close */
	int log_fd;	 /* of logging.file, or -1 */
	int lifeline_fd; /* end of file: the master is gone; drain and leave */
};

#endif
