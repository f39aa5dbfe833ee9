/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_input.c - the input of a Responses request becomes messages. Texts are copied as they
 * stand in JSON, never decoded. Called by responses_ask.c.
 *
 * One turn of the assistant is several items there (a message, its function calls) and one
 * message here: it is put together in `text` and `calls`, and written when something else comes.
 */
#include "base/base.h"
#include "base/json_walk.h"
#include "worker/endpoint/responses_read.h"

struct input {
	struct responses_reader *r;
	char path[64];	  /* of the item: "input[3]" */
	bool has_text;	  /* of the assistant's turn that is being put together: */
	struct buf text;  /* escaped */
	struct buf calls; /* joined by commas */
};

static void begin_message(struct buf *out, const char *role)
{
	buf_addf(out, "%s{\"role\":\"%s\"", out->len ? "," : "", role);
}

static void end_turn(struct input *in)
{
	struct buf *out = &in->r->ask->messages;

	if (!in->has_text && !in->calls.len)
		return;
	begin_message(out, "assistant");
	buf_adds(out, in->has_text ? ",\"content\":\"" : ",\"content\":null");
	if (in->has_text) {
		buf_add(out, in->text.data, in->text.len);
		buf_adds(out, "\"");
	}
	if (in->calls.len) {
		buf_adds(out, ",\"tool_calls\":[");
		buf_add(out, in->calls.data, in->calls.len);
		buf_adds(out, "]");
	}
	buf_adds(out, "}");
	buf_clear(&in->text);
	buf_clear(&in->calls);
	in->has_text = false;
}

/* ---- the parts of a content ------------------------------------------------------- */

/* Where a part stands: "input[3].content[1]". */
struct part {
	struct input *in;
	char path[RESPONSES_PARAM_BYTES];
	const struct json_find *value;
};

static bool add_text(struct part *part, struct buf *out)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "text", KIND_STRING, "a string" },
		{ "prompt_cache_breakpoint", KIND_OBJECT, "an object" },
		{ "annotations", KIND_ARRAY, "an array" }, /* of an answer that came back: */
		{ "logprobs", KIND_ARRAY, "an array" },	   /* about the text, not part of it */
		{ "parsed", KIND_ANY, "" },		   /* npm's openai decorates with this */
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct responses_reader *r = part->in->r;

	if (!reader_members(r, part->path, part->value, rules, ARRAY_SIZE(rules), v))
		return false;
	if (v[1].kind == JSON_IS_MISSING)
		return reader_fault(r, part->path, "text", "is missing");
	buf_adds(out, "{\"type\":\"text\",\"text\":");
	reader_copy(r, out, &v[1], NULL);
	reader_member(r, out, "prompt_cache_breakpoint", &v[2]);
	buf_adds(out, "}");
	return true;
}

static bool add_image(struct part *part, struct buf *out)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "image_url", KIND_STRING, "a string" },
		{ "detail", KIND_STRING, "a string" },
		{ "prompt_cache_breakpoint", KIND_OBJECT, "an object" },
		{ "file_id", 0, "files are stored at OpenAI, send the image itself as image_url" },
	};
	static const char *const details[] = { "auto", "low", "high" };
	struct json_find v[ARRAY_SIZE(rules)];
	struct responses_reader *r = part->in->r;

	if (!reader_members(r, part->path, part->value, rules, ARRAY_SIZE(rules), v))
		return false;
	if (v[1].kind == JSON_IS_MISSING)
		return reader_fault(r, part->path, "image_url", "is missing");
	if (v[2].kind != JSON_IS_MISSING && reader_word(r, &v[2], details, ARRAY_SIZE(details)) < 0)
		return reader_fault(r, part->path, "detail", "must be \"auto\", \"low\" or \"high\"");
	buf_adds(out, "{\"type\":\"image_url\",\"image_url\":{\"url\":");
	reader_copy(r, out, &v[1], NULL);
	reader_member(r, out, "detail", &v[2]);
	buf_adds(out, "}");
	reader_member(r, out, "prompt_cache_breakpoint", &v[3]);
	buf_adds(out, "}");
	return true;
}

