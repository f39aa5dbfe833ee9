/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk.c - a YAML document against the table of options. Every value is looked
 * at, whatever was wrong before it, so that all errors come at once.
 */
#include "base/base.h"
#include "conf/walk.h"
#include "conf/text.h"
#include "conf/value.h"

/* A section under way, and where its values go. */
struct place {
	const struct option_set *set;
	void *object;           /* struct conf, struct conf_provider or struct conf_client */
	struct origin *origins; /* one for each row of set */
	const char *path;       /* as in the rows of set; "" at their top */
	const char *shown;      /* as the file has it, from the top; for messages */
};

struct walk {
	struct loader *l;
	yaml_document_t *doc;
};

/* Sections of the Python platform that have no meaning here. */
static const char *const ignored_sections[] = { "mcp", "chat_store",
	"chat.service.repository" };

static char *joined(const char *path, const char *key)
{
	return *path ? xasprintf("%s.%s", path, key) : xstrdup(key);
}

static bool is_ignored(const struct place *p, const char *path)
{
	for (size_t i = 0; p->set == &options_global && i < ARRAY_SIZE(ignored_sections); i++)
		if (strcmp(path, ignored_sections[i]) == 0)
			return true;
	return false;
}

static bool is_providers(const struct place *p, const char *path)
{
	return p->set == &options_global && strcmp(path, "llm.providers") == 0;
}

static bool is_client_keys(const struct place *p, const char *path)
{
	return p->set == &options_global && strcmp(path, "clients.keys") == 0;
}

static bool is_known(const struct place *p, const char *path)
{
	return option_find(p->set, path) || option_is_section(p->set, path) ||
	       is_ignored(p, path) || is_providers(p, path) || is_client_keys(p, path);
}

/* One block and four options have a second name; this is the one that both share. */
static const char *shared_name(const char *key)
{
	if (strcmp(key, "server") == 0)
		return "uvicorn";
	return strncmp(key, "h11_", 4) == 0 ? key + 4 : key;
}

/* The table's path of a key: NULL if there is none such here. Caller frees. */
static char *table_path(const struct place *p, const char *key)
{
	const char *const prefixes[] = { "", "h11_" };
	const char *name = strcmp(key, "server") == 0 ? "uvicorn" : key;

	if (strchr(key, '.'))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		char *full =
			xasprintf("%s%s%s%s", p->path, *p->path ? "." : "", prefixes[i], name);

		if (is_known(p, full))
			return full;
		free(full);
	}
	return NULL;
}

/* The same option among the pairs before this one, or NULL. */
static const yaml_node_t *given_before(struct walk *w, const yaml_node_t *section,
	const yaml_node_pair_t *pair, const char *key)
{
	const yaml_node_pair_t *q = section->data.mapping.pairs.start;

	for (; q < pair; q++) {
		const yaml_node_t *node = yaml_document_get_node(w->doc, q->key);
		const char *other = yaml_text(node);

		if (other && strcmp(shared_name(other), shared_name(key)) == 0)
			return node;
	}
	return NULL;
}

static const char *kind_name(const yaml_node_t *node)
{
	if (node->type == YAML_MAPPING_NODE)
		return "a section";
	return node->type == YAML_SEQUENCE_NODE ? "a list" : "a single value";
}

/* Report a value's error; takes the text over. */
static void value_error(struct walk *w, const struct origin *at, const char *shown, char *wrong)
{
	loader_error(w->l, at, shown, "%s", wrong);
	free(wrong);
}

/* The text of a scalar that may become a value; NULL: the error is reported. */
static const char *scalar_text(
	struct walk *w, const yaml_node_t *node, const struct origin *at, const char *shown)
{
	const char *text = yaml_text(node);

	if (!text)
		loader_error(w->l, at, shown, "holds a NUL character; leave it out");
	else if (yaml_is_null(node))
		loader_error(w->l, at, shown, "has no value; give one, or drop the line");
	else
		return text;
	return NULL;
}

static bool set_list(struct walk *w, const struct place *p, const struct option *option,
	const yaml_node_t *node, const char *shown)
{
	bool ok = true;

	for (yaml_node_item_t *i = node->data.sequence.items.start;
		i < node->data.sequence.items.top && !loader_is_full(w->l); i++) {
		const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
		struct origin at = yaml_origin(&item->start_mark);
		const char *text = NULL;
		char *wrong = NULL;

		if (item->type != YAML_SCALAR_NODE)
			loader_error(w->l, &at, shown, "has %s for an element; give texts",
				kind_name(item));
		else
			text = scalar_text(w, item, &at, shown);
		if (text && !value_add_text(option, text, p->object, &wrong)) {
			value_error(w, &at, shown, wrong);
			text = NULL;
		}
		ok = ok && text;
	}
	return ok;
}

