/* SPDX-License-Identifier: BSD-2-Clause */
/* faults.c - see faults.h. */
#include "base/base.h"
#include "tools/llmsim/faults.h"
#include "tools/llmsim/text.h"

#define DIRECTIVE "[[sim:"

enum key_type { KEY_COUNT, KEY_REAL, KEY_YESNO, KEY_MODE, KEY_CODE };

static const struct fault_status statuses[] = {
#define STATUS(status, reason, type, code, message) {status, reason, type, code, message},
#include "tools/llmsim/faults.def"
};

static const struct {
	const char *name, *help;
	enum fault_id id;
} names[] = {
#define FAULT(name, id, help) {name, help, FAULT_##id},
#include "tools/llmsim/faults.def"
};

static const struct {
	const char *name, *help;
	enum key_type type;
	size_t offset;
	double least, most;
} keys[] = {
#define KEY(name, type, field, least, most, help)                                              \
	{name, help, KEY_##type, offsetof(struct fault, field), least, most},
#include "tools/llmsim/faults.def"
};

/* How often each directive with times= was met; a hash has to do for its name. */
static struct {
	uint64_t hash;
	int64_t hits;
} met[1024];

const struct fault_status *fault_status(int status)
{
	for (unsigned i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == status)
			return &statuses[i];
	return NULL;
}

void fault_init(struct fault *f)
{
	*f = (struct fault){.last = UINT64_MAX, .rate = -1, .p = -1};
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].type != KEY_REAL && keys[i].type != KEY_CODE)
			*(int64_t *)((char *)f + keys[i].offset) = -1;
}

static bool name_set(struct fault *f, const char *name, struct buf *why)
{
	char *end;
	long status = strtol(name, &end, 10);

	snprintf(f->name, sizeof(f->name), "%s", name);
	if (!*end && status <= INT16_MAX && fault_status((int)status)) {
		f->id = FAULT_STATUS;
		f->status = (int)status;
		return true;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i].name, name)) {
			f->id = names[i].id;
			return true;
		}
	}
	buf_addf(why, "'%s': no such fault; llmsim --help lists them", name);
	return false;
}

static bool number_of(const char *text, double *number_r)
{
	char *end;

	*number_r = strtod(text, &end);
	return end != text && !*end;
}

static bool value_set(struct fault *f, unsigned key, const char *value, struct buf *why)
{
	void *field = (char *)f + keys[key].offset;
	enum text_mode mode;
	double number;

	switch (keys[key].type) {
	case KEY_CODE:
		snprintf(field, sizeof(f->code), "%s", value);
		return true;
	case KEY_MODE:
		if (text_mode_of(value, &mode)) {
			*(int64_t *)field = mode;
			return true;
		}
		break;
	case KEY_YESNO:
		*(int64_t *)field = !strcmp(value, "true") || !strcmp(value, "yes");
		if (*(int64_t *)field || !strcmp(value, "false") || !strcmp(value, "no"))
			return true;
		break;
	case KEY_COUNT:
	case KEY_REAL:
		if (!number_of(value, &number) || !(number >= keys[key].least) ||
		        number > keys[key].most)
			break;
		if (keys[key].type == KEY_REAL)
			*(double *)field = number;
		else
			*(int64_t *)field = (int64_t)number;
		return true;
	}
	buf_addf(why, "'%s=%s': %s expected", keys[key].name, value,
	        keys[key].type == KEY_YESNO  ? "true or false"
	        : keys[key].type == KEY_MODE ? "prose, tokens or echo"
	                                     : "a number in its range");
	return false;
}

static bool item_set(struct fault *f, char *item, struct buf *why)
{
	char *value = strchr(item, '=');

	if (!value)
		return name_set(f, item, why);
	*value++ = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i].name, item))
			return value_set(f, i, value, why);
	buf_addf(why, "'%s': no such key; llmsim --help lists them", item);
	return false;
}

