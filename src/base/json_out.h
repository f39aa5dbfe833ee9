/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_out.h - strings into JSON that is put together by hand in a struct buf.
 *
 *	buf_adds(&b, "{\"model\":");
 *	json_add_string(&b, model, strlen(model));
 *	buf_adds(&b, "}");
 */
#ifndef BASE_JSON_OUT_H
#define BASE_JSON_OUT_H

#include "base/base.h"
#include "base/buf.h"

/*
 * Append a quoted and escaped JSON string. Escaped are quote, backslash and control
 * characters, nothing else; every byte that is no valid UTF-8 becomes U+FFFD, so
 * that the result is JSON whatever came in.
 */
void json_add_string(struct buf *b, const char *bytes, size_t len);
/* The same without the quotes around it: part of a string. Do not cut a character in two. */
void json_add_escaped(struct buf *b, const char *bytes, size_t len);
/* ,"name":"text" (null for NULL); the name is not escaped. */
void json_add_member(struct buf *b, const char *name, const char *text);

#endif