/* Keys are texts of any kind, such as models: no options. */
static bool set_map(struct walk *w, const struct place *p, const struct option *option,
	const yaml_node_t *node, const char *shown)
{
	bool ok = true;

	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top && !loader_is_full(w->l); pair++) {
		const yaml_node_t *key = yaml_document_get_node(w->doc, pair->key);
		const yaml_node_t *list = yaml_document_get_node(w->doc, pair->value);
		struct origin at = yaml_origin(&key->start_mark);
		const char *name = yaml_text(key);
		char *wrong = NULL, *below;

		if (!name || !value_add_key(option, name, p->object, &wrong)) {
			value_error(w, &at, shown,
				name ? wrong : xstrdup("has a key that is not a text"));
			ok = false;
			continue;
		}
		below = joined(shown, name);
		if (list->type == YAML_SEQUENCE_NODE) {
			ok = set_list(w, p, option, list, below) && ok;
		} else {
			at = yaml_origin(&list->start_mark);
			loader_error(w->l, &at, below, "is %s; give a list such as [a, b]",
				kind_name(list));
			ok = false;
		}
		free(below);
	}
	return ok;
}

static bool set_scalar(struct walk *w, const struct place *p, const struct option *option,
	const yaml_node_t *node, const struct origin *at, const char *shown)
{
	bool plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	const char *text = scalar_text(w, node, at, shown);
	char *wrong = NULL;

	if (!text)
		return false;
	if (value_parse(option, text, plain, p->object, &wrong))
		return true;
	value_error(w, at, shown, wrong);
	return false;
}

static void set_option(struct walk *w, const struct place *p, const struct option *option,
	const yaml_node_t *key, const yaml_node_t *node, const char *shown)
{
	struct origin *origin = &p->origins[option - p->set->row];
	bool list = option_is_list(option), map = option_is_map(option), ok = false;
	struct buf wants = BUF_INIT;

	/* An absent value has no place of its own. */
	*origin = yaml_origin(yaml_is_null(node) ? &key->start_mark : &node->start_mark);
	if (list && node->type == YAML_SEQUENCE_NODE) {
		ok = set_list(w, p, option, node, shown);
	} else if (map && node->type == YAML_MAPPING_NODE) {
		ok = set_map(w, p, option, node, shown);
	} else if (node->type == YAML_SCALAR_NODE && (!(list || map) || yaml_is_null(node))) {
		ok = set_scalar(w, p, option, node, origin, shown);
	} else {
		value_wants(option, &wants);
		loader_error(
			w->l, origin, shown, "is %s; give %s", kind_name(node), wants.data);
		buf_release(&wants);
	}
	origin->bad = !ok;
}

static void walk_section(struct walk *w, const struct place *p, const yaml_node_t *section);

/* A section's value must be a mapping; nothing at all is an empty one. */
static bool is_section(struct walk *w, const yaml_node_t *node, const char *shown)
{
	struct origin at = yaml_origin(&node->start_mark);

	if (node->type == YAML_MAPPING_NODE)
		return true;
	if (!yaml_is_null(node))
		loader_error(w->l, &at, shown, "is %s; give a section: keys indented below it",
			kind_name(node));
	return false;
}

static int find_provider(const struct conf *conf, const char *name)
{
	for (unsigned i = 0; i < conf->nproviders; i++)
		if (strcmp(conf->providers[i].name, name) == 0)
			return (int)i;
	return -1;
}

static bool good_provider_name(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= 40 && !name[strspn(name, TEXT_NAME_CHARS "-")];
}

/* False: no such provider can be added, and why is reported. */
static bool check_name(
	struct walk *w, const struct origin *at, const char *name, const char *shown)
{
	struct conf *conf = w->l->conf;
	int same = find_provider(conf, name);

	if (!good_provider_name(name))
		loader_error(w->l, at, shown,
			"is no name for a provider; use 1 to 40 letters, digits, _ and -");
	else if (same >= 0)
		loader_error(w->l, at, shown, "is given twice; the first is in line %u",
			conf->origins->provider_name[same].line);
	else if (conf->nproviders == PROVIDERS_MAX)
		loader_error(w->l, at, shown, "is one provider too many; %d are possible",
			PROVIDERS_MAX);
	else
		return true;
	return false;
}

static void walk_provider(
	struct walk *w, const yaml_node_pair_t *pair, const char *providers_shown)
{
	const yaml_node_t *key = yaml_document_get_node(w->doc, pair->key);
	const yaml_node_t *node = yaml_document_get_node(w->doc, pair->value);
	struct origin at = yaml_origin(&key->start_mark);
	struct conf *conf = w->l->conf;
	const char *name = yaml_text(key);
	char *shown;
	unsigned i;

	if (!name) {
		loader_error(w->l, &at, providers_shown,
			"has a key that is not a text; give a name");
		return;
	}
	shown = joined(providers_shown, name);
	if (check_name(w, &at, name, shown)) {
		i = loader_add_provider(w->l, name, &at);
		struct place p = { &options_provider, &conf->providers[i],
			conf->origins->provider[i], "", shown };

		if (is_section(w, node, shown))
			walk_section(w, &p, node);
	} else {
		w->l->providers.bad = true;
	}
	free(shown);
}

