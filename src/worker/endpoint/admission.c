/* SPDX-License-Identifier: BSD-2-Clause */
/* admission.c - a place for a long-lived exchange, at once or later, and the words for who gets none. */
#include "base/base.h"
#include "worker/endpoint/apps.h"
#include "conf/conf.h"
#include "shm/segment.h"

/* Browsers cannot read a refused upgrade, but they can read a close code. */
static void refuse(struct exchange *x, struct endpoint_place *place)
{
	const struct ending_facts *facts = &ending_facts[place->place.ending];
	struct exchange_error error;

	if (place->place.kind == ADMIT_WEBSOCKET && endpoint.conf->reject_with == CONF_REJECT_CLOSE) {
		x->note.ending = place->place.ending;
		exchange_accept_ws(x);
		exchange_close_ws(x, facts->ws, facts->text);
		return;
	}
	admit_refusal(endpoint.admit, &place->place, &error);
	exchange_refuse(x, &error);
}

/* It had a place; several hosts share them, and this one has too many. */
static void lost(struct exchange *x, const struct admit_place *place)
{
	const struct ending_facts *facts = &ending_facts[END_LEASE_LOST];

	if (x->state == EXCHANGE_WEBSOCKET) {
		x->note.ending = END_LEASE_LOST;
		exchange_close_ws(x, facts->ws, facts->text);
	} else if (x->state != EXCHANGE_ENDED && x->app->on_lost) {
		x->app->on_lost(x, shm_gate_name(endpoint.shm, SHM_GATE_PLACES));
	}
}

static void decided(struct admit_place *admit_place)
{
	struct endpoint_place *place = container_of(admit_place, struct endpoint_place, place);
	struct exchange *x = admit_place->x;

	if (admit_place->ending == END_LEASE_LOST) {
		lost(x, admit_place);
		return;
	}
	if (x->state != EXCHANGE_ASKED)
		return; /* refused meanwhile: we drain */
	if (admit_place->ending == END_COMPLETE)
		place->go(x);
	else
		refuse(x, place);
}

void endpoint_enter(struct exchange *x, struct endpoint_place *place, enum admit_kind kind,
	void (*go)(struct exchange *x))
{
	place->go = go;
	switch (admit_enter(endpoint.admit, &place->place, x, kind, decided)) {
	case ADMIT_IN:
		go(x);
		break;
	case ADMIT_LATER:
		break;
	case ADMIT_NOT:
		refuse(x, place);
		break;
	}
}

void endpoint_leave(struct endpoint_place *place)
{
	admit_leave(&place->place);
}

void endpoint_give_up(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_DRAINING, .retry_after_ms = 1000 });
}

struct provider_client endpoint_client(const struct exchange *x)
{
	return (struct provider_client){ .flow = x->client.flow, .keyed = x->client.name, .place = x->client.place };
}
