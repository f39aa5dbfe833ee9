/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * value.c - values of the types of options.def. Numbers are strict: decimal
 * digits, one point where a fraction makes sense, a unit where there are units;
 * nothing that two YAML parsers could read differently (0x10, 010, 1e3, 1_000).
 */
#include "base/base.h"
#include "conf/value.h"
#include "base/bug.h"
#include "conf/text.h"
#include <sched.h>

#define PLACES_MAX 9 /* digits behind the point */
#define LIST_MAX 256 /* elements of a list of texts */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit no_units[] = { { "", 1 } };
static const struct unit time_units[] = { { "", 1000 }, { "ms", 1 }, { "s", 1000 },
	{ "m", 60000 }, { "h", 3600000 } };
static const struct unit size_units[] = { { "", 1 }, { "B", 1 }, { "k", 1 << 10 },
	{ "K", 1 << 10 }, { "KiB", 1 << 10 }, { "M", 1 << 20 }, { "MiB", 1 << 20 },
	{ "G", 1 << 30 }, { "GiB", 1 << 30 } };

static const char *const level_words[] = { "error", "warning", "info", "debug" };
static const char *const room_level_words[] = { "default", "error", "warning", "info", "debug" };
static const char *const format_words[] = { "console", "json" };
static const char *const http2_words[] = { "auto", "off" };
static const char *const responses_words[] = { "bridge", "native" };
static const char *const tls_version_words[] = { "1.2", "1.3" };
static const char *const reject_words[] = { "close", "http" };

/* How each type is spoken of: "'x' is not a whole number". */
static const char *const type_names[] = {
	[OPTION_BOOL] = "true or false",
	[OPTION_UINT] = "a whole number",
	[OPTION_WORKERS] = "a whole number",
	[OPTION_MSEC] = "a time",
	[OPTION_BYTES] = "a size",
	[OPTION_REAL] = "a number",
	[OPTION_TEXT] = "a text",
	[OPTION_SECRET] = "a text",
	[OPTION_TEXTS] = "a list of texts",
	[OPTION_LEVEL] = "a level",
	[OPTION_FORMAT] = "a format",
	[OPTION_SECRETS] = "a list of texts",
	[OPTION_HTTP2] = "a setting",
	[OPTION_RESPONSES] = "a setting",
	[OPTION_TLSVERSION] = "a version of TLS",
	[OPTION_REJECT] = "a setting",
	[OPTION_ROOMLEVEL] = "a level",
	[OPTION_TEXTMAP] = "a section",
};

enum verdict { FITS, OUT_OF_RANGE, NOT_ONE };

/* A decimal number without sign or exponent: digits / 10^places, then rest. */
struct decimal {
	uint64_t digits;
	unsigned places;
	bool huge; /* does not fit into digits */
	const char *rest;
};

static bool decimal_scan(const char *text, struct decimal *d)
{
	bool point = false;

	*d = (struct decimal){ 0 };
	if (*text < '0' || *text > '9' || (*text == '0' && text[1] >= '0' && text[1] <= '9'))
		return false;
	for (;; text++) {
		if (*text == '.' && !point) {
			point = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			break;
		d->places += point;
		d->huge |= d->digits > UINT64_MAX / 100;
		if (!d->huge)
			d->digits = d->digits * 10 + (uint64_t)(*text - '0');
	}
	d->rest = text;
	return !point || (d->places && d->places <= PLACES_MAX);
}

/*
 * A number with one of these units; it must come to a whole number of the
 * smallest. Where there are no units, there is no point either.
 */
static enum verdict scaled_parse(
	const char *text, const struct unit *units, size_t nunits, uint64_t *value_r)
{
	bool negative = *text == '-';
	struct decimal d;

	if (!decimal_scan(text + negative, &d) || (d.places && units == no_units))
		return NOT_ONE;
	for (size_t i = 0; i < nunits; i++) {
		unsigned __int128 v = (unsigned __int128)d.digits * units[i].factor;

		if (strcmp(d.rest, units[i].name) != 0)
			continue;
		if (d.huge || negative)
			return OUT_OF_RANGE;
		for (unsigned p = 0; p < d.places; p++, v /= 10)
			if (v % 10)
				return NOT_ONE;
		if (v > UINT64_MAX)
			return OUT_OF_RANGE;
		*value_r = (uint64_t)v;
		return FITS;
	}
	return NOT_ONE;
}

static uint64_t cores(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : n > 64 ? 64 : (uint64_t)n;
}

static enum verdict word_parse(
	const char *text, const char *const *words, size_t nwords, uint64_t *value_r)
{
	for (size_t i = 0; i < nwords; i++) {
		if (strcmp(text, words[i]) == 0) {
			*value_r = i;
			return FITS;
		}
	}
	return NOT_ONE;
}

static enum verdict bool_parse(const char *text, bool *value_r)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*value_r = i % 2;
			return FITS;
		}
	}
	return NOT_ONE;
}

