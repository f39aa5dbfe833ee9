/* SPDX-License-Identifier: BSD-2-Clause */
/* pidfile.c - see pidfile.h. */
#include "base/base.h"
#include "master/pidfile.h"

#include "base/fd.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define ERROR_BYTES 256

/* What stands in it; 0: nothing that is a pid. */
static int content(int fd)
{
	char text[32] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atoi(text) : 0;
}

int pidfile_open(const char *path, int *stale_r, char *error_r)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0) {
		snprintf(error_r, ERROR_BYTES,
			"'%.160s': cannot make pid_file: %s; set pid_file to another place", path,
			strerror(errno));
		return -1;
	}
	*stale_r = content(fd);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	snprintf(error_r, ERROR_BYTES,
		"'%.120s': another headgate (pid %d) runs with this pid_file; stop it, or give this one a "
		"pid_file of its own",
		path, *stale_r);
	fd_close(&fd);
	return -1;
}

bool pidfile_write(int fd)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	/* in this order a reader finds one pid or the other, never none */
	return pwrite(fd, text, (size_t)len, 0) == len && ftruncate(fd, len) == 0;
}

bool pidfile_is(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && lstat(path, &there) == 0 && here.st_dev == there.st_dev &&
	       here.st_ino == there.st_ino;
}

void pidfile_remove(int fd, const char *path)
{
	if (fd >= 0 && content(fd) == getpid() && pidfile_is(fd, path))
		unlink(path);
}

int pidfile_read(const char *path, char *error_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), pid = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		snprintf(error_r, ERROR_BYTES, "'%.180s': %s", path, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		pid = content(fd);
	fd_close(&fd);
	return pid;
}
