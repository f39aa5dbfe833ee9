/* SPDX-License-Identifier: BSD-2-Clause */
/* text.c - see text.h. */
#include "base/base.h"
#include "tools/llmsim/text.h"
#include "base/bug.h"

#define PIECE_BYTES 8

static const char *const sentences[] = {
        "The river keeps its own time, and the town has learned to live by it.",
        "Early in the morning the boats go out while the fog still covers the bridge.",
        "Nobody is in a hurry here, yet everything gets done before the lamps are lit.",
        "A good answer is short, says what it knows, and admits what it does not.",
        "If you follow the old road uphill you will find an orchard behind the wall.",
        "There are three ways to cross the valley, and the longest one is the kindest.",
        "The baker opens at six, the library at nine, and the museum when it feels like it.",
        "On clear evenings you can see the lighthouse blink from the other shore.",
        "Children count the trains from the hill and argue about the last wagon.",
        "It rained in the night, so the garden smells of mint and wet stone.",
        "Someone has left a chair in the sun, and a cat has already taken it.",
        "Small steps in the right direction still arrive, only a little later.",
};

uint64_t text_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

bool text_mode_of(const char *name, enum text_mode *mode_r)
{
	static const char *const names[] = {"prose", "tokens", "echo"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(name, names[i])) {
			*mode_r = (enum text_mode)i;
			return true;
		}
	}
	return false;
}

/* Echo: a word with the blanks behind it. Pieces: some bytes. Never inside a UTF-8 sequence. */
static size_t token_end(const struct text *t, size_t from)
{
	const char *s = t->given;
	size_t at = from;

	if (t->mode == TEXT_ECHO) {
		at += strcspn(s + at, " \n\t");
		at += strspn(s + at, " \n\t");
		return at;
	}
	while (s[at] && (at < from + PIECE_BYTES || (s[at] & 0xc0) == 0x80))
		at++;
	return at;
}

void text_init(
        struct text *t, enum text_mode mode, unsigned tokens, uint64_t seed, const char *given)
{
	size_t at = 0;
	unsigned n = 0;

	*t = (struct text){.mode = mode, .tokens = tokens, .seed = seed};
	if (mode != TEXT_ECHO && mode != TEXT_PIECES)
		return;
	t->given = xstrdup(given);
	for (size_t end = 0; t->given[end]; n++)
		end = token_end(t, end);
	t->tokens = n < tokens ? n : tokens;
	t->starts = xcalloc((size_t)t->tokens + 1, sizeof(*t->starts));
	for (unsigned i = 0; i < t->tokens; i++)
		t->starts[i + 1] = at = token_end(t, at);
}

void text_release(struct text *t)
{
	free(t->given);
	free(t->starts);
	*t = (struct text){0};
}

void text_escape(const char *text, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c < 0x20)
			buf_addf(out, "\\u%04x", c);
		else
			buf_add(out, &text[i], 1);
	}
}

/* All words in a row, found once; where[] says with which word a sentence starts. */
static struct {
	struct {
		const char *start;
		size_t len;
	} words[256];
	unsigned count;
	unsigned where[ARRAY_SIZE(sentences)];
} prose;

static void prose_index(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(sentences); i++) {
		const char *s = sentences[i];

		prose.where[i] = prose.count;
		while (*s) {
			size_t len = strcspn(s, " ");

			BUG_ON(prose.count == ARRAY_SIZE(prose.words));
			prose.words[prose.count].start = s;
			prose.words[prose.count++].len = len;
			s += len + (s[len] == ' ');
		}
	}
}

static void prose_token(const struct text *t, unsigned i, struct buf *out)
{
	unsigned at;
	size_t len;

	if (!prose.count)
		prose_index();
	at = (prose.where[t->seed % ARRAY_SIZE(sentences)] + i) % prose.count;
	len = prose.words[at].len;
	if (i)
		buf_adds(out, " ");
	if (i + 1 == t->tokens && strchr(".,", prose.words[at].start[len - 1]))
		len--;
	buf_add(out, prose.words[at].start, len);
	if (i + 1 == t->tokens)
		buf_adds(out, ".");
}

void text_token(const struct text *t, unsigned i, struct buf *out)
{
	switch (t->mode) {
	case TEXT_PROSE:
		prose_token(t, i, out);
		break;
	case TEXT_TOKENS:
		buf_addf(out, "t%u ", i);
		break;
	case TEXT_ECHO:
	case TEXT_PIECES:
		text_escape(t->given + t->starts[i], t->starts[i + 1] - t->starts[i], out);
		break;
	}
}
