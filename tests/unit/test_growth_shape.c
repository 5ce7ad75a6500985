/*
 * test_growth_shape.c - what stays after a load, what becomes private, descriptors, what is large.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "growth_series.h"
#include "run_case.h"

#include <stdlib.h>

#define SEEDS 400

static struct made made;

/* A spike whose memory stays, and comes back while nothing goes on or does not. */
START_TEST(kept)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;
	uint64_t done;

	for (unsigned k = 0; k < 3; k++) {
		struct random r = { .state = k };

		done = 0;
		for (size_t i = 0; i < 200; i++) {
			bool busy = i >= 50 && i < 80;
			double mib = 50 + random_noise(&r) * 0.3;

			if (busy)
				mib += MIN_OF((double)(i - 50) * 6.0, 60.0);
			else if (i >= 80 && (k == 1 || i < 150))
				mib += 45;
			done += busy ? 100 : 1;
			made.samples[i] = sample((double)i, mib, done, busy ? 8 : 0);
		}
		s.n = 200;
		s.facts.trim_gc = s.facts.trim_malloc = GROWTH_UNKNOWN;
		v = judge(&s);
		f = growth_find(&v, GROWTH_KEPT);
		ck_assert_msg(f != NULL, "%u", k);
		ck_assert(!has_leak(&v));
		ck_assert_double_eq_tol(f->grown, 45 * MIB, 3 * MIB);
		if (k == 1)
			ck_assert_double_eq(f->given_back, -1.0);
		else
			ck_assert_double_eq_tol(f->given_back, 45 * MIB, 3 * MIB);
	}
	/* what a trim is known to have given back */
	for (size_t i = 0; i < 200; i++)
		made.samples[i] = sample((double)i, 60, i, 0);
	ck_assert_uint_eq(judge(&s).n, 0);
	s.facts.trim_gc = 0;
	s.facts.trim_malloc = (uint64_t)(20 * MIB);
	v = judge(&s);
	f = growth_find(&v, GROWTH_KEPT);
	ck_assert_ptr_nonnull(f);
	ck_assert_double_eq(f->given_back, 20 * MIB);
	(void)growth_put_remedy(f, &s.facts, &text);
	ck_assert_ptr_nonnull(strstr(text.data, "MALLOC_ARENA_MAX=2"));
	/* the collector's share was the larger one */
	s.facts.trim_gc = (uint64_t)(30 * MIB);
	buf_clear(&text);
	(void)growth_put_remedy(f, &s.facts, &text);
	ck_assert_ptr_nonnull(strstr(text.data, "gc.set_threshold()"));
}
END_TEST

START_TEST(unsharing)
{
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;

	for (size_t i = 0; i < 200; i++) {
		made.samples[i] = sample((double)i, 110, i * 10, 1);
		if (i % 10 == 0)
			made.samples[i].uss = (uint64_t)((5 + 60 * (1 - exp(-(double)i / 50))) * MIB);
	}
	s.n = 200;
	s.facts.preloaded = GROWTH_YES;
	v = judge(&s);
	f = growth_find(&v, GROWTH_UNSHARING);
	ck_assert_ptr_nonnull(f);
	ck_assert(!has_leak(&v));
	ck_assert_double_gt(f->grown, 40 * MIB);
	/* a leak is private and makes RSS grow, too */
	for (size_t i = 0; i < 200; i++) {
		made.samples[i] = sample((double)i, 110 + (double)i * 0.3, i * 10, 1);
		if (i % 10 == 0)
			made.samples[i].uss = (uint64_t)((5 + (double)i * 0.3) * MIB);
	}
	v = judge(&s);
	ck_assert_ptr_null(growth_find(&v, GROWTH_UNSHARING));
	ck_assert_ptr_nonnull(growth_find(&v, GROWTH_WITH_REQUESTS));
}
END_TEST

