/* SPDX-License-Identifier: BSD-2-Clause */
/* check_cluster.c - cluster: where its Redis is, what opens it, and who this host is. */
#include "base/base.h"
#include "conf/check.h"
#include "conf/key.h"
#include "conf/text.h"
#include <sys/un.h>

#define PORT 6379
#define NODE_MOST 63 /* of the name: it has a place in the segment */

static struct origin *origin_of(struct loader *l, enum global_row row)
{
	return &l->conf->origins->global[row];
}

/* `what` is not shown together with the value: that may be a password that somebody put in the wrong place. */
static void cluster_error(struct loader *l, enum global_row row, const char *what)
{
	if (!origin_of(l, row)->bad)
		loader_error(l, origin_of(l, row), options_global.row[row].path, "%s", what);
	origin_of(l, row)->bad = true;
}

/* "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT"; host names are looked up when we connect. */
static bool split(const char *text, struct conf_redis *redis)
{
	bool brackets = *text == '[';
	size_t len = brackets ? strcspn(text, "]") : strcspn(text, ":");
	const char *rest = text + len + brackets;
	unsigned long port = PORT;

	if (len < 1u + brackets || (brackets && text[len] != ']') ||
		text[strspn(text, TEXT_NAME_CHARS ".-:[]")])
		return false;
	if (*rest == ':') {
		port = strtoul(rest + 1, NULL, 10);
		if (!rest[1] || rest[1 + strspn(rest + 1, "0123456789")] || strlen(rest) > 6)
			return false;
	} else if (*rest) {
		return false;
	}
	if (!port || port > 65535)
		return false;
	redis->port = (uint16_t)port;
	redis->host = brackets ? xmemdup0(text + 1, len - 1) : xmemdup0(text, len);
	return true;
}

static void check_address(struct loader *l)
{
	const char *text = l->conf->redis_address;

	if (*text == '/') {
		if (strlen(text) >= sizeof(((struct sockaddr_un *)0)->sun_path))
			cluster_error(l, G_redis_address, "is too long for the path of a socket; give a shorter one");
		else
			l->conf->redis.socket_path = xstrdup(text);
	} else if (!split(text, &l->conf->redis)) {
		cluster_error(l, G_redis_address,
			"is no address; give one such as 10.0.0.5:6379, [::1]:6379, redis.internal, or the path "
			"of a unix socket");
	}
}

static void password_from_env(struct loader *l)
{
	const char *name = l->conf->redis_password_env, *password;
	char *text;

	if (!key_is_variable_name(name)) {
		cluster_error(l, G_redis_password_env,
			"is not the name of an environment variable; give a name such as REDIS_PASSWORD");
		return;
	}
	password = getenv(name);
	if (password && *password) {
		l->conf->redis.password = xstrdup(password);
		return;
	}
	text = xasprintf("%s is not set in the environment; set it", name);
	cluster_error(l, G_redis_password_env, text);
	free(text);
}

static void password_from_file(struct loader *l)
{
	const char *path = l->conf->redis_password_file;
	bool public;
	char *wrong;

	l->conf->redis.password = key_read_file(path, &public, &wrong);
	if (!l->conf->redis.password) {
		cluster_error(l, G_redis_password_file, wrong);
		free(wrong);
	} else if (public) {
		loader_warn(l, origin_of(l, G_redis_password_file), options_global.row[G_redis_password_file].path,
			"everybody on this machine may read it; chmod o-r %s", path);
	}
}

static void check_password(struct loader *l)
{
	const struct conf *conf = l->conf;
	bool given = *conf->redis_password, env = *conf->redis_password_env, file = *conf->redis_password_file;

	if (given + env + file > 1)
		cluster_error(l, file ? G_redis_password_file : G_redis_password_env,
			"is given beside another source of the password; keep one of password, password_env and "
			"password_file");
	else if (given)
		l->conf->redis.password = xstrdup(conf->redis_password);
	else if (env)
		password_from_env(l);
	else if (file)
		password_from_file(l);
	else if (*conf->redis_user)
		cluster_error(l, G_redis_user, "has no password; give password_env, password_file or password");
}

static void check_node(struct loader *l)
{
	struct conf *conf = l->conf;
	char name[NODE_MOST + 1] = "";

	if (!*conf->cluster_node) {
		if (gethostname(name, sizeof(name)) < 0)
			name[0] = 0;
		name[NODE_MOST] = 0;
		free(conf->cluster_node);
		conf->cluster_node = xstrdup(name);
	}
	if (!*conf->cluster_node || strlen(conf->cluster_node) > NODE_MOST ||
		conf->cluster_node[strspn(conf->cluster_node, TEXT_NAME_CHARS ".-")])
		cluster_error(l, G_cluster_node,
			"is no name for a host; give 1 to 63 letters, digits, _ - and ., another on each host");
}

static void check_prefix(struct loader *l)
{
	const char *prefix = l->conf->redis_prefix;

	if (!*prefix || strlen(prefix) > 200)
		cluster_error(l, G_redis_prefix, "is no name for a key; give 1 to 200 characters");
}

/* Given without an address, the rest does nothing. */
static void warn_if_off(struct loader *l)
{
	static const enum global_row rows[] = { G_cluster_node, G_cluster_nodes, G_cluster_share,
		G_cluster_lease_ttl_ms, G_redis_database, G_redis_user, G_redis_password, G_redis_password_env,
		G_redis_password_file, G_redis_prefix };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (origin_of(l, rows[i])->line) {
			loader_warn(l, origin_of(l, rows[i]), options_global.row[rows[i]].path,
				"has no effect: cluster.redis.address is empty, so limits are shared with nobody");
			return;
		}
}

void check_cluster(struct loader *l)
{
	if (!*l->conf->redis_address) {
		if (!origin_of(l, G_redis_address)->bad)
			warn_if_off(l);
		return;
	}
	check_address(l);
	check_password(l);
	check_node(l);
	check_prefix(l);
}

void redis_release(struct conf_redis *redis)
{
	if (redis->password)
		explicit_bzero(redis->password, strlen(redis->password));
	free(redis->password);
	free(redis->host);
	free(redis->socket_path);
}
