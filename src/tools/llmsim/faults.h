/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faults.h - behaviour on order: from --fault, or from a directive in a request.
 *
 *	NAME,key=value,...@first-last	--fault; @ names requests by serial number
 *	[[sim:NAME,key=value,...]]	in the content of a request's last message
 *
 * NAME may be missing: then only the keys of the answer (tokens, rate, ...)
 * change. Names and keys are the rows of faults.def.
 */
#ifndef TOOLS_LLMSIM_FAULTS_H
#define TOOLS_LLMSIM_FAULTS_H

#include "base/base.h"
#include "base/buf.h"

enum fault_id {
	FAULT_NONE,
	FAULT_STATUS, /* an error answer; struct fault says which */
#define FAULT(name, id, help) FAULT_##id,
#include "tools/llmsim/faults.def"
};

/* One order. Numbers that were not given are -1. */
struct fault {
	enum fault_id id;
	int status;
	char name[24]; /* as given; empty if only keys were */
	int64_t tokens, first_token_ms, text;
	double rate;
	int64_t n, bytes, ms, ended;
	int64_t retry_after_s, retry_after_ms, retry_after_date_s, should_retry;
	char code[64];
	double p;
	int64_t times;
	uint64_t first, last; /* serial numbers that it is for */
	int64_t hits;
};

/* What goes with a status; NULL if it has no row. */
struct fault_status {
	int status;
	const char *reason, *type, *code, *message;
};
const struct fault_status *fault_status(int status);

/* No fault, no key given. */
void fault_init(struct fault *f);

/*
 * Read a SPEC of len bytes; an @ range only if with_range. False: not
 * understood, and why says what is wrong and what would do.
 */
bool fault_parse(
        struct fault *f, const char *spec, size_t len, bool with_range, struct buf *why);

/*
 * The directive in this text, if there is one: true, and f is overwritten if it
 * is due (see times and p). A directive that is not understood is reported in `why`
 * (else left empty). *start_r and *end_r tell where in the text it stands.
 */
bool fault_directive(struct fault *f, const char *text, uint64_t *random, struct buf *why,
        size_t *start_r, size_t *end_r);
/* Directives with times= count anew. */
void fault_directives_reset(void);

/* The first of these orders that is for this request, or NULL. Counts times. */
struct fault *fault_pick(struct fault *faults, size_t count, uint64_t serial, uint64_t *random);

/* Print the names and keys, for --help. */
void fault_help(FILE *out);

#endif
