/* SPDX-License-Identifier: BSD-2-Clause */
/* base: the JSON scanner (verdicts, places, values found) and the JSON writer. */
#include "base/base.h"
#include "base/buf.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "unit.h"
#include <jansson.h> /* both in one file: their names must not collide */

#define TEXT(s) s, sizeof(s) - 1

static const struct {
	const char *text;
	size_t len;
} valid[] = {
        {TEXT("0")},
        {TEXT("-0")},
        {TEXT(" \t\r\n7 \t\r\n")},
        {TEXT("-12.50e-03")},
        {TEXT("1E+2")},
        {TEXT("1e999")},
        {TEXT("123456789012345678901234567890")},
        {TEXT("true")},
        {TEXT("false")},
        {TEXT("null")},
        {TEXT("\"\"")},
        {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uABcd\"")},
        {TEXT("\"\\u0000\"")},
        {TEXT("\"\\ud83d\\uDE00\"")},
        {TEXT("\"\x7f \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 "
              "\xef\xbf\xbf\"")},
        {TEXT("\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"")},
        {TEXT("[]")},
        {TEXT("[ ]")},
        {TEXT("{}")},
        {TEXT("{ }")},
        {TEXT("[[],{},[{}]]")},
        {TEXT("{\"a\" : 1 , \"b\" : [ 1 , 2 ] }")},
        {TEXT("{\"\":{\"\":\"\"}}")},
        {TEXT("{\"same\":1,\"same\":2}")},
};

static const struct {
	const char *text;
	size_t len;
	enum json_fault_code code;
	size_t offset;
} invalid[] = {
        {TEXT(""), JSON_FAULT_END, 0},
        {TEXT("  "), JSON_FAULT_END, 2},
        {TEXT("\xef\xbb\xbf{}"), JSON_FAULT_VALUE, 0},
        {TEXT("1 2"), JSON_FAULT_TRAILING, 2},
        {TEXT("{}}"), JSON_FAULT_TRAILING, 2},
        {TEXT("{}\0"), JSON_FAULT_TRAILING, 2},
        {TEXT("nullx"), JSON_FAULT_TRAILING, 4},
        {TEXT("nul"), JSON_FAULT_END, 3},
        {TEXT("nulL"), JSON_FAULT_VALUE, 0},
        {TEXT("True"), JSON_FAULT_VALUE, 0},
        {TEXT("NaN"), JSON_FAULT_VALUE, 0},
        {TEXT("Infinity"), JSON_FAULT_VALUE, 0},
        {TEXT("-Infinity"), JSON_FAULT_NUMBER, 1},
        {TEXT("'a'"), JSON_FAULT_VALUE, 0},
        {TEXT("/**/1"), JSON_FAULT_VALUE, 0},
        {TEXT("\v1"), JSON_FAULT_VALUE, 0},
        {TEXT("01"), JSON_FAULT_NUMBER, 0},
        {TEXT("-01"), JSON_FAULT_NUMBER, 1},
        {TEXT("00"), JSON_FAULT_NUMBER, 0},
        {TEXT("+1"), JSON_FAULT_VALUE, 0},
        {TEXT(".5"), JSON_FAULT_VALUE, 0},
        {TEXT("-"), JSON_FAULT_END, 1},
        {TEXT("1."), JSON_FAULT_END, 2},
        {TEXT("1.e1"), JSON_FAULT_NUMBER, 2},
        {TEXT("[1e]"), JSON_FAULT_NUMBER, 3},
        {TEXT("[1e+]"), JSON_FAULT_NUMBER, 4},
        {TEXT("0x10"), JSON_FAULT_TRAILING, 1},
        {TEXT("\""), JSON_FAULT_END, 1},
        {TEXT("\"abc"), JSON_FAULT_END, 4},
        {TEXT("\"\\"), JSON_FAULT_END, 2},
        {TEXT("\"\\x\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\\0\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\U0041\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\u004\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\u00g1\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\u-001\""), JSON_FAULT_ESCAPE, 1},
        {TEXT("\"\\ud83d\""), JSON_FAULT_SURROGATE, 1},
        {TEXT("\"\\ud83d\\n\\u0041\""), JSON_FAULT_SURROGATE, 1},
        {TEXT("\"\\ud83d\\u0041\""), JSON_FAULT_SURROGATE, 1},
        {TEXT("\"\\ud83d\\ud83d\""), JSON_FAULT_SURROGATE, 1},
        {TEXT("\"ab\\ude00\""), JSON_FAULT_SURROGATE, 3},
        {TEXT("\"a\nb\""), JSON_FAULT_CONTROL, 2},
        {TEXT("\"a\0b\""), JSON_FAULT_CONTROL, 2},
        {TEXT("\"12345678\x1f\""), JSON_FAULT_CONTROL, 9},
        {TEXT("\"\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xc0\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xc1\xbf\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xc3\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xc3"), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xe0\x9f\xbf\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xe2\x82\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xed\xa0\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xf0\x8f\xbf\xbf\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xf0\x90\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xf4\x90\x80\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xf5\x80\x80\x80\""), JSON_FAULT_UTF8, 1},
        {TEXT("\"\xff\""), JSON_FAULT_UTF8, 1},
        {TEXT("["), JSON_FAULT_END, 1},
        {TEXT("[1"), JSON_FAULT_END, 2},
        {TEXT("[1,"), JSON_FAULT_END, 3},
        {TEXT("[1,]"), JSON_FAULT_VALUE, 3},
        {TEXT("[,1]"), JSON_FAULT_VALUE, 1},
        {TEXT("[1 2]"), JSON_FAULT_COMMA, 3},
        {TEXT("[1}"), JSON_FAULT_COMMA, 2},
        {TEXT("]"), JSON_FAULT_VALUE, 0},
        {TEXT("{"), JSON_FAULT_END, 1},
        {TEXT("{]"), JSON_FAULT_NAME, 1},
        {TEXT("{1:2}"), JSON_FAULT_NAME, 1},
        {TEXT("{a:2}"), JSON_FAULT_NAME, 1},
        {TEXT("{\"a\"}"), JSON_FAULT_COLON, 4},
        {TEXT("{\"a\":}"), JSON_FAULT_VALUE, 5},
        {TEXT("{\"a\":1,}"), JSON_FAULT_NAME, 7},
        {TEXT("{\"a\":1]"), JSON_FAULT_COMMA, 6},
        {TEXT("{\"a\":1"), JSON_FAULT_END, 6},
        {TEXT("{\"a"), JSON_FAULT_END, 3},
};

