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

/* Bound without SO_REUSEPORT, an address in use says so. 0 or -errno; *a then has the true port. */
static int probe(union address *a, bool dual_stack)
{
	socklen_t len = sizeof(*a);
	int error = 0;
	int fd = open_bound(a, dual_stack, false);

	if (fd < 0)
		return fd;
	if (listen(fd, 1) < 0 || getsockname(fd, &a->any, &len) < 0)
		error = -errno;
	close(fd);
	return error;
}

static void write_url(const union address *a, const char *host, char *url)
{
	bool v6 = strchr(host, ':') != NULL;

	snprintf(url, LISTEN_URL_BYTES, "http://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
		address_port(a));
}

static const char *advice(int error)
{
	switch (error) {
	case EADDRINUSE:
		return "; another program listens there (a headgate that still runs?)";
	case EACCES:
		return "; ports below 1024 need root or CAP_NET_BIND_SERVICE";
	case EADDRNOTAVAIL:
		return "; chat.websocket.host must be an address of this machine, or *";
	case EMFILE:
		return "; raise the limit of descriptors (ulimit -n, LimitNOFILE=)";
	default:
		return "";
	}
}

bool listen_open(const char *host, uint64_t port, uint64_t backlog, int *fds, unsigned n,
	char *url_r, char *error_r)
{
	bool everywhere = strcmp(host, "*") == 0;
	union address a;
	int error;

	for (unsigned i = 0; i < n; i++)
		fds[i] = -1;
	if (!address_parse(host, port, &a)) {
		snprintf(error_r, ERROR_BYTES,
			"'%s' is no address: chat.websocket.host must be an IPv4 or IPv6 address, or *",
			host);
		return false;
	}
	error = probe(&a, everywhere);
	if (everywhere && (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)) {
		if (!address_parse("0.0.0.0", port, &a))
			return false;
		error = probe(&a, false);
	}
	for (unsigned i = 0; i < n && !error; i++) {
		fds[i] = open_bound(&a, everywhere, true);
		if (fds[i] < 0)
			error = fds[i];
		else if (listen(fds[i], (int)backlog) < 0)
			error = -errno;
	}
	if (error) {
		snprintf(error_r, ERROR_BYTES, "cannot listen on %s port %" PRIu64 ": %s%s", host,
			(uint64_t)address_port(&a), strerror(-error), advice(-error));
		listen_close(fds, n);
		return false;
	}
	write_url(&a, host, url_r);
	return true;
}

static bool is_listening(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes &&
	       fd_set_cloexec(fd) == 0 && fd_set_nonblocking(fd) == 0;
}

/* The address of a socket that was given to us, as text. */
static void write_url_of(int fd, char *url)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);
	char host[INET6_ADDRSTRLEN] = "*";

	if (getsockname(fd, &a.any, &len) == 0 && a.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host));
	else if (a.any.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host));
	write_url(&a, host, url);
}

bool listen_adopt(const int *given, unsigned ngiven, int *fds, unsigned n, char *url_r, char *error_r)
{
	for (unsigned i = 0; i < ngiven; i++) {
		if (!is_listening(given[i])) {
			snprintf(error_r, ERROR_BYTES, "descriptor %d, which was given to us, is no listening socket",
				given[i]);
			return false;
		}
		fds[i] = given[i];
	}
	for (unsigned i = ngiven; i < n; i++) {
		fds[i] = fcntl(given[i % ngiven], F_DUPFD_CLOEXEC, 0);
		if (fds[i] < 0) {
			snprintf(error_r, ERROR_BYTES, "%s", strerror(errno));
			return false;
		}
	}
	write_url_of(given[0], url_r);
	return true;
}

bool listen_is_at(int fd, const char *host, uint64_t port)
{
	union address is = { 0 }, wanted;
	socklen_t len = sizeof(is);

	if (getsockname(fd, &is.any, &len) < 0 || !address_parse(host, port ? port : address_port(&is), &wanted))
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
