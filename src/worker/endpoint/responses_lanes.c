/* SPDX-License-Identifier: BSD-2-Clause */
/* responses_lanes.c - see responses_lanes.h. */
#include "base/base.h"
#include "worker/endpoint/responses_lanes.h"

void lanes_init(struct lanes *lanes, size_t talk_max_bytes)
{
	*lanes = (struct lanes){ .talk_max = talk_max_bytes };
	TAILQ_INIT(&lanes->all);
}

void lanes_release(struct lanes *lanes)
{
	struct lane_message *message;
	struct lane *lane;

	while ((lane = TAILQ_FIRST(&lanes->all))) {
		while ((message = TAILQ_FIRST(&lane->waiting))) {
			TAILQ_REMOVE(&lane->waiting, message, entry);
			free(message);
		}
		TAILQ_REMOVE(&lanes->all, lane, entry);
		buf_release(&lane->talk);
		free(lane);
	}
}

struct lane *lanes_get(struct lanes *lanes, const char *name)
{
	struct lane *lane;

	TAILQ_FOREACH (lane, &lanes->all, entry)
		if (strcmp(lane->name, name) == 0)
			return lane;
	if (name[0] && lanes->named == LANES_MAX)
		return NULL;
	lanes->named += name[0] != 0;
	lane = xcalloc(1, sizeof(*lane));
	snprintf(lane->name, sizeof(lane->name), "%s", name);
	TAILQ_INIT(&lane->waiting);
	TAILQ_INSERT_TAIL(&lanes->all, lane, entry);
	return lane;
}

/* ---- waiting ------------------------------------------------------------------------ */

void lanes_wait(struct lanes *lanes, struct lane *lane, const char *text, size_t len)
{
	struct lane_message *message = xmalloc(sizeof(*message) + len + 1);

	message->number = ++lanes->numbers;
	message->len = len;
	memcpy(message->text, text, len);
	message->text[len] = 0;
	TAILQ_INSERT_TAIL(&lane->waiting, message, entry);
	lanes->waiting++;
	lanes->waiting_bytes += len;
}

struct lane_message *lanes_next(struct lanes *lanes, struct lane **lane_r)
{
	struct lane_message *first = NULL, *message;
	struct lane *lane;

	TAILQ_FOREACH (lane, &lanes->all, entry) {
		message = lane->busy ? NULL : TAILQ_FIRST(&lane->waiting);
		if (message && (!first || message->number < first->number)) {
			first = message;
			*lane_r = lane;
		}
	}
	if (!first)
		return NULL;
	TAILQ_REMOVE(&(*lane_r)->waiting, first, entry);
	lanes->waiting--;
	lanes->waiting_bytes -= first->len;
	return first;
}

/* ---- memory --------------------------------------------------------------------------- */

struct lane *lanes_find(struct lanes *lanes, const char *id)
{
	struct lane *lane;

	TAILQ_FOREACH (lane, &lanes->all, entry)
		if (lane->latest[0] && strcmp(lane->latest, id) == 0) {
			lane->used = ++lanes->numbers;
			return lane;
		}
	return NULL;
}

void lanes_forget(struct lanes *lanes, struct lane *lane)
{
	lanes->talk_bytes -= lane->talk.len;
	lane->latest[0] = 0;
	buf_release(&lane->talk);
}

/* The one that was of use longest ago. */
static struct lane *oldest(struct lanes *lanes)
{
	struct lane *found = NULL, *lane;

	TAILQ_FOREACH (lane, &lanes->all, entry)
		if (lane->talk.len && (!found || lane->used < found->used))
			found = lane;
	return found;
}

void lanes_remember(struct lanes *lanes, struct lane *lane, const char *id, bool native, struct buf *talk)
{
	lanes_forget(lanes, lane);
	if (talk->len > lanes->talk_max) {
		buf_release(talk);
		return;
	}
	while (lanes->talk_bytes + talk->len > lanes->talk_max)
		lanes_forget(lanes, oldest(lanes));
	snprintf(lane->latest, sizeof(lane->latest), "%s", id);
	lane->native = native;
	lane->talk = *talk;
	*talk = BUF_INIT;
	lane->used = ++lanes->numbers;
	lanes->talk_bytes += lane->talk.len;
}
