/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outage.h - the whole provider is down or sick for a while, on order:
 *
 *	POST /sim/outage {"how":"refuse","ms":8000}
 *
 * how: refuse (nobody listens, connections are reset), a fault for all requests (faults.h), or none.
 */
#ifndef TOOLS_LLMSIM_OUTAGE_H
#define TOOLS_LLMSIM_OUTAGE_H

#include "base/base.h"
#include "tools/llmsim/faults.h"
#include "tools/llmsim/http.h"

/* Answers the order. */
void outage_order(struct http_request *req);
/* The fault that every request has now, or NULL. */
struct fault *outage_fault(void);
/* Is there an outage of any kind? */
bool outage_now(void);

#endif
