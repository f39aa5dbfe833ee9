/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_conf.c - configurations of any bytes: either a configuration or errors, every
 * error with the file's name in front; and what loads can be dumped, loads again from
 * the dump, and is dumped the same way then.
 */
#include "base/base.h"
#include "base/bug.h"
#include "conf/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dump(const struct conf *conf, size_t *len_r)
{
	char *text;
	FILE *out = open_memstream(&text, len_r);

	conf_dump(conf, out);
	fclose(out);
	return text;
}

/* Places differ from one dump to the next, and secrets are gone. */
static void same_but_for_comments(const char *a, const char *b)
{
	while (*a || *b) {
		size_t na = strcspn(a, "\n"), nb = strcspn(b, "\n");
		const char *end_a = memrchr(a, '#', na), *end_b = memrchr(b, '#', nb);
		size_t skip = strspn(a, " ");

		if (end_a && a[skip] != '#') {
			BUG_ON(!end_b || end_a - a != end_b - b);
			BUG_ON(memcmp(a, b, (size_t)(end_a - a)) != 0);
		}
		a += na + (a[na] == '\n');
		b += nb + (b[nb] == '\n');
	}
}

static void check_round_trip(const struct conf *conf)
{
	struct conf_texts errors;
	size_t first_len, second_len;
	char *first = dump(conf, &first_len), *second;
	struct conf *again = conf_load_bytes("fuzz", first, first_len, &errors);

	BUG_ON(!again && first_len <= 262144);
	if (again) {
		second = dump(again, &second_len);
		same_but_for_comments(first, second);
		free(second);
	}
	conf_texts_release(&errors);
	conf_free(again);
	free(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_texts errors;
	struct conf *conf;
	FILE *null;

	setenv("FUZZ", "value", 1);
	conf = conf_load_bytes("fuzz", (const char *)data, size, &errors);
	BUG_ON(!conf != (errors.count > 0));
	for (size_t i = 0; i < errors.count; i++)
		BUG_ON(strncmp(errors.text[i], "fuzz:", 5) != 0);
	if (conf) {
		check_round_trip(conf);
		null = fopen("/dev/null", "w");
		conf_print_limits(conf, null);
		fclose(null);
	}
	conf_texts_release(&errors);
	conf_free(conf);
	return 0;
}
