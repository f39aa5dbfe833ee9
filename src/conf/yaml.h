/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * yaml.h - bytes to one YAML document, as plain as a configuration needs it:
 * no anchors, aliases or tags, shallow, one document.
 */
#ifndef CONF_YAML_H
#define CONF_YAML_H

#include "base/base.h"
#include "conf/loader.h"
#include <yaml.h>

/*
 * True: *doc holds the document (without a root node if there is nothing in the
 * bytes); give it back with yaml_document_delete. False: errors are with the loader.
 */
bool yaml_read(
	struct loader *l, const char *bytes, size_t len, yaml_document_t *doc) MUST_CHECK;

struct origin yaml_origin(const yaml_mark_t *mark);

/* A value that was left out: "key:", "key: ~", "key: null". */
bool yaml_is_null(const yaml_node_t *node);
/* The text of a scalar without NUL in it; NULL for any other node. */
const char *yaml_text(const yaml_node_t *node);

#endif
