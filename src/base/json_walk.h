/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_walk.h - step by step through an object or an array of a text that json_scan()
 * found good. Nothing is copied or allocated; what is stepped over is skipped, not read.
 *
 *	struct json_walk walk;
 *	struct json_find name, value;
 *
 *	json_walk_begin(&walk, text, &tools);
 *	while (json_walk_next(&walk, &name, &value))
 *		if (json_find_equals(text, &name, "type"))
 *			...
 */
#ifndef BASE_JSON_WALK_H
#define BASE_JSON_WALK_H

#include "base/base.h"
#include "base/json_scan.h"

struct json_walk {
	const char *text;
	size_t at; /* behind what was stepped over */
	bool object;
};

/* Before the first member or element of an object or array; of any other value there is none. */
void json_walk_begin(struct json_walk *walk, const char *text, const struct json_find *container);
/*
 * The next member or element; false: there is none. *name_r is a string (without a path, as *value_r
 * is), in an array "missing". Duplicate names come as often as they are there.
 */
bool json_walk_next(struct json_walk *walk, struct json_find *name_r, struct json_find *value_r);
/* The first member of that name in an object; else it is "missing". */
struct json_find json_walk_member(
	const char *text, const struct json_find *object, const char *name);

#endif
