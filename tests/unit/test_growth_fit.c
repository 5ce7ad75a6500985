/*
 * test_growth_fit.c - what a steady growth is: each condition by itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_fit.h"

#include "run_case.h"

#include <check.h>
#include <stdlib.h>

#define N 240

static struct fit_point points[N];

/* A growth of 60 in 24 windows, as straight as can be. */
static const struct fit good = {
	.windows = 24, .samples = 240, .span = 230, .start = 100, .grown = 60, .slope = 0.26,
	.slope_low = 0.2, .slope_high = 0.3, .third = { 20, 20, 20 }, .half = { 30, 30 },
	.tail = 8, .jump = 5, .residual = 0.01, .tau = 0.95, .is_ordered = true,
};

START_TEST(conditions)
{
	struct fit f = good;

	ck_assert(fit_is_steady(&f));
#define WITHOUT(change) do {		\
	f = good;			\
	change;				\
	ck_assert_msg(!fit_is_steady(&f), "%s", #change); \
} while (0)
	WITHOUT(f.grown = 0);
	WITHOUT(f.grown = -60);
	WITHOUT(f.is_ordered = false);
	WITHOUT(f.tau = 0.6);
	WITHOUT(f.residual = 0.07);
	WITHOUT(f.third[0] = 9);
	WITHOUT(f.third[1] = 9);
	WITHOUT(f.third[2] = 14);
	/* the last one against the first, not the mean alone */
	WITHOUT((f.third[0] = 26, f.third[1] = 17.5, f.third[2] = 16.5));
	WITHOUT((f.half[0] = 40, f.half[1] = 20));
	WITHOUT(f.tail = 4);
	WITHOUT(f.slope_low = 0.1);
	WITHOUT(f.jump = 22);
	f = good;
	f.jump = 25;
	f.windows = 8;
	ck_assert(fit_is_steady(&f));
	WITHOUT((f.jump = 28, f.windows = 8));
}
END_TEST

static int
steady(struct fit *f)
{
	return fit_steady(points, N, FIT_ALSO_LATE, f);
}

START_TEST(straight)
{
	struct fit_windows w;
	struct fit f;

	for (size_t i = 0; i < N; i++)
		points[i] = (struct fit_point){ .x = (double)i, .y = 100 + 0.5 * (double)i };
	ck_assert_int_eq(steady(&f), 1);
	ck_assert_double_eq_tol(f.slope, 0.5, 0.001);
	ck_assert_double_eq_tol(f.before, 12, 1);
	ck_assert_double_eq_tol(f.start + f.grown, 100 + 0.5 * N, 10);
	ck_assert_uint_eq(f.windows, FIT_WINDOWS);
	ck_assert_double_eq(f.tau, 1.0);
	/* spikes are above the floor and no matter */
	for (size_t i = 0; i < N; i += 5)
		points[i].y += 1000;
	ck_assert_int_eq(steady(&f), 1);
	ck_assert_double_eq_tol(f.slope, 0.5, 0.02);
	/* backwards, constant, and where x does not move */
	for (size_t i = 0; i < N; i++)
		points[i].y = -(double)i;
	ck_assert_int_eq(steady(&f), 0);
	for (size_t i = 0; i < N; i++)
		points[i].y = 5;
	ck_assert_int_eq(steady(&f), 0);
	for (size_t i = 0; i < N; i++)
		points[i] = (struct fit_point){ .x = 3, .y = (double)i };
	ck_assert_int_eq(steady(&f), 0);
	ck_assert_int_eq(fit_windows(points, N, 4, &w), 0);
	ck_assert_uint_eq(w.n, 0);
	ck_assert_int_eq(fit_steady(points, 0, FIT_ALSO_LATE, &f), 0);
}
END_TEST

/* Looked for from the middle on, a straight line may be the end of something else. */
START_TEST(later_start)
{
	struct fit f;

	/* one that was twice as fast before, and one that was six times as fast */
	for (unsigned times = 1; times <= 6; times += 5) {
		for (size_t i = 0; i < N; i++) {
			double x = (double)i;

			points[i] = (struct fit_point){ .x = x,
				.y = x < 110 ? x * times + (x < 50 ? 0 : 30) : 110.0 * times + 30 +
				(x - 110) };
		}
		ck_assert_int_eq(steady(&f), times == 1);
	}
	/* the last tooth of a saw */
	for (size_t i = 0; i < N; i++)
		points[i] = (struct fit_point){ .x = (double)i, .y = i < 115
		    ? 100 + (double)i : 100 + (double)(i - 115) };
	ck_assert_int_eq(steady(&f), 0);
	/* the same, with something more left each time */
	for (size_t i = 0; i < N; i++)
		points[i].y += i < 115 ? 0 : 120;
	ck_assert_int_eq(steady(&f), 1);
}
END_TEST

START_TEST(statistics)
{
	double x[] = { 1, 2, 3, 4, 5 }, y[] = { 2, 4, 6, 8, 10 }, z[] = { 5, 4, 3, 2, 1 };
	double same[] = { 7, 7, 7, 7, 7 }, odd[] = { 3, 1, 2 }, even[] = { 4, 1, 3, 2 };

	ck_assert_double_eq(fit_tau(x, y, 5), 1.0);
	ck_assert_double_eq(fit_tau(x, z, 5), -1.0);
	ck_assert_double_eq(fit_tau(x, same, 5), 0.0);
	ck_assert_double_eq(fit_tau(x, y, 1), 0.0);
	ck_assert_double_eq_tol(fit_correlation(x, y, 5), 1.0, 1e-9);
	ck_assert_double_eq_tol(fit_correlation(x, z, 5), -1.0, 1e-9);
	ck_assert_double_eq(fit_correlation(x, same, 5), 0.0);
	y[4] = 0;
	ck_assert_double_eq_tol(fit_correlation(x, y, 5), 0.0, 1e-9);
	ck_assert_double_eq(fit_median(odd, 3), 2.0);
	ck_assert_double_eq(fit_median(even, 4), 2.5);
	ck_assert_double_eq(fit_median(even, 0), 0.0);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("fit");

	tcase_add_test(c, conditions);
	tcase_add_test(c, straight);
	tcase_add_test(c, later_start);
	tcase_add_test(c, statistics);
	return run_case("growth_fit", c);
}
