/* SPDX-License-Identifier: BSD-2-Clause */
/* check.c - what one value outside llm.providers alone does not show. */
#include "base/base.h"
#include "conf/check.h"
#include "conf/text.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <sys/un.h>

/* Shorthand for an error about one of the rows; follow-up errors of a refused value are left out. */
#define origin_of(l, row) (&(l)->conf->origins->global[row])
#define path_of(row) (options_global.row[row].path)

static void global_error(
	struct loader *l, enum global_row row, const char *value, const char *what)
{
	char *shown = text_quote(value);

	if (!origin_of(l, row)->bad)
		loader_error(l, origin_of(l, row), path_of(row), "%s %s", shown, what);
	free(shown);
}

/* Texts that become part of a path, a URL or a line hold no control characters. */
static void check_one_line(struct loader *l)
{
	for (size_t i = 0; i < options_global.count; i++) {
		const struct option *o = &options_global.row[i];
		const char *text;

		if (o->type != OPTION_TEXT || i == G_system_prompt)
			continue;
		text = *(char **)((char *)l->conf + o->offset);
		for (const char *p = text; *p; p++) {
			if ((unsigned char)*p >= ' ' && *p != 0x7f)
				continue;
			global_error(l, (enum global_row)i, text,
				"holds a control character or a line end; leave it out");
			origin_of(l, i)->bad = true;
			break;
		}
	}
}

static bool is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static void check_host(struct loader *l)
{
	struct conf *conf = l->conf;
	struct in6_addr any;

	if (strcasecmp(conf->host, "localhost") == 0) {
		free(conf->host);
		conf->host = xstrdup("127.0.0.1");
	}
	if (strcmp(conf->host, "*") != 0 && inet_pton(AF_INET, conf->host, &any) != 1 &&
		inet_pton(AF_INET6, conf->host, &any) != 1)
		global_error(l, G_host, conf->host,
			"is not an address; give one such as 127.0.0.1 or ::1, or \"*\" for all");
	else if (!is_loopback(conf->host) && !conf->allow_anonymous && !l->conf->nclients &&
		 !conf->origins->clients.bad &&
		 !origin_of(l, G_allow_anonymous)->bad)
		global_error(l, G_host, conf->host,
			"can be reached from other machines, and clients need no key; give 127.0.0.1, "
			"name keys in clients.keys, or set clients.allow_anonymous: true");
}

/* Paths that are taken: these themselves, and what is below those that end in a slash. */
static void check_endpoint(struct loader *l, enum global_row row, const char *path, const char *example)
{
	static const char *const taken[] = { "/", "/v1", "/v1/", "/health", "/health/",
		"/metrics", "/status" };
	char *what;

	if (*path != '/' || path[strcspn(path, "?# ")]) {
		what = xasprintf("is not a path; give one that begins with /, such as %s", example);
		global_error(l, row, path, what);
		free(what);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		size_t n = strlen(taken[i]);

		if (strcmp(path, taken[i]) == 0 ||
			(n > 1 && taken[i][n - 1] == '/' && strncmp(path, taken[i], n) == 0)) {
			what = xasprintf("is a path with a meaning of its own; give another, such as %s",
				example);
			global_error(l, row, path, what);
			free(what);
			return;
		}
	}
}

static void check_endpoints(struct loader *l)
{
	const struct conf *conf = l->conf;

	check_endpoint(l, G_ws_endpoint, conf->ws_endpoint, "/ws/chat");
	if (!*conf->echo_endpoint)
		return;
	check_endpoint(l, G_echo_endpoint, conf->echo_endpoint, "/echo");
	if (!strcmp(conf->echo_endpoint, conf->ws_endpoint))
		global_error(l, G_echo_endpoint, conf->echo_endpoint,
			"is chat.websocket.endpoint as well; give another, such as /echo");
}

static void check_origins(struct loader *l)
{
	struct conf_texts *list = &l->conf->allowed_origins;

	for (size_t i = 0; i < list->count; i++) {
		if (!check_is_origin(list->text[i]))
			global_error(l, G_allowed_origins, list->text[i],
				"is not an origin; give scheme://host or scheme://host:port without a "
				"path, or \"*\" for any");
		for (char *p = list->text[i]; *p; p++)
			*p = (char)tolower((unsigned char)*p);
	}
}

