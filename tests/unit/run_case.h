/*
 * run_case.h - the end of a test program: one test case, in a suite of its own.
 */
#ifndef PREFORKD_TESTS_RUN_CASE_H
#define PREFORKD_TESTS_RUN_CASE_H

#include <check.h>
#include <stdlib.h>

/* Runs it, as CK_VERBOSITY says; takes it. The exit status of the program. */
static inline int
run_case(const char *suite, TCase *t)
{
	Suite *s = suite_create(suite);
	SRunner *runner;
	int failed;

	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
