/*
 * test_growth_pool.c - the verdicts of all workers together: who agrees, and workers that leak so
 * fast that none of them lives long enough to be judged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "growth_series.h"
#include "run_case.h"

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

/* Of the one that serves nothing is known yet: it will do as those before it in its slot. */
START_TEST(limit_of_a_young_worker)
{
	const struct growth_verdict *v;
	struct growth_verdicts pool;

	for (size_t i = 0; i < 4; i++) {
		make_series(LEAK, i, &made[i]);
		if (i == 3)
			made[i].n = 3;
		make_worker(i, 1, i < 3);
	}
	pool = judge_all(4);
	ck_assert_uint_eq(each[3].n, 0);
	v = growth_find(&pool, GROWTH_WITH_REQUESTS);
	ck_assert_ptr_nonnull(v);
	ck_assert_double_eq_tol(v->requests_to_limit, (400 * MIB -
	    (double)made[3].samples[2].rss) / v->per_request, 1.0);
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

/* After a start of all at once: what they load first is no leak. */
START_TEST(young_workers)
{
	static const double mib[] = { 50, 50, 57, 57, 63, 63, 68, 68, 73, 73, 73 };

	for (size_t i = 0; i < WORKERS; i++) {
		made[i].n = ARRAY_LEN(mib);
		for (size_t k = 0; k < ARRAY_LEN(mib); k++)
			made[i].samples[k] = (struct growth_sample){
				.ms = 400 * k, .rss = (uint64_t)(mib[k] * MIB), .uss = GROWTH_UNKNOWN,
				.pss = GROWTH_UNKNOWN, .requests = 2 * k, .in_flight = 0,
				.fds = GROWTH_UNKNOWN,
			};
		make_worker(i, (unsigned)i + 1, false);
	}
	ck_assert_uint_eq(judge_all(WORKERS).n, 0);
	/* lives that ended so are another matter */
	for (size_t i = 0; i < WORKERS; i++)
		make_worker(i, 1, i + 1 < WORKERS);
	ck_assert_uint_eq(judge_all(WORKERS).n, 1);
}
END_TEST

/* Those that were looked at for long, and found to be healthy, are no short lives. */
START_TEST(healthy_workers)
{
	struct growth_verdicts pool;

	for (size_t i = 0; i < 4; i++) {
		make_series(FLAT, i, &made[i]);
		/* three times something is loaded */
		for (size_t k = 0; k < made[i].n; k++)
			for (size_t third = 0; third < 3; third++)
				if (k > made[i].n / 8 + third * made[i].n / 3)
					made[i].samples[k].rss += (uint64_t)(8 * MIB);
		make_worker(i, (unsigned)i + 1, i > 0);
	}
	pool = judge_all(4);
	ck_assert_ptr_null(growth_find(&pool, GROWTH_WITH_REQUESTS));
}
END_TEST

/* In one worker descriptors grow while it is idle, in the other with requests. */
START_TEST(rates_on_two_axes)
{
	const struct growth_verdict *v;
	struct growth_verdicts pool;

	for (size_t i = 0; i < 2; i++) {
		make_series(FLAT, i, &made[i]);
		make_worker(i, (unsigned)i + 1, false);
	}
	each[0] = each[1] = (struct growth_verdicts){ .n = 1, .judged = true };
	each[0].v[0] = (struct growth_verdict){ .kind = GROWTH_FDS, .seconds = 100.0,
		.requests = -1.0, .per_minute = 60.0, .per_request = -1.0, .grown = 100.0 };
	each[1].v[0] = (struct growth_verdict){ .kind = GROWTH_FDS, .seconds = 300.0,
		.requests = 1000.0, .per_minute = -1.0, .per_request = 0.1, .grown = 100.0 };
	ck_assert_int_eq(growth_judge_pool(series, each, 2, &pool), 0);
	v = growth_find(&pool, GROWTH_FDS);
	ck_assert_ptr_nonnull(v);
	ck_assert_double_eq_tol(v->per_minute, 60.0, 1e-9);
	ck_assert_double_eq_tol(v->per_request, 0.1, 1e-9);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("pool");

	tcase_add_test(c, agreement);
	tcase_add_test(c, limit_of_a_young_worker);
	tcase_add_test(c, short_lives);
	tcase_add_test(c, short_warm_ups);
	tcase_add_test(c, young_workers);
	tcase_add_test(c, rates_on_two_axes);
	tcase_add_test(c, healthy_workers);
	return run_case("growth_pool", c);
}
