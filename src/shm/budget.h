/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget.h - how many retries a provider may be asked for, over all workers.
 *
 * A bucket of tokens in one word: each first attempt puts 0.2 in, each retry takes 1 out, so that
 * retries stay at a fifth of the requests when a provider is down, instead of multiplying them. It
 * begins with 10 and holds 50; time alone fills it up to 10, 1 each 10 s, so that a quiet provider
 * may be retried too.
 */
#ifndef SHM_BUDGET_H
#define SHM_BUDGET_H

#include "base/base.h"

struct shm;

/* A request (its first attempt) goes out. */
void budget_request(struct shm *shm, unsigned provider, uint64_t now_ms);
/* True: one retry was withdrawn, do it. False: there is none left, answer with what you have. */
bool budget_retry(struct shm *shm, unsigned provider, uint64_t now_ms) MUST_CHECK;
/* Retries left, in thousandths. */
uint64_t budget_read(const struct shm *shm, unsigned provider, uint64_t now_ms);

#endif
