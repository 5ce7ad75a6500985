/*
 * test_growth.c - verdicts about made-up workers: those that grow are found with the right
 * numbers, and of those that do not nobody cries leak. Hundreds of seeds of each shape.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "base/buf.h"
#include "growth_series.h"
#include "model/growth_fit.h"
#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define SEEDS 400

static struct made made;

/* Of all healthy shapes, also with requests or concurrency unknown, none is called a leak. */
START_TEST(healthy)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct growth_series s;
		struct growth_verdicts v;

		make_series((enum shape)_i, seed, &made);
		if (seed % 8 == 7)
			for (size_t i = 0; i < made.n; i++)
				made.samples[i].in_flight = GROWTH_UNKNOWN;
		/* Concurrency that grows, or a request that goes on, and is not told is a growth like
		 * any other. */
		if (seed % 8 == 7 && (_i == RAMP || _i == LATE_RAMP || _i == EXPORT))
			continue;
		s = series_of(&made);
		v = judge(&s);
		ck_assert_msg(!has_leak(&v), "%s, seed %llu: %s", shape_names[_i],
		    (unsigned long long)seed, growth_name(v.v[0].kind));
	}
}
END_TEST

/* How many of all seeds have the verdict, and no other growth. */
static unsigned
count_found(enum shape shape, enum growth_kind kind, double tolerance)
{
	unsigned found = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct growth_series s;
		struct growth_verdicts v;
		const struct growth_verdict *f;

		make_series(shape, seed, &made);
		s = series_of(&made);
		v = judge(&s);
		f = growth_find(&v, kind);
		if (f == NULL)
			continue;
		found++;
		if (tolerance > 0.0) {
			double rate = kind == GROWTH_WHILE_IDLE ? f->per_minute / 60.0
			    : f->per_request;

			ck_assert_msg(rate > made.leak * (1.0 - tolerance) &&
			    rate < made.leak * (1.0 + tolerance), "%s, seed %llu: %f for %f",
			    shape_names[shape], (unsigned long long)seed, rate, made.leak);
			for (size_t i = 0; i < v.n; i++)
				ck_assert_msg(v.v[i].kind == kind, "%s, seed %llu: %s",
				    shape_names[shape], (unsigned long long)seed,
				    growth_name(v.v[i].kind));
		}
	}
	return found;
}

START_TEST(leaks)
{
	ck_assert_uint_ge(count_found(LEAK, GROWTH_WITH_REQUESTS, 0.3), SEEDS * 95 / 100);
	ck_assert_uint_ge(count_found(LEAK_AFTER_WARM, GROWTH_WITH_REQUESTS, 0.4), SEEDS * 85 / 100);
	ck_assert_uint_ge(count_found(LEAK_IN_TEETH, GROWTH_WITH_REQUESTS, 0.4), SEEDS * 80 / 100);
	ck_assert_uint_ge(count_found(LATE_LEAK, GROWTH_WITH_REQUESTS, 0.4), SEEDS * 85 / 100);
	ck_assert_uint_ge(count_found(IDLE_LEAK, GROWTH_WHILE_IDLE, 0.3), SEEDS * 95 / 100);
}
END_TEST

START_TEST(shapes)
{
	ck_assert_uint_ge(count_found(STEP, GROWTH_STEP, 0.0), SEEDS * 95 / 100);
	ck_assert_uint_ge(count_found(WAVES, GROWTH_CONCURRENCY, 0.0), SEEDS * 95 / 100);
	ck_assert_uint_ge(count_found(SOCKET_WAVES, GROWTH_CONNECTIONS, 0.0), SEEDS * 95 / 100);
	ck_assert_uint_ge(count_found(WARM, GROWTH_WARM_UP, 0.0), SEEDS * 75 / 100);
	ck_assert_uint_ge(count_found(CACHE, GROWTH_WARM_UP, 0.0), SEEDS * 60 / 100);
}
END_TEST

/* The history's own resolution: of 600 samples a few dozen are left. */
START_TEST(thinned)
{
	unsigned found = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct growth_series s;
		struct growth_verdicts v;

		make_series(seed % 2 == 0 ? LEAK : WARM_SAW, seed, &made);
		for (size_t i = 0; i < 64; i++)
			made.samples[i] = made.samples[i * made.n / 64];
		made.n = 64;
		s = series_of(&made);
		v = judge(&s);
		if (seed % 2 == 0)
			found += growth_find(&v, GROWTH_WITH_REQUESTS) != NULL;
		else
			ck_assert_msg(!has_leak(&v), "seed %llu", (unsigned long long)seed);
	}
	ck_assert_uint_ge(found, SEEDS / 2 * 90 / 100);
}
END_TEST

