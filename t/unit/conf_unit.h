/* SPDX-License-Identifier: BSD-2-Clause */
/* conf_unit.h - what the tests of the configuration share: loading a text, and what was said of it. */
#ifndef CONF_UNIT_H
#define CONF_UNIT_H

#include "base/base.h"
#include "base/buf.h"
#include "conf/check.h"
#include "conf/load.h"
#include "conf/nearest.h"
#include "conf/text.h"
#include "unit.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PROVIDER_ONLY "llm: {providers: {p: {base_url: \"http://h/v1\"}}}\n"
/* One option of the provider p, in line 6. */
#define IN_PROVIDER(row)                                                                       \
	"llm:\n  providers:\n    p:\n      base_url: http://h/v1\n      http_client:\n       " \
	" " row "\n"
#define IN_UVICORN(row)                                                                        \
	PROVIDER_ONLY "chat:\n  websocket:\n    concurrency:\n      uvicorn:\n        " row "\n"

static struct conf_texts errors;

static inline struct conf *load(const char *text)
{
	conf_texts_release(&errors);
	return conf_load_bytes("f.yaml", text, strlen(text), &errors);
}

/* The configuration of a text that must be good. */
static inline struct conf *good(const char *text)
{
	struct conf *conf = load(text);

	ck_assert_msg(
		conf != NULL, "%s\nin:\n%s", errors.count ? errors.text[0] : "no error", text);
	ck_assert_uint_eq(errors.count, 0);
	return conf;
}

/* A text that has this one error, which begins so. */
static inline void one_error(const char *text, const char *want)
{
	struct conf *conf = load(text);

	ck_assert_msg(conf == NULL, "no error, but wanted: %s\nin:\n%s", want, text);
	ck_assert_msg(errors.count == 1 && strncmp(errors.text[0], want, strlen(want)) == 0,
		"wanted: %s\ngot %zu: %s\nin:\n%s", want, errors.count, errors.text[0], text);
	ck_assert_msg(strchr(errors.text[0], ';') != NULL,
		"does not say what would be right: %s", errors.text[0]);
	conf_texts_release(&errors);
}

/* How many of the warnings hold this. */
static inline unsigned warned(const struct conf *conf, const char *what)
{
	unsigned n = 0;

	for (size_t i = 0; i < conf->warnings.count; i++)
		n += strstr(conf->warnings.text[i], what) != NULL;
	return n;
}

static inline char *dump(const struct conf *conf)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	conf_dump(conf, out);
	fclose(out);
	return text;
}

static inline char *file_text(const char *path)
{
	FILE *file = fopen(path, "r");
	struct buf text = BUF_INIT;
	size_t n;

	ck_assert_msg(file != NULL, "%s: run this from the top of the tree", path);
	do {
		n = fread(buf_reserve(&text, 4096), 1, 4096, file);
		text.len += n;
	} while (n);
	buf_add(&text, "", 0);
	fclose(file);
	return text.data;
}

#endif
