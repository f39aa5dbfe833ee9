/* SPDX-License-Identifier: BSD-2-Clause */
/* key.c - see key.h. */
#include "base/base.h"
#include "conf/key.h"
#include "base/buf.h"
#include "conf/file.h"
#include "conf/text.h"
#include <ctype.h>

#define KEY_FILE_MAX 65536

void key_trim(char *text)
{
	size_t len = strlen(text), lead = strspn(text, " \t\r\n");

	while (len > lead && strchr(" \t\r\n", text[len - 1]))
		len--;
	memmove(text, text + lead, len - lead);
	text[len - lead] = '\0';
}

bool key_is_header_safe(const char *key)
{
	for (; *key; key++)
		if (*key <= ' ' || (unsigned char)*key >= 0x7f)
			return false;
	return true;
}

bool key_is_variable_name(const char *text)
{
	return !isdigit((unsigned char)*text) && !text[strspn(text, TEXT_NAME_CHARS)];
}

char *key_read_file(const char *path, bool *public_r, char **wrong_r)
{
	struct buf bytes = BUF_INIT;
	const char *line;
	struct stat st;
	size_t len;
	int rc = file_read(path, KEY_FILE_MAX, true, &bytes, &st);

	if (rc < 0) {
		*wrong_r = xasprintf("cannot be read: %s; name a file with the key on its first line",
			rc == -EINVAL ? "not a regular file" : strerror(-rc));
		buf_release(&bytes);
		return NULL;
	}
	buf_add(&bytes, "", 0);
	line = memchr(bytes.data, '\n', bytes.len);
	len = line ? (size_t)(line - bytes.data) : bytes.len;
	*public_r = st.st_mode & S_IROTH;
	if (memchr(bytes.data, '\0', len)) {
		*wrong_r = xstrdup("has a NUL byte on its first line; put the bare key there");
	} else {
		bytes.data[len] = '\0';
		key_trim(bytes.data);
		if (*bytes.data)
			return bytes.data;
		*wrong_r = xstrdup("has nothing on its first line; put the key there");
	}
	buf_release(&bytes);
	return NULL;
}
