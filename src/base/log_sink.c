/* SPDX-License-Identifier: BSD-2-Clause */
/* log_sink.c - see log_sink.h. */
#include "base/base.h"
#include "base/log_sink.h"

#include "base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

static bool same_file(const struct stat *a, int fd)
{
	struct stat b;

	return fd >= 0 && fstat(fd, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

static int open_anew(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_sink_set(struct log_sink *sink, int fd)
{
	struct stat is;

	sink->given = fd;
	if (fstat(fd, &is) < 0)
		is.st_mode = 0;
	/* kept, where it is the same still: a worker may no longer be allowed to */
	if (sink->how == SINK_OWN && !same_file(&is, sink->own))
		fd_close(&sink->own);
	if (S_ISSOCK(is.st_mode)) {
		sink->how = SINK_SOCKET;
	} else if (S_ISFIFO(is.st_mode) || S_ISCHR(is.st_mode)) {
		if (sink->how != SINK_OWN || sink->own < 0)
			sink->own = open_anew(fd);
		sink->how = sink->own < 0 ? SINK_POLL : SINK_OWN;
	} else {
		sink->how = SINK_PLAIN;
	}
}

static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1;
}

static ssize_t write_some(const struct log_sink *sink, const char *line, size_t len)
{
	switch (sink->how) {
	case SINK_SOCKET:
		return send(sink->given, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_OWN:
		return write(sink->own, line, len);
	case SINK_POLL:
		if (!has_room(sink->given)) {
			errno = EAGAIN;
			return -1;
		}
		return write(sink->given, line, len < PIPE_BUF ? len : PIPE_BUF);
	case SINK_PLAIN:
		break;
	}
	return write(sink->given, line, len);
}

static ssize_t write_uninterrupted(const struct log_sink *sink, const char *line, size_t len)
{
	ssize_t n;

	while ((n = write_some(sink, line, len)) < 0 && errno == EINTR)
		;
	return n;
}

int log_sink_write(struct log_sink *sink, const char *line, size_t len)
{
	ssize_t n;

	/* the end of the line of which a part is there */
	if (sink->torn && write_uninterrupted(sink, "\n", 1) != 1)
		return -errno;
	sink->torn = false;
	n = write_uninterrupted(sink, line, len);
	if (n < 0)
		return -errno;
	if ((size_t)n == len)
		return 0;
	sink->torn = n > 0;
	return sink->how == SINK_PLAIN ? -ENOSPC : -EAGAIN;
}
