/* SPDX-License-Identifier: BSD-2-Clause */
/* load.c - a load from beginning to end: read, parse, walk, check. */
#include "base/base.h"
#include "conf/load.h"
#include "base/buf.h"
#include "conf/check.h"
#include "conf/file.h"
#include "conf/loader.h"
#include "conf/text.h"
#include "conf/walk.h"
#include "conf/yaml.h"

#define FILE_MAX 262144

static struct conf *conf_new(const char *path)
{
	struct conf *conf = xcalloc(1, sizeof(*conf));

	conf->path = xstrdup(path);
	conf->origins = xcalloc(1, sizeof(*conf->origins));
	options_set_defaults(&options_global, conf);
	return conf;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (unsigned i = 0; i < conf->nproviders; i++) {
		struct conf_provider *p = &conf->providers[i];

		for (size_t k = 0; k < p->model_fallback.count && p->model_chains; k++)
			free(p->model_chains[k].target);
		free(p->model_chains);
		free(p->fallback_chain.target);
		for (unsigned k = 0; k < p->nkeys; k++)
			free(p->keys[k]);
		free(p->keys);
		free(p->ca_pem);
		free(p->name);
		options_release(&options_provider, p);
	}
	free(conf->providers);
	for (unsigned i = 0; i < conf->nclients; i++)
		options_release(&options_client, &conf->clients[i]);
	free(conf->clients);
	tls_release(&conf->tls);
	redis_release(&conf->redis);
	free(conf->trusted);
	options_release(&options_global, conf);
	conf_texts_release(&conf->warnings);
	free(conf->origins);
	free(conf->path);
	free(conf);
}

struct conf *conf_load_bytes(
	const char *name, const char *bytes, size_t len, struct conf_texts *errors_r)
{
	struct loader l = { .name = name, .conf = conf_new(name) };
	yaml_document_t doc;

	*errors_r = (struct conf_texts){ 0 };
	if (len > FILE_MAX) {
		loader_error(&l, NULL, NULL, "is larger than %d KiB; no configuration is",
			FILE_MAX >> 10);
	} else if (yaml_read(&l, bytes, len, &doc)) {
		walk_document(&l, &doc);
		yaml_document_delete(&doc);
		check_clients(&l);
		check_globals(&l);
		check_providers(&l);
		check_limits(&l);
	}
	loader_tell(&l, errors_r);
	if (errors_r->count) {
		conf_free(l.conf);
		return NULL;
	}
	return l.conf;
}

struct conf *conf_load(const char *path, struct conf_texts *errors_r)
{
	struct buf bytes = BUF_INIT;
	struct conf *conf = NULL;
	int rc = file_read(path, FILE_MAX, false, &bytes, NULL);

	*errors_r = (struct conf_texts){ 0 };
	if (rc < 0 && rc != -EFBIG) /* too large is told by conf_load_bytes */
		texts_add(
			errors_r, xasprintf("%s: cannot be read: %s; name a file with -c FILE",
					  path, strerror(-rc)));
	else
		conf = conf_load_bytes(path, bytes.data ? bytes.data : "", bytes.len, errors_r);
	buf_release(&bytes);
	return conf;
}

char *conf_segment_path(const struct conf *conf)
{
	return xasprintf("%s/segment", conf->run_dir);
}
