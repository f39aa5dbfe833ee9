/* SPDX-License-Identifier: BSD-2-Clause */
/* load.h - conf_load without the file: for conf_load itself, tests and the fuzzer. */
#ifndef CONF_LOAD_H
#define CONF_LOAD_H

#include "base/base.h"
#include "conf/conf.h"

/* As conf_load, from bytes that need no NUL behind them; name is what messages call them. */
struct conf *conf_load_bytes(
	const char *name, const char *bytes, size_t len, struct conf_texts *errors_r);

#endif
