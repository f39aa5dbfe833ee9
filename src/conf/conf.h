/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.h - the configuration: read once, checked whole, frozen.
 *
 * The master loads it, workers inherit it by fork and never parse. A load gives
 * either a complete struct conf or a list of all errors.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/base.h"
#include "base/log.h"
#include "conf/network.h"

struct conf_texts {
	char **text;
	size_t count;
};

/* Lists of texts under keys, in the order of the file. */
struct conf_textmap {
	char **key;
	struct conf_texts *texts;
	size_t count;
};

typedef bool conf_type_BOOL;
typedef uint64_t conf_type_UINT;
typedef uint64_t conf_type_WORKERS;
typedef uint64_t conf_type_MSEC;
typedef uint64_t conf_type_BYTES;
typedef double conf_type_REAL;
typedef char *conf_type_TEXT;
typedef char *conf_type_SECRET;
typedef struct conf_texts conf_type_TEXTS;
typedef struct conf_texts conf_type_SECRETS;
typedef struct conf_textmap conf_type_TEXTMAP;
typedef uint64_t conf_type_LEVEL;
typedef uint64_t conf_type_FORMAT;
typedef uint64_t conf_type_HTTP2;
typedef uint64_t conf_type_RESPONSES;
typedef uint64_t conf_type_REJECT;
typedef uint64_t conf_type_ROOMLEVEL;
typedef uint64_t conf_type_TLSVERSION;

enum conf_responses { CONF_RESPONSES_BRIDGE, CONF_RESPONSES_NATIVE };
enum conf_http2 { CONF_HTTP2_AUTO, CONF_HTTP2_OFF };
enum conf_tls_version { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_reject { CONF_REJECT_CLOSE, CONF_REJECT_HTTP };

/* Who is asked next when a provider cannot serve. */
struct conf_target {
	unsigned provider;
	const char *model; /* "": the one that was asked for */
};
struct conf_chain {
	struct conf_target *target;
	unsigned count;
};

struct conf_provider {
	char *name;
	/* Its number in the segment (SHM_GATE_PROVIDER(), statistics). After a load that is its
	 * number here; a reload keeps the places of those that were there before. */
	unsigned place;
	/* What goes out as "Authorization: Bearer": from api_key, api_keys or api_key_file (one of
	 * them), else from the environment's api_key_env. Never log one. */
	char **keys;
	unsigned nkeys; /* 0: requests go out without */
	char *ca_pem;   /* what stands in ca_file; NULL: the system's authorities */
	struct conf_chain fallback_chain;
	struct conf_chain *model_chains; /* one for each key of model_fallback */
#define PROVIDER(type, field, ...) conf_type_##type field;
#include "conf/options.def"
};

/* What stands in the files of chat.websocket.tls; there is TLS if there is a certificate. */
enum conf_tls_file { CONF_TLS_CERTIFICATE, CONF_TLS_KEY, CONF_TLS_CLIENT_CA, CONF_TLS_FILES };
struct conf_tls {
	char *pem[CONF_TLS_FILES]; /* NULL: none */
	/* That session tickets are sealed with: made at a load, so all workers of it take each
	 * other's, and those that a reload replaces take theirs along. */
	unsigned char ticket_key[80];
};

/* Where limits are shared with other hosts: cluster.redis.address taken apart, and the password wherever it came from. */
struct conf_redis {
	char *host;	   /* or NULL: */
	char *socket_path; /* of a unix socket; both NULL: there is no cluster */
	uint16_t port;
	char *password; /* NULL: none. Never log it */
};

/* A key that lets clients in. */
struct conf_client {
	uint8_t sha256[32]; /* of the key, wherever that came from */
	/* Its place in the segment; a reload keeps the places of those that were there before, by name. */
	unsigned place;
#define CLIENT(type, field, ...) conf_type_##type field;
#include "conf/options.def"
};

/*
 * After a load, values that depend on others are filled in: run_dir, active, cluster_node,
 * base_url, api_key_env, pid_file. A base_url has no trailing slash; origins are in small
 * letters; a host of localhost is 127.0.0.1. There is at least one provider.
 */
struct conf {
	char *path; /* file it was read from, as it was named to conf_load */
	struct conf_provider *providers;
	unsigned nproviders;
	unsigned active_provider; /* index of llm.active */
	struct conf_client *clients; /* clients.keys */
	unsigned nclients;
	struct conf_tls tls;
	struct conf_network *trusted; /* trusted_proxies */
	unsigned ntrusted;
#define GLOBAL(type, field, ...) conf_type_##type field;
#include "conf/options.def"
	char admin_host[64]; /* of admin.listen; "": there is none */
	uint16_t admin_port;
	struct conf_redis redis;
	struct conf_origins *origins; /* where each value came from; private to this room */
	/* One line each: sections without meaning here, options whose effect comes later, missing
	 * keys, limits that the machine cannot meet. */
	struct conf_texts warnings;
};

/*
 * Read a file. NULL: all its errors stand in errors_r, one line each,
 * "file:line:column: key: what is wrong; what would be right" (caller frees with conf_texts_release).
 */
struct conf *conf_load(const char *path, struct conf_texts *errors_r);
void conf_free(struct conf *conf);
void conf_texts_release(struct conf_texts *texts);

/*
 * What a reload from `now` to `next` takes: nothing, a store into the segment, or new workers. What
 * takes a restart is put back in `next` to what it is in `now`. One line for each such option in
 * changed_r ("path: 100 -> 200") and in kept_r; secrets are not shown. Caller frees both.
 */
enum conf_change { CONF_SAME, CONF_LIVE, CONF_WORKERS };
enum conf_change conf_diff(const struct conf *now, struct conf *next, struct conf_texts *changed_r,
	struct conf_texts *kept_r);

/* Every option with its value and where it came from, as YAML with comments; secrets as ***. */
void conf_dump(const struct conf *conf, FILE *out);
/* What headgate -t prints: the effective limits in a short table. */
void conf_print_limits(const struct conf *conf, FILE *out);
/* Of this, what it asks of the machine: one line. */
void conf_print_sizing(const struct conf *conf, FILE *out);
/* Descriptors that a worker can need. */
uint64_t conf_descriptors(const struct conf *conf);
/* And the rules of thumb that it does not keep, one line each. */
void conf_print_advice(const struct conf *conf, FILE *out);
/* Every option as mdoc for headgate.yaml(5). */
void conf_print_mdoc(FILE *out);

/* Log as it says: level and format, those of single rooms, syslog; lines go to fd, which stays the caller's. */
void conf_apply_logging(const struct conf *conf, int fd);

/* The segment's place in the run directory: "<run_dir>/segment". */
char *conf_segment_path(const struct conf *conf);

#endif
