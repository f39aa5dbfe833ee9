/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.c - see exchange.h. Keeps the state, so that a port is only ever asked for
 * what is allowed in it; counts how each request ended (access.c says it).
 */
#include "base/base.h"
#include "worker/exchange/exchange.h"
#include "base/bug.h"
#include "base/clock.h"
#include "shm/stats.h"

#include <strings.h>
#include <sys/random.h>

#define ID_GIVEN_MAX 36

const char *exchange_header(const struct exchange *x, const char *name)
{
	for (unsigned i = 0; i < x->request.nheaders; i++)
		if (!strcasecmp(x->request.headers[i].name, name))
			return x->request.headers[i].value;
	return NULL;
}

/* ---- answers ---- */

static void end_with(struct exchange *x, enum ending ending)
{
	x->state = EXCHANGE_ENDED;
	if (x->note.ending == END_COUNT)
		x->note.ending = ending;
}

/* What an answer of that status means where nobody said more. */
static enum ending ending_of_status(int status)
{
	return status < 400 ? END_COMPLETE : END_COUNT;
}

void exchange_respond(struct exchange *x, int status, const struct exchange_header *h, unsigned n,
	const char *body, size_t len)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_ASKED);
	x->status = status;
	if (strcmp(x->request.method, "HEAD"))
		x->sent_bytes += len;
	end_with(x, ending_of_status(status));
	x->port->respond(x, status, h, n, body, len);
}

void exchange_respond_json(struct exchange *x, int status, const struct buf *json)
{
	const struct exchange_header type = { "Content-Type", "application/json" };

	exchange_respond(x, status, &type, 1, json->data, json->len);
}

void exchange_start(struct exchange *x, int status, const struct exchange_header *h, unsigned n)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_ASKED);
	x->status = status;
	x->state = EXCHANGE_STREAMING;
	x->port->start(x, status, h, n);
}

void exchange_write(struct exchange *x, const char *bytes, size_t len)
{
	if (x->state == EXCHANGE_ENDED || !len)
		return;
	BUG_ON(x->state != EXCHANGE_STREAMING);
	x->sent_bytes += len;
	x->port->write(x, bytes, len);
}

void exchange_finish(struct exchange *x)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_STREAMING);
	end_with(x, ending_of_status(x->status));
	x->port->finish(x);
}

void exchange_abort(struct exchange *x)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	end_with(x, END_COUNT);
	x->port->abort(x);
}

size_t exchange_room(const struct exchange *x)
{
	return x->state == EXCHANGE_ENDED ? 0 : x->port->room(x);
}

/* ---- WebSocket ---- */

void exchange_accept_ws(struct exchange *x)
{
	const struct exchange_header subprotocol = { "Sec-WebSocket-Protocol", x->subprotocol };

	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_ASKED || !x->request.websocket);
	x->status = 101;
	x->state = EXCHANGE_WEBSOCKET;
	x->port->accept_ws(x, &subprotocol, x->subprotocol ? 1 : 0);
}

static void send_message(struct exchange *x, bool binary, const char *bytes, size_t len)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_WEBSOCKET);
	x->sent_bytes += len;
	x->port->send_message(x, binary, bytes, len);
}

void exchange_send_text(struct exchange *x, const char *text, size_t len)
{
	send_message(x, false, text, len);
}

void exchange_send_binary(struct exchange *x, const char *bytes, size_t len)
{
	send_message(x, true, bytes, len);
}

void exchange_close_ws(struct exchange *x, unsigned code, const char *reason)
{
	if (x->state == EXCHANGE_ENDED)
		return;
	BUG_ON(x->state != EXCHANGE_WEBSOCKET);
	end_with(x, code == 1000 ? END_COMPLETE : END_COUNT);
	x->port->close_ws(x, code, reason ? reason : "");
}

void exchange_admitted(struct exchange *x, bool yes)
{
	if (x->port->admitted)
		x->port->admitted(x, yes);
}

/* ---- for ports ---- */

void exchange_begin(struct exchange *x, const struct exchange_port *port)
{
	memset(x, 0, sizeof(*x));
	x->port = port;
	x->started_us = clock_us();
	x->note.ending = END_COUNT;
}

static bool id_is_sane(const char *id)
{
	size_t len = id ? strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
			: 0;

	return len && len <= ID_GIVEN_MAX && !id[len];
}

/* Unique among all workers and lives: a random start, then a step that visits every number (splitmix64). */
static uint64_t next_id(void)
{
	static uint64_t state;
	static bool begun; /* a worker begins after its fork: the master has no exchanges */
	uint64_t z;

	if (!begun)
		BUG_ON(getrandom(&state, sizeof(state), 0) != sizeof(state));
	begun = true;
	z = (state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void exchange_identify(struct exchange *x)
{
	const char *given = exchange_header(x, "X-Request-Id");

	stat_add(STAT_REQUESTS, 1);
	if (id_is_sane(given))
		snprintf(x->id, sizeof(x->id), "%s", given);
	else
		snprintf(x->id, sizeof(x->id), "%016" PRIx64, next_id());
}

void exchange_close(struct exchange *x)
{
	const struct exchange_app *app = x->app;

	if (!x->port)
		return;
	x->state = EXCHANGE_ENDED;
	if (x->note.ending < END_COUNT)
		stat_ending(x->note.ending);
	exchange_log(x);
	x->app = NULL;
	if (app)
		app->on_close(x);
	free(x->forwarded);
	free(x->subprotocol);
	x->port = NULL;
}
