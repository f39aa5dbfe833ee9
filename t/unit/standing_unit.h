/* SPDX-License-Identifier: BSD-2-Clause */
/* standing_unit.h - a segment with two providers and all their gates, and room for keys; the tests use the second provider. */
#ifndef STANDING_UNIT_H
#define STANDING_UNIT_H

#include "shm/budget.h"
#include "shm/circuit.h"
#include "shm/keys.h"
#include "shm/learn.h"
#include "shm/tokens.h"
#include "shm_unit.h"

static inline struct shm *standing_segment(uint64_t concurrent_requests)
{
	static const char *const providers[] = { "other", "sim" };
	struct shm_gate_spec gates[SHM_GATES(2)];
	struct shm_spec spec = { .nslots = UNIT_SLOTS, .ngates = ARRAY_SIZE(gates), .gates = gates,
		.nproviders = 2, .providers = providers, .client_room = 3 };
	char error[256];
	struct shm *shm;

	for (unsigned i = 0; i < ARRAY_SIZE(gates); i++)
		gates[i] = (struct shm_gate_spec){ "gate", concurrent_requests };
	unit_place();
	shm = shm_create(unit_path, &spec, error);
	ck_assert_msg(shm != NULL, "%s", error);
	for (unsigned i = 0; i < UNIT_SLOTS; i++)
		unit_wake[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	shm_bind(shm, SHM_MASTER, unit_wake);
	return unit_shm = shm;
}

#endif
