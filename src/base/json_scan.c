/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_scan.c - see json_scan.h.
 *
 * One loop over the text. Of the brackets that are open, only their kind is kept (a
 * bit each), and a frame each for the first few, as far down as a path can reach:
 * which finds may still lie inside, and which end with it. Below that, and where no
 * find is live, nothing is compared.
 */
#include "base/base.h"
#include "base/json_scan.h"
#include "base/bug.h"
#include "base/json_text.h"

/* A set of finds is a uint16_t, a bit each. */
_Static_assert(JSON_FINDS_MAX <= 16, "more finds than bits");
_Static_assert(JSON_NAME_MAX < 64, "frame.lengths is too small");
#define FOR_EACH_FIND(i, set)                                                                  \
	for (unsigned left_ = (set), i; left_ && (i = (unsigned)__builtin_ctz(left_), true);   \
	        left_ &= left_ - 1)

/* An open bracket that a path leads to. */
struct frame {
	uint16_t live;    /* their paths go on inside */
	uint16_t seen;    /* of these, the next name was met already */
	uint16_t ends;    /* they are this object or array itself */
	uint32_t index;   /* of the next element of an array */
	uint64_t lengths; /* in an object: a bit per length of name that is looked for */
	size_t step[JSON_FINDS_MAX];      /* in an object: the length of each live one's name */
	const char *rest[JSON_FINDS_MAX]; /* for live ones: the path from here */
};

struct scan {
	const char *text, *at, *end;
	unsigned depth, depth_max;
	enum json_fault_code fault; /* at `at` */
	struct json_find *finds;
	uint16_t match;                   /* their paths lead to the value that comes next */
	const char *rest[JSON_FINDS_MAX]; /* for these: what is left of the path */
	/* frames[d] and bit d of is_object are for the bracket of depth d + 1 */
	struct frame frames[JSON_STEPS_MAX + 1];
	uint64_t is_object[JSON_DEPTH_MAX / 64];
};

static bool fail(struct scan *s, enum json_fault_code code, const char *at)
{
	s->fault = at < s->end ? code : JSON_FAULT_END;
	s->at = at;
	return false;
}

/* ---- strings, numbers, words ------------------------------------------------- */

static bool scan_escape(struct scan *s)
{
	const char *p = s->at; /* at the backslash */
	int unit;

	if (s->end - p < 2)
		return fail(s, JSON_FAULT_END, s->end);
	if (p[1] != 'u') {
		if (!p[1] || !strchr("\"\\/bfnrt", p[1]))
			return fail(s, JSON_FAULT_ESCAPE, p);
		s->at = p + 2;
		return true;
	}
	unit = json_hex4(p + 2, s->end);
	if (unit < 0)
		return fail(s, JSON_FAULT_ESCAPE, p);
	s->at = p + 6;
	if (json_is_high_surrogate(unit)) {
		if (s->end - p < 12 || p[6] != '\\' || p[7] != 'u' ||
		        !json_is_low_surrogate(json_hex4(p + 8, s->end)))
			return fail(s, JSON_FAULT_SURROGATE, p);
		s->at = p + 12;
	} else if (json_is_low_surrogate(unit)) {
		return fail(s, JSON_FAULT_SURROGATE, p);
	}
	return true;
}

/* From the opening quote to behind the closing one. */
static bool scan_string(struct scan *s, bool *escaped_r)
{
	bool escaped = false;

	s->at++;
	for (;;) {
		s->at += json_plain_run(s->at, (size_t)(s->end - s->at));
		if (s->at == s->end)
			return fail(s, JSON_FAULT_END, s->end);
		if (*s->at == '"')
			break;
		if (*s->at != '\\')
			return fail(s,
			        (unsigned char)*s->at < 0x20 ? JSON_FAULT_CONTROL
			                                     : JSON_FAULT_UTF8,
			        s->at);
		escaped = true;
		if (!scan_escape(s))
			return false;
	}
	s->at++;
	*escaped_r = escaped;
	return true;
}

static inline bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* At least one digit; returns what is behind the last, or NULL. */
static inline const char *skip_digits(const char *p, const char *end)
{
	const char *from = p;

	while (p < end && is_digit(*p))
		p++;
	return p > from ? p : NULL;
}

static bool scan_number(struct scan *s)
{
	const char *p = s->at, *digits;

	if (*p == '-')
		p++;
	digits = p;
	p = skip_digits(digits, s->end);
	if (!p || (*digits == '0' && p > digits + 1))
		return fail(s, JSON_FAULT_NUMBER, digits);
	if (p < s->end && *p == '.') {
		digits = p + 1;
		p = skip_digits(digits, s->end);
		if (!p)
			return fail(s, JSON_FAULT_NUMBER, digits);
	}
	if (p < s->end && (*p == 'e' || *p == 'E')) {
		digits = p + 1;
		if (digits < s->end && (*digits == '+' || *digits == '-'))
			digits++;
		p = skip_digits(digits, s->end);
		if (!p)
			return fail(s, JSON_FAULT_NUMBER, digits);
	}
	s->at = p;
	return true;
}