START_TEST(descriptors)
{
	unsigned found = 0;
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct random r = { .state = seed };
		bool is_leak = seed % 2 == 0;

		for (size_t i = 0; i < 300; i++) {
			double fds = 12 + 6 * random_between(&r, 0.0, 1.0);

			/* connections kept alive, up to a point */
			fds += is_leak ? (double)i * 0.2 : MIN_OF((double)i, 60.0);
			made.samples[i] = sample((double)i, 60 + random_noise(&r), i * 20, 1);
			if (i % 5 == 0)
				made.samples[i].fds = (uint64_t)fds;
		}
		s.n = 300;
		v = judge(&s);
		f = growth_find(&v, GROWTH_FDS);
		ck_assert_msg(f == NULL || is_leak, "seed %llu", (unsigned long long)seed);
		found += f != NULL;
		if (f != NULL)
			ck_assert_double_eq_tol(f->per_request * 1000, 10, 3);
	}
	ck_assert_uint_ge(found, SEEDS / 2 * 95 / 100);
}
END_TEST

/* Those that every client needs are no leak, those that are lost beside them are one. */
START_TEST(descriptors_beside_connections)
{
	static const struct {
		double each, lost;	/* for each client, and for each of 20 requests */
		double more, waves;	/* clients */
		bool is_leak;
	} cases[] = {
		{ 2.0, 0.0, 30.0, 0.0, false }, { 0.0, 0.6, 30.0, 0.0, true },
		{ 1.0, 1.0, 30.0, 0.0, true }, { 0.0, 0.3, 0.0, 180.0, true },
		{ 1.0, 0.0, 0.0, 180.0, false }, { 0.0, 0.3, -280.0, 0.0, true },
	};
	struct growth_series s = series_of(&made);

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct random r = { .state = seed };
		struct growth_verdicts v;

		for (size_t i = 0; i < 300; i++) {
			double clients = 10.0 + cases[_i].waves - MIN_OF(cases[_i].more, 0.0) +
			    cases[_i].more * (double)i / 300.0 + random_noise(&r) +
			    cases[_i].waves * sin((double)i / 15.0);

			made.samples[i] = sample((double)i, 60 + random_noise(&r), i * 20, 1);
			made.samples[i].connections = (uint64_t)clients;
			made.samples[i].fds = (uint64_t)(12.0 + clients * (1.0 + cases[_i].each) +
			    (double)i * cases[_i].lost + 6.0 * random_between(&r, 0.0, 1.0));
		}
		s.n = 300;
		v = judge(&s);
		ck_assert_msg((growth_find(&v, GROWTH_FDS) != NULL) == cases[_i].is_leak,
		    "seed %llu", (unsigned long long)seed);
	}
}
END_TEST

START_TEST(large)
{
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;

	for (size_t i = 0; i < 200; i++)
		made.samples[i] = sample((double)i, 208, i * 10, 1);
	s.n = 200;
	s.facts.workers = 4;
	v = judge(&s);
	f = growth_find(&v, GROWTH_STABLE);
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(v.n, 1);
	/* all but the libraries and what a forked worker has of its own */
	ck_assert_double_eq_tol(f->shareable, 3 * (208 - 12) * MIB, 1.0);
	s.facts.preloaded = GROWTH_YES;
	v = judge(&s);
	ck_assert_double_eq(growth_find(&v, GROWTH_STABLE)->shareable, -1.0);
	/* small ones count when there are many */
	for (size_t i = 0; i < 200; i++)
		made.samples[i] = sample((double)i, 60, i * 10, 1);
	ck_assert_uint_eq(judge(&s).n, 0);
	s.facts.workers = 16;
	ck_assert_uint_eq(judge(&s).n, 1);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("shapes");

	tcase_add_test(c, kept);
	tcase_add_test(c, unsharing);
	tcase_add_test(c, descriptors);
	tcase_add_loop_test(c, descriptors_beside_connections, 0, 6);
	tcase_add_test(c, large);
	return run_case("growth_shape", c);
}
