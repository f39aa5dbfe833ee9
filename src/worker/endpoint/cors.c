/* SPDX-License-Identifier: BSD-2-Clause */
/* cors.c - see cors.h. */
#include "base/base.h"
#include "worker/endpoint/cors.h"
#include "conf/conf.h"
#include "worker/endpoint/apps.h"
#include <strings.h>

/* How long a browser may remember a preflight, in s (Chromium takes 7200 at most). */
#define PREFLIGHT_MAX_AGE "7200"
/* What may be sent if the browser does not say what it wants to send. */
#define USUAL_HEADERS "authorization, content-type, x-request-id"

/* "https://host:port" against the Host header; both leave out a port that is the scheme's own. */
static bool names_host(const char *origin, const char *host)
{
	const char *authority = strstr(origin, "://");

	return authority && host && strcasecmp(authority + 3, host) == 0;
}

static bool is_listed(const char *origin)
{
	const struct conf_texts *allowed = &endpoint.conf->allowed_origins;

	for (size_t i = 0; i < allowed->count; i++)
		if (strcmp(allowed->text[i], "*") == 0 ||
			strcasecmp(allowed->text[i], origin) == 0)
			return true;
	return false;
}

const char *cors_allowed_origin(const struct exchange *x)
{
	const char *origin = exchange_header(x, "origin");

	if (!origin)
		return NULL;
	return names_host(origin, exchange_header(x, "host")) || is_listed(origin) ? origin : NULL;
}

void cors_respond_preflight(struct exchange *x, const char *methods)
{
	const char *wanted = exchange_header(x, "access-control-request-headers");
	const struct exchange_header headers[] = {
		{ "Allow", methods },
		{ "Access-Control-Allow-Methods", methods },
		{ "Access-Control-Allow-Headers", wanted ? wanted : USUAL_HEADERS },
		{ "Access-Control-Max-Age", PREFLIGHT_MAX_AGE },
	};

	exchange_respond(x, 204, headers, x->cors_origin ? ARRAY_SIZE(headers) : 1, NULL, 0);
}
