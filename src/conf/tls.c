/* SPDX-License-Identifier: BSD-2-Clause */
/* tls.c - see tls.h. */
#include "base/base.h"
#include "conf/tls.h"
#include "base/bug.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

/* The reason of OpenSSL's last error, as far as it gives one. */
static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "OpenSSL does not say why";
}

static BIO *open_pem(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);

	BUG_ON(!bio);
	ERR_clear_error();
	return bio;
}

/* Did reading end because there is no more? */
static bool at_end(void)
{
	bool end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *to, int size, int writing, void *arg)
{
	*(bool *)arg = true;
	return -1;
}

static char *use_certificate(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = open_pem(pem);
	X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL), *further;
	char *wrong = NULL;

	if (!certificate)
		wrong = xasprintf("has no certificate that can be read: %s; it stands between -----BEGIN "
				  "CERTIFICATE----- and -----END CERTIFICATE-----",
			reason());
	else if (SSL_CTX_use_certificate(ctx, certificate) != 1)
		wrong = xasprintf("cannot be used: %s; get one with a key of at least 2048 bits (RSA) or 256 (EC)",
			reason());
	X509_free(certificate);
	while (!wrong && (further = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (SSL_CTX_add0_chain_cert(ctx, further) != 1) {
			X509_free(further);
			wrong = xasprintf("has a further certificate that cannot be used: %s; give those that "
					  "lead to the authority, and no others",
				reason());
		}
	if (!wrong && !at_end())
		wrong = xasprintf("has a further certificate that cannot be read: %s; drop it", reason());
	BIO_free(bio);
	return wrong;
}

static char *use_key(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = open_pem(pem);
	bool asked = false;
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
	char *wrong = NULL;

	if (asked)
		wrong = xstrdup("is encrypted; give it without a passphrase (openssl pkey -in FILE -out FILE)");
	else if (!key)
		wrong = xstrdup("has no private key that can be read; it stands between -----BEGIN PRIVATE KEY----- "
				"and -----END PRIVATE KEY-----");
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		wrong = xasprintf("does not belong to the certificate: %s; give the key that it was made for",
			reason());
	EVP_PKEY_free(key);
	BIO_free(bio);
	return wrong;
}

static char *use_authorities(SSL_CTX *ctx, const char *pem)
{
	BIO *bio = open_pem(pem);
	X509 *certificate;
	unsigned count = 0;
	bool whole = true;

	while (whole && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		whole = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate) == 1 &&
			SSL_CTX_add_client_CA(ctx, certificate) == 1;
		X509_free(certificate);
		count++;
	}
	whole = whole && at_end();
	BIO_free(bio);
	if (whole && count)
		return NULL;
	return xasprintf("%s; each one stands between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
		whole ? "has no certificate in it" : "has a certificate that cannot be used");
}

char *tls_use(const struct conf_tls *tls, SSL_CTX *ctx, enum conf_tls_file *which_r)
{
	static char *(*const use[])(SSL_CTX *ctx, const char *pem) = {
		[CONF_TLS_CERTIFICATE] = use_certificate,
		[CONF_TLS_KEY] = use_key,
		[CONF_TLS_CLIENT_CA] = use_authorities,
	};
	char *wrong = NULL;

	for (unsigned i = 0; i < CONF_TLS_FILES && !wrong; i++) {
		*which_r = (enum conf_tls_file)i;
		if (tls->pem[i])
			wrong = use[i](ctx, tls->pem[i]);
	}
	ERR_clear_error();
	return wrong;
}
