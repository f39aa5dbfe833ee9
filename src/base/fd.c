/* SPDX-License-Identifier: BSD-2-Clause */
/* fd.c - see fd.h. */
#include "base/base.h"
#include "base/fd.h"

#include <fcntl.h>
#include <sys/resource.h>

int fd_set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int fd_set_cloexec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int fd_reopen_log(int fd, const char *path, bool create)
{
	int now = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | (create ? O_CREAT : 0), 0640), error = 0;

	if (now < 0)
		return -errno;
	if (dup3(now, fd, O_CLOEXEC) < 0)
		error = -errno;
	close(now);
	return error;
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

uint64_t fd_set_limit(uint64_t n)
{
	struct rlimit limit, want = { n, n };

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (!n || setrlimit(RLIMIT_NOFILE, &want) < 0) {
		want = (struct rlimit){ limit.rlim_max, limit.rlim_max };
		if (n && n < limit.rlim_max)
			want.rlim_cur = n;
		if (setrlimit(RLIMIT_NOFILE, &want) < 0)
			getrlimit(RLIMIT_NOFILE, &want);
	}
	return want.rlim_cur;
}
