/* SPDX-License-Identifier: BSD-2-Clause */
/* listen.c - see listen.h. */
#include "base/base.h"
#include "tools/llmsim/listen.h"
#include "base/fd.h"

#include <netdb.h>
#include <sys/socket.h>

#define BACKLOG 65535 /* the kernel cuts it to net.core.somaxconn */

/* Bound to this address; -1 with errno. */
static int bound(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int yes = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, address, len))
		fd_close(&fd);
	return fd;
}

int listen_open(const char *host, const char *port, const char **why_r)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *info;
	int err = getaddrinfo(*host ? host : NULL, port, &hints, &info);
	int fd;

	if (err) {
		*why_r = gai_strerror(err);
		return -1;
	}
	fd = bound(info->ai_addr, info->ai_addrlen);
	if (fd < 0 || listen_again(fd)) {
		*why_r = strerror(errno);
		fd_close(&fd);
	}
	freeaddrinfo(info);
	return fd;
}

int listen_hold(int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		return -1;
	close(fd);
	return bound((struct sockaddr *)&address, len);
}

int listen_again(int fd)
{
	return listen(fd, BACKLOG);
}

void listen_address(int fd, char *out, size_t size)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "0";

	if (!getsockname(fd, (struct sockaddr *)&addr, &len))
		getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host), port,
		        sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(out, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}
