/* SPDX-License-Identifier: BSD-2-Clause */
/* check_tls.c - chat.websocket.tls: its files are read, and tried. */
#include "base/base.h"
#include "base/bug.h"
#include "conf/check.h"
#include "conf/file.h"
#include "conf/tls.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <time.h>

#define PEM_MAX (1 << 20)

static const enum global_row rows[CONF_TLS_FILES] = {
	[CONF_TLS_CERTIFICATE] = G_tls_certificate,
	[CONF_TLS_KEY] = G_tls_key,
	[CONF_TLS_CLIENT_CA] = G_tls_client_ca,
};

static struct origin *origin_of(struct loader *l, enum conf_tls_file which)
{
	return &l->conf->origins->global[rows[which]];
}

static const char *path_of(enum conf_tls_file which)
{
	return options_global.row[rows[which]].path;
}

static const char *name_of(const struct conf *conf, enum conf_tls_file which)
{
	return *(char *const *)((const char *)conf + options_global.row[rows[which]].offset);
}

/* A file that is named has to be there. */
static void read_one(struct loader *l, enum conf_tls_file which)
{
	const char *name = name_of(l->conf, which);
	struct buf bytes = BUF_INIT;
	struct stat st;
	int rc;

	if (!*name || origin_of(l, which)->bad)
		return;
	rc = file_read(name, PEM_MAX, true, &bytes, &st);
	if (rc < 0) {
		loader_error(l, origin_of(l, which), path_of(which), "'%s' cannot be read: %s; name a PEM file",
			name, rc == -EINVAL ? "not a regular file" : strerror(-rc));
		origin_of(l, which)->bad = true;
		buf_release(&bytes);
		return;
	}
	buf_add(&bytes, "", 0);
	l->conf->tls.pem[which] = bytes.data;
	if (which == CONF_TLS_KEY && st.st_mode & S_IROTH)
		loader_warn(l, origin_of(l, which), path_of(which),
			"everybody on this machine may read it; chmod o-r %s", name);
}

/* One goes with the other. */
static bool is_complete(struct loader *l)
{
	const struct conf *conf = l->conf;
	bool good = true;

	if (*conf->tls_certificate && !*conf->tls_key) {
		loader_error(l, origin_of(l, CONF_TLS_CERTIFICATE), path_of(CONF_TLS_KEY),
			"is missing; name the file with the key of %s", conf->tls_certificate);
		good = false;
	}
	for (unsigned i = CONF_TLS_KEY; i < CONF_TLS_FILES && !*conf->tls_certificate; i++)
		if (*name_of(conf, (enum conf_tls_file)i)) {
			loader_error(l, origin_of(l, (enum conf_tls_file)i), path_of(CONF_TLS_CERTIFICATE),
				"is missing; name the file with this server's certificate");
			good = false;
			break;
		}
	for (unsigned i = 0; i < CONF_TLS_FILES; i++)
		good = good && !origin_of(l, (enum conf_tls_file)i)->bad;
	return good;
}

static void warn_of_dates(struct loader *l, const X509 *certificate)
{
	const char *name = l->conf->tls_certificate;
	const struct origin *at = origin_of(l, CONF_TLS_CERTIFICATE);

	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		loader_warn(l, at, path_of(CONF_TLS_CERTIFICATE),
			"the certificate in %s has expired; clients will refuse it", name);
	else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		loader_warn(l, at, path_of(CONF_TLS_CERTIFICATE),
			"the certificate in %s is not valid yet; clients will refuse it", name);
}

void check_tls(struct loader *l)
{
	struct conf_tls *tls = &l->conf->tls;
	enum conf_tls_file which;
	SSL_CTX *ctx;
	char *wrong;

	for (unsigned i = 0; i < CONF_TLS_FILES; i++)
		read_one(l, (enum conf_tls_file)i);
	if (!is_complete(l) || !tls->pem[CONF_TLS_CERTIFICATE])
		return;
	ctx = SSL_CTX_new(TLS_server_method());
	BUG_ON(!ctx || RAND_bytes(tls->ticket_key, sizeof(tls->ticket_key)) != 1);
	wrong = tls_use(tls, ctx, &which);
	if (wrong)
		loader_error(l, origin_of(l, which), path_of(which), "'%s' %s", name_of(l->conf, which), wrong);
	else
		warn_of_dates(l, SSL_CTX_get0_certificate(ctx));
	free(wrong);
	SSL_CTX_free(ctx);
}

void tls_release(struct conf_tls *tls)
{
	for (unsigned i = 0; i < CONF_TLS_FILES; i++) {
		if (tls->pem[i])
			explicit_bzero(tls->pem[i], strlen(tls->pem[i]));
		free(tls->pem[i]);
	}
	explicit_bzero(tls, sizeof(*tls));
}
