/* SPDX-License-Identifier: BSD-2-Clause */
/* room.h - what the files of this room share. */
#ifndef WORKER_ADMIT_ROOM_H
#define WORKER_ADMIT_ROOM_H

#include "base/base.h"
#include "base/log.h"
#include "worker/admit/admit.h"

struct admit {
	const struct conf *conf;
	struct shm *shm;
	struct gate_line *line;
	struct log_rate rejected[2]; /* by kind */
	struct log_rate no_key, wrong_key;
};

#endif
