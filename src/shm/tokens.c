/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tokens.c - tokens per minute: a ring of pieces of time, each one word.
 *
 * Why never more than N: everybody first adds its tokens to a piece and then reads
 * all pieces (both seq_cst). Of all that are in one window, the one that read last saw them
 * all, and would have taken its own back. A piece's word is used again only 128 pieces
 * later, when no window that anybody may still be promised reaches back to it.
 */
#include "base/base.h"
#include "shm/tokens.h"

#include "base/bug.h"
#include "shm/layout.h"

/* The word of a piece: its number (32 bits) | tokens (32 bits). */
#define PER_WINDOW 60u
#define SPAN (PER_WINDOW + 1) /* pieces that a window may touch */
#define AHEAD 64u	      /* how far promises go */
#define TRIES 64u	      /* against others who take at the same time */

_Static_assert(SPAN + AHEAD < TOKENS_PIECES, "a word is in use for one piece at a time");

struct pieces {
	_Atomic uint64_t *word;
	uint64_t configured;
	uint64_t limit; /* in force: not above that */
	uint64_t piece_ms;
	const struct tokens_promise *moved; /* not counted: it will be returned; or NULL */
};

/* False: there is no limit. */
static bool pieces_of(const struct shm *shm, unsigned which, struct pieces *p)
{
	struct shm_tokens *t = shm_tokens_at(shm, which);

	p->moved = NULL;
	p->word = t->word;
	p->configured = atomic_load(&t->limit);
	p->limit = lease_limit(&t->lease, p->configured);
	p->piece_ms = atomic_load(&t->window_ms) / PER_WINDOW;
	if (!p->piece_ms)
		p->piece_ms = 1;
	return p->configured != 0;
}

static uint64_t word_of(uint64_t piece, uint64_t tokens)
{
	return piece << 32 | (tokens < UINT32_MAX ? tokens : UINT32_MAX);
}

static uint64_t tokens_of(uint64_t word)
{
	return word & UINT32_MAX;
}

static uint64_t in_piece(const struct pieces *p, uint32_t piece)
{
	uint64_t word = atomic_load(&p->word[piece % TOKENS_PIECES]);

	return word >> 32 == piece ? tokens_of(word) : 0;
}

/* Those around `at`: sum[i] is what pieces at - SPAN + 1 .. at - SPAN + i hold. */
#define AROUND (2 * SPAN - 1)
static void add_up(const struct pieces *p, uint32_t at, uint64_t sum[AROUND + 1])
{
	sum[0] = 0;
	for (unsigned i = 0; i < AROUND; i++) {
		uint32_t piece = at - (SPAN - 1) + i;
		uint64_t tokens = in_piece(p, piece);

		if (p->moved && p->moved->piece == piece)
			tokens -= p->moved->tokens < tokens ? p->moved->tokens : tokens;
		sum[i + 1] = sum[i] + tokens;
	}
}

/* The most that any window holds of which this piece is a part. */
static uint64_t fullest(const struct pieces *p, uint32_t at)
{
	uint64_t sum[AROUND + 1], most = 0;

	add_up(p, at, sum);
	for (unsigned first = 0; first < SPAN; first++)
		if (sum[first + SPAN] - sum[first] > most)
			most = sum[first + SPAN] - sum[first];
	return most;
}

/* Add to a piece. False: it is so long ago that its word is another piece's. */
static bool add(const struct pieces *p, uint32_t piece, int64_t tokens)
{
	_Atomic uint64_t *at = &p->word[piece % TOKENS_PIECES];
	uint64_t word = atomic_load(at);

	for (;;) {
		int32_t behind = (int32_t)(piece - (uint32_t)(word >> 32));
		int64_t before = behind ? 0 : (int64_t)tokens_of(word), after = before + tokens;

		if (word && (behind < 0 || (behind && tokens < 0)))
			return false;
		if (atomic_compare_exchange_strong(at, &word, word_of(piece, after > 0 ? (uint64_t)after : 0)))
			return true;
	}
}

/* Write it down, and look whether it fits now. */
static bool claim(const struct pieces *p, uint32_t piece, uint64_t tokens)
{
	if (!add(p, piece, (int64_t)tokens))
		return false;
	CRASH_POINT("tokens.take.added");
	if (fullest(p, piece) <= p->limit) {
		CRASH_POINT("tokens.take.taken");
		return true;
	}
	add(p, piece, -(int64_t)tokens);
	CRASH_POINT("tokens.take.undone");
	return false;
}

/* The last piece, from now on, that somebody waits for; nobody does: the one that is now. */
static uint64_t last_promised(const struct pieces *p, uint64_t now_piece)
{
	uint64_t piece = now_piece + AHEAD;

	for (; piece > now_piece; piece--) {
		if (in_piece(p, (uint32_t)piece))
			break;
	}
	return piece;
}

static void promised(struct tokens_promise *promise, const struct pieces *p, uint64_t piece,
	uint64_t tokens)
{
	promise->tokens = tokens;
	promise->piece = (uint32_t)piece;
	promise->until_ms = (piece + 1) * p->piece_ms;
}

