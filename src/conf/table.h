/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.h - options.def as data: the rows that the walk, the checks, the dump
 * and the manual go through, and where each value came from.
 */
#ifndef CONF_TABLE_H
#define CONF_TABLE_H

#include "base/base.h"
#include "conf/conf.h"

#define PROVIDERS_MAX 32
#define API_KEYS_MAX 16
#define CLIENTS_MAX 256

enum option_type {
	OPTION_BOOL,
	OPTION_UINT,
	OPTION_WORKERS,
	OPTION_MSEC,
	OPTION_BYTES,
	OPTION_REAL,
	OPTION_TEXT,
	OPTION_SECRET,
	OPTION_TEXTS,
	OPTION_LEVEL,
	OPTION_FORMAT,
	OPTION_SECRETS,
	OPTION_HTTP2,
	OPTION_RESPONSES,
	OPTION_TLSVERSION,
	OPTION_REJECT,
	OPTION_ROOMLEVEL,
	OPTION_TEXTMAP
};

enum option_reload { RELOAD_LIVE, RELOAD_WORKERS, RELOAD_RESTART };
enum option_effect { EFFECT_NOW, EFFECT_LATER };

struct option {
	enum option_type type;
	const char *path; /* dotted; for a provider's option: below llm.providers.<name> */
	const char *default_text;
	uint64_t min, max;
	enum option_reload reload;
	enum option_effect effect;
	const char *help;
	size_t offset; /* of its field in struct conf, conf_provider or conf_client */
};

struct option_set {
	const struct option *row;
	size_t count;
};

extern const struct option_set options_global, options_provider, options_client;

/* Row numbers: G_port is the row of struct conf's port, P_base_url of a provider's base_url, C_name of a
 * client key's name. */
enum global_row {
#define GLOBAL(type, field, ...) G_##field,
#include "conf/options.def"
	G_COUNT
};
enum provider_row {
#define PROVIDER(type, field, ...) P_##field,
#include "conf/options.def"
	P_COUNT
};
enum client_row {
#define CLIENT(type, field, ...) C_##field,
#include "conf/options.def"
	C_COUNT
};

/* A place in the file; line 0: not from the file. */
struct origin {
	unsigned line, column;
	bool bad; /* given, but refused: an error about it stands already */
};

struct conf_origins {
	struct origin global[G_COUNT];
	struct origin provider[PROVIDERS_MAX][P_COUNT];
	struct origin provider_name[PROVIDERS_MAX];
	struct origin clients; /* the list clients.keys */
	struct origin client[CLIENTS_MAX][C_COUNT];
	struct origin client_at[CLIENTS_MAX];
};

/* The row of a dotted path, or NULL. */
const struct option *option_find(const struct option_set *set, const char *path);
/* True if there are options below this path. */
bool option_is_section(const struct option_set *set, const char *path);
/* Its value is a list of texts: struct conf_texts. */
bool option_is_list(const struct option *option);
/* Its value is a section of lists of texts: struct conf_textmap. */
bool option_is_map(const struct option *option);
/* Its value is not to be shown. */
bool option_is_secret(const struct option *option);
/* What follows the last dot of its path. */
const char *option_leaf(const struct option *option);

/* Put the default of every row into an object whose fields are all zero. */
void options_set_defaults(const struct option_set *set, void *object);
void options_release(const struct option_set *set, void *object);

#endif
