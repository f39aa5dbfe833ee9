/* SPDX-License-Identifier: BSD-2-Clause */
/* room.h - what the files of this room share. */
#ifndef WORKER_ADMIT_ROOM_H
#define WORKER_ADMIT_ROOM_H

#include "base/base.h"
#include "base/log.h"
#include "worker/admit/admit.h"

struct admit {
	struct event_base *base;
	const struct conf *conf;
	struct shm *shm;
	struct gate_line *places;
	struct gate_line *pending;
	void (*pending_granted)(struct gate_ticket *ticket);
	struct gate_line **key_places; /* by the key's place in the segment; NULL: no such key */
	unsigned nkeys;
	TAILQ_HEAD(admit_held, admit_place) held; /* places, as they were taken */
	struct log_rate full[2], key_full; /* by kind */
	struct log_rate no_key, wrong_key;
};

#endif
