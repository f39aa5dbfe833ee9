/* SPDX-License-Identifier: BSD-2-Clause */
/* check_limits.c - warnings: what is accepted, but will not do what one may expect. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/check.h"
#include "conf/file.h"
#include <sys/resource.h>

#define CONCURRENCY "chat.websocket.concurrency"

/* Append the name of every option that was given and has no effect yet; once each. */
static void list_without_effect(const struct loader *l, struct buf *out)
{
	const struct conf_origins *origins = l->conf->origins;

	for (size_t i = 0; i < options_global.count; i++)
		if (options_global.row[i].effect == EFFECT_LATER && origins->global[i].line)
			buf_addf(out, "%s%s", out->len ? ", " : "",
				option_leaf(&options_global.row[i]));
	for (size_t i = 0; i < options_provider.count; i++) {
		bool given = false;

		for (unsigned k = 0; k < l->conf->nproviders; k++)
			given = given || origins->provider[k][i].line;
		if (given && options_provider.row[i].effect == EFFECT_LATER)
			buf_addf(out, "%s%s", out->len ? ", " : "",
				options_provider.row[i].path);
	}
}

static void warn_without_effect(struct loader *l)
{
	struct buf names = BUF_INIT;

	list_without_effect(l, &names);
	if (names.len)
		loader_warn(l, NULL, NULL, "not built yet and without effect: %s", names.data);
	buf_release(&names);
}

/* 0 if it cannot be known. */
static uint64_t somaxconn(void)
{
	struct buf text = BUF_INIT;
	uint64_t n = 0;

	if (file_read("/proc/sys/net/core/somaxconn", 64, false, &text, NULL) == 0 &&
		text.len) {
		buf_add(&text, "", 0);
		n = strtoull(text.data, NULL, 10);
	}
	buf_release(&text);
	return n;
}

static void warn_backlog(struct loader *l)
{
	const struct conf *conf = l->conf;
	const struct origin *at = &conf->origins->global[G_backlog];
	uint64_t most = somaxconn();

	if (conf->backlog < conf->connection_queue_size)
		loader_warn(l, at, CONCURRENCY ".uvicorn.backlog",
			"%" PRIu64 " is below connection_queue_size, %" PRIu64
			": the kernel turns clients away before the queue is full",
			conf->backlog, conf->connection_queue_size);
	if (most && most < conf->backlog)
		loader_warn(l, at, CONCURRENCY ".uvicorn.backlog",
			"%" PRIu64 " is cut to %" PRIu64
			" by the kernel: sysctl -w net.core.somaxconn=%" PRIu64
			" would allow it",
			conf->backlog, most, conf->backlog);
}

/* One worker may come to hold every client, and every socket to a provider. */
static void warn_descriptors(struct loader *l)
{
	const struct conf *conf = l->conf;
	uint64_t needed = conf_descriptors(conf);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max == RLIM_INFINITY ||
		limit.rlim_max >= needed)
		return;
	loader_warn(l, &conf->origins->global[G_max_connections],
		CONCURRENCY ".max_connections",
		"%" PRIu64 " clients and their requests may need %" PRIu64
		" open files in one process, and the hard limit is %" PRIu64
		": raise it (ulimit -Hn, LimitNOFILE=)",
		conf->max_connections, needed, (uint64_t)limit.rlim_max);
}

void check_limits(struct loader *l)
{
	warn_without_effect(l);
	warn_backlog(l);
	warn_descriptors(l);
}
