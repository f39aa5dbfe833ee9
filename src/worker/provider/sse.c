/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sse.c - see sse.h.
 *
 * What the fields of the present event say is held as pointers; when a block ends
 * within an event, what they point to moves into memory of our own. A line that was
 * begun in an earlier block is put together in `line`, and then stays there until the
 * end of this block, because data and name may point into it.
 */
#include "base/base.h"
#include "worker/provider/sse.h"

static const char bom[] = "\xef\xbb\xbf";
#define SSE_STARTED (sizeof(bom) - 1)

void sse_init(struct sse *sse, size_t event_max, sse_event_fn on_event, void *arg)
{
	*sse = (struct sse){
	        .id = BUF_INIT,
	        .on_event = on_event,
	        .arg = arg,
	        .event_max = event_max,
	        .line = BUF_INIT,
	        .data_held = BUF_INIT,
	        .name_held = BUF_INIT,
	};
}

void sse_release(struct sse *sse)
{
	buf_release(&sse->id);
	buf_release(&sse->line);
	buf_release(&sse->data_held);
	buf_release(&sse->name_held);
}

bool sse_at_boundary(const struct sse *sse)
{
	return !sse->in_event && sse->line.len == 0 &&
	       (sse->bom == 0 || sse->bom == SSE_STARTED);
}

/* ---- fields ------------------------------------------------------------------ */

static void field_event(struct sse *sse, const char *value, size_t len)
{
	sse->name = value;
	sse->name_len = len;
}

static void field_data(struct sse *sse, const char *value, size_t len)
{
	if (!sse->has_data) {
		sse->has_data = true;
		sse->data = value;
		sse->data_len = len;
		return;
	}
	if (sse->data != sse->data_held.data) {
		buf_clear(&sse->data_held);
		buf_add(&sse->data_held, sse->data, sse->data_len);
	}
	buf_add(&sse->data_held, "\n", 1);
	buf_add(&sse->data_held, value, len);
	sse->data = sse->data_held.data;
	sse->data_len = sse->data_held.len;
}

static void field_id(struct sse *sse, const char *value, size_t len)
{
	if (memchr(value, 0, len))
		return;
	buf_clear(&sse->id);
	buf_add(&sse->id, value, len);
}

/* Digits only, or it is ignored; so is what no timer can hold. */
static void field_retry(struct sse *sse, const char *value, size_t len)
{
	uint64_t ms = 0;

	if (len == 0 || len > 9)
		return;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return;
		ms = ms * 10 + (uint64_t)(value[i] - '0');
	}
	sse->retry_ms = ms;
}

static const struct {
	const char *name;
	size_t len;
	void (*set)(struct sse *sse, const char *value, size_t len);
} fields[] = {
        {"data", 4, field_data},
        {"event", 5, field_event},
        {"id", 2, field_id},
        {"retry", 5, field_retry},
};

static void take_field(struct sse *sse, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value = line + len;
	size_t name_len = len;

	if (colon) {
		name_len = (size_t)(colon - line);
		value = colon + 1;
		if (value < line + len && *value == ' ')
			value++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].len == name_len && memcmp(fields[i].name, line, name_len) == 0)
			fields[i].set(sse, value, (size_t)(line + len - value));
}

/* ---- lines ------------------------------------------------------------------- */

/* A blank line: the event is complete. */
static void dispatch(struct sse *sse)
{
	if (sse->has_data) {
		sse->events++;
		if (!sse->on_event(sse->arg, sse->name_len ? sse->name : "", sse->name_len,
		            sse->data, sse->data_len))
			sse->result = SSE_STOPPED;
	}
	sse->in_event = sse->has_data = false;
	sse->event_bytes = sse->name_len = sse->data_len = 0;
}

static bool too_long(struct sse *sse, size_t line_len)
{
	if (line_len <= sse->event_max && sse->event_bytes <= sse->event_max - line_len)
		return false;
	sse->result = SSE_TOO_LONG;
	return true;
}

static void take_line(struct sse *sse, const char *line, size_t len)
{
	if (len == 0) {
		dispatch(sse);
		return;
	}
	if (too_long(sse, len))
		return;
	if (*line == ':') {
		sse->comments++;
		return;
	}
	sse->in_event = true;
	sse->event_bytes += len;
	take_field(sse, line, len);
}

/* The first such byte, or end. */
static const char *find_byte(const char *p, const char *end, char c)
{
	const char *found = memchr(p, c, (size_t)(end - p));

	return found ? found : end;
}

/* Bytes of a BOM at the very start; where they turn out to be none, they begin a line. */
static const char *skip_bom(struct sse *sse, const char *p, const char *end)
{
	while (p < end && sse->bom < SSE_STARTED) {
		if (*p != bom[sse->bom]) {
			if (sse->bom)
				buf_add(&sse->line, bom, sse->bom);
			sse->bom = SSE_STARTED;
			break;
		}
		sse->bom++;
		p++;
	}
	return p;
}

/* The rest of a block: the beginning of a line, and what an unfinished event points to. */
static void hold(struct sse *sse, const char *rest, size_t len, bool line_is_new)
{
	if (sse->name_len && sse->name != sse->name_held.data) {
		buf_clear(&sse->name_held);
		buf_add(&sse->name_held, sse->name, sse->name_len);
		sse->name = sse->name_held.data;
	}
	if (sse->has_data && sse->data != sse->data_held.data) {
		buf_clear(&sse->data_held);
		buf_add(&sse->data_held, sse->data, sse->data_len);
		sse->data = sse->data_held.data;
	}
	if (line_is_new)
		buf_clear(&sse->line);
	if (len)
		buf_add(&sse->line, rest, len);
	too_long(sse, sse->line.len);
}

enum sse_result sse_push(struct sse *sse, const char *bytes, size_t len)
{
	const char *p = bytes, *end = bytes + len, *lf;
	bool line_is_new = false;

	if (len == 0 || sse->result != SSE_MORE)
		return sse->result;
	if (sse->bom < SSE_STARTED)
		p = skip_bom(sse, p, end);
	lf = find_byte(p, end, '\n');
	while (p < end && sse->result == SSE_MORE) {
		const char *eol;

		if (sse->after_cr && *p == '\n')
			p++;
		sse->after_cr = false;
		if (p == end)
			break;
		if (lf < p) /* once per LF and not once per CR, or CRs alone cost a square */
			lf = find_byte(p, end, '\n');
		eol = find_byte(p, lf, '\r');
		if (eol == end)
			break;
		sse->after_cr = *eol == '\r';
		sse->next = eol + 1;
		if (!line_is_new && sse->line.len) {
			buf_add(&sse->line, p, (size_t)(eol - p));
			take_line(sse, sse->line.data, sse->line.len);
		} else {
			take_line(sse, p, (size_t)(eol - p));
		}
		line_is_new = true;
		p = eol + 1;
	}
	if (sse->result == SSE_MORE)
		hold(sse, p, (size_t)(end - p), line_is_new);
	return sse->result;
}