static void walk_providers(
	struct walk *w, const yaml_node_t *key, const yaml_node_t *node, const char *shown)
{
	w->l->providers = yaml_origin(&key->start_mark);
	if (!is_section(w, node, shown)) {
		w->l->providers.bad = !yaml_is_null(node);
		return;
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		pair < node->data.mapping.pairs.top && !loader_is_full(w->l); pair++)
		walk_provider(w, pair, shown);
}

/* clients.keys: a list of sections. */
static void walk_client_keys(
	struct walk *w, const yaml_node_t *key, const yaml_node_t *node, const char *shown)
{
	struct conf *conf = w->l->conf;
	struct origin *at = &conf->origins->clients;

	*at = yaml_origin(&key->start_mark);
	at->bad = node->type != YAML_SEQUENCE_NODE;
	if (at->bad) {
		loader_error(w->l, at, shown, "is %s; give a list of sections: \"- name: ...\"",
			yaml_is_null(node) ? "empty" : kind_name(node));
		return;
	}
	for (yaml_node_item_t *i = node->data.sequence.items.start;
		i < node->data.sequence.items.top && !loader_is_full(w->l); i++) {
		const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
		struct origin item_at = yaml_origin(&item->start_mark);
		struct place p = { &options_client, NULL, NULL, "", shown };
		unsigned n;

		if (conf->nclients == CLIENTS_MAX) {
			loader_error(w->l, &item_at, shown, "is one key too many; %d are possible",
				CLIENTS_MAX);
			at->bad = true;
			return;
		}
		if (item->type != YAML_MAPPING_NODE) {
			loader_error(w->l, &item_at, shown,
				"has %s for an element; give a section: \"- name: ...\"", kind_name(item));
			at->bad = true;
			continue;
		}
		n = loader_add_client(w->l, &item_at);
		p.object = &conf->clients[n];
		p.origins = conf->origins->client[n];
		walk_section(w, &p, item);
	}
}

/* A key that the table knows, with its value. */
static void walk_known(struct walk *w, const struct place *p, const char *path,
	const yaml_node_t *key, const yaml_node_t *node, const char *shown)
{
	const struct option *option = option_find(p->set, path);
	struct origin at = yaml_origin(&key->start_mark);
	struct place below = *p;

	below.path = path;
	below.shown = shown;
	if (option)
		set_option(w, p, option, key, node, shown);
	else if (is_ignored(p, path))
		loader_warn(w->l, &at, shown, "has no meaning here; ignored");
	else if (is_providers(p, path))
		walk_providers(w, key, node, shown);
	else if (is_client_keys(p, path))
		walk_client_keys(w, key, node, shown);
	else if (is_section(w, node, shown))
		walk_section(w, &below, node);
}

static void walk_pair(struct walk *w, const struct place *p, const yaml_node_t *section,
	const yaml_node_pair_t *pair)
{
	const yaml_node_t *key = yaml_document_get_node(w->doc, pair->key), *before;
	const yaml_node_t *node = yaml_document_get_node(w->doc, pair->value);
	struct origin at = yaml_origin(&key->start_mark);
	const char *name = yaml_text(key);
	char *path, *shown;

	if (!name) {
		loader_error(w->l, &at, *p->shown ? p->shown : NULL,
			"has a key that is not a text; give the name of an option");
		return;
	}
	path = table_path(p, name);
	shown = joined(p->shown, name);
	if (!path) {
		value_error(w, &at, shown, walk_unknown(p->set, p->path, name));
	} else if ((before = given_before(w, section, pair, name))) {
		loader_error(w->l, &at, shown, "is given twice; the first is %s in line %u",
			yaml_text(before), yaml_origin(&before->start_mark).line);
	} else {
		walk_known(w, p, path, key, node, shown);
	}
	free(path);
	free(shown);
}

static void walk_section(struct walk *w, const struct place *p, const yaml_node_t *section)
{
	for (yaml_node_pair_t *pair = section->data.mapping.pairs.start;
		pair < section->data.mapping.pairs.top && !loader_is_full(w->l); pair++)
		walk_pair(w, p, section, pair);
}

void walk_document(struct loader *l, yaml_document_t *doc)
{
	struct walk w = { l, doc };
	struct place top = { &options_global, l->conf, l->conf->origins->global, "", "" };
	const yaml_node_t *root = yaml_document_get_root_node(doc);
	struct origin at;

	if (!root || yaml_is_null(root))
		return;
	at = yaml_origin(&root->start_mark);
	if (root->type != YAML_MAPPING_NODE) {
		loader_error(l, &at, NULL, "the file is %s; give sections such as \"llm:\"",
			kind_name(root));
		l->providers.bad = true;
		return;
	}
	walk_section(&w, &top, root);
}
