/* SPDX-License-Identifier: BSD-2-Clause */
/* check_url.c - URLs and origins (RFC 3986, RFC 6454), as far as a configuration needs them. */
#include "base/base.h"
#include "conf/check.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static bool is_port(const char *text, size_t len)
{
	unsigned port = 0;

	if (len < 1 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

bool check_is_authority(const char *text, size_t len)
{
	const char *name = *text == '[' ? DIGITS "abcdefABCDEF:." : LETTERS DIGITS "-._~";
	size_t host;

	if (*text == '[') {
		host = 1 + strspn(text + 1, name);
		if (host == 1 || host >= len || text[host] != ']')
			return false;
		host++;
	} else {
		host = strspn(text, name);
		if (host == 0)
			return false;
	}
	if (host > len)
		return false;
	return host == len || (text[host] == ':' && is_port(text + host + 1, len - host - 1));
}

const char *check_base_url(const char *url)
{
	const char *host;

	if (strncasecmp(url, "http://", 7) == 0)
		host = url + 7;
	else if (strncasecmp(url, "https://", 8) == 0)
		host = url + 8;
	else
		return "does not begin with http:// or https://; give a URL such as https://api.example.com/v1";
	if (memchr(host, '@', strcspn(host, "/?#")))
		return "has credentials in it; drop them and use api_key_env or api_key_file";
	if (url[strcspn(url, "?#")])
		return "has a query or a fragment; end it with the path";
	for (const char *p = url; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f ||
			strchr("\"<>\\^`{|}", *p))
			return "has a character that no URL has; write it with %XX";
	if (!check_is_authority(host, strcspn(host, "/")))
		return "has no proper host and port; give a URL such as https://api.example.com/v1";
	return NULL;
}

bool check_is_origin(const char *text)
{
	size_t scheme = strspn(text, LETTERS DIGITS "+-.");

	if (strcmp(text, "*") == 0)
		return true;
	if (!scheme || !strchr(LETTERS, *text) || strncmp(text + scheme, "://", 3) != 0)
		return false;
	text += scheme + 3;
	return check_is_authority(text, strlen(text));
}

bool check_is_token(const char *text)
{
	return *text && !text[strspn(text, LETTERS DIGITS "!#$%&'*+-.^_`|~")];
}
