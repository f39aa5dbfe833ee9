/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * responses_tools.c - the tools of a Responses request: functions, flat there and nested here.
 * Hosted tools run at OpenAI and cannot be bridged. Called by responses_ask.c.
 */
#include "base/base.h"
#include "base/json_walk.h"
#include "worker/endpoint/responses_read.h"

enum { TYPE, NAME, DESCRIPTION, PARAMETERS, STRICT, MEMBERS = 8 };

static bool add_tool(struct responses_reader *r, const char *path, const struct json_find *tool)
{
	static const char why[] = "chat completions have nothing like it";
	static const struct member_rule rules[MEMBERS] = {
		[TYPE] = { "type", KIND_STRING, "a string" },
		[NAME] = { "name", KIND_STRING, "a string" },
		[DESCRIPTION] = { "description", KIND_STRING, "a string" },
		[PARAMETERS] = { "parameters", KIND_OBJECT, "an object" },
		[STRICT] = { "strict", KIND_BOOL, "true or false" },
		{ "output_schema", 0, why },
		{ "defer_loading", 0, why },
		{ "allowed_callers", 0, why },
	};
	static const char *const function[] = { "function" };
	struct json_find v[MEMBERS], type = json_walk_member(r->text, tool, "type");
	struct buf *out = &r->ask->options, *echo = &r->ask->echo;

	if (reader_word(r, &type, function, 1) < 0)
		return reader_fault(r, path, "type",
			"must be \"function\": tools that run at OpenAI are not to be had here");
	if (!reader_members(r, path, tool, rules, MEMBERS, v))
		return false;
	if (v[NAME].kind == JSON_IS_MISSING)
		return reader_fault(r, path, "name", "is missing");
	buf_adds(out, "{\"type\":\"function\",\"function\":{\"name\":");
	reader_copy(r, out, &v[NAME], NULL);
	reader_member(r, out, "description", &v[DESCRIPTION]);
	reader_member(r, out, "parameters", &v[PARAMETERS]);
	reader_member(r, out, "strict", &v[STRICT]);
	buf_adds(out, "}}");
	buf_adds(echo, "{\"type\":\"function\"");
	for (unsigned i = NAME; i <= STRICT; i++) {
		buf_addf(echo, ",\"%s\":", rules[i].name);
		reader_copy(r, echo, &v[i], "null");
	}
	buf_adds(echo, "}");
	return true;
}

/* {"type":"function","name":...} nested; false after a fault. */
static bool add_named(struct responses_reader *r, const char *path, const struct json_find *choice)
{
	static const struct member_rule rules[] = { { "type", KIND_STRING, "a string" },
		{ "name", KIND_STRING, "a string" } };
	static const char *const function[] = { "function" };
	struct json_find v[ARRAY_SIZE(rules)];

	if (!reader_members(r, path, choice, rules, ARRAY_SIZE(rules), v))
		return false;
	if (reader_word(r, &v[0], function, 1) < 0)
		return reader_fault(r, path, "type", "must be \"function\"");
	if (v[1].kind == JSON_IS_MISSING)
		return reader_fault(r, path, "name", "is missing");
	buf_adds(&r->ask->options, "{\"type\":\"function\",\"function\":{\"name\":");
	reader_copy(r, &r->ask->options, &v[1], NULL);
	buf_adds(&r->ask->options, "}}");
	return true;
}

/* {"type":"allowed_tools","mode":...,"tools":[...]} */
static bool add_allowed(struct responses_reader *r, const struct json_find *choice)
{
	static const struct member_rule rules[] = { { "type", KIND_STRING, "a string" },
		{ "mode", KIND_STRING, "a string" }, { "tools", KIND_ARRAY, "an array" } };
	static const char *const modes[] = { "auto", "required" };
	struct buf *out = &r->ask->options;
	struct json_find v[ARRAY_SIZE(rules)], none, tool;
	struct json_walk walk;
	char path[64];

	if (!reader_members(r, "tool_choice", choice, rules, ARRAY_SIZE(rules), v))
		return false;
	if (reader_word(r, &v[1], modes, ARRAY_SIZE(modes)) < 0)
		return reader_fault(r, "tool_choice", "mode", "must be \"auto\" or \"required\"");
	buf_adds(out, "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":");
	reader_copy(r, out, &v[1], NULL);
	buf_adds(out, ",\"tools\":[");
	json_walk_begin(&walk, r->text, &v[2]);
	for (unsigned i = 0; json_walk_next(&walk, &none, &tool); i++) {
		snprintf(path, sizeof(path), "tool_choice.tools[%u]", i);
		if (tool.kind != JSON_IS_OBJECT)
			return reader_fault(r, path, NULL, "must be an object");
		buf_adds(out, i ? "," : "");
		if (!add_named(r, path, &tool))
			return false;
	}
	buf_adds(out, "]}}");
	return true;
}

static bool add_choice(struct responses_reader *r, const struct json_find *choice, bool any_tools)
{
	static const char *const words[] = { "auto", "none", "required" };
	static const char *const types[] = { "function", "allowed_tools" };
	struct json_find type = json_walk_member(r->text, choice, "type");
	int word = reader_word(r, choice, words, ARRAY_SIZE(words));
	int which = reader_word(r, &type, types, ARRAY_SIZE(types));

	/* Without tools there is nothing to choose, and providers refuse a choice. */
	if (!any_tools)
		return word == 0 || word == 1 ||
			reader_fault(r, "", "tool_choice", "needs \"tools\" to choose from");
	buf_adds(&r->ask->options, ",\"tool_choice\":");
	if (word >= 0) {
		reader_copy(r, &r->ask->options, choice, NULL);
		return true;
	}
	if (which < 0)
		return reader_fault(r, "", "tool_choice",
			"must be \"auto\", \"none\", \"required\", or an object of type \"function\" or "
			"\"allowed_tools\"");
	return which ? add_allowed(r, choice) : add_named(r, "tool_choice", choice);
}

bool reader_tools(struct responses_reader *r, const struct json_find *tools,
	const struct json_find *choice, const struct json_find *parallel)
{
	struct buf *out = &r->ask->options, *echo = &r->ask->echo;
	struct json_find none, tool;
	struct json_walk walk;
	unsigned n = 0;
	char path[32];

	buf_adds(echo, ",\"tools\":[");
	json_walk_begin(&walk, r->text, tools);
	for (; json_walk_next(&walk, &none, &tool); n++) {
		snprintf(path, sizeof(path), "tools[%u]", n);
		if (tool.kind != JSON_IS_OBJECT)
			return reader_fault(r, path, NULL, "must be an object");
		buf_adds(out, n ? "," : ",\"tools\":[");
		buf_adds(echo, n ? "," : "");
		if (!add_tool(r, path, &tool))
			return false;
	}
	buf_adds(out, n ? "]" : "");
	buf_adds(echo, "],\"tool_choice\":");
	reader_copy(r, echo, choice, "\"auto\"");
	buf_adds(echo, ",\"parallel_tool_calls\":");
	reader_copy(r, echo, parallel, "true");
	if (choice->kind != JSON_IS_MISSING && !add_choice(r, choice, n > 0))
		return false;
	if (n)
		reader_member(r, out, "parallel_tool_calls", parallel);
	return true;
}
