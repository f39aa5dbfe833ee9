/* SPDX-License-Identifier: BSD-2-Clause */
/* listening.c - see listening.h: classic BPF programs, which need no privilege. */
#include "base/base.h"
#include "base/listening.h"

#include <linux/filter.h>
#include <sys/socket.h>

#define TCP_FLAGS_AT 13
#define TCP_FLAG_SYN 0x02

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

	return attach(fd, SO_ATTACH_FILTER, drop_syn, ARRAY_SIZE(drop_syn));
}

void listening_open(int fd)
{
	int unused = 0;

	/* it says so when there was none */
	(void)!setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
}

bool listening_is_shut(int fd)
{
	socklen_t instructions = 0;

	return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &instructions) == 0 && instructions;
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
