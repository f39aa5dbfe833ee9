/* SPDX-License-Identifier: BSD-2-Clause */
/* ca_file: what is taken for a file of certificate authorities. */
#include "base/base.h"
#include "conf/check.h"
#include "unit.h"

static const char certificate[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBhjCCAS2gAwIBAgIUXlw7nvicsMHqcM5WzxBY+xLi4wgwCgYIKoZIzj0EAwIw\n"
	"GDEWMBQGA1UEAwwNaGVhZGdhdGUtdGVzdDAgFw0yNjExMjMxNTQ2MTRaGA8yMTI2\n"
	"MTAzMDE1NDYxNFowGDEWMBQGA1UEAwwNaGVhZGdhdGUtdGVzdDBZMBMGByqGSM49\n"
	"AgEGCCqGSM49AwEHA0IABIwJSOZgrilRU3CgXuS/0t56Bud+qOj72+f6LB1zAKIo\n"
	"I/M5Rlr3AD5CfbtK/p8KE2wBNdtNdH/ng2F3mPTfK2qjUzBRMB0GA1UdDgQWBBTT\n"
	"PiJawTce949hTW/1V2P+d1Er1DAfBgNVHSMEGDAWgBTTPiJawTce949hTW/1V2P+\n"
	"d1Er1DAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIDdK5YBfYhNg\n"
	"OHYHQiiT5c9Q+/jt9hzQbkgGcV8l5FqvAiA2mrWWMD1/ZXAdqZd+5zqCJcULMd+c\n"
	"24eOcvoZBzHEUA==\n"
	"-----END CERTIFICATE-----\n";

static char path[64];

/* What is wrong with a file that holds this; NULL: nothing, and all of it was read. */
static char *wrong_with(const char *text)
{
	FILE *file;
	char *pem = NULL, *wrong;

	snprintf(path, sizeof(path), "/tmp/headgate-test-ca.%d", (int)getpid());
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
	wrong = check_ca_file(path, &pem);
	unlink(path);
	if (!wrong)
		ck_assert_str_eq(pem, text);
	else
		ck_assert_ptr_null(pem);
	free(pem);
	return wrong;
}

static void refused(const char *text, const char *why)
{
	char *wrong = wrong_with(text);

	ck_assert_ptr_nonnull(wrong);
	ck_assert_msg(strstr(wrong, why) != NULL, "%s", wrong);
	free(wrong);
}

START_TEST(certificates_are_taken_whole)
{
	char *two = xasprintf("the first\n%sthe second\n%s", certificate, certificate);

	ck_assert_ptr_null(wrong_with(certificate));
	ck_assert_ptr_null(wrong_with(two));
	free(two);
}
END_TEST

START_TEST(anything_else_is_refused)
{
	char *broken = xstrdup(certificate), *half = xstrdup(certificate), *pem = NULL, *wrong;

	refused("", "has no certificate in it; each one stands between");
	refused("ca\n", "has no certificate in it");
	broken[sizeof("-----BEGIN CERTIFICATE-----\n") + 8] ^= 1;
	refused(broken, "has a certificate that cannot be read");
	half[strlen(half) / 2] = '\0';
	refused(half, "has a certificate that cannot be read");
	wrong = check_ca_file("/tmp/headgate-there-is-none", &pem);
	ck_assert_str_eq(wrong,
		"cannot be read: No such file or directory; name a file with certificates (PEM)");
	free(wrong);
	wrong = check_ca_file("/dev/null", &pem);
	ck_assert_str_eq(
		wrong, "cannot be read: not a regular file; name a file with certificates (PEM)");
	free(wrong);
	free(broken);
	free(half);
}
END_TEST

int main(void)
{
	UNIT_RUN("conf_ca", certificates_are_taken_whole, anything_else_is_refused);
}
