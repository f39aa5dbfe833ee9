/* SPDX-License-Identifier: BSD-2-Clause */
/* check_ca.c - ca_file: the certificate authorities of a provider. */
#include "base/base.h"
#include "base/buf.h"
#include "conf/check.h"
#include "conf/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define CA_FILE_MAX (4 << 20)

/* How many certificates there are before the end, or -1: one is broken. */
static int count_certificates(const char *pem, size_t len)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	X509 *certificate;
	int count = 0;
	bool ended;

	while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		X509_free(certificate);
		count++;
	}
	ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	BIO_free(bio);
	return ended ? count : -1;
}

char *check_ca_file(const char *path, char **pem_r)
{
	struct buf bytes = BUF_INIT;
	int rc = file_read(path, CA_FILE_MAX, true, &bytes, NULL), count = 0;

	if (rc == 0) {
		buf_add(&bytes, "", 0);
		count = count_certificates(bytes.data, bytes.len);
	}
	if (rc == 0 && count > 0) {
		*pem_r = bytes.data;
		return NULL;
	}
	buf_release(&bytes);
	if (rc < 0)
		return xasprintf("cannot be read: %s; name a file with certificates (PEM)",
			rc == -EINVAL ? "not a regular file" : strerror(-rc));
	return xasprintf("%s; each one stands between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
		count < 0 ? "has a certificate that cannot be read" : "has no certificate in it");
}
