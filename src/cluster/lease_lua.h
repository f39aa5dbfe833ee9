/* SPDX-License-Identifier: BSD-2-Clause */
/* lease_lua.h - lease.lua as a text; the build makes it (scripts/text-to-c). */
#ifndef CLUSTER_LEASE_LUA_H
#define CLUSTER_LEASE_LUA_H

extern const char lease_lua[];

#endif
