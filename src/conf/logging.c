/* SPDX-License-Identifier: BSD-2-Clause */
/* logging.c - the options of "logging" put into force. */
#include "base/base.h"
#include "conf/conf.h"
#include "base/log.h"

void conf_apply_logging(const struct conf *conf, int fd)
{
	const uint64_t levels[] = {
#define X(room) [LOG_ROOM_##room] = conf->log_level_##room,
		LOG_ROOMS(X)
#undef X
	};

	log_setup(fd, (enum log_level)conf->log_level, (enum log_format)conf->log_format);
	for (unsigned i = 0; i < ARRAY_SIZE(levels); i++)
		if (levels[i])
			log_set_room((enum log_room)i, (enum log_level)(levels[i] - 1));
	log_syslog(conf->log_syslog);
}
