/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loader.h - a load under way: the configuration as far as it is, and all that
 * was found wrong, to be told at once and in the order of the file.
 */
#ifndef CONF_LOADER_H
#define CONF_LOADER_H

#include "base/base.h"
#include "conf/conf.h"
#include "conf/table.h"

struct problem {
	unsigned line, column;
	size_t number; /* order found, for those of one place */
	char *text;
};

struct loader {
	const char *name; /* of the file, as messages give it */
	struct conf *conf;
	/* Where llm.providers is; bad: something below it was refused. */
	struct origin providers;
	struct problem *problems;
	size_t nproblems;
};

/*
 * "name:line:column: path: text"; without line and column where at has none (or
 * is NULL), without path where that is NULL. The text says what is wrong and,
 * after a semicolon, what would be right.
 */
void loader_error(struct loader *l, const struct origin *at, const char *path, const char *fmt,
	...) PRINTF_LIKE(4, 5);
void loader_warn(struct loader *l, const struct origin *at, const char *path, const char *fmt,
	...) PRINTF_LIKE(4, 5);
/* So many errors that more would help nobody: stop looking. */
bool loader_is_full(const struct loader *l);
/* Move the errors, sorted by place, to errors; the loader has none any more. */
void loader_tell(struct loader *l, struct conf_texts *errors);

/* A provider with all its defaults; its number. There must be room (PROVIDERS_MAX). */
unsigned loader_add_provider(struct loader *l, const char *name, const struct origin *at);
/* The same for an element of clients.keys (CLIENTS_MAX). */
unsigned loader_add_client(struct loader *l, const struct origin *at);

#endif
