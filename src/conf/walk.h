/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.h - a YAML document against the table of options. */
#ifndef CONF_WALK_H
#define CONF_WALK_H

#include "base/base.h"
#include "conf/loader.h"
#include "conf/yaml.h"

/* Put every value of the document into the loader's configuration; errors are with the loader. */
void walk_document(struct loader *l, yaml_document_t *doc);

/* Why this key is not known at a place, and which one would be ("unknown key; nearest: port"). */
char *walk_unknown(const struct option_set *set, const char *place, const char *key);

#endif
