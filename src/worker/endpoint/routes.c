/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * routes.c - which app answers a request; the table is routes.def. What no app takes is
 * refused here: 404, 405, 426, 401 without a key, and a WebSocket of a page from elsewhere 403.
 */
#include "base/base.h"
#include "worker/endpoint/endpoint.h"
#include "base/json_scan.h"
#include "conf/conf.h"
#include "worker/admit/admit.h"
#include "worker/endpoint/apps.h"
#include "worker/endpoint/cors.h"

struct endpoint_setup endpoint;

void endpoint_open(const struct endpoint_setup *setup)
{
	endpoint = *setup;
}

void endpoint_close(void)
{
	endpoint = (struct endpoint_setup){ 0 };
}

void endpoint_nothing_held(struct exchange *x)
{
}

/* ---- the table ------------------------------------------------------------- */

#define ROUTE_WEBSOCKET 1u
#define ROUTE_BELOW 2u
#define ROUTE_ECHO 4u
#define ROUTE_OPEN 8u
#define ROUTE_ADMIN 16u
#define ROUTE_BOTH 32u
#define ROUTE_PAGE 64u

struct route {
	const char *method;
	const char *path;
	const struct exchange_app *app;
	unsigned flags;
};

static const struct route routes[] = {
#define ROUTE(method, path, app, flags) { method, path, &app, flags },
#include "worker/endpoint/routes.def"
#undef ROUTE
};

/* Whether there is such a route where the request came in. */
static bool is_served(const struct route *r, bool admin)
{
	if (r->flags & ROUTE_PAGE && !endpoint.conf->chat_page)
		return false;
	if (r->flags & ROUTE_ADMIN)
		return admin || (r->flags & ROUTE_BOTH && !*endpoint.conf->admin_listen);
	return !admin || r->flags & ROUTE_BOTH;
}

static bool leads_to(const struct exchange_request *request, const struct route *r)
{
	const char *path = request->path;
	const char *at = r->path ? r->path
			 : r->flags & ROUTE_ECHO ? endpoint.conf->echo_endpoint
						 : endpoint.conf->ws_endpoint;
	size_t len = strlen(at);

	if (!is_served(r, request->admin))
		return false;
	if (r->flags & ROUTE_BELOW)
		return strncmp(path, at, len) == 0 && path[len];
	return strcmp(path, at) == 0;
}

struct lookup {
	const struct route *route; /* NULL: nothing takes it */
	bool path_known;
	bool needs_websocket; /* it would be taken as a WebSocket */
};

static struct lookup look_up(const struct exchange_request *request)
{
	const char *method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;
	struct lookup found = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(routes) && !found.route; i++) {
		const struct route *r = &routes[i];

		if (!leads_to(request, r))
			continue;
		found.path_known = true;
		if (strcmp(r->method, method) != 0 && strcmp(r->method, "*") != 0)
			continue;
		if (r->flags & ROUTE_WEBSOCKET && !request->websocket)
			found.needs_websocket = true;
		else
			found.route = r;
	}
	return found;
}

/* "GET, HEAD, OPTIONS": what this path takes. */
static void list_methods(const struct exchange_request *request, char *to, size_t size)
{
	bool get = false, post = false;

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (!leads_to(request, &routes[i]))
			continue;
		get |= strcmp(routes[i].method, "GET") == 0;
		post |= strcmp(routes[i].method, "POST") == 0;
	}
	snprintf(to, size, "%s%sOPTIONS", get ? "GET, HEAD, " : "", post ? "POST, " : "");
}

/* ---- what no app takes -------------------------------------------------------- */

static void refuse_path(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_NOT_FOUND });
}

static void refuse_method(struct exchange *x)
{
	char methods[64];
	const struct exchange_header headers[] = {
		{ "Content-Type", "application/json" }, { "Allow", methods }
	};
	struct buf json = BUF_INIT;

	list_methods(&x->request, methods, sizeof(methods));
	exchange_error_json(&json, &(struct exchange_error){ .ending = END_METHOD_NOT_ALLOWED });
	x->note.ending = END_METHOD_NOT_ALLOWED;
	exchange_respond(x, ending_facts[END_METHOD_NOT_ALLOWED].http, headers,
		ARRAY_SIZE(headers), json.data, json.len);
	buf_release(&json);
}

static void refuse_plain(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_UPGRADE_REQUIRED });
}

static void refuse_origin(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_FORBIDDEN_ORIGIN });
}

static void refuse_no_key(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_NO_KEY });
}

static void refuse_wrong_key(struct exchange *x)
{
	exchange_refuse(x, &(struct exchange_error){ .ending = END_WRONG_KEY });
}

static void answer_options(struct exchange *x)
{
	char methods[64];

	list_methods(&x->request, methods, sizeof(methods));
	cors_respond_preflight(x, methods);
}

#define ANSWER(fn) { .name = #fn, .on_start = fn, .on_close = endpoint_nothing_held }
static const struct exchange_app unknown_path_app = ANSWER(refuse_path);
static const struct exchange_app unknown_method_app = ANSWER(refuse_method);
static const struct exchange_app upgrade_required_app = ANSWER(refuse_plain);
static const struct exchange_app foreign_origin_app = ANSWER(refuse_origin);
static const struct exchange_app no_key_app = ANSWER(refuse_no_key);
static const struct exchange_app wrong_key_app = ANSWER(refuse_wrong_key);
static const struct exchange_app options_app = ANSWER(answer_options);

/* The app of this route, for those who may use it. */
static const struct exchange_app *enter(struct exchange *x, const struct route *route)
{
	enum ending ending = END_COMPLETE;

	if (route->flags & (ROUTE_WEBSOCKET | ROUTE_ECHO) && x->request.websocket && !x->cors_origin &&
		exchange_header(x, "origin"))
		return &foreign_origin_app;
	if (!(route->flags & ROUTE_OPEN))
		ending = admit_identify(endpoint.admit, x);
	if (ending != END_COMPLETE)
		return ending == END_NO_KEY ? &no_key_app : &wrong_key_app;
	return route->app;
}

static const struct exchange_app *choose(struct exchange *x)
{
	struct lookup found = look_up(&x->request);

	if (found.route)
		return enter(x, found.route);
	if (!found.path_known)
		return &unknown_path_app;
	if (strcmp(x->request.method, "OPTIONS") == 0)
		return &options_app;
	return found.needs_websocket ? &upgrade_required_app : &unknown_method_app;
}

void endpoint_route(struct exchange *x, void *arg)
{
	x->cors_origin = cors_allowed_origin(x);
	x->app = choose(x);
}
