/* SPDX-License-Identifier: BSD-2-Clause */
/* unknown.c - what to say of a key that is not known where it stands. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/nearest.h"
#include "conf/walk.h"

/* The key that this row needs at the place: its first byte, or NULL if the row is elsewhere. */
static const char *key_at(const struct option *row, const char *place, size_t *len_r)
{
	size_t n = strlen(place);
	const char *key = row->path;

	if (n) {
		if (strncmp(key, place, n) != 0 || key[n] != '.')
			return NULL;
		key += n + 1;
	}
	*len_r = strcspn(key, ".");
	return key;
}

/* "a, b, c": every key that the place knows. */
static void list_keys(const struct option_set *set, const char *place, struct buf *out)
{
	const char *last = NULL;
	size_t last_len = 0;

	for (size_t i = 0; i < set->count; i++) {
		size_t len;
		const char *key = key_at(&set->row[i], place, &len);

		if (!key || (last && len == last_len && memcmp(key, last, len) == 0))
			continue;
		buf_addf(out, "%s%.*s", last ? ", " : "", (int)len, key);
		last = key;
		last_len = len;
	}
}

/* An option or a section of this name that lives elsewhere: its row, and how much of the path. */
static const char *same_name(const struct option_set *set, const char *key, size_t *len_r)
{
	size_t nkey = strlen(key);

	for (size_t i = 0; i < set->count; i++) {
		const char *path = set->row[i].path, *at = path;

		for (;; at++) {
			size_t n = strcspn(at, ".");

			*len_r = (size_t)(at - path) + n;
			if (n == nkey && memcmp(at, key, n) == 0)
				return path;
			at += n;
			if (!*at)
				break;
		}
	}
	return NULL;
}

static void offer_keys(const struct option_set *set, const char *place, struct nearest *near)
{
	for (size_t i = 0; i < set->count; i++) {
		size_t len;
		const char *key = key_at(&set->row[i], place, &len);

		if (!key)
			continue;
		nearest_offer(near, key, len);
		if (strncmp(key, "h11_", 4) == 0)
			nearest_offer(near, key + 4, len - 4);
	}
}

char *walk_unknown(const struct option_set *set, const char *place, const char *key)
{
	size_t len;
	const char *elsewhere = same_name(set, key, &len);
	struct nearest near;
	struct buf known = BUF_INIT;
	char *text;

	nearest_begin(&near, key);
	offer_keys(set, place, &near);
	if (set == &options_global && strcmp(place, "llm") == 0)
		nearest_offer(&near, "providers", strlen("providers"));
	if (set == &options_global && strcmp(place, "clients") == 0)
		nearest_offer(&near, "keys", strlen("keys"));
	/* one letter off a key of this place is a slip, whatever else is called so */
	if (elsewhere && !(*near.best && near.distance == 1))
		return xasprintf("unknown key here; its place is %s%.*s",
			set == &options_provider ? "llm.providers.<name>."
			: set == &options_client ? "clients.keys."
						 : "", (int)len,
			elsewhere);
	if (*near.best)
		return xasprintf("unknown key; nearest: %s", near.best);
	list_keys(set, place, &known);
	if (set == &options_global && strcmp(place, "llm") == 0)
		buf_adds(&known, ", providers");
	if (set == &options_global && strcmp(place, "clients") == 0)
		buf_adds(&known, ", keys");
	text = xasprintf("unknown key; known here: %s", known.data);
	buf_release(&known);
	return text;
}
