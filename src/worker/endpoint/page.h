/* SPDX-License-Identifier: BSD-2-Clause */
/* page.h - pages for people: files of pages/ that the build turns into C (scripts/page-to-c). */
#ifndef WORKER_ENDPOINT_PAGE_H
#define WORKER_ENDPOINT_PAGE_H

#include "base/base.h"

struct page {
	const char *html;
	size_t len;
	const char *policy; /* Content-Security-Policy: what is in the page, and nothing else */
};
extern const struct page page_chat, page_status;

#endif
