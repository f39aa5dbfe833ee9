/* SPDX-License-Identifier: BSD-2-Clause */
/* listening.c - see listening.h: classic BPF programs, which need no privilege. */
#include "base/base.h"
#include "base/listening.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define TCP_FLAGS_AT 13
#define TCP_FLAG_SYN 0x02
/* SO_PRIORITY, which anybody may set, nobody else does, and which queues of today do not look at. */
#define MARK_SHUT 5

static int mark(int fd, int value)
{
	return setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int attach(int fd, int option, struct sock_filter *filter, size_t len)
{
	struct sock_fprog program = { .len = (unsigned short)len, .filter = filter };

	return setsockopt(fd, SOL_SOCKET, option, &program, sizeof(program)) < 0 ? -errno : 0;
}

int listening_shut(int fd)
{
	struct sock_filter drop_syn[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_AT),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TCP_FLAG_SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};

	int error = mark(fd, MARK_SHUT);

	return error ? error : attach(fd, SO_ATTACH_FILTER, drop_syn, ARRAY_SIZE(drop_syn));
}

void listening_open(int fd)
{
	int unused = 0;

	(void)!mark(fd, 0);
	/* it says so when there was none */
	(void)!setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
}

bool listening_is_shut(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &value, &len) == 0 && value == MARK_SHUT;
}

bool listening_has_client(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_unacked; /* of a listening one: its queue */
}

int listening_share(int fd, unsigned n)
{
	struct sock_filter one_of_n[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	int unused = 0;

	if (n)
		return attach(fd, SO_ATTACH_REUSEPORT_CBPF, one_of_n, ARRAY_SIZE(one_of_n));
	if (setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof(unused)) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}
