/* SPDX-License-Identifier: BSD-2-Clause */
/* check.h - what one value alone does not show: values that must fit each other and the machine. */
#ifndef CONF_CHECK_H
#define CONF_CHECK_H

#include "base/base.h"
#include "conf/loader.h"

/* Check everything outside llm.providers, and fill in what depends on other values. */
void check_globals(struct loader *l);
/* The same for clients.keys: names, and the SHA-256 of each key. */
void check_clients(struct loader *l);
/* The same for the providers: URL, key, models; that there is one; which is active. */
void check_providers(struct loader *l);
/* The files of chat.websocket.tls: read into conf->tls, and found to fit each other. */
void check_tls(struct loader *l);
void tls_release(struct conf_tls *tls);
/* cluster: the address of Redis, its password, the name of this host. */
void check_cluster(struct loader *l);
void redis_release(struct conf_redis *redis);
/* Warnings: options without effect yet, limits that do not fit each other or the machine. */
void check_limits(struct loader *l);

/* A URL of http(s) without credentials, query and fragment: NULL, or what is wrong; what would be right. */
const char *check_base_url(const char *url);
/*
 * A file with certificates, read whole (*pem_r, the caller's). NULL, or what is wrong; what would
 * be right (the caller's, too).
 */
char *check_ca_file(const char *path, char **pem_r);
/* "*", or an origin as browsers send it (scheme://host[:port]). */
bool check_is_origin(const char *text);
/* A token of HTTP (RFC 9110, 5.6.2). */
bool check_is_token(const char *text);
/* host or host:port or [v6]:port, len bytes. */
bool check_is_authority(const char *text, size_t len);

#endif
