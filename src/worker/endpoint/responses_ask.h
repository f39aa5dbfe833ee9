/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_ask.h - a request of the Responses API, read, checked and translated for
 * chat completions. What cannot be said there is refused, with its name; nothing is dropped.
 * For a provider that has the API itself (native) there is nothing to translate: what is called a
 * message here is then an item.
 */
#ifndef WORKER_ENDPOINT_RESPONSES_ASK_H
#define WORKER_ENDPOINT_RESPONSES_ASK_H

#include "base/base.h"
#include "base/buf.h"
#include "base/json_scan.h"
#include "worker/endpoint/apps.h"

#define RESPONSES_ID_BYTES 128	 /* longest previous_response_id, with its NUL */
#define RESPONSES_PARAM_BYTES 160 /* longest "input[3].content[1].type" */

struct responses_ask {
	struct endpoint_target target;
	bool native;
	bool stream;
	bool resume;  /* native: what goes before `previous` is not known here, the provider may know it */
	bool warm_up; /* on a WebSocket: remember the input, generate nothing */
	uint64_t max_tokens;
	char previous[RESPONSES_ID_BYTES]; /* previous_response_id; "": none */
	struct buf system;   /* the message that the instructions are; or empty */
	struct buf messages; /* what the input is, messages joined by commas; or empty */
	struct buf options;  /* further members of the provider's request, each with a comma before */
	struct buf echo;     /* members of the response object that repeat the request, likewise */
	char param[RESPONSES_PARAM_BYTES]; /* what a fault is about; *e points here */
};

/*
 * Read the document, an object that json_scan() found in text. `websocket`: it is a message on
 * a socket. False: *e says what is wrong; its texts live as long as *ask. In both cases
 * responses_ask_release() is due.
 */
bool responses_read(struct responses_ask *ask, const char *text, const struct json_find *document,
	bool websocket, struct endpoint_error *e) MUST_CHECK;
/* Is this request (whole, any JSON) for a provider that has the API itself? */
bool responses_is_native(const char *text, size_t len);
/* The same as responses_read() for a message on a WebSocket to such a provider. */
bool responses_read_native(struct responses_ask *ask, const char *text, const struct json_find *document,
	struct endpoint_error *e) MUST_CHECK;
/*
 * The provider's request: path, body (malloc'd), model, tokens, stream. `before` are the messages of what
 * was said before this input, joined by commas; len 0: none.
 */
void responses_request(const struct responses_ask *ask, const char *before, size_t len,
	struct provider_request *request);
void responses_ask_release(struct responses_ask *ask);
/* JSON that somebody wrote on several lines goes into events, which have one: line ends are but space there. */
void responses_one_line(char *json, size_t len);

#endif
