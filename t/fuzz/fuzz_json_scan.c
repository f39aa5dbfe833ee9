/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_json_scan.c - the scanner against jansson: the same verdict on every text where
 * the two agree by definition, and the same values found. jansson is told to take
 * U+0000; left aside is what it refuses beyond RFC 8259 (numbers out of range, U+0000 in
 * names), what we do (depth, a wanted member twice), and raw NUL bytes outside of
 * strings: to jansson 2.14 one is the end of the text, or nothing at all behind a number.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/bug.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include <jansson.h>

#define DEPTH_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The value in jansson's tree that a path of ours leads to. */
static json_t *walk(json_t *at, const char *path)
{
	while (at && *path) {
		size_t len = strcspn(path, ".[");
		char *name;

		if (*path == '[') {
			char *end;
			size_t index = strtoul(path + 1, &end, 10);

			at = json_is_array(at) ? json_array_get(at, index) : NULL;
			path = end + 1;
		} else {
			name = xmemdup0(path, len);
			at = json_is_object(at) ? json_object_get(at, name) : NULL;
			free(name);
			path += len;
		}
		path += *path == '.';
	}
	return at;
}

static enum json_kind kind_of(const json_t *value)
{
	if (!value)
		return JSON_IS_MISSING;
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return JSON_IS_OBJECT;
	case JSON_ARRAY:
		return JSON_IS_ARRAY;
	case JSON_STRING:
		return JSON_IS_STRING;
	case JSON_INTEGER:
	case JSON_REAL:
		return JSON_IS_NUMBER;
	case JSON_NULL:
		return JSON_IS_NULL;
	default:
		return JSON_IS_BOOL;
	}
}

static void compare_string(const char *text, const struct json_find *find, const json_t *value)
{
	struct buf decoded = BUF_INIT, written = BUF_INIT, again = BUF_INIT;
	struct json_find whole = { .path = "" };
	char small[8];

	BUG_ON(!json_find_decode(text, find, &decoded));
	BUG_ON(decoded.len != json_string_length(value));
	BUG_ON(decoded.len && memcmp(decoded.data, json_string_value(value), decoded.len) != 0);
	BUG_ON(find->escaped != (memchr(text + find->offset, '\\', find->len) != NULL));
	if (json_find_copy(text, find, small, sizeof(small)))
		BUG_ON(strcmp(small, json_string_value(value)) != 0);
	else
		BUG_ON(decoded.len < sizeof(small) &&
			strlen(json_string_value(value)) == decoded.len);
	BUG_ON(json_find_equals(text, find, json_string_value(value)) !=
		(strlen(json_string_value(value)) == decoded.len));

	json_add_string(&written, decoded.data, decoded.len);
	BUG_ON(!json_scan(written.data, written.len, 0, &whole, 1, NULL));
	BUG_ON(!json_find_decode(written.data, &whole, &again));
	BUG_ON(again.len != decoded.len);
	BUG_ON(again.len && memcmp(again.data, decoded.data, again.len) != 0);
	buf_release(&decoded);
	buf_release(&written);
	buf_release(&again);
}

/* The range that was found is by itself JSON, and the same value. */
static void compare(const char *text, const struct json_find *find, json_t *value)
{
	uint64_t number;
	json_t *part;

	BUG_ON(find->kind != kind_of(value));
	if (find->kind == JSON_IS_MISSING) {
		BUG_ON(find->len || find->offset);
		return;
	}
	part = json_loadb(text + find->offset, find->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	BUG_ON(!part || !json_equal(part, value));
	json_decref(part);
	if (find->kind == JSON_IS_STRING)
		compare_string(text, find, value);
	BUG_ON(json_find_true(text, find) != json_is_true(value));
	if (json_find_uint(text, find, &number) && json_is_integer(value))
		BUG_ON((json_int_t)number != json_integer_value(value));
}

static void check_fault(const struct json_fault *fault, const char *text, size_t size)
{
	BUG_ON(fault->code == JSON_FAULT_NONE || fault->offset > size);
	BUG_ON(fault->line < 1 || fault->column < 1);
	BUG_ON(fault->code == JSON_FAULT_END && fault->offset != size);
	BUG_ON(fault->code == JSON_FAULT_UTF8 && json_utf8_valid(text, size));
}

static void check_writer(const char *text, size_t size)
{
	struct buf b = BUF_INIT;

	json_add_string(&b, text, size);
	BUG_ON(!json_scan(b.data, b.len, 0, NULL, 0, NULL));
	BUG_ON(json_utf8_valid(text, size) && b.len < size + 2);
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_find finds[] = {
		{ .path = "" },
		{ .path = "model" },
		{ .path = "stream" },
		{ .path = "stream_options.include_usage" },
		{ .path = "choices[0].delta.content" },
		{ .path = "choices[0].finish_reason" },
		{ .path = "usage" },
		{ .path = "usage.completion_tokens" },
		{ .path = "error.message" },
		{ .path = "[1]" },
		{ .path = "a[1][0].b" },
		{ .path = "a[1].b" },
		{ .path = "b" },
	};
	char *text = xmalloc(size ? size : 1);
	struct json_fault fault;
	json_error_t error;
	json_t *tree;
	bool good;

	if (size)
		memcpy(text, data, size);
	check_writer(text, size);
	good = json_scan(text, size, DEPTH_MAX, finds, ARRAY_SIZE(finds), &fault);
	tree = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	if (good && !tree)
		BUG_ON(json_error_code(&error) != json_error_numeric_overflow &&
			json_error_code(&error) != json_error_null_byte_in_key);
	if (!good)
		check_fault(&fault, text, size);
	if (!good && tree)
		BUG_ON(fault.code != JSON_FAULT_DEPTH && fault.code != JSON_FAULT_DUPLICATE &&
			(fault.offset == size || text[fault.offset]));
	for (size_t i = 0; good && tree && i < ARRAY_SIZE(finds); i++)
		compare(text, &finds[i], walk(tree, finds[i].path));
	json_decref(tree);
	free(text);
	return 0;
}