/* Who shares the limit with others shall be seen to want more of it. */
static bool refused(struct shm *shm, unsigned which, uint64_t tokens)
{
	struct shm_tokens *t = shm_tokens_at(shm, which);

	if (atomic_load_explicit(&t->lease.current, memory_order_relaxed))
		atomic_fetch_add_explicit(&t->refused, tokens, memory_order_relaxed);
	return false;
}

bool tokens_take(struct shm *shm, unsigned which, uint64_t now_ms, uint64_t latest_ms,
	uint64_t tokens, struct tokens_promise *promise)
{
	uint64_t now_piece, piece;
	unsigned tries = 0;
	struct pieces p;

	*promise = (struct tokens_promise){ .at_ms = now_ms };
	if (!pieces_of(shm, which, &p) || !tokens)
		return true;
	if (tokens > p.configured) /* fits into an empty window only */
		tokens = p.configured;
	now_piece = now_ms / p.piece_ms;
	promise->at_ms = (now_piece + 1) * p.piece_ms;
	if (tokens > p.limit) /* so much is not leased */
		return refused(shm, which, tokens);
	for (piece = last_promised(&p, now_piece); piece <= now_piece + AHEAD; piece++) {
		promise->at_ms = piece > now_piece ? piece * p.piece_ms : now_ms;
		if (fullest(&p, (uint32_t)piece) + tokens > p.limit)
			continue;
		if (promise->at_ms > latest_ms)
			return refused(shm, which, tokens);
		if (claim(&p, (uint32_t)piece, tokens)) {
			promised(promise, &p, piece, tokens);
			return true;
		}
		if (++tries < TRIES)
			piece--; /* who was faster may have been undone as well */
	}
	return refused(shm, which, tokens);
}

bool tokens_hold(struct shm *shm, unsigned which, const struct tokens_promise *promise)
{
	struct pieces p;

	if (!promise->tokens || !pieces_of(shm, which, &p) || p.limit == p.configured)
		return true;
	return fullest(&p, promise->piece) <= p.limit;
}

bool tokens_advance(struct shm *shm, unsigned which, uint64_t now_ms, struct tokens_promise *promise)
{
	struct tokens_promise before = *promise;
	uint64_t piece;
	struct pieces p;

	if (!promise->tokens || !pieces_of(shm, which, &p))
		return false;
	p.moved = &before;
	for (piece = now_ms / p.piece_ms; piece * p.piece_ms < before.at_ms; piece++) {
		/* Both are booked for a moment: others never see less than what goes out. */
		if (fullest(&p, (uint32_t)piece) + before.tokens > p.limit ||
			!claim(&p, (uint32_t)piece, before.tokens))
			continue;
		promise->at_ms = piece * p.piece_ms > now_ms ? piece * p.piece_ms : now_ms;
		promised(promise, &p, piece, before.tokens);
		tokens_return(shm, which, &before);
		return true;
	}
	return false;
}

void tokens_settle(struct shm *shm, unsigned which, struct tokens_promise *promise, uint64_t actual)
{
	struct pieces p;

	if (!promise->tokens || !pieces_of(shm, which, &p))
		return;
	if (actual > UINT32_MAX)
		actual = UINT32_MAX;
	if (!actual)
		actual = 1; /* 0 is a promise that was returned */
	add(&p, promise->piece, (int64_t)actual - (int64_t)promise->tokens);
	promise->tokens = actual;
}

void tokens_return(struct shm *shm, unsigned which, struct tokens_promise *promise)
{
	struct pieces p;

	if (promise->tokens && pieces_of(shm, which, &p))
		add(&p, promise->piece, -(int64_t)promise->tokens);
	promise->tokens = 0;
}

void tokens_set_limit(struct shm *shm, unsigned which, uint64_t limit, uint32_t window_ms)
{
	struct shm_tokens *t = shm_tokens_at(shm, which);

	if (limit && !atomic_load(&t->limit))
		lease_forget(shm, LEASE_TOKENS, which); /* of when it was a limit before: others may have it now */
	if (atomic_exchange(&t->window_ms, window_ms) != window_ms)
		for (unsigned i = 0; i < TOKENS_PIECES; i++)
			atomic_store(&t->word[i], 0);
	atomic_store(&t->limit, limit < UINT32_MAX ? limit : UINT32_MAX);
}

void tokens_read(const struct shm *shm, unsigned which, uint64_t now_ms, struct tokens_reading *r)
{
	uint64_t held[SPAN + AHEAD], window = 0;
	struct pieces p;
	uint32_t now_piece;

	pieces_of(shm, which, &p);
	*r = (struct tokens_reading){ .limit = p.configured,
		.window_ms = atomic_load(&shm_tokens_at(shm, which)->window_ms) };
	now_piece = (uint32_t)(now_ms / p.piece_ms);
	for (uint32_t i = 0; i < SPAN + AHEAD; i++) {
		held[i] = in_piece(&p, now_piece - (SPAN - 1) + i);
		r->used += held[i];
		window += held[i] - (i >= SPAN ? held[i - SPAN] : 0);
		r->fullest = window > r->fullest ? window : r->fullest;
	}
}
