/* SPDX-License-Identifier: BSD-2-Clause */
/* table.c - options.def made into rows, and the questions asked of them. */
#include "base/base.h"
#include "conf/table.h"
#include "base/bug.h"
#include "conf/value.h"

static const struct option global_rows[] = {
#define GLOBAL(type, field, path, text, min, max, reload, effect, help)                        \
	{ OPTION_##type, path, text, min, max, RELOAD_##reload, EFFECT_##effect, help,         \
		offsetof(struct conf, field) },
#include "conf/options.def"
};

static const struct option provider_rows[] = {
#define PROVIDER(type, field, path, text, min, max, reload, effect, help)                      \
	{ OPTION_##type, path, text, min, max, RELOAD_##reload, EFFECT_##effect, help,         \
		offsetof(struct conf_provider, field) },
#include "conf/options.def"
};

static const struct option client_rows[] = {
#define CLIENT(type, field, path, text, min, max, reload, effect, help)                        \
	{ OPTION_##type, path, text, min, max, RELOAD_##reload, EFFECT_##effect, help,         \
		offsetof(struct conf_client, field) },
#include "conf/options.def"
};

const struct option_set options_global = { global_rows, ARRAY_SIZE(global_rows) };
const struct option_set options_provider = { provider_rows, ARRAY_SIZE(provider_rows) };
const struct option_set options_client = { client_rows, ARRAY_SIZE(client_rows) };

const struct option *option_find(const struct option_set *set, const char *path)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->row[i].path, path) == 0)
			return &set->row[i];
	return NULL;
}

bool option_is_section(const struct option_set *set, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < set->count; i++)
		if (strncmp(set->row[i].path, path, len) == 0 && set->row[i].path[len] == '.')
			return true;
	return false;
}

bool option_is_list(const struct option *option)
{
	return option->type == OPTION_TEXTS || option->type == OPTION_SECRETS;
}

bool option_is_map(const struct option *option)
{
	return option->type == OPTION_TEXTMAP;
}

bool option_is_secret(const struct option *option)
{
	return option->type == OPTION_SECRET || option->type == OPTION_SECRETS;
}

const char *option_leaf(const struct option *option)
{
	const char *dot = strrchr(option->path, '.');

	return dot ? dot + 1 : option->path;
}

void options_set_defaults(const struct option_set *set, void *object)
{
	for (size_t i = 0; i < set->count; i++) {
		char *wrong = NULL;

		BUG_ON(!value_parse(
			&set->row[i], set->row[i].default_text, true, object, &wrong));
	}
}

void options_release(const struct option_set *set, void *object)
{
	for (size_t i = 0; i < set->count; i++)
		value_release(&set->row[i], object);
}
