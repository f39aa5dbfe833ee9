/* SPDX-License-Identifier: BSD-2-Clause */
/* nearest.c - optimal string alignment: insert, delete, replace and swap of neighbours count one. */
#include "base/base.h"
#include "conf/nearest.h"

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
	size_t row[3][NAME_MAX_BYTES + 1];

	for (size_t j = 0; j <= nb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			now[j] = least(up[j] + 1, now[j - 1] + 1);
			now[j] = least(now[j], up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], up2[j - 2] + 1);
		}
	}
	return row[na % 3][nb];
}

void nearest_begin(struct nearest *n, const char *wanted)
{
	n->wanted = wanted;
	n->best[0] = '\0';
	n->distance = 2 + strlen(wanted) / 6; /* this far away, it is another word */
}

void nearest_offer(struct nearest *n, const char *name, size_t len)
{
	size_t nwanted = strlen(n->wanted), d;

	if (nwanted > NAME_MAX_BYTES || len > NAME_MAX_BYTES)
		return;
	d = distance(n->wanted, nwanted, name, len);
	if (d < n->distance && d < len) {
		memcpy(n->best, name, len);
		n->best[len] = '\0';
		n->distance = d;
	}
}
