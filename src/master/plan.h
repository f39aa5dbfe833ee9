/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plan.h - what the master does next, as a pure function.
 *
 * In: the clock, what signals asked for, the process table and what was decided
 * before. Out: a short list of actions and what to remember. It calls nothing,
 * waits for nothing and looks at nothing else, so that whole lives of a daemon are
 * walked through in a unit test without a fork.
 *
 *	BOOTING -> SERVING -> ANNOUNCING -> DRAINING -> STOPPING -> KILLING
 *
 * There is one worker for each door (a share of the listening sockets), and a generation is one
 * worker at every door. A reload starts the next generation in free slots; when all of it is
 * ready, the one before drains. Which slot stands at which door is the plan's to say.
 */
#ifndef MASTER_PLAN_H
#define MASTER_PLAN_H

#include "base/base.h"

#define PLAN_SLOTS_MAX 128
#define PLAN_ACTIONS_MAX (3 * PLAN_SLOTS_MAX + 8)
#define PLAN_NEVER UINT64_MAX

/* A worker that dies before it was ready, or this soon, makes its successor wait. */
#define PLAN_QUICK_DEATH_MS 1000
#define PLAN_BACKOFF_MIN_MS 100
#define PLAN_BACKOFF_MAX_MS 10000
/* Who lives this long makes the quick deaths before it forgotten. */
#define PLAN_HEALTHY_MS 60000
/* A new generation with a worker that dies young this often is given up. */
#define PLAN_ROLL_DEATHS 3
/* Who was told to drain and has not left this long after drain_timeout is told to stop. */
#define PLAN_DRAIN_GRACE_MS 1000
/* Who is silent for worker_timeout is looked at again after this, and then killed. */
#define PLAN_SECOND_LOOK_MS 1000
/* An audit that found no quiet moment is tried again after this. */
#define PLAN_AUDIT_MS 10

enum plan_stage {
	PLAN_BOOTING,  /* until every worker was ready once */
	PLAN_SERVING,
	PLAN_ANNOUNCING, /* serving, but whoever asks hears that we drain */
	PLAN_DRAINING, /* running requests end */
	PLAN_STOPPING, /* TERM was sent */
	PLAN_KILLING   /* KILL was sent: wait for the dead */
};

/* A slot as proc.c knows it. */
struct plan_proc {
	int pid;		 /* 0: no process */
	bool ready;		 /* of the one that runs, or else of the last that ran */
	uint64_t spawned_ms;	 /* likewise */
	uint64_t heartbeat_ms;	 /* its last beat; 0: none yet */
	unsigned deaths;	 /* how many lives of this slot have ended */
	uint64_t ended_ms;	 /* when the last one did */
	bool setup_failed;	 /* the last one ended with WORKER_EXIT_SETUP */
	bool foreign;		 /* the slot is another master's, for now */
};

/* What is remembered from one step to the next; zeroed at the start. */
struct plan_memory {
	enum plan_stage stage;
	uint64_t stage_ms; /* since when */
	int exit_code;
	unsigned serving;   /* the generation that accepts; the first is newest + 1 */
	unsigned coming;    /* the one that starts, until all of it is ready; 0: none */
	unsigned newest;    /* the last number that was given out */
	bool reload_wanted; /* another one is to come */
	bool waiting_told;  /* PLAN_WAIT was said about it */
	struct plan_slot {
		unsigned generation;	 /* of configuration; 0: the slot is free */
		unsigned door;
		uint64_t leave_ms;	 /* it was told to drain; by then it shall have left; 0: it was not */
		bool stopped;		 /* and after that, TERM was sent */
		unsigned deaths;	 /* that were taken note of */
		unsigned quick_deaths;	 /* in a row */
		uint64_t spawn_ms;	 /* not before this a successor starts */
		uint64_t silent_ms;	 /* when its silence was noticed; 0: its heart beats */
		bool killed;		 /* KILL was sent to the one that runs */
	} slot[PLAN_SLOTS_MAX];
};

struct plan_in {
	uint64_t now_ms;
	bool stop;  /* TERM or INT came since the last step */
	bool drain; /* QUIT came */
	bool reload; /* a changed configuration was accepted and wants new workers */
	bool handed_over; /* another master serves in our place */
	bool audit_owed; /* shm_reclaim_audit() has not said true yet */
	unsigned ndoors; /* workers of the next generation that starts */
	unsigned max_generations; /* how many may drain at once */
	unsigned nslots;
	const struct plan_proc *procs; /* nslots */
	uint64_t worker_timeout_ms;
	uint64_t shutdown_timeout_ms;
	uint64_t drain_timeout_ms;
	uint64_t drain_delay_ms;
	struct plan_memory memory;
};

enum plan_verb {
	PLAN_RECLAIM_AUDIT, /* call shm_reclaim_audit() */
	PLAN_SPAWN,	    /* start a worker in `slot`, at door `value` */
	PLAN_SIGNAL,	    /* send `value` to the worker in `slot` */
	PLAN_KILL,	    /* the worker in `slot` does not answer: SIGKILL */
	PLAN_READY,	    /* every worker is ready: say so */
	PLAN_ROLL,	    /* generation `value` begins: its workers get the latest configuration */
	PLAN_TOOK_OVER,	    /* all of generation `value` is ready, the one before drains */
	PLAN_ROLL_BACK,	    /* generation `value` could not start: all stays as it was */
	PLAN_WAIT,	    /* max_generations drain: the next one has to wait */
	PLAN_ANNOUNCE,	    /* shm_set_draining() */
	PLAN_SHUT_DOORS,    /* let nobody new in: then CLOSE_DOORS */
	PLAN_CLOSE_DOORS,   /* shm_set_draining(), close the listening sockets */
	PLAN_LEAVE_DOORS,   /* close them: they are another master's now */
	PLAN_EXIT	    /* nothing is left: exit with `value`; the last action */
};

struct plan_action {
	enum plan_verb verb;
	unsigned slot;
	int value;
};

struct plan_out {
	struct plan_action action[PLAN_ACTIONS_MAX];
	unsigned nactions;
	uint64_t wake_ms; /* take the next step not later than this; PLAN_NEVER: when something happens */
	struct plan_memory memory;
};

/* The next step. The audit, if one is owed, comes before all else. */
void plan_step(const struct plan_in *in, struct plan_out *out);
/* How many generations before the serving one still have a process. */
unsigned plan_draining(const struct plan_memory *memory, const struct plan_proc *procs, unsigned nslots);

#endif