START_TEST(thin_evidence)
{
	struct growth_series s = series_of(&made);
	struct growth_verdicts v;

	/* nothing at all */
	s.n = 0;
	ck_assert_uint_eq(judge(&s).n, 0);
	/* nothing known */
	for (size_t i = 0; i < 100; i++) {
		made.samples[i] = sample((double)i, 1, i * 100, 1);
		made.samples[i].rss = GROWTH_UNKNOWN;
	}
	s.n = 100;
	ck_assert_uint_eq(judge(&s).n, 0);
	/* a straight line, but six samples */
	for (size_t i = 0; i < 100; i++)
		made.samples[i] = sample((double)i, 50 + (double)i, i * 100, 1);
	s.n = 6;
	ck_assert_uint_eq(judge(&s).n, 0);
	s.n = 100;
	v = judge(&s);
	ck_assert_ptr_nonnull(growth_find(&v, GROWTH_WITH_REQUESTS));
	/* a straight line, but 3 MiB, and 300 requests */
	for (size_t i = 0; i < 100; i++)
		made.samples[i] = sample((double)i, 50 + (double)i * 0.03, i * 100, 1);
	ck_assert_uint_eq(judge(&s).n, 0);
	for (size_t i = 0; i < 100; i++)
		made.samples[i] = sample((double)i * 0.1, 50 + (double)i * 0.06, i * 3, 1);
	ck_assert_uint_eq(judge(&s).n, 0);
}
END_TEST

/* The numbers of one worker that is known exactly. */
START_TEST(numbers)
{
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;
	AUTO_BUF struct buf text = BUF_INIT(4096);

	for (size_t i = 0; i < 100; i++)
		made.samples[i] = sample((double)i, 40 + (double)i * 0.5, i * 50, 1);
	s.n = 100;
	s.facts.limit_rss = (uint64_t)(120 * MIB);
	v = judge(&s);
	f = growth_find(&v, GROWTH_WITH_REQUESTS);
	ck_assert_ptr_nonnull(f);
	ck_assert(f->is_strong);
	ck_assert_double_eq_tol(f->per_request, 0.01 * MIB, 1.0);
	ck_assert_double_eq_tol(f->requests_to_limit, (120 - 89.5) * 100, 2.0);
	ck_assert_int_eq(growth_put_evidence(f, &text), 0);
	ck_assert_ptr_nonnull(strstr(text.data, "10.2K for each"));
	ck_assert_ptr_nonnull(strstr(text.data, "3050 requests to the limit"));
	/* it is there already */
	s.facts.limit_rss = (uint64_t)(80 * MIB);
	v = judge(&s);
	ck_assert_double_eq(growth_find(&v, GROWTH_WITH_REQUESTS)->requests_to_limit, 0.0);
	/* of two limits the nearer one; private memory was measured before */
	s.facts.limit_rss = (uint64_t)(120 * MIB);
	s.facts.limit_uss = (uint64_t)(60 * MIB);
	made.samples[90].uss = (uint64_t)(50 * MIB);
	v = judge(&s);
	ck_assert_double_eq_tol(growth_find(&v, GROWTH_WITH_REQUESTS)->requests_to_limit, 1000, 2);
	s.facts.limit_rss = 0;
	v = judge(&s);
	ck_assert_double_eq_tol(growth_find(&v, GROWTH_WITH_REQUESTS)->requests_to_limit, 1000, 2);
	s.facts.limit_uss = 0;
	/* of a plain command nothing is known of requests */
	for (size_t i = 0; i < 100; i++)
		made.samples[i].requests = made.samples[i].in_flight = GROWTH_UNKNOWN;
	s.facts.limit_rss = (uint64_t)(120 * MIB);
	v = judge(&s);
	f = growth_find(&v, GROWTH_WITH_TIME);
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(v.n, 1);
	ck_assert_double_eq_tol(f->per_minute, 30 * MIB, 1000.0);
	ck_assert_double_eq_tol(f->minutes_to_limit, (120 - 89.5) / 30, 0.01);
	ck_assert_double_eq(f->requests, -1.0);
}
END_TEST