static enum verdict real_parse(const char *text, double *value_r)
{
	bool negative = *text == '-';
	double scale = 1;
	struct decimal d;

	if (!decimal_scan(text + negative, &d) || *d.rest)
		return NOT_ONE;
	if (d.huge || negative)
		return OUT_OF_RANGE;
	for (unsigned p = 0; p < d.places; p++)
		scale *= 10; /* exact, so that the division rounds once */
	*value_r = (double)d.digits / scale;
	return FITS;
}

/* Every type that is kept as uint64_t. */
static enum verdict whole_parse(
	const struct option *option, const char *text, uint64_t *value_r)
{
	switch (option->type) {
	case OPTION_WORKERS:
		if (strcmp(text, "auto") == 0) {
			*value_r = cores();
			return FITS;
		}
		/* fall through */
	case OPTION_UINT:
		return scaled_parse(text, no_units, ARRAY_SIZE(no_units), value_r);
	case OPTION_MSEC:
		return scaled_parse(text, time_units, ARRAY_SIZE(time_units), value_r);
	case OPTION_BYTES:
		return scaled_parse(text, size_units, ARRAY_SIZE(size_units), value_r);
	case OPTION_LEVEL:
		return word_parse(text, level_words, ARRAY_SIZE(level_words), value_r);
	case OPTION_FORMAT:
		return word_parse(text, format_words, ARRAY_SIZE(format_words), value_r);
	case OPTION_TLSVERSION:
		return word_parse(text, tls_version_words, ARRAY_SIZE(tls_version_words), value_r);
	case OPTION_HTTP2:
		return word_parse(text, http2_words, ARRAY_SIZE(http2_words), value_r);
	case OPTION_RESPONSES:
		return word_parse(text, responses_words, ARRAY_SIZE(responses_words), value_r);
	case OPTION_REJECT:
		return word_parse(text, reject_words, ARRAY_SIZE(reject_words), value_r);
	case OPTION_ROOMLEVEL:
		return word_parse(text, room_level_words, ARRAY_SIZE(room_level_words), value_r);
	default:
		BUG_ON(true);
	}
	return NOT_ONE;
}

static bool has_range(const struct option *option)
{
	return option->min || option->max;
}

/* Numbers and words, into a field-sized place; texts are not for here. */
static enum verdict plain_parse(const struct option *option, const char *text, void *field)
{
	uint64_t whole = 0;
	double real = 0;
	enum verdict v;

	if (option->type == OPTION_BOOL)
		return bool_parse(text, field);
	if (option->type == OPTION_REAL) {
		v = real_parse(text, &real);
		if (v != FITS)
			return v;
		if (real < (double)option->min || real > (double)option->max)
			return OUT_OF_RANGE;
		*(double *)field = real;
		return FITS;
	}
	v = whole_parse(option, text, &whole);
	if (v != FITS)
		return v;
	if (has_range(option) && (whole < option->min || whole > option->max))
		return OUT_OF_RANGE;
	*(uint64_t *)field = whole;
	return FITS;
}

static char *wrong_plain(
	const struct option *option, const char *text, bool plain, enum verdict v)
{
	struct buf wants = BUF_INIT;
	char *shown = text_quote(text), *wrong;

	value_wants(option, &wants);
	if (!plain && v != NOT_ONE)
		wrong = xasprintf("%s is a text in quotes; drop the quotes", shown);
	else if (v == OUT_OF_RANGE)
		wrong = xasprintf("%s is out of range; give %s", shown, wants.data);
	else
		wrong = xasprintf(
			"%s is not %s; give %s", shown, type_names[option->type], wants.data);
	buf_release(&wants);
	free(shown);
	return wrong;
}

/* YAML itself takes "30s" and "info" for texts, quoted or not; only numbers and true change by it. A
 * version is no number, whatever it looks like. */
static bool is_text_in_yaml(const struct option *option, const char *text)
{
	size_t len = strlen(text);

	if (option->type == OPTION_TLSVERSION)
		return true;
	return option->type != OPTION_BOOL && len && text[len - 1] >= 'A';
}

bool value_parse(
	const struct option *option, const char *text, bool plain, void *object, char **wrong_r)
{
	void *field = (char *)object + option->offset;
	union {
		bool b;
		uint64_t u;
		double d;
	} scratch;
	enum verdict v;
	char *copy;

	if (option_is_list(option)) {
		*(struct conf_texts *)field = (struct conf_texts){ 0 };
		return true;
	}
	if (option_is_map(option)) {
		*(struct conf_textmap *)field = (struct conf_textmap){ 0 };
		return true;
	}
	if (option->type == OPTION_TEXT || option->type == OPTION_SECRET) {
		copy = text_expand(text, wrong_r);
		if (!copy)
			return false;
		free(*(char **)field);
		*(char **)field = copy;
		return true;
	}
	plain = plain || is_text_in_yaml(option, text);
	v = plain_parse(option, text, plain ? field : (void *)&scratch);
	if (v == FITS && plain)
		return true;
	*wrong_r = wrong_plain(option, text, plain, v);
	return false;
}

