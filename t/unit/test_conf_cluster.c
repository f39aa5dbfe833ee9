/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration of a cluster: where its Redis is, its password, the name of this host; secrets are shown nowhere. */
#include "conf_unit.h"

#define REDIS(rows) PROVIDER_ONLY "cluster:\n  redis: {" rows "}\n"

START_TEST(it_is_off_by_default)
{
	struct conf *conf = good(PROVIDER_ONLY);

	ck_assert(!conf->redis.host && !conf->redis.socket_path && !conf->redis.password);
	ck_assert_str_eq(conf->cluster_node, "");
	conf_free(conf);
	conf = good(PROVIDER_ONLY "cluster: {nodes: 3}\n");
	ck_assert_uint_eq(warned(conf, "cluster.nodes: has no effect: cluster.redis.address is empty"), 1);
	conf_free(conf);
}
END_TEST

START_TEST(addresses)
{
	static const struct {
		const char *text, *host;
		unsigned port;
	} good_ones[] = { { "10.0.0.5:6380", "10.0.0.5", 6380 }, { "redis.internal", "redis.internal", 6379 },
		{ "'[::1]:7000'", "::1", 7000 }, { "'[fe80::1]'", "fe80::1", 6379 }, { "a_b:1", "a_b", 1 } };
	static const char *const bad_ones[] = { "':6379'", "'a:'", "'a:0'", "'a:65536'", "'a:1x'", "'[::1'", "'[]'", "'[::1]x'",
		"'redis://a'", "'a b'", "'a:1:2'", "./sock" };
	char long_path[200], *yaml;
	struct conf *conf;

	for (size_t i = 0; i < ARRAY_SIZE(good_ones); i++) {
		yaml = xasprintf(REDIS("address: %s"), good_ones[i].text);
		conf = good(yaml);
		ck_assert_str_eq(conf->redis.host, good_ones[i].host);
		ck_assert_uint_eq(conf->redis.port, good_ones[i].port);
		ck_assert_ptr_null(conf->redis.socket_path);
		conf_free(conf);
		free(yaml);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad_ones); i++) {
		yaml = xasprintf(REDIS("address: %s"), bad_ones[i]);
		one_error(yaml, "f.yaml:3:20: cluster.redis.address: is no address; give one such as");
		free(yaml);
	}
	conf = good(REDIS("address: /run/redis/redis.sock"));
	ck_assert_str_eq(conf->redis.socket_path, "/run/redis/redis.sock");
	ck_assert_ptr_null(conf->redis.host);
	conf_free(conf);
	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	yaml = xasprintf(REDIS("address: /%s"), long_path);
	one_error(yaml, "f.yaml:3:20: cluster.redis.address: is too long for the path of a socket; give");
	free(yaml);
}
END_TEST

START_TEST(passwords_come_from_one_place_and_are_not_shown)
{
	char path[] = "/tmp/headgate-unit-XXXXXX", *yaml, *text;
	int fd = mkstemp(path);
	struct conf *conf;
	size_t len;
	FILE *out;

	ck_assert(write(fd, "of-the-file\nmore\n", 17) == 17);
	close(fd);
	setenv("TEST_REDIS", "of-the-environment", 1);
	unsetenv("TEST_NONE");
	conf = good(REDIS("address: a, password_env: TEST_REDIS"));
	ck_assert_str_eq(conf->redis.password, "of-the-environment");
	conf_free(conf);
	yaml = xasprintf(REDIS("address: a, user: u, password_file: %s"), path);
	conf = good(yaml);
	ck_assert_str_eq(conf->redis.password, "of-the-file");
	conf_free(conf);
	free(yaml);
	unlink(path);
	conf = good(REDIS("address: a, password: literal-secret"));
	ck_assert_str_eq(conf->redis.password, "literal-secret");
	out = open_memstream(&text, &len);
	conf_dump(conf, out);
	fclose(out);
	ck_assert_ptr_null(strstr(text, "literal-secret"));
	ck_assert_ptr_nonnull(strstr(text, "# password: ***"));
	free(text);
	conf_free(conf);
	one_error(REDIS("address: a, password: x, password_env: TEST_REDIS"),
		"f.yaml:3:50: cluster.redis.password_env: is given beside another source of the password; keep one");
	one_error(REDIS("address: a, password_env: TEST_NONE"),
		"f.yaml:3:37: cluster.redis.password_env: TEST_NONE is not set in the environment; set it");
	one_error(REDIS("address: a, password_env: my-secret"),
		"f.yaml:3:37: cluster.redis.password_env: is not the name of an environment variable; give");
	one_error(REDIS("address: a, password_file: /nowhere/at/all"), "f.yaml:3:38: cluster.redis.password_file: ");
	one_error(REDIS("address: a, user: u"), "f.yaml:3:29: cluster.redis.user: has no password; give");
}
END_TEST

START_TEST(names_and_numbers)
{
	struct conf *conf = good(PROVIDER_ONLY "cluster: {node: a-b.c_1, nodes: 3, share: 0.5, lease_ttl: 2s, redis: {address: r}}\n");
	char host[64] = "";

	ck_assert_str_eq(conf->cluster_node, "a-b.c_1");
	ck_assert_uint_eq(conf->cluster_nodes, 3);
	ck_assert_double_eq(conf->cluster_share, 0.5);
	ck_assert_uint_eq(conf->cluster_lease_ttl_ms, 2000);
	conf_free(conf);
	gethostname(host, sizeof(host) - 1);
	conf = good(REDIS("address: r"));
	ck_assert_str_eq(conf->cluster_node, host);
	ck_assert_str_eq(conf->redis_prefix, "headgate");
	conf_free(conf);
	one_error(PROVIDER_ONLY "cluster: {node: 'a b', redis: {address: r}}\n",
		"f.yaml:2:17: cluster.node: is no name for a host; give");
	one_error(PROVIDER_ONLY "cluster: {redis: {address: r, prefix: ''}}\n",
		"f.yaml:2:39: cluster.redis.prefix: is no name for a key; give");
	one_error(PROVIDER_ONLY "cluster: {lease_ttl: 900ms, redis: {address: r}}\n", "f.yaml:2:22: cluster.lease_ttl: ");
	one_error(PROVIDER_ONLY "cluster: {share: 1.5, redis: {address: r}}\n", "f.yaml:2:18: cluster.share: ");
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_cluster", it_is_off_by_default, addresses, passwords_come_from_one_place_and_are_not_shown,
		names_and_numbers);
}
