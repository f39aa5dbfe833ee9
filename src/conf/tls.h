/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls.h - what chat.websocket.tls names, as OpenSSL takes it. The files are read once, when the configuration
 * is loaded; workers, which may not be allowed to read them, have what stood in them.
 */
#ifndef CONF_TLS_H
#define CONF_TLS_H

#include "base/base.h"
#include "conf/conf.h"

#include <openssl/types.h>

/*
 * Give ctx certificate, chain, key and the authorities of clients. NULL, or what is wrong; what would be right
 * (caller frees), and *which_r: CONF_TLS_CERTIFICATE, ...
 */
char *tls_use(const struct conf_tls *tls, SSL_CTX *ctx, enum conf_tls_file *which_r) MUST_CHECK;

#endif
