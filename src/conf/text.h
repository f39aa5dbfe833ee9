/* SPDX-License-Identifier: BSD-2-Clause */
/* text.h - text from outside: UTF-8, ${NAME}, quoting for messages and for YAML. */
#ifndef CONF_TEXT_H
#define CONF_TEXT_H

#include "base/base.h"
#include "base/buf.h"
#include "conf/conf.h"

/* What names of variables and, with a hyphen, of providers are made of. */
#define TEXT_NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* Take the next character; *at moves behind it. -1: not UTF-8 (RFC 3629). The text ends with NUL. */
int32_t text_next(const char **at);
bool text_is_utf8(const char *text);

/*
 * ${NAME} replaced from the environment, $$ by a dollar; any other dollar stays.
 * NULL: *wrong_r says why (caller frees either).
 */
char *text_expand(const char *text, char **wrong_r);

/* For messages: in single quotes, cut to a readable length, nothing but printable characters. */
char *text_quote(const char *text);
/* As a double-quoted YAML scalar that text_expand turns into the same text. */
void text_as_yaml(const char *text, struct buf *out);

/* Append a text that the list owns from now on. */
void texts_add(struct conf_texts *texts, char *text);

#endif
