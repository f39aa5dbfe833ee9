/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * value.h - one value: from the text of a YAML scalar into its field, and back
 * into text that reads as the same value.
 */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "base/base.h"
#include "base/buf.h"
#include "conf/table.h"

/*
 * Put the value that text stands for into the option's field of object. plain:
 * not in quotes; numbers, true and false must be. The default of a list ("") is the
 * empty list; its elements go through value_add_text. False: nothing was
 * changed and *wrong_r says "what is wrong; what would be right" (caller frees).
 */
bool value_parse(const struct option *option, const char *text, bool plain, void *object,
	char **wrong_r) MUST_CHECK;

/* Open another key of a map; its texts follow by value_add_text. Outcome as in value_parse. */
bool value_add_key(
	const struct option *option, const char *key, void *object, char **wrong_r) MUST_CHECK;

/* Append to a list of texts, or to that of a map's last key; outcome as in value_parse. */
bool value_add_text(
	const struct option *option, const char *text, void *object, char **wrong_r) MUST_CHECK;

/* The value as a YAML scalar or flow list; what value_parse makes the same value of. */
void value_format(const struct option *option, const void *object, struct buf *out);

/* "a whole number, 1 to 64": what may stand there, for messages and the manual. */
void value_wants(const struct option *option, struct buf *out);

/* Give back what the field holds. */
void value_release(const struct option *option, void *object);

/* Do both objects have the same value there? */
bool value_equal(const struct option *option, const void *a, const void *b);

/* Give `to` the value that `from` has. */
void value_copy(const struct option *option, void *to, const void *from);

/* "30s", "250ms", "1h"; "64KiB", "8192". */
void value_format_ms(uint64_t ms, struct buf *out);
void value_format_bytes(uint64_t bytes, struct buf *out);

#endif