/* A copy that ends where its memory ends: reading further is seen by AddressSanitizer. */
static char *exact_copy(const char *text, size_t len)
{
	char *copy = xmalloc(len ? len : 1);

	memcpy(copy, text, len);
	return copy;
}

START_TEST(takes_what_is_valid)
{
	for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
		char *text = exact_copy(valid[i].text, valid[i].len);
		struct json_find all = {.path = ""};

		ck_assert_msg(
		        json_scan(text, valid[i].len, 8, &all, 1, NULL), "%s", valid[i].text);
		ck_assert_int_ne(all.kind, JSON_IS_MISSING);
		free(text);
	}
}
END_TEST

START_TEST(refuses_what_is_not_and_says_where)
{
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
		char *text = exact_copy(invalid[i].text, invalid[i].len);
		struct json_fault fault;

		ck_assert_msg(!json_scan(text, invalid[i].len, 8, NULL, 0, &fault), "%s",
		        invalid[i].text);
		ck_assert_msg(
		        fault.code == invalid[i].code && fault.offset == invalid[i].offset,
		        "%s: %s at %zu", invalid[i].text, json_fault_text(fault.code),
		        fault.offset);
		ck_assert_uint_eq(fault.line, 1);
		free(text);
	}
}
END_TEST

/* Of a document whose every part is needed, no part of the beginning is one. */
START_TEST(refuses_every_beginning)
{
	const char text[] =
	        "{\"k\\n\":[true,false,null,-1.5e3,\"\xe2\x82\xac\\ud83d\\ude00\"]}";
	size_t len = strlen(text);

	for (size_t cut = 0; cut < len; cut++) {
		char *part = exact_copy(text, cut);

		ck_assert_msg(!json_scan(part, cut, 8, NULL, 0, NULL), "cut at %zu", cut);
		free(part);
	}
	ck_assert(json_scan(text, len, 8, NULL, 0, NULL));
}
END_TEST