bool value_add_key(const struct option *option, const char *key, void *object, char **wrong_r)
{
	struct conf_textmap *map = (struct conf_textmap *)((char *)object + option->offset);
	char *copy;

	for (size_t i = 0; i < map->count; i++)
		if (strcmp(map->key[i], key) == 0) {
			*wrong_r = xstrdup("has the same key twice; give it once");
			return false;
		}
	if (map->count == LIST_MAX) {
		*wrong_r = xasprintf("more than %d keys; drop some", LIST_MAX);
		return false;
	}
	copy = text_expand(key, wrong_r);
	if (!copy)
		return false;
	map->key = xrealloc(map->key, (map->count + 1) * sizeof(*map->key));
	map->texts = xrealloc(map->texts, (map->count + 1) * sizeof(*map->texts));
	map->key[map->count] = copy;
	map->texts[map->count++] = (struct conf_texts){ 0 };
	return true;
}

bool value_add_text(const struct option *option, const char *text, void *object, char **wrong_r)
{
	void *field = (char *)object + option->offset;
	struct conf_textmap *map = field;
	struct conf_texts *list = option_is_map(option) ? &map->texts[map->count - 1] : field;
	char *copy;

	if (list->count == LIST_MAX) {
		*wrong_r = xasprintf("more than %d elements; shorten the list", LIST_MAX);
		return false;
	}
	copy = text_expand(text, wrong_r);
	if (!copy)
		return false;
	texts_add(list, copy);
	return true;
}

static void map_release(struct conf_textmap *map)
{
	for (size_t i = 0; i < map->count; i++) {
		free(map->key[i]);
		conf_texts_release(&map->texts[i]);
	}
	free(map->key);
	free(map->texts);
	*map = (struct conf_textmap){ 0 };
}

void value_release(const struct option *option, void *object)
{
	void *field = (char *)object + option->offset;

	if (option_is_list(option))
		conf_texts_release(field);
	else if (option_is_map(option))
		map_release(field);
	else if (option->type == OPTION_TEXT || option->type == OPTION_SECRET)
		free(*(char **)field);
}

static bool is_text(const struct option *option)
{
	return option->type == OPTION_TEXT || option->type == OPTION_SECRET;
}

static size_t size_of(const struct option *option)
{
	return option->type == OPTION_BOOL   ? sizeof(bool)
	       : option->type == OPTION_REAL ? sizeof(double)
					     : sizeof(uint64_t);
}

bool value_equal(const struct option *option, const void *a, const void *b)
{
	const void *x = (const char *)a + option->offset, *y = (const char *)b + option->offset;
	const struct conf_texts *s = x, *t = y;

	if (is_text(option))
		return strcmp(*(char *const *)x, *(char *const *)y) == 0;
	if (!option_is_list(option))
		return memcmp(x, y, size_of(option)) == 0;
	if (s->count != t->count)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->text[i], t->text[i]) != 0)
			return false;
	return true;
}

void value_copy(const struct option *option, void *to, const void *from)
{
	const void *source = (const char *)from + option->offset;
	void *target = (char *)to + option->offset;
	const struct conf_texts *texts = source;

	value_release(option, to);
	if (is_text(option)) {
		*(char **)target = xstrdup(*(char *const *)source);
	} else if (option_is_list(option)) {
		*(struct conf_texts *)target = (struct conf_texts){ 0 };
		for (size_t i = 0; i < texts->count; i++)
			texts_add(target, xstrdup(texts->text[i]));
	} else {
		memcpy(target, source, size_of(option));
	}
}

void value_format_ms(uint64_t ms, struct buf *out)
{
	if (ms && ms % 3600000 == 0)
		buf_addf(out, "%" PRIu64 "h", ms / 3600000);
	else if (ms % 1000 == 0)
		buf_addf(out, "%" PRIu64 "s", ms / 1000);
	else
		buf_addf(out, "%" PRIu64 "ms", ms);
}

void value_format_bytes(uint64_t bytes, struct buf *out)
{
	if (bytes && bytes % (1 << 20) == 0)
		buf_addf(out, "%" PRIu64 "MiB", bytes >> 20);
	else if (bytes && bytes % (1 << 10) == 0)
		buf_addf(out, "%" PRIu64 "KiB", bytes >> 10);
	else
		buf_addf(out, "%" PRIu64, bytes);
}

