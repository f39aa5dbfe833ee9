/* SPDX-License-Identifier: BSD-2-Clause */
/* completion_body.h - the body of a completion request: what is read of it, and what goes on. */
#ifndef WORKER_ENDPOINT_COMPLETION_BODY_H
#define WORKER_ENDPOINT_COMPLETION_BODY_H

#include "base/base.h"
#include "worker/endpoint/apps.h"

struct completion_ask {
	bool stream;
	bool strip_usage; /* the client did not ask for the usage chunk, we did */
	struct endpoint_target target;
	char *body; /* for the provider; malloc'd */
	size_t body_len;
	size_t model_offset, model_len; /* of the model's value in the body, quotes included; len 0: none */
	uint64_t max_tokens;		/* max_completion_tokens or max_tokens; 0: not given */
};

/*
 * Check the request's Content-Type and body and make the provider's: byte for byte the
 * client's, but for the model where routing changed it, and stream_options where it did not
 * ask for usage. False: *e says what is wrong
 * with it, and nothing is to be freed.
 */
bool completion_read(const struct completion_kind *kind, const struct exchange *x,
	struct completion_ask *ask, struct endpoint_error *e) MUST_CHECK;
/* Does the request say that its body is JSON, or nothing at all? */
bool completion_is_json(const struct exchange *x);

#endif
