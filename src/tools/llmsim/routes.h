/* SPDX-License-Identifier: BSD-2-Clause */
/* routes.h - which path does what; the server's handler. */
#ifndef TOOLS_LLMSIM_ROUTES_H
#define TOOLS_LLMSIM_ROUTES_H

#include "tools/llmsim/http.h"

extern const struct http_handler routes;

#endif
