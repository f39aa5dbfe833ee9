/* SPDX-License-Identifier: BSD-2-Clause */
/* clock.h - time: monotonic for everything that is measured or waited for. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"

/* CLOCK_MONOTONIC; the same clock in every process of the machine. */
uint64_t clock_us(void);
uint64_t clock_ms(void);
/* CLOCK_BOOTTIME: as clock_ms(), but it goes on while the machine is suspended. For promises to other machines. */
uint64_t clock_boot_ms(void);

/* "2026-11-23T11:20:24.123Z" (UTC) of the present; returns out. */
char *clock_wall_text(char out[32]);
/* Seconds since 1970. */
int64_t clock_wall_s(void);

#endif
