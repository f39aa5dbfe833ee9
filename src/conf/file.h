/* SPDX-License-Identifier: BSD-2-Clause */
/* file.h - small files, read whole. */
#ifndef CONF_FILE_H
#define CONF_FILE_H

#include "base/base.h"
#include "base/buf.h"
#include <sys/stat.h>

/*
 * Append the file to out: 0, or -errno; -EFBIG if it has more than max_bytes.
 * stat_r (or NULL) tells about it. regular: anything but a regular file is
 * -EINVAL (a FIFO would hold up whoever reads it).
 */
int file_read(const char *path, size_t max_bytes, bool regular, struct buf *out,
	struct stat *stat_r) MUST_CHECK;

#endif
