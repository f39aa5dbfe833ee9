/* SPDX-License-Identifier: BSD-2-Clause */
/* tell.h - headgate -s WORD: a word to the running master, and what became of it. */
#ifndef MASTER_TELL_H
#define MASTER_TELL_H

#include "base/base.h"

struct conf;

/* "reload, reopen, drain, stop, upgrade", for messages. */
const char *tell_words(void);
bool tell_knows(const char *word);
/* Find the master by its pid file, send the signal, wait for what follows; the exit status. */
int tell(const struct conf *conf, const char *word);

#endif
