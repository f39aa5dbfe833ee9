/* SPDX-License-Identifier: BSD-2-Clause */
/* base: buffers, deferred calls. */
#include "base/base.h"
#include "base/buf.h"
#include "base/defer.h"
#include "unit.h"

START_TEST(buf_grows_and_drops)
{
	struct buf b = BUF_INIT;

	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%03d,", i);
	ck_assert_uint_eq(b.len, 4000);
	buf_drop(&b, 3996);
	ck_assert_str_eq(b.data, "999,");
	buf_release(&b);
	ck_assert_ptr_null(b.data);
}
END_TEST

static int calls;
static struct defer second;
static void count(void *arg)
{
	calls++;
	if (arg)
		defer_call(&second, count, NULL);
}

START_TEST(deferred_calls_run_once_with_those_they_queue)
{
	struct defer first = { 0 }, cancelled = { 0 };

	defer_call(&first, count, &first);
	defer_call(&first, count, &first);
	defer_call(&cancelled, count, NULL);
	defer_cancel(&cancelled);
	ck_assert(defer_pending());
	defer_run();
	ck_assert_int_eq(calls, 2);
	ck_assert(!defer_pending());
}
END_TEST

int main(void)
{
	UNIT_RUN("base", buf_grows_and_drops, deferred_calls_run_once_with_those_they_queue);
}