/* A thread leaks while requests come and go: the clock is to blame, and the rest is not. */
START_TEST(idle_beside_requests)
{
	struct growth_series s = series_of(&made);
	const struct growth_verdict *f;
	struct growth_verdicts v;
	uint64_t done = 0;

	/* bursts of 10 s, then 20 s of nothing */
	for (size_t i = 0; i < 600; i++) {
		bool busy = i % 30 < 10;

		done += busy ? 50 : 0;
		made.samples[i] = sample((double)i, 40 + (double)i * 0.05, done, busy);
	}
	s.n = 600;
	v = judge(&s);
	f = growth_find(&v, GROWTH_WHILE_IDLE);
	ck_assert_ptr_nonnull(f);
	ck_assert_double_eq_tol(f->per_minute, 3 * MIB, 0.1 * MIB);
	ck_assert_ptr_null(growth_find(&v, GROWTH_WITH_REQUESTS));
	/* and both at once */
	done = 0;
	for (size_t i = 0; i < 600; i++) {
		bool busy = i % 30 < 10;

		done += busy ? 50 : 0;
		made.samples[i] = sample((double)i, 40 + (double)i * 0.05 + (double)done * 0.004,
		    done, busy);
	}
	v = judge(&s);
	ck_assert_ptr_nonnull(growth_find(&v, GROWTH_WHILE_IDLE));
	f = growth_find(&v, GROWTH_WITH_REQUESTS);
	ck_assert_ptr_nonnull(f);
	ck_assert_double_eq_tol(f->per_request, 0.004 * MIB, 0.0004 * MIB);
	/* never idle, but the requests come unevenly: the clock fits better */
	done = 0;
	for (size_t i = 0; i < 600; i++) {
		done += i < 150 ? 5 : i < 300 ? 100 : i < 450 ? 10 : 60;
		made.samples[i] = sample((double)i, 40 + (double)i * 0.1, done, 1);
	}
	v = judge(&s);
	ck_assert_ptr_nonnull(growth_find(&v, GROWTH_WHILE_IDLE));
	ck_assert_ptr_null(growth_find(&v, GROWTH_WITH_REQUESTS));
}
END_TEST

/* A life of a second, on a processor that it has to share: memory is read every 30 ms, requests are
 * told of five times a second. */
START_TEST(counts_are_told_late)
{
	unsigned found = 0;

	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct random r = { .state = seed };
		struct growth_series s = series_of(&made);
		const struct growth_verdict *f;
		double done = 0.0, told = 0.0, rate = 0.0;
		struct growth_verdicts v;

		for (size_t i = 0; i < 42; i++) {
			if (i % 4 == 0)
				rate = random_between(&r, 2.0, 15.0);
			done += rate;
			told = i % 7 == 0 ? done : told;
			made.samples[i] = sample(0.03 * (double)i, 20 + done * 0.2, (uint64_t)told, 1);
		}
		s.n = 42;
		v = judge(&s);
		f = growth_find(&v, GROWTH_WITH_REQUESTS);
		ck_assert_ptr_null(growth_find(&v, GROWTH_WARM_UP));
		if (f == NULL)
			continue;
		found++;
		ck_assert_msg(f->per_request > 0.15 * MIB && f->per_request < 0.25 * MIB,
		    "seed %ju: %g", (uintmax_t)seed, f->per_request);
	}
	ck_assert_uint_ge(found, 90);
}
END_TEST

/* Every verdict has words and JSON, whatever is known. */
START_TEST(words)
{
	for (enum growth_kind kind = 0; kind < GROWTH_N; kind++) {
		struct growth_verdict v = { .kind = kind };
		const struct growth_facts f = { .workers = 1 };
		AUTO_BUF struct buf text = BUF_INIT(4096);
		json_t *o;

		ck_assert_int_eq(growth_put_evidence(&v, &text), 0);
		ck_assert_uint_gt(text.len, 10);
		buf_clear(&text);
		ck_assert_int_eq(growth_put_remedy(&v, &f, &text), 0);
		ck_assert_uint_gt(text.len, 10);
		o = growth_to_json(&v, &f);
		ck_assert_str_eq(json_string_value(json_object_get(o, "verdict")),
		    growth_name(kind));
		ck_assert(json_is_string(json_object_get(o, "evidence")));
		ck_assert(json_is_string(json_object_get(o, "remedy")));
		ck_assert_ptr_nonnull(json_object_get(o, "bytes_per_request"));
		ck_assert_ptr_nonnull(json_object_get(o, "requests_to_limit"));
		ck_assert_ptr_nonnull(json_object_get(o, "bytes_per_minute"));
		json_decref(o);
	}
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("verdicts");

	tcase_set_timeout(c, 60);
	tcase_add_loop_test(c, healthy, FLAT, LEAK);
	tcase_add_test(c, leaks);
	tcase_add_test(c, shapes);
	tcase_add_test(c, thinned);
	tcase_add_test(c, thin_evidence);
	tcase_add_test(c, numbers);
	tcase_add_test(c, idle_beside_requests);
	tcase_add_test(c, counts_are_told_late);
	tcase_add_test(c, words);
	return run_case("growth", c);
}