static bool scan_word(struct scan *s, const char *word, size_t len)
{
	size_t left = (size_t)(s->end - s->at);

	if (memcmp(s->at, word, left < len ? left : len) != 0)
		return fail(s, JSON_FAULT_VALUE, s->at);
	if (left < len)
		return fail(s, JSON_FAULT_END, s->end);
	s->at += len;
	return true;
}

static inline void skip_space(struct scan *s)
{
	const char *p = s->at;

	while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	s->at = p;
}

/* ---- paths ---------------------------------------------------------------------- */

/* What follows a step: behind the '.', or at the '[' or the NUL. */
static const char *after_step(const char *p)
{
	return *p == '.' ? p + 1 : p;
}

/* A name of the object of this frame, [name, end) without quotes: whose path goes there? */
static bool match_name(
        struct scan *s, struct frame *f, const char *name, const char *end, bool escaped)
{
	char decoded[JSON_NAME_MAX + 1];
	const char *quote = name - 1;
	size_t len = (size_t)(end - name);

	if (escaped) {
		if (!json_text_decode(name, end, decoded, sizeof(decoded), &len))
			return true;
		name = decoded;
	}
	if (len > JSON_NAME_MAX || !(f->lengths >> len & 1))
		return true;
	FOR_EACH_FIND(i, f->live)
	{
		const char *path = f->rest[i];

		if (f->step[i] != len || memcmp(name, path, len) != 0)
			continue;
		if (f->seen & 1u << i)
			return fail(s, JSON_FAULT_DUPLICATE, quote);
		s->match |= (uint16_t)(1u << i);
		s->rest[i] = after_step(path + len);
	}
	f->seen |= s->match;
	return true;
}

/* The next element of the array of this frame: whose path goes there? */
static void match_index(struct scan *s, struct frame *f)
{
	FOR_EACH_FIND(i, f->live)
	{
		const char *p = f->rest[i] + 1;
		uint32_t index = 0;

		while (is_digit(*p))
			index = index * 10 + (uint32_t)(*p++ - '0');
		if (index != f->index)
			continue;
		s->match |= (uint16_t)(1u << i);
		s->rest[i] = after_step(p + 1);
	}
	f->live &= (uint16_t)~s->match;
	f->index++;
}

/* A value of this kind starts here: note it for those whose path ends here. */
static uint16_t begin_value(struct scan *s, enum json_kind kind)
{
	uint16_t ends = 0;

	FOR_EACH_FIND(i, s->match)
	{
		if (*s->rest[i])
			continue;
		s->finds[i].kind = kind;
		s->finds[i].offset = (size_t)(s->at - s->text);
		ends |= (uint16_t)(1u << i);
	}
	return ends;
}

static void end_value(struct scan *s, uint16_t ends, bool escaped)
{
	FOR_EACH_FIND(i, ends)
	{
		s->finds[i].len = (size_t)(s->at - s->text) - s->finds[i].offset;
		s->finds[i].escaped = escaped;
	}
}

/* ---- the document ------------------------------------------------------------------ */

static inline bool in_object(const struct scan *s)
{
	return s->is_object[(s->depth - 1) / 64] >> (s->depth - 1) % 64 & 1;
}

/* The frame of the innermost open bracket, if any path leads into it. */
static inline struct frame *live_frame(struct scan *s)
{
	unsigned i = s->depth - 1;

	return i < ARRAY_SIZE(s->frames) && s->frames[i].live ? &s->frames[i] : NULL;
}

static void open_frame(struct scan *s, struct frame *f, bool object)
{
	f->live = f->seen = 0;
	f->lengths = 0;
	f->index = 0;
	f->ends = s->match ? begin_value(s, object ? JSON_IS_OBJECT : JSON_IS_ARRAY) : 0;
	FOR_EACH_FIND(i, s->match & ~f->ends)
	{
		const char *path = s->rest[i];

		if ((*path == '[') == object)
			continue; /* the path asks for the other kind */
		f->live |= (uint16_t)(1u << i);
		f->rest[i] = path;
		if (object) {
			f->step[i] = strcspn(path, ".[");
			BUG_ON(f->step[i] > JSON_NAME_MAX);
			f->lengths |= 1ull << f->step[i];
		}
	}
}

static bool open_bracket(struct scan *s, bool object)
{
	uint64_t bit = 1ull << s->depth % 64;

	if (s->depth == s->depth_max)
		return fail(s, JSON_FAULT_DEPTH, s->at);
	if (object)
		s->is_object[s->depth / 64] |= bit;
	else
		s->is_object[s->depth / 64] &= ~bit;
	if (s->depth < ARRAY_SIZE(s->frames))
		open_frame(s, &s->frames[s->depth], object);
	else
		BUG_ON(s->match); /* a path of more than JSON_STEPS_MAX steps */
	s->match = 0;
	s->depth++;
	s->at++;
	return true;
}

