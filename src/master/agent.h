/* SPDX-License-Identifier: BSD-2-Clause */
/* agent.h - the cluster's agent as the master sees it: one process, started again when it dies. */
#ifndef MASTER_AGENT_H
#define MASTER_AGENT_H

#include "base/base.h"

struct master;

struct agent_proc {
	int pid; /* 0: it does not run */
	uint64_t spawned_ms;
	uint64_t spawn_ms; /* not before this the next one starts */
	unsigned quick_deaths;
};

/* Start it if it is time; returns when to be called next, UINT64_MAX: when something happens. Nothing without a cluster. */
uint64_t agent_tend(struct master *m, uint64_t now_ms);
/* This process has ended. False: it was not the agent. */
bool agent_reaped(struct master *m, int pid, int status);
/* Another master has taken over: its agent goes on with the same leases. */
void agent_hand_over(struct master *m);
/* We leave: let it give back what this node has, for a moment at most. */
void agent_end(struct master *m);

#endif
