/* SPDX-License-Identifier: BSD-2-Clause */
/* routes.c - see routes.h. */
#include "base/base.h"
#include "tools/llmsim/routes.h"
#include "base/clock.h"
#include "tools/llmsim/answer.h"
#include "tools/llmsim/outage.h"
#include "tools/llmsim/reply.h"
#include "tools/llmsim/sim.h"

static const struct {
	const char *path;
	enum answer_kind kind;
} answers[] = {
        {"/v1/chat/completions", ANSWER_CHAT},
        {"/v1/completions", ANSWER_COMPLETION},
        {"/v1/embeddings", ANSWER_EMBEDDING},
        {"/v1/responses", ANSWER_RESPONSE},
};

static void models(struct http_request *req)
{
	static const char body[] = "{\"object\":\"list\",\"data\":["
	                           "{\"id\":\"sim-small\",\"object\":\"model\",\"created\":"
	                           "1700000000,\"owned_by\":\"llmsim\"},"
	                           "{\"id\":\"sim-large\",\"object\":\"model\",\"created\":"
	                           "1700000000,\"owned_by\":\"llmsim\"}]}";

	reply(req, 200, REPLY_JSON, NULL, body, sizeof(body) - 1);
}

static void stats(struct http_request *req)
{
	const struct http_counts *n = http_counts(sim.server);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	        {"in_flight", sim.in_flight},
	        {"max_in_flight", sim.max_in_flight},
	        {"requests", sim.requests},
	        {"completed", sim.completed},
	        {"client_gone", sim.client_gone},
	        {"faulted", sim.faulted},
	        {"refused", n->refused},
	        {"outage", outage_now()},
	        {"connections_open", n->open},
	        {"max_connections_open", n->max_open},
	        {"idle_connections", n->idle},
	        {"max_idle_connections", n->max_settled},
	};
	struct buf body = BUF_INIT;

	buf_adds(&body, "{");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		buf_addf(&body, "\"%s\":%" PRIu64 ",", rows[i].name, rows[i].value);
	buf_adds(&body, "\"responses\":{");
	reply_statuses(&body);
	buf_adds(&body, "}}\n");
	reply(req, 200, REPLY_JSON, NULL, body.data, body.len);
	buf_release(&body);
}

/* Counters begin anew, maxima at what is now. Serial numbers go on. */
static void reset(struct http_request *req)
{
	struct http_counts *n = http_counts(sim.server);

	sim.max_in_flight = sim.in_flight;
	sim.requests = sim.completed = sim.client_gone = sim.faulted = 0;
	n->refused = 0;
	n->max_open = n->open;
	n->max_settled = n->settled;
	reply_statuses_reset();
	fault_directives_reset();
	reply(req, 200, REPLY_JSON, NULL, "{}\n", 3);
}

static const struct {
	const char *method, *path;
	void (*fn)(struct http_request *req);
} others[] = {
        {"GET", "/v1/models", models},
        {"GET", "/sim/stats", stats},
        {"POST", "/sim/reset", reset},
        {"POST", "/sim/outage", outage_order},
};

static void routes_head(struct http_request *req)
{
	if (!strncmp(req->head.path, "/sim/", 5))
		http_uncount(req);
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		if (!strcmp(req->head.path, answers[i].path) &&
		        !strcmp(req->head.method, "POST"))
			req->owner = answer_new(req, answers[i].kind);
}

static void routes_request(struct http_request *req)
{
	bool known = false;

	if (req->owner) {
		answer_start(req->owner);
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		if (strcmp(req->head.path, others[i].path))
			continue;
		known = true;
		if (!strcmp(req->head.method, others[i].method)) {
			others[i].fn(req);
			return;
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(answers); i++)
		known = known || !strcmp(req->head.path, answers[i].path);
	if (known)
		reply_error(req, 405, "invalid_request_error", "method_not_supported", NULL,
		        NULL, "This path does not know that method.");
	else
		reply_error(req, 404, "invalid_request_error", "unknown_url", NULL, NULL,
		        "Unknown request URL.");
}

static void routes_drained(struct http_request *req)
{
	if (req->owner)
		answer_drained(req->owner);
}

static void routes_finished(struct http_request *req, enum http_end how)
{
	struct answer *a = req->owner;

	req->owner = NULL;
	if (a)
		answer_finished(a, how);
}

const struct http_handler routes = {
        .head = routes_head,
        .request = routes_request,
        .drained = routes_drained,
        .finished = routes_finished,
};