/* "3", "3-5" or "3-". */
static bool range_set(struct fault *f, const char *range, struct buf *why)
{
	char *end;

	f->first = f->last = strtoull(range, &end, 10);
	if (end != range && *end == '-') {
		const char *last = end + 1;

		f->last = *last ? strtoull(last, &end, 10) : UINT64_MAX;
		end = *last ? end : end + 1;
	}
	if (end != range && !*end && f->first <= f->last)
		return true;
	buf_addf(why, "'@%s': not a range of requests, such as @3, @3-5 or @3-", range);
	return false;
}

bool fault_parse(
        struct fault *f, const char *spec, size_t len, bool with_range, struct buf *why)
{
	char *copy = xmemdup0(spec, len);
	char *rest = copy, *item;
	char *at = with_range ? strrchr(copy, '@') : NULL;
	bool good = true;

	fault_init(f);
	if (at) {
		*at = 0;
		good = range_set(f, at + 1, why);
	}
	while (good && (item = strsep(&rest, ",")))
		if (*item)
			good = item_set(f, item, why);
	free(copy);
	return good;
}

/* FNV-1a. */
static uint64_t hash_of(const char *bytes, size_t len)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
	return hash ? hash : 1;
}

static int64_t *hits_of(const char *directive, size_t len)
{
	uint64_t hash = hash_of(directive, len);
	size_t at = hash % ARRAY_SIZE(met);

	/* When the table is full the last place looked at is taken over. */
	for (size_t looked = 0; looked < ARRAY_SIZE(met); looked++) {
		if (met[at].hash == hash || !met[at].hash)
			break;
		at = (at + 1) % ARRAY_SIZE(met);
	}
	if (met[at].hash != hash) {
		met[at].hash = hash;
		met[at].hits = 0;
	}
	return &met[at].hits;
}

void fault_directives_reset(void)
{
	memset(met, 0, sizeof(met));
}

/* Throws the dice of p, then counts times. */
static bool fault_due(const struct fault *f, int64_t *hits, uint64_t *random)
{
	if (f->p >= 0 && (double)(text_random(random) >> 11) * 0x1p-53 >= f->p)
		return false;
	return f->times < 0 || (*hits)++ < f->times;
}

bool fault_directive(struct fault *f, const char *text, uint64_t *random, struct buf *why,
        size_t *start_r, size_t *end_r)
{
	const char *start = strstr(text, DIRECTIVE);
	const char *spec = start ? start + strlen(DIRECTIVE) : NULL;
	const char *end = spec ? strstr(spec, "]]") : NULL;
	struct fault told;

	if (!end)
		return false;
	*start_r = (size_t)(start - text);
	*end_r = (size_t)(end - text) + 2;
	if (!fault_parse(&told, spec, (size_t)(end - spec), false, why))
		return true;
	if (told.id == FAULT_SLOW_READ)
		buf_adds(why, "'slow_read': the body has been read by now; use --fault");
	else if (fault_due(&told, told.times < 0 ? NULL : hits_of(spec, (size_t)(end - spec)),
	                 random))
		*f = told;
	return true;
}

struct fault *fault_pick(struct fault *faults, size_t count, uint64_t serial, uint64_t *random)
{
	for (size_t i = 0; i < count; i++) {
		struct fault *f = &faults[i];

		if (serial >= f->first && serial <= f->last && fault_due(f, &f->hits, random))
			return f;
	}
	return NULL;
}

void fault_help(FILE *out)
{
	fputs("\nfaults: a status (", out);
	for (unsigned i = 0; i < ARRAY_SIZE(statuses); i++)
		fprintf(out, "%s%d", i ? " " : "", statuses[i].status);
	fputs("), or\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		fprintf(out, "  %-22s%s\n", names[i].name, names[i].help);
	fputs("\nkeys:\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		fprintf(out, "  %-22s%s\n", keys[i].name, keys[i].help);
}
