/* SPDX-License-Identifier: BSD-2-Clause */
/* link.c - see link.h. */
#include "base/base.h"
#include "cluster/link.h"

#include "base/bug.h"
#include "base/log.h"
#include "cluster/lease_lua.h"
#include "cluster/wire.h"
#include "conf/conf.h"

#include <fcntl.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <openssl/evp.h>

#define RETRY_MIN_MS 50u
#define RETRY_MAX_MS 1000u
#define ID_BYTES 64
#define WHY_BYTES 200

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_CONNECTED, LINK_GREETING, LINK_UP };

struct link {
	struct event_base *base;
	const struct conf *conf;
	unsigned timeout_ms, retry_ms;
	const struct link_events *events;
	void *arg;
	redisAsyncContext *redis; /* NULL: none; its data is this link, or NULL when we have left it */
	enum link_state state;
	struct event *timer; /* of what is under way; when down: of the next try */
	bool busy;	     /* a command has no answer yet */
	char sha[41];
	char run_id[ID_BYTES];
};

static void connect_now(struct link *link);
static void greet(struct link *link);

static void arm(struct link *link, unsigned ms)
{
	const struct timeval in = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	event_add(link->timer, &in);
}

/* We have done with the connection; hiredis may have to finish a callback before it is freed. */
static void let_go(struct link *link)
{
	redisAsyncContext *redis = link->redis;

	link->redis = NULL;
	if (!redis)
		return;
	redis->data = NULL;
	redisAsyncFree(redis);
}

static void lost(struct link *link, const char *why)
{
	char text[WHY_BYTES];

	snprintf(text, sizeof(text), "%s", why); /* it may be the connection's own */
	let_go(link);
	link->state = LINK_DOWN;
	link->busy = false;
	arm(link, link->retry_ms);
	link->retry_ms = link->retry_ms * 2 < RETRY_MAX_MS ? link->retry_ms * 2 : RETRY_MAX_MS;
	link->events->down(link->arg, text);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	switch (link->state) {
	case LINK_DOWN:
		connect_now(link);
		break;
	case LINK_CONNECTING:
		lost(link, "no connection in time");
		break;
	case LINK_CONNECTED:
		greet(link);
		break;
	case LINK_GREETING:
	case LINK_UP:
		lost(link, "no answer in time");
		break;
	}
}

/* ---- greeting: who we are, which database, and who answers ---- */

/* True: the reply is an error, or there is none, and the link is lost. */
static bool is_refused(struct link *link, const redisReply *reply, const char *to)
{
	char why[WHY_BYTES];

	if (reply && reply->type != REDIS_REPLY_ERROR)
		return false;
	if (!reply)
		snprintf(why, sizeof(why), "the connection was closed");
	else
		snprintf(why, sizeof(why), "%s: %.120s", to, reply->str);
	lost(link, why);
	return true;
}

static void on_password(redisAsyncContext *redis, void *reply, void *unused)
{
	if (redis->data)
		is_refused(redis->data, reply, "AUTH");
}

static void on_database(redisAsyncContext *redis, void *reply, void *unused)
{
	if (redis->data)
		is_refused(redis->data, reply, "SELECT");
}

/* The value behind `name:` in what INFO says; "": there is none. */
static void find_id(const redisReply *reply, const char *name, char id_r[ID_BYTES])
{
	const char *at = reply->type == REDIS_REPLY_STRING ? strstr(reply->str, name) : NULL;

	id_r[0] = 0;
	if (at)
		sscanf(at + strlen(name), ":%63[0-9a-zA-Z]", id_r);
}

static void on_server(redisAsyncContext *redis, void *reply, void *unused)
{
	struct link *link = redis->data;

	if (link && !is_refused(link, reply, "INFO"))
		find_id(reply, "run_id", link->run_id);
}

static void on_replication(redisAsyncContext *redis, void *reply, void *unused)
{
	struct link *link = redis->data;
	char replid[ID_BYTES], run[LINK_RUN_BYTES];

	if (!link || is_refused(link, reply, "INFO"))
		return;
	find_id(reply, "master_replid", replid);
	if (!*link->run_id || !*replid) {
		lost(link, "INFO does not tell run_id and master_replid");
		return;
	}
	snprintf(run, sizeof(run), "%s:%s", link->run_id, replid);
	event_del(link->timer);
	link->state = LINK_UP;
	link->events->up(link->arg, run);
}

