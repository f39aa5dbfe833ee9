/* SPDX-License-Identifier: BSD-2-Clause */
/* options.h - the command line of llmsim. */
#ifndef TOOLS_LLMSIM_OPTIONS_H
#define TOOLS_LLMSIM_OPTIONS_H

#include "base/base.h"
#include "tools/llmsim/account.h"
#include "tools/llmsim/faults.h"

struct options {
	char *host; /* owned */
	char *port; /* owned */
	int64_t tokens;
	double rate; /* tokens a second; 0: as fast as possible */
	int64_t first_token_ms;
	double jitter_percent;
	int64_t seed;
	int64_t text; /* enum text_mode */
	int64_t max_concurrent;
	struct account_limits limits;
	struct account *accounts; /* owned; at least one */
	size_t account_count;
	const char *events;   /* NULL: none written */
	struct fault *faults; /* owned */
	size_t fault_count;
};

/* Read argv; prints advice and exits (2) on errors, exits (0) after --help. */
void options_parse(struct options *o, int argc, char **argv);
void options_release(struct options *o);

#endif