static bool add_file(struct part *part, struct buf *out)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "file_data", KIND_STRING, "a string" },
		{ "filename", KIND_STRING, "a string" },
		{ "file_id", KIND_STRING, "a string" },
		{ "prompt_cache_breakpoint", KIND_OBJECT, "an object" },
		{ "file_url", 0, "chat completions take no URL of a file, send it as file_data" },
		{ "detail", 0, "chat completions have nothing like it" },
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct responses_reader *r = part->in->r;
	size_t start;

	if (!reader_members(r, part->path, part->value, rules, ARRAY_SIZE(rules), v))
		return false;
	if (v[1].kind == JSON_IS_MISSING && v[3].kind == JSON_IS_MISSING)
		return reader_fault(r, part->path, "file_data", "is missing");
	buf_adds(out, "{\"type\":\"file\",\"file\":{");
	start = out->len;
	reader_member(r, out, "file_data", &v[1]);
	reader_member(r, out, "filename", &v[2]);
	reader_member(r, out, "file_id", &v[3]);
	out->data[start] = ' '; /* the first comma */
	buf_adds(out, "}");
	reader_member(r, out, "prompt_cache_breakpoint", &v[4]);
	buf_adds(out, "}");
	return true;
}

enum part_type { PART_INPUT_TEXT, PART_OUTPUT_TEXT, PART_REFUSAL, PART_IMAGE, PART_FILE, PART_TYPES };
static const char *const part_types[PART_TYPES] = { "input_text", "output_text", "refusal",
	"input_image", "input_file" };

/* The type of a part, -1 after a fault. */
static int part_type(struct part *part, bool text_only)
{
	struct responses_reader *r = part->in->r;
	struct json_find found = json_walk_member(r->text, part->value, "type");
	int type = reader_word(r, &found, part_types, PART_TYPES);

	if (part->value->kind != JSON_IS_OBJECT)
		reader_fault(r, part->path, NULL, "must be an object");
	else if (type < 0)
		reader_fault(r, part->path, "type",
			"must be \"input_text\", \"input_image\", \"input_file\", \"output_text\" or \"refusal\"");
	else if (text_only && type >= PART_IMAGE)
		reader_fault(r, part->path, "type", "must be text here: chat completions take nothing else");
	else
		return type;
	return -1;
}

/* A refusal says `refusal` where a text says `text`. */
static bool read_refusal(struct part *part, struct json_find *text_r)
{
	static const struct member_rule rules[] = { { "type", KIND_STRING, "a string" },
		{ "refusal", KIND_STRING, "a string" } };
	struct json_find v[ARRAY_SIZE(rules)];

	if (!reader_members(part->in->r, part->path, part->value, rules, ARRAY_SIZE(rules), v))
		return false;
	if (v[1].kind == JSON_IS_MISSING)
		return reader_fault(part->in->r, part->path, "refusal", "is missing");
	*text_r = v[1];
	return true;
}

/* A part that is text only, appended to the inside of a string. */
static bool add_inside(struct part *part, int type, struct buf *out)
{
	struct responses_reader *r = part->in->r;
	struct json_find text;
	struct buf checked = BUF_INIT;
	bool good;

	if (type == PART_REFUSAL) {
		if (!read_refusal(part, &text))
			return false;
	} else {
		good = add_text(part, &checked);
		buf_release(&checked);
		if (!good)
			return false;
		text = json_walk_member(r->text, part->value, "text");
	}
	reader_inside(r, out, &text);
	return true;
}

/* A string, or parts of text only: the inside of one string. */
static bool add_string_content(struct input *in, const char *member, const struct json_find *content,
	struct buf *out)
{
	struct json_walk walk;
	struct json_find none, value;
	struct part part = { .in = in, .value = &value };