static void check_subprotocols(struct loader *l)
{
	const struct conf_texts *list = &l->conf->subprotocols;

	for (size_t i = 0; i < list->count; i++)
		if (!check_is_token(list->text[i]))
			global_error(l, G_subprotocols, list->text[i],
				"is not the name of a subprotocol; give letters, digits and signs such as "
				". - _, like chat.v1");
}

/* "PORT", "IPV4:PORT" or "[IPV6]:PORT". */
static bool split_address(const char *text, char *host, size_t size, uint16_t *port)
{
	const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
	bool brackets = colon && *text == '[' && colon[-1] == ']';
	int len = colon ? (int)(colon - text) - 2 * brackets : 0;
	struct in6_addr any;
	unsigned long n;

	n = strtoul(digits, NULL, 10);
	if (!*digits || digits[strspn(digits, "0123456789")] || strlen(digits) > 5 || n > 65535)
		return false;
	*port = (uint16_t)n;
	if (colon)
		snprintf(host, size, "%.*s", len, text + brackets);
	else
		snprintf(host, size, "127.0.0.1");
	return inet_pton(brackets ? AF_INET6 : AF_INET, host, &any) == 1;
}

static void check_admin(struct loader *l)
{
	struct conf *conf = l->conf;

	if (*conf->admin_listen && !split_address(conf->admin_listen, conf->admin_host,
				   sizeof(conf->admin_host), &conf->admin_port))
		global_error(l, G_admin_listen, conf->admin_listen,
			"is not an address with a port; give one such as 127.0.0.1:8002 or [::1]:8002, or a "
			"port alone");
}

static void check_syslog(struct loader *l)
{
	const char *path = l->conf->log_syslog;

	if (*path && *path != '/')
		global_error(l, G_log_syslog, path, "is not absolute; give the path of a socket, such as /dev/log");
	else if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		global_error(l, G_log_syslog, path, "is too long for the path of a socket; give a shorter one");
}

static void check_proxies(struct loader *l)
{
	struct conf *conf = l->conf;

	conf->trusted = xcalloc(conf->trusted_proxies.count + 1, sizeof(*conf->trusted));
	for (size_t i = 0; i < conf->trusted_proxies.count; i++)
		if (network_parse(conf->trusted_proxies.text[i], &conf->trusted[conf->ntrusted]))
			conf->ntrusted++;
		else
			global_error(l, G_trusted_proxies, conf->trusted_proxies.text[i],
				"is no network; give an address, or address/bits such as 10.0.0.0/8");
	if (conf->proxy_protocol && !conf->trusted_proxies.count)
		global_error(l, G_proxy_protocol, "true",
			"lets nobody speak it; name the proxies in chat.websocket.trusted_proxies");
}

static char *default_run_dir(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		return xstrdup(HEADGATE_RUNSTATEDIR "/headgate");
	if (dir && *dir == '/' && text_is_utf8(dir))
		return xasprintf("%s/headgate", dir);
	return xasprintf("/tmp/headgate-%u", (unsigned)geteuid());
}

static void check_run_dir(struct loader *l)
{
	struct conf *conf = l->conf;

	if (!*conf->run_dir) {
		free(conf->run_dir);
		conf->run_dir = default_run_dir();
	} else if (*conf->run_dir != '/') {
		global_error(l, G_run_dir, conf->run_dir, "is not absolute; begin it with /");
	}
	if (!*conf->pid_file) {
		free(conf->pid_file);
		conf->pid_file = xasprintf("%s/headgate.pid", conf->run_dir);
	} else if (*conf->pid_file != '/') {
		global_error(l, G_pid_file, conf->pid_file, "is not absolute; begin it with /");
	}
	if (*conf->group && !*conf->user)
		global_error(l, G_group, conf->group, "is given without a user; give user as well");
}

void check_globals(struct loader *l)
{
	check_one_line(l);
	check_host(l);
	check_endpoints(l);
	check_origins(l);
	check_proxies(l);
	check_subprotocols(l);
	check_run_dir(l);
	check_syslog(l);
	check_admin(l);
	check_tls(l);
	check_cluster(l);
}
