/* SPDX-License-Identifier: BSD-2-Clause */
/* conversation.c - see conversation.h. */
#include "base/base.h"
#include "worker/endpoint/conversation.h"
#include "base/json_out.h"

struct conversation_pair {
	TAILQ_ENTRY(conversation_pair) entry;
	size_t user_len, assistant_len;
	char texts[]; /* the user's, then the assistant's */
};

static size_t pair_bytes(const struct conversation_pair *pair)
{
	return pair->user_len + pair->assistant_len;
}

void conversation_init(struct conversation *talk, size_t max_bytes)
{
	TAILQ_INIT(&talk->pairs);
	talk->bytes = 0;
	talk->max_bytes = max_bytes;
}

/* Forget the oldest pairs until no more than `bytes` are kept. */
static void cut(struct conversation *talk, size_t bytes)
{
	while (talk->bytes > bytes) {
		struct conversation_pair *oldest = TAILQ_FIRST(&talk->pairs);

		TAILQ_REMOVE(&talk->pairs, oldest, entry);
		talk->bytes -= pair_bytes(oldest);
		free(oldest);
	}
}

void conversation_release(struct conversation *talk)
{
	cut(talk, 0);
}

void conversation_add(struct conversation *talk, struct conversation_text user,
	struct conversation_text assistant)
{
	struct conversation_pair *pair;
	size_t bytes = user.len + assistant.len;

	if (!assistant.len || bytes > talk->max_bytes)
		return;
	cut(talk, talk->max_bytes - bytes);
	pair = xmalloc(sizeof(*pair) + bytes);
	pair->user_len = user.len;
	pair->assistant_len = assistant.len;
	memcpy(pair->texts, user.bytes, user.len);
	memcpy(pair->texts + user.len, assistant.bytes, assistant.len);
	TAILQ_INSERT_TAIL(&talk->pairs, pair, entry);
	talk->bytes += bytes;
}

static void add_message(struct buf *out, const char *role, const char *escaped, size_t len)
{
	buf_addf(out, "{\"role\":\"%s\",\"content\":\"", role);
	buf_add(out, escaped, len);
	buf_adds(out, "\"}");
}

static void add_system_prompt(struct buf *out, const char *prompt)
{
	buf_adds(out, "{\"role\":\"system\",\"content\":");
	json_add_string(out, prompt, strlen(prompt));
	buf_adds(out, "},");
}

void conversation_add_messages(const struct conversation *talk, const char *system_prompt,
	struct conversation_text user, struct buf *out)
{
	const struct conversation_pair *pair;
	size_t kept = talk->bytes;

	buf_reserve(out, kept + user.len + 64);
	buf_adds(out, "[");
	if (system_prompt[0])
		add_system_prompt(out, system_prompt);
	TAILQ_FOREACH (pair, &talk->pairs, entry) {
		if (kept + user.len > talk->max_bytes) {
			kept -= pair_bytes(pair);
			continue;
		}
		add_message(out, "user", pair->texts, pair->user_len);
		buf_adds(out, ",");
		add_message(out, "assistant", pair->texts + pair->user_len, pair->assistant_len);
		buf_adds(out, ",");
	}
	add_message(out, "user", user.bytes, user.len);
	buf_adds(out, "]");
}