static void close_bracket(struct scan *s)
{
	s->at++;
	s->depth--;
	if (s->depth < ARRAY_SIZE(s->frames) && s->frames[s->depth].ends)
		end_value(s, s->frames[s->depth].ends, false);
}

/* A number, a string or a word. */
static bool scan_scalar(struct scan *s)
{
	const char *from = s->at;
	enum json_kind kind = JSON_IS_BOOL;
	bool good, escaped = false;
	uint16_t ends;

	switch (*from) {
	case '"':
		kind = JSON_IS_STRING;
		good = scan_string(s, &escaped);
		break;
	case 't':
		good = scan_word(s, "true", 4);
		break;
	case 'f':
		good = scan_word(s, "false", 5);
		break;
	case 'n':
		kind = JSON_IS_NULL;
		good = scan_word(s, "null", 4);
		break;
	default:
		kind = JSON_IS_NUMBER;
		if (*from != '-' && !is_digit(*from))
			return fail(s, JSON_FAULT_VALUE, from);
		good = scan_number(s);
	}
	if (good && s->match) {
		const char *to = s->at;

		s->at = from;
		ends = begin_value(s, kind);
		s->at = to;
		end_value(s, ends, escaped);
		s->match = 0;
	}
	return good;
}

/* A name and its colon; the value is next. */
static bool scan_name(struct scan *s)
{
	struct frame *f = live_frame(s);
	const char *name;
	bool escaped;

	skip_space(s);
	if (s->at == s->end || *s->at != '"')
		return fail(s, JSON_FAULT_NAME, s->at);
	name = s->at + 1;
	if (!scan_string(s, &escaped))
		return false;
	if (f && !match_name(s, f, name, s->at - 1, escaped))
		return false;
	skip_space(s);
	if (s->at == s->end || *s->at != ':')
		return fail(s, JSON_FAULT_COLON, s->at);
	s->at++;
	return true;
}

/* What stands before a value inside the innermost bracket. */
static inline bool before_value(struct scan *s)
{
	struct frame *f;

	if (in_object(s))
		return scan_name(s);
	f = live_frame(s);
	if (f)
		match_index(s, f);
	return true;
}

/* Behind a value: close what closes; then either before the next value, or depth is 0. */
static bool after_value(struct scan *s)
{
	while (s->depth) {
		skip_space(s);
		if (s->at == s->end)
			return fail(s, JSON_FAULT_END, s->end);
		if (*s->at == ',') {
			s->at++;
			return before_value(s);
		}
		if (*s->at != (in_object(s) ? '}' : ']'))
			return fail(s, JSON_FAULT_COMMA, s->at);
		close_bracket(s);
	}
	return true;
}

static bool scan_document(struct scan *s)
{
	do {
		skip_space(s);
		if (s->at == s->end)
			return fail(s, JSON_FAULT_END, s->end);
		if (*s->at == '{' || *s->at == '[') {
			bool object = *s->at == '{';

			if (!open_bracket(s, object))
				return false;
			skip_space(s);
			if (s->at == s->end || *s->at != (object ? '}' : ']')) {
				if (!before_value(s))
					return false;
				continue;
			}
			close_bracket(s);
		} else if (!scan_scalar(s)) {
			return false;
		}
		if (!after_value(s))
			return false;
	} while (s->depth);
	skip_space(s);
	return s->at == s->end || fail(s, JSON_FAULT_TRAILING, s->at);
}

static void report_fault(const struct scan *s, struct json_fault *fault)
{
	*fault = (struct json_fault){
	        .code = s->fault, .offset = (size_t)(s->at - s->text), .line = 1, .column = 1};
	for (const char *p = s->text; p < s->at; p++) {
		if (*p == '\n') {
			fault->line++;
			fault->column = 1;
		} else if ((*p & 0xc0) != 0x80) {
			fault->column++;
		}
	}
}

bool json_scan(const char *text, size_t len, unsigned depth_max, struct json_find *finds,
        size_t n, struct json_fault *fault_r)
{
	struct scan s;

	BUG_ON(n > JSON_FINDS_MAX || depth_max > JSON_DEPTH_MAX);
	s.text = s.at = len ? text : "";
	s.end = s.text + len;
	s.depth = 0;
	s.depth_max = depth_max;
	s.fault = JSON_FAULT_NONE;
	s.finds = finds;
	s.match = (uint16_t)((1u << n) - 1);
	for (size_t i = 0; i < n; i++) {
		finds[i] = (struct json_find){.path = finds[i].path};
		s.rest[i] = finds[i].path;
	}
	if (scan_document(&s))
		return true;
	for (size_t i = 0; i < n; i++)
		finds[i] = (struct json_find){.path = finds[i].path};
	if (fault_r)
		report_fault(&s, fault_r);
	return false;
}

const char *json_fault_text(enum json_fault_code code)
{
	static const char *const texts[] = {
#define X(name, text) [JSON_FAULT_##name] = text,
	        JSON_FAULTS(X)
#undef X
	};

	return code < ARRAY_SIZE(texts) ? texts[code] : "unknown error";
}
