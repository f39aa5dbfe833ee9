/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * advice.c - rules of thumb, as headgate -t tells them: what is accepted, and may be meant so,
 * but often is not. What cannot work as it is written is a warning (check_limits.c).
 */
#include "base/base.h"
#include "conf/conf.h"
#include "conf/table.h"

#define CONCURRENCY "chat.websocket.concurrency"

/* One line; where it stands in the file, if it does. */
static PRINTF_LIKE(5, 6) void advise(const struct conf *conf, const struct origin *at, FILE *out,
	unsigned *broken, const char *fmt, ...)
{
	va_list ap;

	++*broken;
	fprintf(out, "advice: %s:", conf->path);
	if (at->line)
		fprintf(out, "%u:%u:", at->line, at->column);
	fputc(' ', out);
	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
	fputc('\n', out);
}

static void advise_queue(const struct conf *conf, FILE *out, unsigned *broken)
{
	uint64_t queue = conf->connection_queue_size, places = conf->max_connections;
	const struct origin *at = &conf->origins->global[G_connection_queue_size];

	if (!at->line)
		at = &conf->origins->global[G_max_connections];
	if (queue < 2 * places)
		advise(conf, at, out, broken,
			CONCURRENCY ".connection_queue_size: %" PRIu64 " is less than 2 times max_connections "
			"(%" PRIu64 "): when many come at once, they are refused before anybody could leave; "
			"%" PRIu64 " to %" PRIu64 " is usual",
			queue, places, 2 * places, 5 * places);
	else if (queue > 5 * places)
		advise(conf, at, out, broken,
			CONCURRENCY ".connection_queue_size: %" PRIu64 " is more than 5 times max_connections "
			"(%" PRIu64 "): who stands at its end waits longer than people do; %" PRIu64
			" to %" PRIu64 " is usual",
			queue, places, 2 * places, 5 * places);
}

static void advise_pool(const struct conf *conf, unsigned i, FILE *out, unsigned *broken)
{
	const struct conf_provider *p = &conf->providers[i];
	const struct origin *rows = conf->origins->provider[i];
	const struct origin *at = rows[P_concurrent_requests].line ? &rows[P_concurrent_requests]
								    : &rows[P_pool_max_connections];
	uint64_t pool = p->pool_max_connections, requests = p->concurrent_requests;

	if (requests * 4 < pool)
		advise(conf, at, out, broken,
			"llm.providers.%s.http_client.concurrent_requests: %" PRIu64 " is less than 25 %% of the "
			"pool (max_connections: %" PRIu64 "): most of its sockets are never used; %" PRIu64
			" to %" PRIu64 " is usual",
			p->name, requests, pool, (pool + 3) / 4, pool / 2);
	else if (requests * 2 > pool)
		advise(conf, at, out, broken,
			"llm.providers.%s.http_client.concurrent_requests: %" PRIu64 " is more than 50 %% of the "
			"pool (max_connections: %" PRIu64 "): sockets that are opened or closed leave too few for "
			"requests; %" PRIu64 " to %" PRIu64 " is usual",
			p->name, requests, pool, (pool + 3) / 4, pool / 2);
}

void conf_print_advice(const struct conf *conf, FILE *out)
{
	unsigned broken = 0;

	advise_queue(conf, out, &broken);
	for (unsigned i = 0; i < conf->nproviders; i++)
		advise_pool(conf, i, out, &broken);
	if (!broken)
		fputs("rules of thumb: queue and pools are of a usual size\n", out);
}
