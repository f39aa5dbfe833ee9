/* SPDX-License-Identifier: BSD-2-Clause */
/* ws_messages.h - the messages of the chat protocol (headgate-chat(7)): read one, say the others. */
#ifndef WORKER_ENDPOINT_WS_MESSAGES_H
#define WORKER_ENDPOINT_WS_MESSAGES_H

#include "base/base.h"
#include "base/json_scan.h"
#include "worker/endpoint/apps.h"
#include "worker/endpoint/conversation.h"

#define WS_ID_BYTES 128 /* longest request_id, as written and decoded */

/*
 * A request_id: as the client wrote it, quotes included, which is how it is sent back, and
 * decoded, which is how it is compared.
 */
struct ws_id {
	size_t raw_len, key_len;
	char raw[WS_ID_BYTES + 2];
	char key[WS_ID_BYTES];
};
bool ws_id_equal(const struct ws_id *a, const struct ws_id *b);

enum ws_action { WS_CHAT, WS_CANCEL };

/* A client's message. Texts lie in it. */
struct ws_ask {
	enum ws_action action;
	struct ws_id id; /* raw "null" while it could not be read */
	struct conversation_text text;
	struct json_find model;
	enum json_kind streaming_kind; /* JSON_IS_BOOL, or not said */
	bool streaming;
};
/* False: *e says what is wrong, and ask->id whom to tell. */
bool ws_ask_read(struct ws_ask *ask, const char *text, size_t len, struct endpoint_error *e)
	MUST_CHECK;

/* ---- to the client; each is one message ---- */

void ws_say_processing(struct exchange *x, const struct ws_id *id);
/* Place in line (1: next) and expected wait in ms (0: not known). */
void ws_say_queued(struct exchange *x, const struct ws_id *id, uint64_t position,
	uint64_t expected_ms);
/* A piece of the answer: type "text", ...; data is JSON as it stands. */
void ws_say_chunk(struct exchange *x, const struct ws_id *id, const char *type, const char *data,
	size_t len);
/* The same with the inside of a JSON string. */
void ws_say_text(struct exchange *x, const struct ws_id *id, const char *escaped, size_t len);
/* usage may be NULL. */
void ws_say_complete(struct exchange *x, const struct ws_id *id, const struct provider_usage *usage);
void ws_say_cancelled(struct exchange *x, const struct ws_id *id);
void ws_say_error(struct exchange *x, const struct ws_id *id, const struct exchange_error *error);

#endif
