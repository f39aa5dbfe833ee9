/* SPDX-License-Identifier: BSD-2-Clause */
/* key.h - keys, those of providers and those of clients: where they come from, what they look like. */
#ifndef CONF_KEY_H
#define CONF_KEY_H

#include "base/base.h"

/* The same bytes without spaces and line ends around them, in place. */
void key_trim(char *text);
/* A key goes into a header: visible ASCII only. */
bool key_is_header_safe(const char *key);
/* The name of an environment variable. */
bool key_is_variable_name(const char *text);
/*
 * The first line of a file, trimmed (caller frees). NULL: *wrong_r says what is wrong; what would be
 * right (caller frees). *public_r: everybody on this machine may read the file.
 */
char *key_read_file(const char *path, bool *public_r, char **wrong_r) MUST_CHECK;

#endif
