/* SPDX-License-Identifier: BSD-2-Clause */
/* log_syslog.h - lines to the syslog daemon; for log.c only, others use log.h. */
#ifndef BASE_LOG_SYSLOG_H
#define BASE_LOG_SYSLOG_H

#include "base/log.h"

/* See log_syslog() in log.h. */
void log_syslog_open(const char *path);
/* One line, without its end, in the form of RFC 3164. Does nothing when none is open. */
void log_syslog_send(enum log_level level, const char *line, size_t len);

#endif
