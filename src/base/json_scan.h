/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_scan.h - JSON of the data path: checked whole, and a few values found in
 * it, in one pass, without a tree and without any allocation.
 *
 *	struct json_find want[] = {
 *		{ .path = "model" },
 *		{ .path = "stream_options.include_usage" },
 *		{ .path = "choices[0].delta.content" },
 *	};
 *	struct json_fault fault;
 *
 *	if (!json_scan(text, len, 64, want, ARRAY_SIZE(want), &fault))
 *		... json_fault_text(fault.code), fault.line, fault.column ...
 *	if (json_find_equals(text, &want[0], "gpt-4o"))
 *		...
 *
 * What is accepted is RFC 8259 and nothing more: UTF-8 without overlong forms,
 * surrogates and what lies above U+10FFFF; no BOM; no lone surrogate escapes; no
 * control bytes in strings. The size of numbers is not judged (1e999 is fine).
 * It neither recurses nor reads past len; the text needs no NUL. May be used
 * together with jansson.h in one file.
 */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/base.h"

struct buf;

#define JSON_DEPTH_MAX 1024 /* the most that may be given as depth_max */
#define JSON_FINDS_MAX 16   /* values that one scan may look for */
#define JSON_STEPS_MAX 8    /* names and indexes in one path */
#define JSON_NAME_MAX 63    /* bytes of one name in a path */

enum json_kind {
	JSON_IS_MISSING, /* no such member, or not of that shape on the way to it */
	JSON_IS_NULL,
	JSON_IS_BOOL,
	JSON_IS_NUMBER,
	JSON_IS_STRING,
	JSON_IS_OBJECT,
	JSON_IS_ARRAY,
};

/*
 * A value that is looked for. The caller sets the path, json_scan() the rest
 * (each time anew, so an array of them may be used again and again).
 *
 * A path is names and indexes: "error.message", "choices[0].delta", "[2].id"; ""
 * is the document itself. Names hold no '.' and no '['; they are compared with
 * the decoded names of the text, so "mod\u0065l" is found as "model". A path of
 * more than JSON_STEPS_MAX names and indexes is a BUG, and so is a longer name.
 */
struct json_find {
	const char *path;
	enum json_kind kind;
	bool escaped;  /* a string that has a backslash in it */
	size_t offset; /* where the value starts: its quote, bracket, first digit.. */
	size_t len;    /* bytes of it, both quotes or brackets included; 0: missing */
};

#define JSON_FAULTS(X)                                                                         \
	X(NONE, "no error")                                                                    \
	X(END, "the text ends too early")                                                      \
	X(TRAILING, "something follows the end of the value")                                  \
	X(VALUE, "a value was expected")                                                       \
	X(NAME, "the name of a member, in quotes, was expected")                               \
	X(COLON, "':' was expected after a name")                                              \
	X(COMMA, "',' or a closing bracket was expected")                                      \
	X(NUMBER, "malformed number")                                                          \
	X(CONTROL, "control character in a string")                                            \
	X(ESCAPE, "unknown escape in a string")                                                \
	X(SURROGATE, "lone surrogate escape in a string")                                      \
	X(UTF8, "invalid UTF-8")                                                               \
	X(DEPTH, "nested too deeply")                                                          \
	X(DUPLICATE, "the same member twice")

enum json_fault_code {
#define X(name, text) JSON_FAULT_##name,
	JSON_FAULTS(X)
#undef X
};

struct json_fault {
	enum json_fault_code code;
	size_t offset;   /* bytes before the place */
	unsigned line;   /* from 1 */
	unsigned column; /* from 1, in characters */
};

/*
 * Check all of the text and find n values (n <= JSON_FINDS_MAX) in it. Nesting
 * deeper than depth_max brackets (<= JSON_DEPTH_MAX; a scalar document has depth
 * 0) is a fault, and so is a member that is given twice in an object where a
 * path passes or ends; other duplicates are not looked for.
 *
 * False on a fault: it is in *fault_r (may be NULL; else not written), and every find
 * is "missing".
 */
MUST_CHECK bool json_scan(const char *text, size_t len, unsigned depth_max,
        struct json_find *finds, size_t n, struct json_fault *fault_r);

/* A short English text, without position; never NULL. */
const char *json_fault_text(enum json_fault_code code);

/*
 * The functions below read a value that json_scan() found in this very text.
 * Each of them takes any find, also a missing one or one of another kind.
 */

/* Is it a string, and decoded the same as `expected`? */
bool json_find_equals(const char *text, const struct json_find *find, const char *expected);
/*
 * Decode a string into to[size], NUL-terminated. False, and "" in it, if it is no
 * string, does not fit with its NUL, or has a U+0000 in it.
 */
MUST_CHECK bool json_find_copy(
        const char *text, const struct json_find *find, char *to, size_t size);
/* Append the decoded string (U+0000 is a zero byte). False, and nothing done, if it is none. */
bool json_find_decode(const char *text, const struct json_find *find, struct buf *to);
/* A number of digits only that fits: true, and it is in *value_r. Else false, and *value_r is
 * kept. */
MUST_CHECK bool json_find_uint(
        const char *text, const struct json_find *find, uint64_t *value_r);
/* True for the literal true, and for nothing else. */
bool json_find_true(const char *text, const struct json_find *find);

/* Is all of it UTF-8 as above (RFC 3629)? Control bytes and NUL are no objection. */
bool json_utf8_valid(const char *bytes, size_t len);
/*
 * How many bytes at the start may stand in a JSON string as they are: valid UTF-8
 * up to the first quote, backslash, control byte or malformed sequence.
 */
size_t json_plain_run(const char *bytes, size_t len);

#endif
