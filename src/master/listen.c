/* SPDX-License-Identifier: BSD-2-Clause */
/* listen.c - see listen.h. */
#include "base/base.h"
#include "master/listen.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define ERROR_BYTES 256

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t address_len(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

static bool address_parse(const char *host, uint64_t port, union address *a)
{
	const char *text = strcmp(host, "*") == 0 ? "::" : host;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons((uint16_t)port);
		return true;
	}
	if (inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons((uint16_t)port);
		return true;
	}
	return false;
}

static uint16_t address_port(const union address *a)
{
	return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

bool listen_is_local(const char *host)
{
	union address a;

	if (!address_parse(host, 0, &a))
		return false;
	if (a.any.sa_family == AF_INET)
		return ntohl(a.v4.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr);
}

static bool set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* A bound socket, or -errno. dual_stack: an IPv6 socket takes IPv4 as well. */
static int open_bound(const union address *a, bool dual_stack, bool reuse_port)
{
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
		(!reuse_port || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
		(a->any.sa_family == AF_INET ||
			set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual_stack)) &&
		bind(fd, &a->any, address_len(a)) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

/*
 * A socket bound with SO_REUSEPORT where nobody else listens: bound without it first, an address in use says
 * so. The socket, or -errno; *a then has the true port.
 */
static int open_alone(union address *a, bool dual_stack, bool shared)
{
	socklen_t len = sizeof(*a);
	int error = 0, fd;

	if (shared)
		return open_bound(a, dual_stack, true);
	fd = open_bound(a, dual_stack, false);
	if (fd < 0)
		return fd;
	if (listen(fd, 1) < 0 || getsockname(fd, &a->any, &len) < 0)
		error = -errno;
	close(fd);
	return error ? error : open_bound(a, dual_stack, true);
}

static const char *advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "; another program listens there (a headgate that still runs?)";
	case EACCES:
		return "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return "; it must be an address of this machine, or *";
	case EMFILE:
		return "; raise the limit of descriptors (ulimit -n, LimitNOFILE=)";
	default:
		return "";
	}
}

int listen_bind(const char *key, const char *host, uint64_t port, bool shared, char *error_r)
{
	bool everywhere = strcmp(host, "*") == 0;
	union address a;
	int fd;

	if (!address_parse(host, port, &a)) {
		snprintf(error_r, ERROR_BYTES, "%s: '%.64s' is no address; it must be an IPv4 or IPv6 address, or *",
			key, host);
		return -1;
	}
	fd = open_alone(&a, everywhere, shared);
	if (everywhere && (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) &&
		address_parse("0.0.0.0", port, &a))
		fd = open_alone(&a, false, shared);
	if (fd >= 0)
		return fd;
	snprintf(error_r, ERROR_BYTES, "%s: cannot listen on %s port %" PRIu64 ": %s%s", key, host, port,
		strerror(-fd), advice(-fd));
	return -1;
}

static bool address_of(int fd, union address *a)
{
	socklen_t len = sizeof(*a);

	return getsockname(fd, &a->any, &len) == 0;
}

int listen_bind_beside(int fd)
{
	union address a;
	int v6only = 1;
	socklen_t len = sizeof(v6only);

	if (!address_of(fd, &a))
		return -errno;
	if (a.any.sa_family == AF_INET6 && getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len) < 0)
		return -errno;
	return open_bound(&a, !v6only, true);
}

int listen_start(int fd, uint64_t backlog)
{
	return listen(fd, (int)backlog) < 0 ? -errno : 0;
}

bool listen_take(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes &&
	       fd_set_cloexec(fd) == 0 && fd_set_nonblocking(fd) == 0;
}

void listen_url(int fd, const char *host, char url[LISTEN_URL_BYTES])
{
	union address a = { 0 };
	char text[INET6_ADDRSTRLEN] = "*";
	bool v6;

	if (address_of(fd, &a) && a.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &a.v4.sin_addr, text, sizeof(text));
	else if (a.any.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &a.v6.sin6_addr, text, sizeof(text));
	host = host ? host : text;
	v6 = strchr(host, ':') != NULL;
	snprintf(url, LISTEN_URL_BYTES, "http://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", address_port(&a));
}

uint16_t listen_port(int fd)
{
	union address a;

	return address_of(fd, &a) ? address_port(&a) : 0;
}

bool listen_is_at(int fd, const char *host, uint64_t port)
{
	union address is = { 0 }, wanted;

	if (!address_of(fd, &is) || !address_parse(host, port ? port : address_port(&is), &wanted))
		return false;
	/* "*" was opened for IPv4 only where there is no IPv6 */
	if (strcmp(host, "*") == 0 && is.any.sa_family == AF_INET &&
		!address_parse("0.0.0.0", port ? port : address_port(&is), &wanted))
		return false;
	if (is.any.sa_family != wanted.any.sa_family || address_port(&is) != address_port(&wanted))
		return false;
	return is.any.sa_family == AF_INET
		       ? is.v4.sin_addr.s_addr == wanted.v4.sin_addr.s_addr
		       : memcmp(&is.v6.sin6_addr, &wanted.v6.sin6_addr, sizeof(is.v6.sin6_addr)) == 0;
}

void listen_close(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fd_close(&fds[i]);
}
