/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.h - what systemd wants to know (sd_notify(3)): one datagram to the socket in $NOTIFY_SOCKET. Where
 * there is none, nothing happens. And the sockets that it hands over (sd_listen_fds(3)).
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

#include "base/base.h"

void notify_ready(void);
/* A reload begins; notify_ready() ends it. */
void notify_reloading(void);
void notify_stopping(void);
/* Another process is the master now. */
void notify_main_pid(int pid);
/* Say that we live, if it is time; when to call again, or UINT64_MAX: no watchdog wants to hear it. */
uint64_t notify_watchdog(uint64_t now_ms);

/* How many listening sockets we were given, from descriptor 3 on. */
unsigned notify_listen_fds(void);

#endif
