/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * upgrade.h - another binary takes over (USR2), and no connection is refused by it.
 *
 * The master starts the binary of its own name anew. The new master inherits the listening sockets, the
 * eventfds and the locked pid file, and works with the same segment, if its layout is the same: so limits
 * hold over the workers of both. Only slots that were free then are its own; the others are once
 * the elder is gone. When its workers are ready it says so, and the elder drains; if it ends before
 * that, the elder goes on as if nothing had been.
 */
#ifndef MASTER_UPGRADE_H
#define MASTER_UPGRADE_H

#include "base/base.h"
#include "master/doors.h"

struct master;

/* Both sides of it; zeroed, with fds -1, where there is no upgrade. */
struct upgrade {
	/* of the elder */
	int child;	   /* the new master, until it is ready or dead; 0: none */
	int child_fd;	   /* where it says that it is ready */
	uint64_t since_ms; /* when it was started */
	bool handed_over;  /* it serves */
	/* of the new one */
	int elder; /* pid; 0: it is gone, or there was none */
	int elder_fd;
	int pid_fd;
	struct doors doors; /* its listening sockets, as far as they came to us */
	unsigned nslots;
	int *wake_fds;
	bool *usable; /* of each slot */
	uint32_t places; /* of providers that its workers may use, a bit each */
};

/* ---- the elder ---- */

/* USR2 came. */
void upgrade_start(struct master *m);
/* u->child_fd can be read. */
void upgrade_hear(struct master *m);
/* We are told to leave: unless the new one serves already, it is stopped, and nothing has been. */
void upgrade_call_off(struct master *m);
/* A child ended that is no worker. */
void upgrade_reaped(struct master *m, int pid, int status);

/* ---- the new one ---- */

/* What the elder left for us. False: error_r (256 bytes) says what is wrong with it. */
bool upgrade_inherit(struct master *m, char *error_r) MUST_CHECK;
/*
 * Work with the elder's segment. False: it cannot be done (the log says why), make a new one. Before
 * m->procs and the like are made: m->nslots is that of the segment then.
 */
bool upgrade_adopt(struct master *m) MUST_CHECK;
/* All workers are ready: it is ours now. */
void upgrade_take_over(struct master *m);

/* ---- both ---- */

/*
 * Look after slots of the other master: who is gone cannot reclaim what its workers held. Returns
 * when to look again, or UINT64_MAX.
 */
uint64_t upgrade_watch(struct master *m, uint64_t now_ms);
void upgrade_release(struct upgrade *u);

#endif