START_TEST(faults_have_line_and_column)
{
	const char text[] = "{\n  \"\xe2\x82\xac\": 1,\n  \"\xe2\x82\xac\xe2\x82\xac\" 2\n}";
	struct json_find find = {.path = "x", .kind = JSON_IS_BOOL, .len = 3};
	struct json_fault fault;

	ck_assert(!json_scan(text, strlen(text), 8, &find, 1, &fault));
	ck_assert_int_eq(fault.code, JSON_FAULT_COLON);
	ck_assert_uint_eq(fault.line, 3);
	ck_assert_uint_eq(fault.column, 8);
	ck_assert_uint_eq(fault.offset, strcspn(text, "2"));
	ck_assert_int_eq(find.kind, JSON_IS_MISSING);
	ck_assert_uint_eq(find.len, 0);
	for (int code = 0; code <= JSON_FAULT_DUPLICATE; code++)
		ck_assert_uint_gt(strlen(json_fault_text((enum json_fault_code)code)), 0);
}
END_TEST

static void check_range(const char *text, const struct json_find *find, enum json_kind kind,
        const char *expected)
{
	ck_assert_msg(find->kind == kind, "%s: kind %d", find->path, find->kind);
	ck_assert_msg(find->len == strlen(expected) &&
	                      memcmp(text + find->offset, expected, find->len) == 0,
	        "%s: found %.*s", find->path, (int)find->len, text + find->offset);
}

START_TEST(finds_members_of_a_request)
{
	const char text[] =
	        " { \"messages\" : [ {\"role\":\"user\",\"model\":\"inner\"} ] ,\n"
	        " \"model\":\"gpt\\u002d4o\", \"stream\": true,"
	        "\"stream_options\":{\"x\":{\"include_usage\":1},\"include_usage\":false},"
	        "\"max_tokens\":42 ,\"user\":null,\"tools\":[ ]}  ";
	struct json_find f[] = {
	        {.path = "model"},
	        {.path = "stream"},
	        {.path = "stream_options"},
	        {.path = "stream_options.include_usage"},
	        {.path = "messages"},
	        {.path = "max_tokens"},
	        {.path = "user"},
	        {.path = "tools"},
	        {.path = "absent"},
	        {.path = "model.too_deep"},
	        {.path = "messages.role"},
	        {.path = "messages[0].role"},
	        {.path = "messages[1]"},
	        {.path = "stream_options[0]"},
	        {.path = ""},
	        {.path = "mod"},
	};
	uint64_t tokens = 7;

	/* twice: results are set anew */
	for (int i = 0; i < 2; i++)
		ck_assert(json_scan(text, strlen(text), 8, f, ARRAY_SIZE(f), NULL));
	check_range(text, &f[0], JSON_IS_STRING, "\"gpt\\u002d4o\"");
	ck_assert(f[0].escaped);
	ck_assert(json_find_equals(text, &f[0], "gpt-4o"));
	ck_assert(!json_find_equals(text, &f[0], "gpt-4"));
	ck_assert(!json_find_equals(text, &f[0], "gpt-4o-mini"));
	check_range(text, &f[1], JSON_IS_BOOL, "true");
	ck_assert(json_find_true(text, &f[1]));
	check_range(text, &f[2], JSON_IS_OBJECT,
	        "{\"x\":{\"include_usage\":1},\"include_usage\":false}");
	check_range(text, &f[3], JSON_IS_BOOL, "false");
	ck_assert(!json_find_true(text, &f[3]));
	check_range(text, &f[4], JSON_IS_ARRAY, "[ {\"role\":\"user\",\"model\":\"inner\"} ]");
	check_range(text, &f[5], JSON_IS_NUMBER, "42");
	ck_assert(json_find_uint(text, &f[5], &tokens));
	ck_assert_uint_eq(tokens, 42);
	check_range(text, &f[6], JSON_IS_NULL, "null");
	check_range(text, &f[7], JSON_IS_ARRAY, "[ ]");
	check_range(text, &f[8], JSON_IS_MISSING, "");
	check_range(text, &f[9], JSON_IS_MISSING, "");
	check_range(text, &f[10], JSON_IS_MISSING, "");
	check_range(text, &f[11], JSON_IS_STRING, "\"user\"");
	ck_assert(!f[11].escaped);
	check_range(text, &f[12], JSON_IS_MISSING, "");
	check_range(text, &f[13], JSON_IS_MISSING, "");
	ck_assert_int_eq(f[14].kind, JSON_IS_OBJECT);
	ck_assert_uint_eq(f[14].offset, 1);
	ck_assert_uint_eq(f[14].len, strlen(text) - 3);
	check_range(text, &f[15], JSON_IS_MISSING, "");
}
END_TEST

