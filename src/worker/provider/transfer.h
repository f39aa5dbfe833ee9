/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * transfer.h - one attempt: an easy handle of libcurl, its options and its callbacks; or, to a provider over plain
 * HTTP, a handle that makes a connection, and wire.h on it.
 */
#ifndef WORKER_PROVIDER_TRANSFER_H
#define WORKER_PROVIDER_TRANSFER_H

#include "base/base.h"
#include "shm/endings.h"
#include "worker/provider/answer.h"

#include <curl/curl.h>

/* How many requests share a connection of HTTP/2; common servers allow 100 or more. */
#define TRANSFER_STREAMS_MAX 32

struct provider;
struct provider_call;

/* The headers that all requests to a provider have; the key is in them: never log them. */
struct curl_slist *transfer_headers(const char *key);
/* The call's request goes out. The pool has let it in. */
void transfer_start(struct provider_call *call);
/* For wire.c: make a connection; ends in wire_connected() or call_transfer_done(). */
void transfer_dial(struct provider_call *call);
/* Is there a handle or a connection? */
bool transfer_is_on(const struct provider_call *call);
/* For wire.c: a run of the body, as answer_bytes(); but with PAUSE it was kept, too (transfer_resume()). */
enum answer_step transfer_pass(struct provider_call *call, const char *bytes, size_t len) MUST_CHECK;
/* A header of the answer, cut to size. False: it has none such. */
bool transfer_header(const struct provider_call *call, const char *name, char *to, size_t size);
/*
 * Takes the handle out of the multi and frees it, lets go of the connection; then its place in the pool, or in the pool's
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
