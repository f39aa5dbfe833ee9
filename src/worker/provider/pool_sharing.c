/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_sharing.c - how many users a pool's sockets have room for: see pool.h, and struct pool for what libcurl
 * thinks of sharing, by which it changes.
 */
#include "base/base.h"
#include "worker/provider/pool_inside.h"

#include "base/clock.h"
#include "shm/stats.h"

bool pool_has_free(const struct pool *pool, unsigned places)
{
	return pool->room + pool->idle_room + pool->nspare >= pool->in + places;
}

/* ---- users ------------------------------------------------------------------------- */

bool pool_is_dialer(const struct pool_user *user)
{
	return user->dial &&
		(user->state == POOL_USER_IN || user->state == POOL_USER_DIALING);
}

static void refresh_offers(struct pool *pool);

/* What users can join depends on who connects. */
static void note_dialers(struct pool *pool)
{
	const struct pool_user *first = TAILQ_FIRST(&pool->dialers);
	uint64_t since = first ? first->turn : ~0ull;

	if (since == pool->dialing_since_turn)
		return;
	pool->dialing_since_turn = since;
	refresh_offers(pool);
}

static void count_in(struct pool *pool, const struct pool_user *user, unsigned by)
{
	if (user->state != POOL_USER_IN)
		return;
	pool->in += by;
	if (user->dial)
		pool->in_dial += by;
}

void pool_user_to(struct pool *pool, struct pool_user *user, enum pool_user_state state)
{
	bool was = pool_is_dialer(user), is;

	count_in(pool, user, -1u);
	user->state = state;
	count_in(pool, user, 1);
	is = pool_is_dialer(user);
	if (was == is)
		return;
	if (is) {
		user->turn = pool->turn;
		user->since_us = clock_us();
		TAILQ_INSERT_TAIL(&pool->dialers, user, entry);
		pool->ndialers++;
	} else {
		TAILQ_REMOVE(&pool->dialers, user, entry);
		pool->ndialers--;
	}
	note_dialers(pool);
}

/* ---- sockets --------------------------------------------------------------------- */

static unsigned offer_of(const struct pool *pool, const struct pool_socket *s)
{
	if (pool->mixed)
		return 0;
	if (s->state == SOCKET_IDLE)
		return s->shared && !pool->serial ? s->most : 1;
	if (s->state == SOCKET_BUSY && s->shared && !pool->serial && s->nusers < s->most)
		return s->most - s->nusers;
	return 0;
}

static void set_offer(struct pool *pool, struct pool_socket *s, unsigned offer, unsigned later)
{
	*(s->state == SOCKET_IDLE ? &pool->idle_room : &pool->room) += offer - s->offer;
	pool->later += later - s->later;
	s->offer = offer;
	s->later = later;
}

void pool_withdraw_offer(struct pool *pool, struct pool_socket *s)
{
	set_offer(pool, s, 0, 0);
}

void pool_refresh_offer(struct pool *pool, struct pool_socket *s)
{
	unsigned offer = offer_of(pool, s);

	if (pool->most > 1 && !pool->serial && s->turn >= pool->dialing_since_turn)
		set_offer(pool, s, 0, offer);
	else
		set_offer(pool, s, offer, 0);
}

static void refresh_offers(struct pool *pool)
{
	struct pool_socket *s;

	TAILQ_FOREACH(s, &pool->busy, entry)
		pool_refresh_offer(pool, s);
	TAILQ_FOREACH(s, &pool->idle, entry)
		pool_refresh_offer(pool, s);
}

static void set_manners(struct pool *pool, bool serial)
{
	bool mixed = pool->nserial && pool->seen_http2;

	if (serial == pool->serial && mixed == pool->mixed)
		return;
	pool->serial = serial;
	pool->mixed = mixed;
	refresh_offers(pool);
}

void pool_learn_manners(struct pool *pool, struct pool_socket *s, bool shared)
{
	if (pool->most == 1)
		return;
	s->shared = shared;
	s->serial = !shared;
	pool->nserial += !shared;
	pool->nhttp2 += shared;
	pool->seen_http2 = shared || (pool->seen_http2 && pool->nhttp2);
	pstat_add(pool->provider, PSTAT_SOCKETS_HTTP2, shared);
	set_manners(pool, !shared);
}

void pool_count_gone(struct pool *pool, struct pool_socket *s)
{
	pstat_add(pool->provider, PSTAT_SOCKETS_OPEN, -1);
	if (s->shared) {
		pstat_add(pool->provider, PSTAT_SOCKETS_HTTP2, -1);
		pool->nhttp2--;
	}
	if (s->serial)
		pool->nserial--;
	s->serial = s->shared = false;
	set_manners(pool, pool->serial);
}
