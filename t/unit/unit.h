/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unit.h - a unit test is one suite of Check that speaks TAP:
 *
 *	START_TEST(adds) { ck_assert_int_eq(1 + 1, 2); } END_TEST
 *	int main(void) { UNIT_RUN("buf", adds, grows); }
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <stdlib.h>

static inline int unit_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < n; i++)
		tcase_add_test(tcase, tests[i]);
	tcase_set_timeout(tcase, 60);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT_RUN(name, ...)                                                                     \
	do {                                                                                    \
		const TTest *const unit_tests[] = { __VA_ARGS__ };                              \
		return unit_run(name, unit_tests, sizeof(unit_tests) / sizeof(unit_tests[0]));  \
	} while (0)

#endif
