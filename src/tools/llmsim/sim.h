/* SPDX-License-Identifier: BSD-2-Clause */
/* sim.h - the one simulated provider of this process, and what it counts. */
#ifndef TOOLS_LLMSIM_SIM_H
#define TOOLS_LLMSIM_SIM_H

#include "base/base.h"
#include "tools/llmsim/http.h"
#include "tools/llmsim/options.h"
#include "tools/llmsim/wheel.h"

struct sim {
	struct options options;
	struct wheel wheel;
	struct http_server *server;
	uint64_t random;
	uint64_t serial;    /* of the last request for an answer */
	uint64_t in_flight; /* from the head of the request to the last byte of the answer */
	uint64_t max_in_flight;
	uint64_t requests, completed, client_gone, faulted;
};

extern struct sim sim;

#endif