static void greet(struct link *link)
{
	const struct conf *conf = link->conf;
	const char *password = conf->redis.password;
	int rc = REDIS_OK;

	link->state = LINK_GREETING;
	arm(link, link->timeout_ms);
	if (password && *conf->redis_user)
		rc = redisAsyncCommand(link->redis, on_password, NULL, "AUTH %s %s", conf->redis_user, password);
	else if (password)
		rc = redisAsyncCommand(link->redis, on_password, NULL, "AUTH %s", password);
	if (rc == REDIS_OK && conf->redis_database)
		rc = redisAsyncCommand(link->redis, on_database, NULL, "SELECT %d", (int)conf->redis_database);
	if (rc == REDIS_OK)
		rc = redisAsyncCommand(link->redis, on_server, NULL, "INFO server");
	if (rc == REDIS_OK)
		rc = redisAsyncCommand(link->redis, on_replication, NULL, "INFO replication");
	if (rc != REDIS_OK)
		lost(link, "the connection was closed");
}

/* ---- the connection ---- */

static void on_connected(const redisAsyncContext *redis, int status)
{
	struct link *link = redis->data;

	if (!link)
		return;
	if (status == REDIS_OK) { /* it must not be freed in here, as a greeting that fails would */
		link->state = LINK_CONNECTED;
		arm(link, 0);
		return;
	}
	link->redis->data = NULL;
	link->redis = NULL; /* hiredis frees it */
	lost(link, redis->errstr);
}

static void on_closed(const redisAsyncContext *redis, int status)
{
	struct link *link = redis->data;

	if (!link)
		return;
	link->redis = NULL;
	lost(link, status == REDIS_OK ? "the connection was closed" : redis->errstr);
}

static void connect_now(struct link *link)
{
	const struct conf_redis *where = &link->conf->redis;

	link->state = LINK_CONNECTING;
	arm(link, link->timeout_ms);
	link->redis = where->socket_path ? redisAsyncConnectUnix(where->socket_path)
					 : redisAsyncConnect(where->host, where->port);
	if (!link->redis) {
		lost(link, "out of memory");
		return;
	}
	if (link->redis->err) {
		lost(link, link->redis->errstr);
		return;
	}
	fcntl(link->redis->c.fd, F_SETFD, FD_CLOEXEC);
	link->redis->data = link;
	redisLibeventAttach(link->redis, link->base);
	redisAsyncSetConnectCallback(link->redis, on_connected);
	redisAsyncSetDisconnectCallback(link->redis, on_closed);
}

/* ---- commands ---- */

static void on_answer(redisAsyncContext *redis, void *reply, void *unused)
{
	struct link *link = redis->data;
	const redisReply *r = reply;

	if (!link || !r) /* without an answer the connection is lost, and that is said elsewhere */
		return;
	event_del(link->timer);
	link->busy = false;
	if (r->type != REDIS_REPLY_ERROR)
		link->retry_ms = RETRY_MIN_MS;
	link->events->answered(link->arg, r);
}

void link_eval(struct link *link, const struct wire_args *args, bool whole)
{
	unsigned n = 4 + args->count;
	const char **text = xcalloc(n, sizeof(*text));
	size_t *len = xcalloc(n, sizeof(*len));
	const char *const head[] = { whole ? "EVAL" : "EVALSHA", whole ? lease_lua : link->sha, "1",
		link->conf->redis_prefix };
	int rc;

	BUG_ON(link->state != LINK_UP || link->busy);
	for (unsigned i = 0; i < ARRAY_SIZE(head); i++) {
		text[i] = head[i];
		len[i] = strlen(head[i]);
	}
	memcpy(text + ARRAY_SIZE(head), args->text, args->count * sizeof(*text));
	memcpy(len + ARRAY_SIZE(head), args->len, args->count * sizeof(*len));
	link->busy = true;
	arm(link, link->timeout_ms);
	rc = redisAsyncCommandArgv(link->redis, on_answer, NULL, (int)n, text, len);
	free(text);
	free(len);
	if (rc != REDIS_OK)
		lost(link, "the connection was closed");
}

/* ---- open and close ---- */

static void hash_script(char sha_r[41])
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	BUG_ON(!EVP_Digest(lease_lua, strlen(lease_lua), hash, &len, EVP_sha1(), NULL) || len != 20);
	for (unsigned i = 0; i < len; i++)
		snprintf(sha_r + 2 * i, 3, "%02x", hash[i]);
}

struct link *link_open(struct event_base *base, const struct conf *conf, unsigned timeout_ms,
	const struct link_events *events, void *arg)
{
	struct link *link = xcalloc(1, sizeof(*link));

	*link = (struct link){ .base = base, .conf = conf, .timeout_ms = timeout_ms, .retry_ms = RETRY_MIN_MS,
		.events = events, .arg = arg };
	hash_script(link->sha);
	link->timer = evtimer_new(base, on_timer, link);
	arm(link, 0);
	return link;
}

void link_again(struct link *link, const char *why)
{
	lost(link, why);
}

void link_close(struct link *link)
{
	let_go(link);
	event_free(link->timer);
	free(link);
}
