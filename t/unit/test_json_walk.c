/* SPDX-License-Identifier: BSD-2-Clause */
/* base: stepping through JSON. */
#include "base/base.h"
#include "base/buf.h"
#include "base/json_walk.h"
#include "unit.h"

/* What a walk through the document passes, as "name=value;". */
static char *walked(const char *text)
{
	struct json_find document = { .path = "" }, name, value;
	struct json_walk walk;
	struct buf out = BUF_INIT;

	ck_assert(json_scan(text, strlen(text), 64, &document, 1, NULL));
	json_walk_begin(&walk, text, &document);
	while (json_walk_next(&walk, &name, &value)) {
		buf_add(&out, text + name.offset, name.len);
		buf_adds(&out, "=");
		buf_add(&out, text + value.offset, value.len);
		buf_adds(&out, value.escaped ? ";e " : "; ");
	}
	/* And stays at the end. */
	ck_assert(!json_walk_next(&walk, &name, &value));
	ck_assert_int_eq(value.kind, JSON_IS_MISSING);
	buf_adds(&out, "");
	return out.data;
}

START_TEST(every_member_and_element_is_passed)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "{}", "" },
		{ " { } ", "" },
		{ "[]", "" },
		{ "[ \r\n\t]", "" },
		{ "\"x\"", "" },
		{ "7", "" },
		{ "null", "" },
		{ "{\"a\":1}", "\"a\"=1; " },
		{ "{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }", "\"a\"=1; \"b\"=[ 1 , 2 ]; " },
		{ "[true,false,null,-1e5,\"\",{},[]]", "=true; =false; =null; =-1e5; =\"\"; ={}; =[]; " },
		{ "[\n1\n,\n2\n]", "=1; =2; " },
		{ "{\"a\\\"}\":\"]\\\\\",\"b\":\"\\\\\\\"\"}",
			"\"a\\\"}\"=\"]\\\\\";e \"b\"=\"\\\\\\\"\";e " },
		{ "[{\"a\":[{\"]\":\"}\"}]},\"[\"]", "={\"a\":[{\"]\":\"}\"}]}; =\"[\"; " },
		{ "{\"a\":1,\"a\":2}", "\"a\"=1; \"a\"=2; " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *got = walked(rows[i].text);

		ck_assert_str_eq(got, rows[i].want);
		free(got);
	}
}
END_TEST

START_TEST(a_member_is_found_by_its_decoded_name)
{
	static const char text[] = "{\"x\":{\"a\":1},\"mod\\u0065l\":\"m\",\"model\":2,\"list\":[\"model\"]}";
	struct json_find document = { .path = "" }, found;

	ck_assert(json_scan(text, strlen(text), 64, &document, 1, NULL));
	found = json_walk_member(text, &document, "model");
	ck_assert_int_eq(found.kind, JSON_IS_STRING);
	ck_assert(json_find_equals(text, &found, "m"));
	found = json_walk_member(text, &document, "a");
	ck_assert_int_eq(found.kind, JSON_IS_MISSING);
	found = json_walk_member(text, &document, "list");
	found = json_walk_member(text, &found, "model");
	ck_assert_int_eq(found.kind, JSON_IS_MISSING);
	found = json_walk_member(text, &found, "model");
	ck_assert_int_eq(found.kind, JSON_IS_MISSING);
}
END_TEST

int main(void)
{
	UNIT_RUN("json_walk", every_member_and_element_is_passed, a_member_is_found_by_its_decoded_name);
}