START_TEST(finds_by_index)
{
	const char text[] = "{\"choices\":[{\"delta\":{\"content\":\"one\"}},"
	                    "{\"delta\":{\"content\":\"two\"},\"finish_reason\":\"stop\"}],"
	                    "\"m\":[[1,2],[3,[4,5]]],"
	                    "\"usage\":{\"completion_tokens\":17}}";
	struct json_find f[] = {
	        {.path = "choices[0].delta.content"},
	        {.path = "choices[0].finish_reason"},
	        {.path = "choices[1].delta.content"},
	        {.path = "choices[1].finish_reason"},
	        {.path = "m[1][1][0]"},
	        {.path = "m[0]"},
	        {.path = "usage"},
	        {.path = "usage.completion_tokens"},
	};

	ck_assert(json_scan(text, strlen(text), 8, f, ARRAY_SIZE(f), NULL));
	check_range(text, &f[0], JSON_IS_STRING, "\"one\"");
	check_range(text, &f[1], JSON_IS_MISSING, "");
	check_range(text, &f[2], JSON_IS_STRING, "\"two\"");
	check_range(text, &f[3], JSON_IS_STRING, "\"stop\"");
	check_range(text, &f[4], JSON_IS_NUMBER, "4");
	check_range(text, &f[5], JSON_IS_ARRAY, "[1,2]");
	check_range(text, &f[6], JSON_IS_OBJECT, "{\"completion_tokens\":17}");
	check_range(text, &f[7], JSON_IS_NUMBER, "17");

	f[0].path = "[2].id";
	f[1].path = "[0]";
	ck_assert(json_scan(TEXT("[null,{},{\"id\":5}]"), 8, f, 2, NULL));
	check_range("[null,{},{\"id\":5}]", &f[0], JSON_IS_NUMBER, "5");
	check_range("[null,{},{\"id\":5}]", &f[1], JSON_IS_NULL, "null");
}
END_TEST

/* The longest path there may be, ending in an object, and one more bracket below. */
START_TEST(finds_as_deep_as_paths_go)
{
	const char text[] =
	        "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":[{}]}}}}}}}}";
	struct json_find find = {.path = "a.a.a.a.a.a.a.a"};

	ck_assert(json_scan(text, strlen(text), 16, &find, 1, NULL));
	check_range(text, &find, JSON_IS_ARRAY, "[{}]");
}
END_TEST

START_TEST(finds_the_longest_name)
{
	char name[JSON_NAME_MAX + 1];
	struct json_find find = {.path = name};
	struct buf b = BUF_INIT;

	memset(name, 'n', JSON_NAME_MAX);
	name[JSON_NAME_MAX] = 0;
	buf_addf(&b, "{\"\\u006e%s\":1,\"n%s\":2,\"\\u006e%s\":3}", name, name, name + 1);
	ck_assert(json_scan(b.data, b.len, 8, &find, 1, NULL));
	check_range(b.data, &find, JSON_IS_NUMBER, "3");
	buf_release(&b);
}
END_TEST

