/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doors.h - the listening sockets, of every generation of workers.
 *
 * The main address has one SO_REUSEPORT socket for each door; worker i accepts from number i, and so does its
 * successor, so that what is queued in it is not lost. All are the master's and stay open for as
 * long as a generation serves them. A reload may ask for another address, or for more doors or fewer:
 *
 *	reserve	when the file is accepted: what is new is bound, so that an address in use is found
 *		before anything changes; nobody can connect yet
 *	begin	when the new workers start: new sockets listen, but those at an address that is served
 *		already get no connection yet
 *	settle	when all of them are ready: the new sockets get theirs; those that are not wanted any more are
 *		shut (base/listening.h), the workers of before empty them, and they are closed
 *	undo	when the new workers could not start
 */
#ifndef MASTER_DOORS_H
#define MASTER_DOORS_H

#include "base/base.h"
#include "master/listen.h"

struct conf;
struct master;

#define DOORS_LEFT_MAX 4

/* The sockets at one address. */
struct listener {
	int *fds; /* number i is served at door i % ndoors; -1: could not be opened */
	unsigned n;
	unsigned ngiven; /* so many were opened by the service manager, and stay whatever host and port say */
	char url[LISTEN_URL_BYTES];
};

/* Where one generation of workers accepts. */
struct doors {
	unsigned n; /* one worker each */
	struct listener main;
	struct listener admin; /* of admin.listen, one socket for all workers; or none */
};

/* All that the master has to do with. */
struct doors_all {
	struct doors serving;
	struct doors coming;	       /* of the generation that starts */
	struct listener reserved_main; /* bound for the generation after it: one or none */
	struct listener reserved_admin;
	struct listener leaving; /* shut, until the time comes */
	uint64_t leaving_ms;
	uint16_t left[DOORS_LEFT_MAX]; /* ports at which our workers may still be about to close; 0: none */
	uint64_t left_ms;	       /* until then */
};

/* The first ones: from our elder, the service manager, or opened. False: the log says why. */
bool doors_open(struct master *m) MUST_CHECK;

/* Nothing has changed if this is false: error_r (256 bytes) says why. */
bool doors_reserve(struct master *m, const struct conf *next, char *error_r) MUST_CHECK;
void doors_begin(struct master *m, const struct conf *conf);
/* True: an address has changed, or the number of doors. */
bool doors_settle(struct master *m);
void doors_undo(struct master *m);

/* The new binary serves: what the old one listened at and we do not is shut; its workers empty it. */
void doors_leave_elder(struct master *m);
/* Close what has been shut for long enough. Returns when to look again, or UINT64_MAX. */
uint64_t doors_watch(struct master *m, uint64_t now_ms);
/* In a child that works at the doors `own`: close all others. */
void doors_keep_only(struct master *m, const struct doors *own);
/* All drain: nobody new comes in at those that serve; our workers empty them. */
void doors_shut(struct master *m);
/* Close all but those that leave. */
void doors_close(struct master *m);
/* Close and forget all. */
void doors_release(struct master *m);

#endif
