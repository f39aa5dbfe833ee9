/* SPDX-License-Identifier: BSD-2-Clause */
/* late_json.h - one JSON answer for a client that waits for events. */
#ifndef WORKER_ENDPOINT_LATE_JSON_H
#define WORKER_ENDPOINT_LATE_JSON_H

#include "base/base.h"
#include "base/buf.h"

/*
 * Append the events of a stream that says what this whole answer says: one chunk with all of it, then
 * "[DONE]". False, and nothing appended, if it is no completion with exactly one choice.
 */
bool late_json_events(const char *answer, size_t len, struct buf *out) MUST_CHECK;

#endif