START_TEST(refuses_wanted_members_given_twice)
{
	static const struct {
		const char *text;
		bool good;
	} cases[] = {
	        {"{\"model\":1,\"model\":2}", false},
	        {"{\"model\":1,\"mod\\u0065l\":2}", false},
	        {"{\"\\u006dodel\":1,\"model\":2}", false},
	        {"{\"o\":{\"x\":1,\"x\":2}}", false},
	        {"{\"o\":{},\"o\":{\"x\":2}}", false},
	        {"{\"o\":1,\"model\":1,\"o\":{\"x\":2}}", false},
	        {"{\"model\":{\"model\":1},\"o\":{\"model\":1,\"model\":2}}", true},
	        {"{\"other\":1,\"other\":2}", true},
	        {"[{\"model\":1},{\"model\":1}]", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json_find f[] = {{.path = "model"}, {.path = "o.x"}};
		struct json_fault fault = {0};

		ck_assert_msg(json_scan(cases[i].text, strlen(cases[i].text), 8, f, 2,
		                      &fault) == cases[i].good,
		        "%s", cases[i].text);
		ck_assert_int_eq(
		        fault.code, cases[i].good ? JSON_FAULT_NONE : JSON_FAULT_DUPLICATE);
	}
}
END_TEST

START_TEST(depth_is_bounded)
{
	struct buf b = BUF_INIT;
	struct json_fault fault;
	struct json_find find = {.path = ""};

	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		buf_adds(&b, i % 3 ? "{\"a\":" : "[");
	buf_adds(&b, "1");
	for (int i = JSON_DEPTH_MAX - 1; i >= 0; i--)
		buf_adds(&b, i % 3 ? "}" : "]");
	ck_assert(json_scan(b.data, b.len, JSON_DEPTH_MAX, &find, 1, NULL));
	ck_assert_uint_eq(find.len, b.len);
	ck_assert(!json_scan(b.data, b.len, JSON_DEPTH_MAX - 1, NULL, 0, &fault));
	ck_assert_int_eq(fault.code, JSON_FAULT_DEPTH);

	/* every kind of bracket is remembered, at any depth: swap the last two */
	b.data[b.len - 1] = '}';
	ck_assert(!json_scan(b.data, b.len, JSON_DEPTH_MAX, NULL, 0, &fault));
	ck_assert_int_eq(fault.code, JSON_FAULT_COMMA);
	ck_assert_uint_eq(fault.offset, b.len - 1);

	ck_assert(json_scan(TEXT("[[],[]]"), 2, NULL, 0, NULL));
	ck_assert(!json_scan(TEXT("[[],[[]]]"), 2, NULL, 0, NULL));
	ck_assert(json_scan(TEXT("\"scalar\""), 0, NULL, 0, NULL));
	ck_assert(!json_scan(TEXT("{}"), 0, NULL, 0, NULL));

	buf_clear(&b);
	for (int i = 0; i < 1000000; i++)
		buf_adds(&b, "[");
	ck_assert(!json_scan(b.data, b.len, JSON_DEPTH_MAX, NULL, 0, &fault));
	ck_assert_uint_eq(fault.offset, JSON_DEPTH_MAX);
	buf_release(&b);
}
END_TEST

/* A string stops being plain at every place of a word of eight, and of the tail behind. */
START_TEST(sees_special_bytes_at_every_place)
{
	static const char specials[] = "\"\\\x01\x1f\x80\xff\xc0";

	for (size_t len = 1; len < 40; len++)
		for (size_t at = 0; at < len; at++)
			for (size_t i = 0; specials[i]; i++) {
				char *bytes = xmalloc(len);

				memset(bytes, 'a', len);
				ck_assert_uint_eq(json_plain_run(bytes, len), len);
				bytes[at] = specials[i];
				ck_assert_uint_eq(json_plain_run(bytes, len), at);
				bytes[at] = 0;
				ck_assert_uint_eq(json_plain_run(bytes, len), at);
				free(bytes);
			}
	ck_assert_uint_eq(json_plain_run(NULL, 0), 0);
}
END_TEST

/* Every code point and what is beyond, encoded plainly; some of them cut short. */
START_TEST(utf8_is_what_rfc_3629_says)
{
	for (unsigned c = 0x80; c < 0x120000; c++) {
		unsigned char u[4];
		size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		bool good = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
		unsigned rest = c;

		for (size_t i = n - 1; i > 0; i--, rest >>= 6)
			u[i] = (unsigned char)(0x80 | (rest & 0x3f));
		u[0] = (unsigned char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | rest);
		ck_assert_msg(json_utf8_valid((char *)u, n) == good, "U+%04X", c);
		if (c % 97 == 0)
			for (size_t cut = 1; cut < n; cut++)
				ck_assert(!json_utf8_valid((char *)u, cut));
	}
	ck_assert(json_utf8_valid(NULL, 0));
	ck_assert(json_utf8_valid(TEXT("plain \0 and \x7f and more of it")));
	ck_assert(!json_utf8_valid(TEXT("12345678901234567890\xe0\x80\x80")));
	ck_assert(!json_utf8_valid(TEXT("\xe2\x28\xa1")));
	ck_assert(!json_utf8_valid(TEXT("\xf0\x90\x28\xbc")));
	ck_assert(!json_utf8_valid(TEXT("\xf0\x90\x80\x28")));
}
END_TEST

static struct json_find find_all(const char *text, size_t len)
{
	struct json_find find = {.path = ""};

	ck_assert(json_scan(text, len, 8, &find, 1, NULL));
	return find;
}

START_TEST(decodes_strings)
{
	const char text[] = "\"\\\"\\\\\\/\\b\\f\\n\\r\\t "
	                    "A\\u0041\\u00e9\\u20AC\\uD83D\\ude00\xe2\x82\xac\"";
	const char expected[] =
	        "\"\\/\b\f\n\r\t AA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xe2\x82\xac";
	struct json_find find = find_all(text, strlen(text));
	struct buf b = BUF_INIT;
	char small[sizeof(expected)];

	ck_assert(json_find_decode(text, &find, &b));
	ck_assert_str_eq(b.data, expected);
	ck_assert(json_find_equals(text, &find, expected));
	ck_assert(json_find_copy(text, &find, small, sizeof(small)));
	ck_assert_str_eq(small, expected);
	for (size_t size = 1; size < sizeof(small); size++) {
		ck_assert(!json_find_copy(text, &find, small, size));
		ck_assert_str_eq(small, "");
	}
	find = find_all(TEXT("\"\""));
	ck_assert(json_find_copy("\"\"", &find, small, 1));
	ck_assert(json_find_equals("\"\"", &find, ""));

	buf_clear(&b);
	find = find_all(TEXT("\"a\\u0000b\""));
	ck_assert(json_find_decode("\"a\\u0000b\"", &find, &b));
	ck_assert_uint_eq(b.len, 3);
	ck_assert(memcmp(b.data, "a\0b", 3) == 0);
	ck_assert(!json_find_copy("\"a\\u0000b\"", &find, small, sizeof(small)));
	ck_assert(!json_find_equals("\"a\\u0000b\"", &find, "a"));
	buf_release(&b);
}
END_TEST

START_TEST(reads_only_what_is_of_the_kind)
{
	static const struct {
		const char *text;
		bool is_uint;
		uint64_t value;
	} cases[] = {
	        {"0", true, 0},
	        {"18446744073709551615", true, UINT64_MAX},
	        {"18446744073709551616", false, 0},
	        {"99999999999999999999999", false, 0},
	        {"-1", false, 0},
	        {"-0", false, 0},
	        {"1.0", false, 0},
	        {"1e3", false, 0},
	        {"\"1\"", false, 0},
	        {"null", false, 0},
	        {"true", false, 0},
	        {"[]", false, 0},
	};
	const struct json_find missing = {.path = "x"};
	struct buf b = BUF_INIT;
	uint64_t value;
	char copy[8];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *text = cases[i].text;
		struct json_find find = find_all(text, strlen(text));
		bool is_string = text[0] == '"';

		value = 99;
		ck_assert_int_eq(json_find_uint(text, &find, &value), cases[i].is_uint);
		ck_assert_uint_eq(value, cases[i].is_uint ? cases[i].value : 99);
		ck_assert_int_eq(json_find_true(text, &find), text[0] == 't');
		ck_assert_int_eq(json_find_copy(text, &find, copy, sizeof(copy)), is_string);
		ck_assert_int_eq(json_find_decode(text, &find, &b), is_string);
		ck_assert_int_eq(json_find_equals(text, &find, "1"), is_string);
	}
	ck_assert(!json_find_uint("", &missing, &value));
	ck_assert(!json_find_true("", &missing));
	ck_assert(!json_find_copy("", &missing, copy, sizeof(copy)));
	ck_assert(!json_find_decode("", &missing, &b));
	ck_assert(!json_find_equals("", &missing, ""));
	buf_release(&b);
}
END_TEST

