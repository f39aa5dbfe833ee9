/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log_sink.h - where log lines go, without waiting for whoever reads them; for log.c only, others use log.h.
 *
 * A pipe, terminal or socket that is full makes write() wait, and with it all clients of a worker. But
 * O_NONBLOCK belongs to the open description, which is the operator's shell's as well. So a pipe or
 * terminal is opened anew, by /proc, for us alone; a socket takes the flag with each send.
 */
#ifndef BASE_LOG_SINK_H
#define BASE_LOG_SINK_H

#include "base/base.h"

struct log_sink {
	int given; /* the caller's */
	int own;   /* the same, opened anew; -1: it is not */
	enum { SINK_PLAIN, SINK_SOCKET, SINK_OWN, SINK_POLL } how;
	bool torn; /* the last line went in part */
};

/*
 * Lines go to fd, which stays the caller's, from now on; to be said again when it leads elsewhere. What is not
 * allowed to be opened anew (the pipe of another user) is asked before each line, and given no more
 * than a pipe takes at once: only who shares it with other writers may wait then, for a moment.
 */
void log_sink_set(struct log_sink *sink, int fd);
/* A whole line with its end. 0 or -errno; -EAGAIN: it would have had to wait, and is lost. */
int log_sink_write(struct log_sink *sink, const char *line, size_t len);

#endif
