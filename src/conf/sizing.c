/* SPDX-License-Identifier: BSD-2-Clause */
/* sizing.c - what the configured limits ask of the machine when all of them are reached: doc/tuning.md. */
#include "base/base.h"
#include "conf/conf.h"

enum cost {
#define COST(symbol, value, unit) COST_##symbol = (value),
#include "conf/costs.def"
};

/* The segment, eventfds, listening sockets, the log, libraries. */
#define DESCRIPTORS_OF_A_WORKER 128

static uint64_t requests_at_once(const struct conf *conf)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < conf->nproviders; i++)
		n += conf->providers[i].concurrent_requests;
	return n;
}

static uint64_t provider_sockets(const struct conf *conf)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < conf->nproviders; i++)
		n += conf->providers[i].pool_max_connections;
	return n;
}

uint64_t conf_descriptors(const struct conf *conf)
{
	return conf->max_connections + conf->connection_queue_size + provider_sockets(conf) +
	       DESCRIPTORS_OF_A_WORKER;
}

static uint64_t mb(uint64_t kb)
{
	return (kb + 999) / 1000;
}

void conf_print_sizing(const struct conf *conf, FILE *out)
{
	uint64_t streams = requests_at_once(conf), places = conf->max_connections;
	uint64_t sockets = places + conf->connection_queue_size + provider_sockets(conf);
	uint64_t own = (1 + conf->workers) * COST_PROCESS + conf->connection_queue_size * COST_KEEPALIVE;

	streams = streams < places ? streams : places;
	own += streams * COST_STREAM + (places - streams) * COST_WEBSOCKET_IDLE;
	fprintf(out,
		"%-10s when all limits are reached: %" PRIu64 " MB, %" PRIu64 " MB more in the kernel; %" PRIu64
		" descriptors, should one worker get all (doc/tuning.md)\n",
		"machine", mb(own), mb(sockets * COST_KERNEL_SOCKET), conf_descriptors(conf));
}