/* Shortest decimal that reads as the same double. */
static void real_format(double value, struct buf *out)
{
	char text[64];

	for (int places = 0; places <= PLACES_MAX; places++) {
		double back;

		snprintf(text, sizeof(text), "%.*f", places, value);
		if (real_parse(text, &back) == FITS && back == value)
			break;
	}
	buf_adds(out, text);
}

static void list_format(const struct conf_texts *list, bool secret, struct buf *out)
{
	buf_adds(out, "[");
	for (size_t i = 0; i < list->count; i++) {
		buf_adds(out, i ? ", " : "");
		if (secret)
			buf_adds(out, "***");
		else
			text_as_yaml(list->text[i], out);
	}
	buf_adds(out, "]");
}

static void map_format(const struct conf_textmap *map, struct buf *out)
{
	buf_adds(out, "{");
	for (size_t i = 0; i < map->count; i++) {
		buf_adds(out, i ? ", " : "");
		text_as_yaml(map->key[i], out);
		buf_adds(out, ": ");
		list_format(&map->texts[i], false, out);
	}
	buf_adds(out, "}");
}

void value_format(const struct option *option, const void *object, struct buf *out)
{
	const void *field = (const char *)object + option->offset;

	switch (option->type) {
	case OPTION_BOOL:
		buf_adds(out, *(const bool *)field ? "true" : "false");
		break;
	case OPTION_UINT:
	case OPTION_WORKERS:
		buf_addf(out, "%" PRIu64, *(const uint64_t *)field);
		break;
	case OPTION_MSEC:
		value_format_ms(*(const uint64_t *)field, out);
		break;
	case OPTION_BYTES:
		value_format_bytes(*(const uint64_t *)field, out);
		break;
	case OPTION_REAL:
		real_format(*(const double *)field, out);
		break;
	case OPTION_TEXT:
		text_as_yaml(*(char *const *)field, out);
		break;
	case OPTION_SECRET:
		buf_adds(out, **(char *const *)field ? "***" : "");
		break;
	case OPTION_TEXTS:
	case OPTION_SECRETS:
		list_format(field, option_is_secret(option), out);
		break;
	case OPTION_TEXTMAP:
		map_format(field, out);
		break;
	case OPTION_LEVEL:
		buf_adds(out, level_words[*(const uint64_t *)field]);
		break;
	case OPTION_FORMAT:
		buf_adds(out, format_words[*(const uint64_t *)field]);
		break;
	case OPTION_TLSVERSION:
		buf_adds(out, tls_version_words[*(const uint64_t *)field]);
		break;
	case OPTION_HTTP2:
		buf_adds(out, http2_words[*(const uint64_t *)field]);
		break;
	case OPTION_RESPONSES:
		buf_adds(out, responses_words[*(const uint64_t *)field]);
		break;
	case OPTION_REJECT:
		buf_adds(out, reject_words[*(const uint64_t *)field]);
		break;
	case OPTION_ROOMLEVEL:
		buf_adds(out, room_level_words[*(const uint64_t *)field]);
		break;
	}
}

static void range_text(const struct option *option, struct buf *out)
{
	if (option->type == OPTION_MSEC) {
		value_format_ms(option->min, out);
		buf_adds(out, " to ");
		value_format_ms(option->max, out);
	} else if (option->type == OPTION_BYTES) {
		value_format_bytes(option->min, out);
		buf_adds(out, " to ");
		value_format_bytes(option->max, out);
	} else {
		buf_addf(out, "%" PRIu64 " to %" PRIu64, option->min, option->max);
	}
}

void value_wants(const struct option *option, struct buf *out)
{
	static const char *const words[] = {
		[OPTION_BOOL] = "true or false",
		[OPTION_UINT] = "a whole number, ",
		[OPTION_WORKERS] = "auto or a whole number, ",
		[OPTION_MSEC] = "seconds or a time such as 250ms, 30s, 2m or 1h, ",
		[OPTION_BYTES] = "bytes or a size such as 64KiB or 1MiB, ",
		[OPTION_REAL] = "a number such as 0.5, ",
		[OPTION_TEXT] = "a text",
		[OPTION_SECRET] = "a text",
		[OPTION_TEXTS] = "a list such as [a, b]",
		[OPTION_LEVEL] = "error, warning, info or debug",
		[OPTION_FORMAT] = "console or json",
		[OPTION_SECRETS] = "a list such as [a, b]",
		[OPTION_HTTP2] = "auto or off",
		[OPTION_RESPONSES] = "bridge or native",
		[OPTION_TLSVERSION] = "1.2 or 1.3",
		[OPTION_REJECT] = "close or http",
		[OPTION_ROOMLEVEL] = "default, error, warning, info or debug",
		[OPTION_TEXTMAP] = "a section such as {model: [a, b]}",
	};

	buf_adds(out, words[option->type]);
	if (has_range(option))
		range_text(option, out);
}
