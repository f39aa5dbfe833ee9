/* SPDX-License-Identifier: BSD-2-Clause */
/* pending.c - see pending.h. */
#include "base/base.h"
#include "worker/http/pending.h"

#include "base/log.h"
#include "conf/conf.h"
#include "shm/stats.h"
#include "worker/admit/admit.h"
#include "worker/http/conn.h"
#include "worker/http/h2.h"

#include <sys/ioctl.h>

/* Connections over the bound that a worker keeps at a time. */
#define OVERS_MAX 256

static struct conn *conn_of(struct gate_ticket *ticket)
{
	struct pending *p = container_of(ticket, struct pending, ticket);

	return container_of(p, struct conn, pending);
}

/* ---- lists ---- */

void pending_idle(struct conn *c, bool idle)
{
	if (c->pending.idle == idle || (idle && (c->admin || c->pending.over || c->pending.evicted)))
		return;
	c->pending.idle = idle;
	stat_add(STAT_IDLE, idle ? 1 : -1);
	if (idle)
		TAILQ_INSERT_TAIL(&c->http->idle, c, pending.entry);
	else
		TAILQ_REMOVE(&c->http->idle, c, pending.entry);
}

static void set_over(struct conn *c, bool over)
{
	if (c->pending.over == over)
		return;
	c->pending.over = over;
	if (over)
		TAILQ_INSERT_TAIL(&c->http->overs, c, pending.entry);
	else
		TAILQ_REMOVE(&c->http->overs, c, pending.entry);
	c->http->novers += over ? 1 : -1u;
}

static void evict(struct conn *c)
{
	pending_idle(c, false);
	set_over(c, false);
	c->pending.evicted = true;
	admit_settled(c->http->admit, &c->pending.ticket);
	conn_settle_later(c);
}

/* ---- making room ---- */

/* Nothing has come that we have not read yet: else it is not idle any more. */
static bool is_silent(const struct conn *c)
{
	int readable = 0;

	return !c->eof && (ioctl(c->fd, FIONREAD, &readable) < 0 || !readable);
}

static bool evict_idle(struct http *http)
{
	struct conn *c;

	TAILQ_FOREACH(c, &http->idle, pending.entry)
		if (is_silent(c))
			break;
	if (!c)
		return false;
	stat_add(STAT_EVICTED_IDLE, 1);
	log_debug("http", "%s: closed, idle, for another one", c->peer);
	evict(c);
	return true;
}

/* Of those over the bound the oldest goes, but for those to whom an answer is on its way. */
static void bound_overs(struct http *http)
{
	struct conn *c;

	if (http->novers <= OVERS_MAX)
		return;
	TAILQ_FOREACH(c, &http->overs, pending.entry)
		if (c->phase != CONN_RUNNING && c->phase != CONN_FLUSH && c->phase != CONN_WEBSOCKET &&
			!(c->phase == CONN_H2 && c->h2->nstreams))
			break;
	if (c)
		evict(c);
}

static void go_over(struct conn *c)
{
	struct http *http = c->http;
	char more[48] = "";
	uint64_t missed;

	if (log_rate_ok(&http->queue_full, &missed)) {
		if (missed)
			snprintf(more, sizeof(more), " (%" PRIu64 " more like this)", missed);
		log_warning("http", "connection beyond connection_queue_size=%" PRIu64 "%s",
			http->conf->connection_queue_size, more);
	}
	c->last = true;
	set_over(c, true);
	if (c->phase == CONN_HEAD)
		conn_timer(c, http->over_timeout);
	/* Somewhere else there may be an idle one. */
	if (admit_pending_wait(http->admit, &c->pending.ticket))
		conn_timer(c, http->patience_timeout);
	bound_overs(http);
}

void pending_begin(struct conn *c)
{
	struct admit *admit = c->http->admit;

	/* those of admin.listen are none of the clients */
	if (c->admin || c->pending.evicted || admit_pending(admit, &c->pending.ticket) ||
		(evict_idle(c->http) && admit_pending(admit, &c->pending.ticket)))
		return;
	go_over(c);
}

void pending_end(struct conn *c)
{
	pending_idle(c, false);
	set_over(c, false);
	admit_settled(c->http->admit, &c->pending.ticket);
}

void pending_granted(struct gate_ticket *ticket)
{
	struct conn *c = conn_of(ticket);

	set_over(c, false);
	conn_timer(c, c->http->header_timeout);
	conn_settle_later(c);
}

void pending_poll(struct http *http)
{
	if (!TAILQ_EMPTY(&http->idle) && admit_pending_wanted(http->admit))
		evict_idle(http);
}

/* ---- those over the bound ---- */

bool pending_wait(struct conn *c)
{
	if (c->pending.ticket.state != TICKET_WAITING)
		return false;
	if (!c->timed_out && !c->eof)
		return true;
	/* nobody had one */
	admit_settled(c->http->admit, &c->pending.ticket);
	conn_timer(c, c->http->over_timeout);
	return false;
}

/* Is there room by now? */
static bool still_over(struct conn *c)
{
	if (c->pending.over && admit_pending(c->http->admit, &c->pending.ticket))
		set_over(c, false);
	return c->pending.over;
}

bool pending_no_body(struct conn *c)
{
	return still_over(c);
}

bool pending_refuse(struct conn *c, struct exchange *x)
{
	if (x->app->always || !still_over(c))
		return false;
	x->app = NULL;
	exchange_refuse(x, &(struct exchange_error){ .ending = END_PENDING_FULL,
		.limit = admit_pending_limit(),
		.retry_after_ms = 1000 });
	return true;
}

void pending_carry_out(struct conn *c)
{
	/* who sent something, or has yet to be answered for the first time, hears why */
	if ((c->phase == CONN_HEAD && (c->started || !c->served)) || c->phase == CONN_BODY)
		h1_refuse(c, END_PENDING_FULL, NULL);
	else if (c->phase == CONN_H2)
		h2_goodbye(c);
	conn_flush(c);
	c->phase = CONN_DEAD;
}

void pending_admitted(struct conn *c, bool yes)
{
	if (yes) {
		if (c->pending.admitted++)
			return;
		set_over(c, false);
		admit_settled(c->http->admit, &c->pending.ticket);
	} else if (!--c->pending.admitted && !c->lost && c->phase != CONN_DEAD) {
		pending_begin(c);
	}
}
