/* SPDX-License-Identifier: BSD-2-Clause */
/* outage.c - see outage.h. */
#include "base/base.h"
#include "tools/llmsim/outage.h"
#include "base/clock.h"
#include "tools/llmsim/events.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/sim.h"

#include <jansson.h>

static enum { OUTAGE_NONE, OUTAGE_REFUSE, OUTAGE_FAULT } kind;
static struct fault fault;
static struct wheel_timer over;

static void outage_end(void *arg)
{
	if (kind == OUTAGE_NONE)
		return;
	wheel_disarm(&over);
	if (kind == OUTAGE_REFUSE)
		http_server_up(sim.server);
	kind = OUTAGE_NONE;
	events_write("outage", "\"how\":\"none\"");
}

static void outage_begin(bool refuse, int64_t ms)
{
	kind = refuse ? OUTAGE_REFUSE : OUTAGE_FAULT;
	events_write("outage", "\"how\":\"%s\"", refuse ? "refuse" : fault.name);
	if (kind == OUTAGE_REFUSE)
		http_server_down(sim.server);
	if (ms)
		wheel_arm(&sim.wheel, &over, clock_us() + (uint64_t)ms * 1000, outage_end, NULL);
}

void outage_order(struct http_request *req)
{
	json_t *body = json_loadb(req->body.data ? req->body.data : "", req->body.len,
		JSON_REJECT_DUPLICATES, NULL);
	const char *how = json_string_value(json_object_get(body, "how"));
	int64_t ms = json_integer_value(json_object_get(body, "ms"));
	bool none = how && !strcmp(how, "none"), refuse = how && !strcmp(how, "refuse");
	struct buf why = BUF_INIT;
	struct fault told;

	if (!how || !*how || ms < 0)
		buf_adds(&why, "give {\"how\":\"refuse\"}, with \"ms\" if it shall end by itself");
	else if (!none && !refuse && fault_parse(&told, how, strlen(how), false, &why))
		fault = told;
	if (why.len) {
		reply_error(req, 400, "invalid_request_error", NULL, NULL, NULL, why.data);
	} else {
		outage_end(NULL);
		if (!none)
			outage_begin(refuse, ms);
		reply(req, 200, REPLY_JSON, NULL, "{}\n", 3);
	}
	buf_release(&why);
	json_decref(body);
}

struct fault *outage_fault(void)
{
	return kind == OUTAGE_FAULT ? &fault : NULL;
}

bool outage_now(void)
{
	return kind != OUTAGE_NONE;
}