START_TEST(finds_in_a_large_body)
{
	struct buf b = BUF_INIT;
	struct json_find f[] = {{.path = "messages[999].content"}, {.path = "model"}};
	struct json_fault fault;

	buf_adds(&b, "{\"messages\":[");
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%s\n{\"role\":\"user\",\"content\":\"%s %0200d\"}", i ? "," : "",
		        "Gr\xc3\xbc\xc3\x9f\x65 \\u00fc \\\\", i);
	buf_adds(&b, "],\"model\":\"m\"}");
	ck_assert_uint_gt(b.len, 200000);
	ck_assert(json_scan(b.data, b.len, 8, f, 2, &fault));
	ck_assert(json_find_equals(b.data, &f[1], "m"));
	ck_assert_int_eq(f[0].kind, JSON_IS_STRING);
	ck_assert(memcmp(b.data + f[0].offset + f[0].len - 4, "999\"", 4) == 0);

	b.data[b.len - 1] = ']';
	ck_assert(!json_scan(b.data, b.len, 8, f, 2, &fault));
	ck_assert_uint_eq(fault.line, 1001);
	ck_assert_uint_eq(fault.offset, b.len - 1);
	buf_release(&b);
}
END_TEST

START_TEST(writes_strings)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *expected;
	} cases[] = {
	        {TEXT(""), "\"\""},
	        {TEXT("plain text that is longer than a word"),
	                "\"plain text that is longer than a word\""},
	        {TEXT("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
	        {TEXT("a\0b\x01\x1f\x7f"), "\"a\\u0000b\\u0001\\u001f\x7f\""},
	        {TEXT("\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80"),
	                "\"\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\""},
	        {TEXT("a\xff\xc3z\xe2\x82"),
	                "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\""},
	};
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		buf_clear(&b);
		json_add_string(&b, cases[i].bytes, cases[i].len);
		ck_assert_str_eq(b.data, cases[i].expected);
		ck_assert(json_scan(b.data, b.len, 0, NULL, 0, NULL));
		buf_clear(&b);
		json_add_escaped(&b, cases[i].bytes, cases[i].len);
		ck_assert_uint_eq(b.len, strlen(cases[i].expected) - 2);
		ck_assert(memcmp(b.data, cases[i].expected + 1, b.len) == 0);
	}
	buf_release(&b);
}
END_TEST