	if (content->kind == JSON_IS_STRING) {
		reader_inside(in->r, out, content);
		return true;
	}
	json_walk_begin(&walk, in->r->text, content);
	for (unsigned i = 0; json_walk_next(&walk, &none, &value); i++) {
		int type;

		snprintf(part.path, sizeof(part.path), "%s.%s[%u]", in->path, member, i);
		type = part_type(&part, true);
		if (type < 0 || !add_inside(&part, type, out))
			return false;
	}
	return true;
}

/* An array of parts, for a user's message. */
static bool add_parts(struct input *in, const struct json_find *content, struct buf *out)
{
	static bool (*const add[PART_TYPES])(struct part *, struct buf *) = {
		[PART_INPUT_TEXT] = add_text,
		[PART_OUTPUT_TEXT] = add_text,
		[PART_IMAGE] = add_image,
		[PART_FILE] = add_file,
	};
	struct json_walk walk;
	struct json_find none, value;
	struct part part = { .in = in, .value = &value };

	buf_adds(out, "[");
	json_walk_begin(&walk, in->r->text, content);
	for (unsigned i = 0; json_walk_next(&walk, &none, &value); i++) {
		int type;

		snprintf(part.path, sizeof(part.path), "%s.content[%u]", in->path, i);
		type = part_type(&part, false);
		if (type < 0)
			return false;
		if (!add[type])
			return reader_fault(in->r, part.path, "type", "is for the assistant only");
		if (i)
			buf_adds(out, ",");
		if (!add[type](&part, out))
			return false;
	}
	buf_adds(out, "]");
	return true;
}

/* ---- the items -------------------------------------------------------------------- */

enum role { ROLE_USER, ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_DEVELOPER, ROLES };

static bool read_message(struct input *in, const struct json_find *item)
{
	static const char *const roles[ROLES] = { "user", "assistant", "system", "developer" };
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "role", KIND_STRING, "a string" },
		{ "content", KIND_STRING | KIND_ARRAY, "a string or an array of parts" },
		{ "id", KIND_STRING, "a string" },
		{ "status", KIND_STRING, "a string" },
		{ "phase", 0, "chat completions have nothing like it" },
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct buf *out = &in->r->ask->messages;
	bool good;
	int role;

	if (!reader_members(in->r, in->path, item, rules, ARRAY_SIZE(rules), v))
		return false;
	role = reader_word(in->r, &v[1], roles, ROLES);
	if (role < 0)
		return reader_fault(in->r, in->path, "role",
			"must be \"user\", \"assistant\", \"system\" or \"developer\"");
	if (v[2].kind == JSON_IS_MISSING)
		return reader_fault(in->r, in->path, "content", "is missing");
	end_turn(in);
	if (role == ROLE_ASSISTANT) {
		in->has_text = true;
		return add_string_content(in, "content", &v[2], &in->text);
	}
	/* Servers that know no "developer" know "system", and OpenAI takes the one for the other. */
	begin_message(out, role == ROLE_USER ? "user" : "system");
	buf_adds(out, ",\"content\":");
	if (role == ROLE_USER && v[2].kind == JSON_IS_ARRAY) {
		good = add_parts(in, &v[2], out);
	} else {
		buf_adds(out, "\"");
		good = add_string_content(in, "content", &v[2], out);
		buf_adds(out, "\"");
	}
	buf_adds(out, "}");
	return good;
}

static bool read_call(struct input *in, const struct json_find *item)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "call_id", KIND_STRING, "a string" },
		{ "name", KIND_STRING, "a string" },
		{ "arguments", KIND_STRING, "a string" },
		{ "id", KIND_STRING, "a string" },
		{ "status", KIND_STRING, "a string" },
		{ "parsed_arguments", KIND_ANY, "" }, /* npm's openai decorates with this */
		{ "namespace", 0, "chat completions have nothing like it" },
		{ "caller", 0, "chat completions have nothing like it" },
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct buf *out = &in->calls;

	if (!reader_members(in->r, in->path, item, rules, ARRAY_SIZE(rules), v))
		return false;
	for (unsigned i = 1; i <= 3; i++)
		if (v[i].kind == JSON_IS_MISSING)
			return reader_fault(in->r, in->path, rules[i].name, "is missing");
	buf_adds(out, out->len ? ",{\"id\":" : "{\"id\":");
	reader_copy(in->r, out, &v[1], NULL);
	buf_adds(out, ",\"type\":\"function\",\"function\":{\"name\":");
	reader_copy(in->r, out, &v[2], NULL);
	buf_adds(out, ",\"arguments\":");
	reader_copy(in->r, out, &v[3], NULL);
	buf_adds(out, "}}");
	return true;
}

