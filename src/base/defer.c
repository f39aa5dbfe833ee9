/* SPDX-License-Identifier: BSD-2-Clause */
/* defer.c - see defer.h. */
#include "base/base.h"
#include "base/bug.h"
#include "base/defer.h"

static TAILQ_HEAD(, defer) queue = TAILQ_HEAD_INITIALIZER(queue);

void defer_call(struct defer *d, defer_fn fn, void *arg)
{
	if (d->fn) {
		BUG_ON(d->fn != fn);
		return;
	}
	d->fn = fn;
	d->arg = arg;
	TAILQ_INSERT_TAIL(&queue, d, entry);
}

void defer_cancel(struct defer *d)
{
	if (!d->fn)
		return;
	d->fn = NULL;
	TAILQ_REMOVE(&queue, d, entry);
}

void defer_run(void)
{
	struct defer *d;

	while ((d = TAILQ_FIRST(&queue))) {
		defer_fn fn = d->fn;
		void *arg = d->arg;

		defer_cancel(d);
		fn(arg);
	}
}

bool defer_pending(void)
{
	return !TAILQ_EMPTY(&queue);
}