/* What is written is read back, by us and by jansson. */
START_TEST(what_is_written_is_read_back)
{
	struct buf in = BUF_INIT, out = BUF_INIT, back = BUF_INIT;
	struct json_find find;
	json_t *tree;

	for (char c = 0; c >= 0; c++)
		buf_add(&in, &c, 1);
	buf_adds(&in, "\xc2\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf");
	json_add_string(&out, in.data, in.len);
	find = find_all(out.data, out.len);
	ck_assert(find.escaped);
	ck_assert(json_find_decode(out.data, &find, &back));
	ck_assert_uint_eq(back.len, in.len);
	ck_assert(memcmp(back.data, in.data, in.len) == 0);
	tree = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	ck_assert_ptr_nonnull(tree);
	ck_assert_uint_eq(json_string_length(tree), in.len);
	ck_assert(memcmp(json_string_value(tree), in.data, in.len) == 0);
	json_decref(tree);
	buf_release(&in);
	buf_release(&out);
	buf_release(&back);
}
END_TEST

int main(void)
{
	UNIT_RUN("json_scan", takes_what_is_valid, refuses_what_is_not_and_says_where,
	        refuses_every_beginning, faults_have_line_and_column,
	        finds_members_of_a_request, finds_by_index, finds_as_deep_as_paths_go,
	        finds_the_longest_name, refuses_wanted_members_given_twice, depth_is_bounded,
	        sees_special_bytes_at_every_place, utf8_is_what_rfc_3629_says, decodes_strings,
	        reads_only_what_is_of_the_kind, finds_in_a_large_body, writes_strings,
	        what_is_written_is_read_back);
}
