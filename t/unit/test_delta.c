/* SPDX-License-Identifier: BSD-2-Clause */
/* endpoint: what chunks of a chat completion bring; a reader that knows the last one reads the same as one that does not. */
#include "base/base.h"
#include "unit.h"
#include "worker/endpoint/delta.h"

#include <stdio.h>

static void read_one(struct delta_reader *reader, const char *chunk, size_t len, bool *valid_r, char told[4096])
{
	struct delta delta;
	int n = 0;

	*valid_r = delta_read(reader, chunk, len, &delta);
	told[0] = '\0';
	for (size_t i = 0; *valid_r && i < DELTA_PARTS; i++)
		if (delta.part[i].len)
			n += snprintf(told + n, (size_t)(4096 - n), "%s=%.*s;", delta_types[i], (int)delta.part[i].len,
				delta.part[i].bytes);
}

/* By a reader that has read others before, and by a new one. */
static void read_both(struct delta_reader *reader, const char *chunk, size_t len, const char *want)
{
	struct delta_reader fresh = { 0 };
	bool valid, valid_fresh;
	char told[4096], told_fresh[4096];

	read_one(&fresh, chunk, len, &valid_fresh, told_fresh);
	read_one(reader, chunk, len, &valid, told);
	ck_assert_msg(valid == valid_fresh && !strcmp(told, told_fresh), "%.*s: '%s', and anew '%s'", (int)len, chunk, told,
		told_fresh);
	if (want)
		ck_assert_str_eq(told, want);
	delta_release(&fresh);
}

#define CHUNK(delta) "{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":null}]}"

START_TEST(parts)
{
	static const struct {
		const char *chunk, *told;
	} rows[] = {
		{ CHUNK("\"role\":\"assistant\",\"content\":\"\""), "" },
		{ CHUNK("\"content\":\"one\""), "text=one;" },
		{ CHUNK("\"content\":\" two\""), "text= two;" },
		{ CHUNK("\"content\":\"\""), "" },
		{ CHUNK("\"content\":\"t\303\274\""), "text=t\303\274;" },
		{ CHUNK("\"content\":\"\\n\\\"\""), "text=\\n\\\";" },
		{ CHUNK("\"content\":null"), "" },
		{ CHUNK("\"content\":\"x\",\"refusal\":\"no\""), "text=x;refusal=\"no\";" },
		{ CHUNK("\"content\":\"y\",\"refusal\":\"no\""), "text=y;refusal=\"no\";" },
		{ CHUNK("\"tool_calls\":[{\"index\":0}]"), "tool_calls=[{\"index\":0}];" },
		{ CHUNK("\"reasoning_content\":\"hm\""), "reasoning=\"hm\";" },
		{ CHUNK("\"content\":[\"a\"]"), "" },
		{ "{\"choices\":[]}", "" },
		{ CHUNK("\"content\":\"one\""), "text=one;" },
		{ CHUNK("\"content\":\"a\",\"content\":\"b\""), "" },	      /* twice: neither */
		{ CHUNK("\"content\":\"a\\u00e4b\""), "text=a\\u00e4b;" },
	};
	struct delta_reader reader = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		read_both(&reader, rows[i].chunk, strlen(rows[i].chunk), rows[i].told);
	delta_release(&reader);
}
END_TEST

START_TEST(what_is_no_json_is_refused_also_if_it_looks_alike)
{
	static const char *const broken[] = { CHUNK("\"content\":\"a\nb\""), CHUNK("\"content\":\"\303\""),
		CHUNK("\"content\":\"a\"b\""), CHUNK("\"content\":\"\\x\""), CHUNK("\"content\":\"\\\""),
		"{\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\",\"finish_reason\":null}]}" };
	struct delta_reader reader = { 0 };
	struct delta delta;

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		read_both(&reader, CHUNK("\"content\":\"good\""), strlen(CHUNK("\"content\":\"good\"")), "text=good;");
		ck_assert_msg(!delta_read(&reader, broken[i], strlen(broken[i]), &delta), "%s", broken[i]);
	}
	delta_release(&reader);
}
END_TEST

/* Two chunks that differ by chance in a few bytes anywhere: what was read before does not change what is read. */
START_TEST(a_reader_that_remembers_reads_as_a_new_one)
{
	static const char letters[] = "ab \"\\{}[]:,n\303\274\001";
	const char *chunk = CHUNK("\"content\":\"abc\",\"refusal\":null");
	struct delta_reader reader = { 0 };
	size_t len = strlen(chunk);
	char other[256];

	srandom(4711);
	for (unsigned i = 0; i < 40000; i++) {
		size_t n = len, at = (size_t)random() % len;

		memcpy(other, chunk, len);
		if (random() % 2)
			at = 46 + (size_t)random() % 12; /* in and about the text */
		if (random() % 3 == 0) {
			memmove(other + at + 1, other + at, len - at);
			n++;
		} else if (random() % 3 == 0) {
			memmove(other + at, other + at + 1, len - at - 1);
			n--;
		}
		if (random() % 4)
			other[at] = letters[(size_t)random() % (sizeof(letters) - 1)];
		read_both(&reader, chunk, len, "text=abc;");
		read_both(&reader, other, n, NULL);
	}
	delta_release(&reader);
}
END_TEST

int main(void)
{
	UNIT_RUN("delta", parts, what_is_no_json_is_refused_also_if_it_looks_alike, a_reader_that_remembers_reads_as_a_new_one);
}
