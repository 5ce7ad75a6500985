/*
 * test_growth_pool.c - the verdicts of all workers together: who agrees, and workers that leak so
 * fast that none of them lives long enough to be judged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "growth_series.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define WORKERS 12
#define SEEDS   200

static struct made made[WORKERS];
static struct growth_series series[WORKERS];
static struct growth_verdicts each[WORKERS];

static struct growth_verdicts
judge_all(size_t n)
{
	struct growth_verdicts pool;

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(growth_judge(&series[i], &each[i]), 0);
	ck_assert_int_eq(growth_judge_pool(series, each, n, &pool), 0);
	return pool;
}

static void
make_worker(size_t i, unsigned slot, bool is_ended)
{
	series[i] = (struct growth_series){
		.slot = slot, .serial = i + 1, .is_ended = is_ended, .samples = made[i].samples,
		.n = made[i].n,
		.facts = { .workers = 4, .trim_gc = GROWTH_UNKNOWN, .trim_malloc = GROWTH_UNKNOWN,
			.limit_rss = (uint64_t)(400 * MIB) },
	};
}

START_TEST(agreement)
{
	const struct growth_verdict *v;
	struct growth_verdicts pool;
	double nearest = 1e30;

	for (size_t i = 0; i < 4; i++) {
		make_series(i < 3 ? LEAK : FLAT, i, &made[i]);
		make_worker(i, (unsigned)i + 1, false);
	}
	pool = judge_all(4);
	v = growth_find(&pool, GROWTH_WITH_REQUESTS);
	ck_assert_ptr_nonnull(v);
	ck_assert_uint_eq(v->agree, 3);
	ck_assert_uint_eq(v->judged, 4);
	for (size_t i = 0; i < 3; i++)
		nearest = MIN_OF(nearest, growth_find(&each[i],
		    GROWTH_WITH_REQUESTS)->requests_to_limit);
	ck_assert_double_eq(v->requests_to_limit, nearest);
	/* one of four is that worker's own affair */
	for (size_t i = 0; i < 4; i++) {
		make_series(i < 1 ? LEAK : FLAT, i, &made[i]);
		make_worker(i, (unsigned)i + 1, false);
	}
	pool = judge_all(4);
	ck_assert_ptr_nonnull(growth_find(&each[0], GROWTH_WITH_REQUESTS));
	ck_assert_ptr_null(growth_find(&pool, GROWTH_WITH_REQUESTS));
	ck_assert_int_eq(growth_judge_pool(series, each, 0, &pool), 0);
	ck_assert_uint_eq(pool.n, 0);
}
END_TEST

/* 375 requests in 0.4 to 1.3 s, sampled a few times; counts lag behind by up to 50 ms. curve: 1 is a
 * straight line, below that it begins fast. */
static void
make_short(size_t i, uint64_t seed, double grown, double curve)
{
	struct random r = { .state = seed * 100 + i };
	double rps = random_between(&r, 300, 1000), life = 375.0 / rps;
	size_t n = 5 + (size_t)(random_next(&r) % 8);

	made[i].n = n;
	for (size_t k = 0; k < n; k++) {
		double t = life * (double)k / (double)(n - 1), lag = random_between(&r, 0.0, 0.05);
		double counted = MAX_OF(t - lag, 0.0) * rps;

		made[i].samples[k] = (struct growth_sample){
			.ms = (uint64_t)(t * 1000.0) + 1000 * i + 5,
			.rss = (uint64_t)((25 + grown * pow(t / life, curve) +
			    0.2 * random_noise(&r)) * MIB),
			.uss = GROWTH_UNKNOWN, .pss = GROWTH_UNKNOWN,
			.requests = (uint64_t)counted, .in_flight = 1, .fds = GROWTH_UNKNOWN,
		};
	}
	/* two slots, one after the other */
	make_worker(i, i < WORKERS / 2 ? 1 : 2, i + 1 != WORKERS / 2 && i + 1 != WORKERS);
}

START_TEST(short_lives)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct growth_verdicts pool;
		const struct growth_verdict *v;

		for (size_t i = 0; i < WORKERS; i++)
			make_short(i, seed, 75, 1.0);
		pool = judge_all(WORKERS);
		v = growth_find(&pool, GROWTH_WITH_REQUESTS);
		ck_assert_msg(v != NULL, "seed %llu", (unsigned long long)seed);
		ck_assert_uint_ge(v->agree, 3);
		ck_assert_double_gt(v->per_request, 0.15 * MIB);
		ck_assert_double_lt(v->per_request, 0.3 * MIB);
	}
}
END_TEST

/* The same lives that only warm up: max-requests is low. */
START_TEST(short_warm_ups)
{
	/* MiB, and how fast they begin */
	static const struct { double grown, curve; } kinds[] = { { 20, 0.3 }, { 6, 1 }, { 45, 0.35 } };

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct growth_verdicts pool;

		for (size_t i = 0; i < WORKERS; i++)
			make_short(i, seed, kinds[seed % 3].grown, kinds[seed % 3].curve);
		pool = judge_all(WORKERS);
		ck_assert_msg(growth_find(&pool, GROWTH_WITH_REQUESTS) == NULL, "seed %llu",
		    (unsigned long long)seed);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("growth_pool");
	TCase *c = tcase_create("pool");
	SRunner *r;
	int failed;

	tcase_add_test(c, agreement);
	tcase_add_test(c, short_lives);
	tcase_add_test(c, short_warm_ups);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
