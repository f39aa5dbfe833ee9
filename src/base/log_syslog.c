/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log_syslog.c - lines as datagrams to the syslog daemon's socket (RFC 3164, facility daemon).
 *
 * Not by syslog(3): that waits for a daemon that does not read, and then all clients would.
 */
#include "base/base.h"
#include "base/log_syslog.h"

#include "base/buf.h"
#include "base/bug.h"
#include "base/fd.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define FACILITY_DAEMON 3

static struct sockaddr_un address;
static int fd = -1;

static void connect_to_it(void)
{
	fd_close(&fd);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fd_close(&fd);
}

void log_syslog_open(const char *path)
{
	fd_close(&fd);
	memset(&address, 0, sizeof(address));
	BUG_ON(strlen(path) >= sizeof(address.sun_path));
	address.sun_family = AF_UNIX;
	memcpy(address.sun_path, path, strlen(path));
	if (*path)
		connect_to_it();
}

static bool sent(const struct buf *text)
{
	return fd >= 0 && send(fd, text->data, text->len, MSG_NOSIGNAL) >= 0;
}

void log_syslog_send(enum log_level level, const char *line, size_t len)
{
	static const unsigned severities[] = { [LOG_ERROR] = 3, [LOG_WARNING] = 4, [LOG_INFO] = 6,
		[LOG_DEBUG] = 7 };
	struct buf text = BUF_INIT;
	time_t now = time(NULL);
	char when[32];
	struct tm tm;

	if (!address.sun_path[0])
		return;
	/* its months are English, whatever the locale: we never set one */
	strftime(when, sizeof(when), "%b %e %H:%M:%S", localtime_r(&now, &tm));
	buf_addf(&text, "<%u>%s headgate[%d]: ", FACILITY_DAEMON * 8 + severities[level], when,
		(int)getpid());
	buf_add(&text, line, len);
	if (!sent(&text) && (fd < 0 || (errno != EAGAIN && errno != EMSGSIZE))) {
		connect_to_it(); /* it was restarted: its socket is another one */
		if (!sent(&text))
			fd_close(&fd);
	}
	buf_release(&text);
}