static bool read_output(struct input *in, const struct json_find *item)
{
	static const struct member_rule rules[] = {
		{ "type", KIND_STRING, "a string" },
		{ "call_id", KIND_STRING, "a string" },
		{ "output", KIND_STRING | KIND_ARRAY, "a string or an array of parts" },
		{ "id", KIND_STRING, "a string" },
		{ "status", KIND_STRING, "a string" },
		{ "name", KIND_STRING, "a string" }, /* the call says it too */
		{ "namespace", 0, "chat completions have nothing like it" },
		{ "caller", 0, "chat completions have nothing like it" },
	};
	struct json_find v[ARRAY_SIZE(rules)];
	struct buf *out = &in->r->ask->messages;
	bool good;

	if (!reader_members(in->r, in->path, item, rules, ARRAY_SIZE(rules), v))
		return false;
	for (unsigned i = 1; i <= 2; i++)
		if (v[i].kind == JSON_IS_MISSING)
			return reader_fault(in->r, in->path, rules[i].name, "is missing");
	end_turn(in);
	begin_message(out, "tool");
	buf_adds(out, ",\"tool_call_id\":");
	reader_copy(in->r, out, &v[1], NULL);
	buf_adds(out, ",\"content\":\"");
	good = add_string_content(in, "output", &v[2], out);
	buf_adds(out, "\"}");
	return good;
}

/* What a model thought: chat completions do not take it back. */
static bool read_reasoning(struct input *in, const struct json_find *item)
{
	return true;
}

static bool read_reference(struct input *in, const struct json_find *item)
{
	return reader_fault(in->r, in->path, NULL,
		"refers to a stored item, but nothing is stored here: send the item itself (\"store\": false)");
}

static const char *const item_types[] = { "message", "function_call", "function_call_output",
	"reasoning", "item_reference" };
static bool (*const item_readers[])(struct input *, const struct json_find *) = { read_message,
	read_call, read_output, read_reasoning, read_reference };

static bool read_item(struct input *in, const struct json_find *item)
{
	struct json_find type = json_walk_member(in->r->text, item, "type");
	int which = reader_word(in->r, &type, item_types, ARRAY_SIZE(item_types));

	if (item->kind != JSON_IS_OBJECT)
		return reader_fault(in->r, in->path, NULL, "must be an object");
	if (type.kind == JSON_IS_MISSING)
		which = 0; /* the short form of a message */
	if (which < 0)
		return reader_fault(in->r, in->path, "type",
			"must be \"message\", \"function_call\", \"function_call_output\" or \"reasoning\": "
			"chat completions have nothing like other items");
	return item_readers[which](in, item);
}

bool reader_input(struct responses_reader *r, const struct json_find *input)
{
	struct input in = { .r = r };
	struct buf *out = &r->ask->messages;
	struct json_walk walk;
	struct json_find none, item;
	bool good = true;

	if (input->kind == JSON_IS_STRING) {
		begin_message(out, "user");
		reader_member(r, out, "content", input);
		buf_adds(out, "}");
		return true;
	}
	json_walk_begin(&walk, r->text, input);
	for (unsigned i = 0; good && json_walk_next(&walk, &none, &item); i++) {
		snprintf(in.path, sizeof(in.path), "input[%u]", i);
		good = read_item(&in, &item);
	}
	end_turn(&in);
	buf_release(&in.text);
	buf_release(&in.calls);
	return good;
}
