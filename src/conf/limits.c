/* SPDX-License-Identifier: BSD-2-Clause */
/* limits.c - the effective limits, as headgate -t prints them. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "conf/value.h"

/* One cell: a time or a size as text; valid until the next call with the same buffer. */
static const char *ms_text(struct buf *b, uint64_t ms)
{
	buf_clear(b);
	value_format_ms(ms, b);
	return b->data;
}

static const char *bytes_text(struct buf *b, uint64_t bytes)
{
	buf_clear(b);
	value_format_bytes(bytes, b);
	return b->data;
}

static void print_clients(const struct conf *conf, FILE *out)
{
	struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT, d = BUF_INIT;
	bool v6 = strchr(conf->host, ':');

	fprintf(out, "%-10s %s%s%s:%" PRIu64 ", %" PRIu64 " worker%s, backlog %" PRIu64 "%s\n",
		"listen", v6 ? "[" : "", conf->host, v6 ? "]" : "", conf->port, conf->workers,
		conf->workers == 1 ? "" : "s", conf->backlog, *conf->tls_certificate ? ", TLS" : "");
	fprintf(out,
		"%-10s %" PRIu64 " at once over all workers, %" PRIu64
		" requests at once on a WebSocket\n",
		"clients", conf->max_connections, conf->max_requests_per_connection);
	fprintf(out, "%-10s request line %s, head %s, body %s, WebSocket message %s\n", "sizes",
		bytes_text(&a, conf->max_request_line_bytes),
		bytes_text(&b, conf->max_header_bytes), bytes_text(&c, conf->max_body_bytes),
		bytes_text(&d, conf->max_message_size_bytes));
	fprintf(out, "%-10s head or body %s, idle %s, stalled client %s, drain %s\n", "times",
		ms_text(&a, conf->header_timeout_ms), ms_text(&b, conf->keepalive_timeout_ms),
		ms_text(&c, conf->client_stall_timeout_ms),
		ms_text(&d, conf->drain_timeout_ms));
	buf_release(&a);
	buf_release(&b);
	buf_release(&c);
	buf_release(&d);
}

static void print_keys(const struct conf *conf, FILE *out)
{
	if (!conf->nclients)
		return;
	fprintf(out, "%-10s %u%s:", "keys", conf->nclients,
		conf->allow_anonymous ? ", and clients without one" : "");
	for (unsigned i = 0; i < conf->nclients; i++) {
		const struct conf_client *c = &conf->clients[i];

		fprintf(out, "%s %s (weight %" PRIu64 ")", i ? "," : "", c->name, c->weight);
	}
	fputs("\n", out);
}

/* Of the widest name, with room for the mark of the active one. */
static int name_width(const struct conf *conf)
{
	size_t width = strlen("provider");

	for (unsigned i = 0; i < conf->nproviders; i++)
		if (strlen(conf->providers[i].name) + 2 > width)
			width = strlen(conf->providers[i].name) + 2;
	return (int)width;
}

void conf_print_limits(const struct conf *conf, FILE *out)
{
	int width = name_width(conf);
	struct buf a = BUF_INIT, b = BUF_INIT, c = BUF_INIT;

	print_clients(conf, out);
	print_keys(conf, out);
	fprintf(out, "\n%-*s  %8s  %10s  %8s  %8s  %8s  %-4s %s\n", width, "provider",
		"at once", "per minute", "wait", "connect", "read", "key", "base_url");
	for (unsigned i = 0; i < conf->nproviders; i++) {
		const struct conf_provider *p = &conf->providers[i];
		char rate[32] = "no limit";
		char *name = xasprintf("%s%s", p->name, i == conf->active_provider ? " *" : "");

		if (p->requests_per_minute)
			snprintf(rate, sizeof(rate), "%" PRIu64, p->requests_per_minute);
		fprintf(out, "%-*s  %8" PRIu64 "  %10s  %8s  %8s  %8s  %-4s %s\n", width, name,
			p->concurrent_requests, rate, ms_text(&a, p->queue_timeout_ms),
			ms_text(&b, p->connect_timeout_ms), ms_text(&c, p->read_timeout_ms),
			p->nkeys ? "yes" : "no", p->base_url);
		free(name);
	}
	fputs("* serves requests whose model names no provider (llm.active)\n", out);
	buf_release(&a);
	buf_release(&b);
	buf_release(&c);
}
