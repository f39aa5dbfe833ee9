/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.h - one attempt: an easy handle, its options and its callbacks.
 */
#ifndef WORKER_PROVIDER_TRANSFER_H
#define WORKER_PROVIDER_TRANSFER_H

#include "base/base.h"
#include "shm/endings.h"

#include <curl/curl.h>

/* How many requests share a connection of HTTP/2; common servers allow 100 or more. */
#define TRANSFER_STREAMS_MAX 32

struct provider;
struct provider_call;

/* The headers that all requests to a provider have; the key is in them: never log them. */
struct curl_slist *transfer_headers(const char *key);
/* The call's request goes out: a fresh handle into the multi. The pool has let it in. */
void transfer_start(struct provider_call *call);
/*
 * Takes the handle out of the multi and frees it; then its place in the pool, or in the pool's
 * line, is given up. Harmless if there is none.
 */
void transfer_stop(struct provider_call *call);
/* Let a paused one go on; may end in call_transfer_done(). */
void transfer_resume(struct provider_call *call);
/* curl_loop_done_fn: hands over to call_transfer_done(). */
void transfer_done(CURL *easy, CURLcode code);
/* What libcurl's verdict means (curl_endings.def). */
enum ending transfer_ending(CURLcode code);

#endif
