/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text.h - the words of an answer, token by token, the same for the same seed.
 * Token i can be asked for at any time: a text has no state that moves.
 */
#ifndef TOOLS_LLMSIM_TEXT_H
#define TOOLS_LLMSIM_TEXT_H

#include "base/base.h"
#include "base/buf.h"

enum text_mode {
	TEXT_PROSE,  /* pleasant sentences */
	TEXT_TOKENS, /* "t0 t1 t2 ": proves that nothing was lost */
	TEXT_ECHO,   /* a given text word by word */
	TEXT_PIECES, /* a given text in small pieces (arguments of a tool call) */
};

struct text {
	enum text_mode mode;
	unsigned tokens;
	uint64_t seed;
	char *given;    /* owned; echo and pieces only */
	size_t *starts; /* where each token of `given` starts; one more than there are tokens */
};

/* splitmix64 (Steele, Lea and Flood 2014): the next of a row of random numbers. */
uint64_t text_random(uint64_t *state);

/* "prose", "tokens" or "echo"; false: no such mode. */
bool text_mode_of(const char *name, enum text_mode *mode_r);

/* Echo and pieces take a copy of `given` and as many tokens as it has, at most `tokens`. */
void text_init(
        struct text *t, enum text_mode mode, unsigned tokens, uint64_t seed, const char *given);
void text_release(struct text *t);

/* Append token i, escaped for the inside of a JSON string. */
void text_token(const struct text *t, unsigned i, struct buf *out);
/* Append `text`, escaped the same way; it has to be UTF-8. */
void text_escape(const char *text, size_t len, struct buf *out);

#endif
