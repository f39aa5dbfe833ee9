/* SPDX-License-Identifier: BSD-2-Clause */
/* file.c - small files, read whole. */
#include "base/base.h"
#include "conf/file.h"
#include <fcntl.h>

static int read_all(int fd, size_t max_bytes, struct buf *out)
{
	size_t start = out->len;

	for (;;) {
		char *to = buf_reserve(out, 4096);
		ssize_t n = read(fd, to, 4096);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		if (out->len - start > max_bytes)
			return -EFBIG;
	}
}

int file_read(
	const char *path, size_t max_bytes, bool regular, struct buf *out, struct stat *stat_r)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (regular ? O_NONBLOCK : 0)), rc;
	struct stat st = { 0 };

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (regular && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	else
		rc = read_all(fd, max_bytes, out);
	close(fd);
	if (stat_r)
		*stat_r = st;
	return rc;
}
