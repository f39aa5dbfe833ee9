/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoint.h - the routes: what each path does.
 */
#ifndef WORKER_ENDPOINT_ENDPOINT_H
#define WORKER_ENDPOINT_ENDPOINT_H

#include "base/base.h"
#include "worker/exchange/exchange.h"

struct admit;
struct conf;
struct event_base;
struct providers;
struct shm;

struct endpoint_setup {
	struct event_base *base;
	const struct conf *conf;
	struct shm *shm;
	struct admit *admit;
	struct providers *providers;
};
/* Once per worker; the setup is copied, what it points to outlives the worker. */
void endpoint_open(const struct endpoint_setup *setup);
void endpoint_close(void);
/* An exchange_route_fn: always sets x->app (the last resort answers 404 or 405). */
void endpoint_route(struct exchange *x, void *arg);

#endif
