/*
 * test_footprint.c - when private memory is measured, and what the governor makes of samples
 * that come now and then.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/footprint.h"
#include "model/governor.h"

#include <check.h>
#include <stdlib.h>

#define MB (UINT64_C(1) << 20)
#define GB (UINT64_C(1) << 30)
#define T0 UINT64_C(100000)	/* when it was measured last */

static struct footprint
measured(uint64_t rss, uint64_t uss)
{
	return (struct footprint){
		.known = true, .tried_ms = T0, .rss = rss, .uss = uss, .pss = uss,
	};
}

START_TEST(most)
{
	struct footprint f = measured(100 * MB, 30 * MB), none = {0};

	ck_assert_uint_eq(footprint_most(&f, 100 * MB), 30 * MB);
	ck_assert_uint_eq(footprint_most(&f, 90 * MB), 30 * MB);
	ck_assert_uint_eq(footprint_most(&f, 120 * MB), 50 * MB);
	ck_assert_uint_eq(footprint_most(&f, 20 * MB), 30 * MB);
	ck_assert_uint_eq(footprint_most(&none, 20 * MB), 20 * MB);
	ck_assert(footprint_is_mostly_shared(&f, 100 * MB));
	/* all that came since may be private */
	ck_assert(!footprint_is_mostly_shared(&f, 140 * MB));
	ck_assert(!footprint_is_mostly_shared(&none, 100 * MB));
	f.uss = 50 * MB;
	ck_assert(!footprint_is_mostly_shared(&f, 100 * MB));
	/* huge pages are in USS alone */
	f = measured(10 * MB, 64 * MB);
	ck_assert_uint_eq(footprint_most(&f, 12 * MB), 64 * MB);
}
END_TEST

static enum footprint_need
need_of(const struct footprint *f, uint64_t rss, uint64_t limit, uint64_t interval_ms, uint64_t now)
{
	const struct footprint_limits limits = { .uss = limit };

	return footprint_need(f, rss, &limits, interval_ms, now);
}

START_TEST(statm_error)
{
	static const struct {
		unsigned major, minor, cpus;
		uint64_t page, want;
	} cases[] = {
		{ 4, 19, 2, 4096, 8 * MB },
		{ 5, 10, 256, 4096, 8 * MB },
		{ 6, 1, 2, 4096, 8 * MB },
		{ 6, 2, 2, 4096, 768 * 1024 },
		{ 6, 2, 0, 4096, 384 * 1024 },
		{ 6, 6, 16, 4096, 6 * MB },
		{ 6, 12, 64, 4096, 96 * MB },
		{ 6, 15, 64, 65536, 1536 * MB },
		{ 6, 16, 64, 4096, 0 },
		{ 6, 18, 2, 4096, 0 },
		{ 7, 0, 2, 4096, 0 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t e = footprint_statm_error(cases[i].major, cases[i].minor, cases[i].cpus,
		    cases[i].page);

		ck_assert_msg(e == cases[i].want, "%zu: %ju", i, (uintmax_t)e);
	}
}
END_TEST

START_TEST(side)
{
	ck_assert_int_eq(footprint_side(100 * MB, 0, 5 * MB), FOOTPRINT_UNDER);
	/* exact: at the limit is over it */
	ck_assert_int_eq(footprint_side(100 * MB, 100 * MB, 0), FOOTPRINT_OVER);
	ck_assert_int_eq(footprint_side(100 * MB - 1, 100 * MB, 0), FOOTPRINT_UNDER);
	/* within the error on both sides nobody knows */
	ck_assert_int_eq(footprint_side(100 * MB, 100 * MB, MB), FOOTPRINT_UNSURE);
	ck_assert_int_eq(footprint_side(101 * MB - 1, 100 * MB, MB), FOOTPRINT_UNSURE);
	ck_assert_int_eq(footprint_side(101 * MB, 100 * MB, MB), FOOTPRINT_OVER);
	ck_assert_int_eq(footprint_side(99 * MB + 1, 100 * MB, MB), FOOTPRINT_UNSURE);
	ck_assert_int_eq(footprint_side(99 * MB, 100 * MB, MB), FOOTPRINT_UNDER);
	/* an error beyond the limit, as on the largest machines */
	ck_assert_int_eq(footprint_side(0, 100 * MB, 400 * MB), FOOTPRINT_UNSURE);
	ck_assert_int_eq(footprint_side(600 * MB, 100 * MB, 400 * MB), FOOTPRINT_OVER);
}
END_TEST

START_TEST(need)
{
	static const struct {
		uint64_t was, uss, rss, limit, after_ms;	/* sizes in MB */
		enum footprint_need want;
	} cases[] = {
		/* no limit: every 10 s */
		{ 100, 30, 100, 0, 1000, FOOTPRINT_FRESH },
		{ 100, 30, 100, 0, 9980, FOOTPRINT_FRESH },
		{ 100, 30, 100, 0, 9990, FOOTPRINT_DUE },
		{ 100, 30, 100, 0, 60000, FOOTPRINT_DUE },
		/* far from it, though RSS is above it */
		{ 100, 30, 100, 60, 1000, FOOTPRINT_FRESH },
		{ 100, 30, 120, 60, 1000, FOOTPRINT_FRESH },
		{ 100, 30, 100, 60, 10000, FOOTPRINT_DUE },
		/* near: with each sample */
		{ 100, 48, 100, 60, 900, FOOTPRINT_FRESH },
		{ 100, 48, 100, 60, 1000, FOOTPRINT_NEEDED },
		{ 100, 47, 100, 60, 1000, FOOTPRINT_FRESH },
		{ 100, 70, 100, 60, 900, FOOTPRINT_FRESH },
		{ 100, 70, 100, 60, 995, FOOTPRINT_NEEDED },
		/* RSS has grown enough for it: at once, but not ten times in a moment */
		{ 100, 30, 130, 60, 100, FOOTPRINT_NEEDED },
		{ 100, 30, 130, 60, 50, FOOTPRINT_FRESH },
		{ 100, 30, 129, 60, 100, FOOTPRINT_FRESH },
		{ 40, 30, 59, 60, 100, FOOTPRINT_FRESH },
		{ 40, 30, 70, 60, 100, FOOTPRINT_NEEDED },
		/* large ones: once a minute, near the limit every 10 s */
		{ 1025, 300, 1025, 0, 10000, FOOTPRINT_FRESH },
		{ 1025, 300, 1025, 0, 59990, FOOTPRINT_DUE },
		{ 1025, 300, 1025, 900, 10000, FOOTPRINT_FRESH },
		{ 1025, 800, 1025, 900, 1000, FOOTPRINT_FRESH },
		{ 1025, 800, 1025, 900, 10000, FOOTPRINT_NEEDED },
		{ 1025, 300, 2000, 900, 1000, FOOTPRINT_FRESH },
		{ 1025, 300, 2000, 900, 10000, FOOTPRINT_NEEDED },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct footprint f = measured(cases[i].was * MB, cases[i].uss * MB);

		ck_assert_msg(need_of(&f, cases[i].rss * MB, cases[i].limit * MB, 1000,
		    T0 + cases[i].after_ms) == cases[i].want, "case %zu", i);
	}
}
END_TEST

/* Never measured, or never with success. */
START_TEST(need_of_unknown)
{
	struct footprint f = {0};

	ck_assert_int_eq(need_of(&f, 2 * GB, 0, 1000, 5), FOOTPRINT_DUE);
	f.tried_ms = T0;
	ck_assert_int_eq(need_of(&f, 50 * MB, 40 * MB, 1000, T0 + 5000), FOOTPRINT_FRESH);
	ck_assert_int_eq(need_of(&f, 50 * MB, 40 * MB, 1000, T0 + 10000), FOOTPRINT_DUE);
}
END_TEST

/* Every interval longer than the usual pace is kept. */
START_TEST(need_with_slow_samples)
{
	struct footprint f = measured(100 * MB, 55 * MB);

	ck_assert_int_eq(need_of(&f, 100 * MB, 60 * MB, 60000, T0 + 9000), FOOTPRINT_FRESH);
	ck_assert_int_eq(need_of(&f, 100 * MB, 60 * MB, 60000, T0 + 60000),
	    FOOTPRINT_NEEDED);
}
END_TEST

static struct governor g;
static struct gov_policy p;
static struct gov_worker w, x;

static void
set_up(void)
{
	governor_init(&g);
	p = (struct gov_policy){ .concurrency = 1, .samples = 2, .min_lifetime_ms = 10000,
		.max_draining = 4, .limit = { [GM_USS] = { LIMIT_SIZE, 100 * MB } } };
	governor_set_policy(&g, &p);
	w = (struct gov_worker){ .state = WS_READY, .ready_ms = 1, .serial = 1 };
	x = (struct gov_worker){0};
}

/* rss is far above the limit, which is none on RSS. */
static bool
sample(struct gov_worker *of, uint64_t uss, uint64_t now)
{
	const uint64_t value[GM_N] = {
		[GM_RSS] = 500 * MB, [GM_USS] = uss, [GM_AS] = GB, [GM_FDS] = 20,
	};
	struct gov_verdict verdict = governor_sample(&g, &p, of, value, now);

	ck_assert_int_eq(verdict.kill, REASON_NONE);
	return verdict.futile;
}

static struct gov_step
next(uint64_t now)
{
	struct gov_worker *view[] = { &w, &x };

	return governor_next(&g, &p, view, 2, now);
}

START_TEST(only_what_was_measured_counts)
{
	sample(&w, 40 * MB, 20000);
	sample(&w, 110 * MB, 21000);
	for (uint64_t now = 22000; now < 30000; now += 1000) {
		sample(&w, GOV_UNKNOWN, now);
		ck_assert_int_eq(next(now).what, GOV_WAIT);
	}
	sample(&w, 111 * MB, 30000);
	ck_assert_int_eq(next(30000).what, GOV_REPLACE);
	ck_assert_int_eq(next(30000).reason, REASON_USS);
	ck_assert_uint_eq(w.value[GM_USS], 111 * MB);
	/* what was decided stays until it is known to be otherwise */
	sample(&w, GOV_UNKNOWN, 31000);
	ck_assert_int_eq(next(31000).what, GOV_REPLACE);
	ck_assert_uint_eq(w.value[GM_USS], 111 * MB);
	sample(&w, 50 * MB, 32000);
	ck_assert_int_eq(next(32000).what, GOV_WAIT);
}
END_TEST

START_TEST(never_measured)
{
	w.ready_ms = 19000;
	for (uint64_t now = 20000; now < 60000; now += 1000)
		ck_assert(!sample(&w, GOV_UNKNOWN, now));
	ck_assert_int_eq(next(60000).what, GOV_WAIT);
	ck_assert_uint_eq(governor_fresh(&g, GM_USS), 0);
	ck_assert_uint_eq(governor_fresh(&g, GM_RSS), 500 * MB);
	/* later than the first sample it is not fresh any more */
	sample(&w, 90 * MB, 61000);
	ck_assert_uint_eq(governor_fresh(&g, GM_USS), 0);
}
END_TEST

START_TEST(behind_rss_before_the_rest)
{
	p.limit[GM_RSS] = limit_size(400 * MB);
	p.limit[GM_AS] = limit_size(GB);
	governor_set_policy(&g, &p);
	for (int i = 0; i < GOV_FRESH_N; i++)
		for (int m = 0; m < GM_N; m++)
			g.meter[m].fresh[i] = 5;
	g.meter[GM_RSS].n_fresh = g.meter[GM_AS].n_fresh = g.meter[GM_USS].n_fresh = GOV_FRESH_N;
	sample(&w, 110 * MB, 20000);
	sample(&w, 110 * MB, 21000);
	ck_assert_int_eq(next(21000).reason, REASON_RSS);
	w.due &= ~(1u << REASON_RSS);
	ck_assert_int_eq(next(21000).reason, REASON_USS);
	/* a reload that has not committed does not keep it waiting */
	g.hold = true;
	ck_assert_int_eq(next(21000).reason, REASON_USS);
	g.hold = false;
	w.due &= ~(1u << REASON_USS);
	ck_assert_int_eq(next(21000).reason, REASON_AS);
}
END_TEST

START_TEST(futile_below_baseline)
{
	w.ready_ms = 19000;
	ck_assert(sample(&w, 120 * MB, 20000));
	ck_assert(!sample(&w, 120 * MB, 21000));
	ck_assert(!sample(&w, 120 * MB, 22000));
	ck_assert_int_eq(next(22000).what, GOV_WAIT);
	ck_assert_uint_gt(governor_suggest(&g, GM_USS), 120 * MB);
}
END_TEST

/*
 * Workers that warm up to the limit at once, measured when fresh and then ten seconds later:
 * the fresh value alone must not pass for a gain.
 */
START_TEST(futile_gains_nothing)
{
	uint64_t now = 20000;
	unsigned replaced = 0;
	bool futile = false;

	sample(&w, 60 * MB, now);
	for (int i = 0; i < 10; i++) {
		struct gov_step s;

		for (int k = 0; k < 15; k++)
			sample(&w, GOV_UNKNOWN, now += 1000);
		futile = sample(&w, 105 * MB, now += 1000) || futile;
		futile = sample(&w, 105 * MB, now += 1000) || futile;
		s = next(now);
		if (s.what != GOV_REPLACE)
			break;
		replaced++;
		x = (struct gov_worker){ .state = WS_READY };
		governor_started(&g, &x, &w, s.reason, now);
		x.ready_ms = now += 500;
		governor_boot_ok(&g);
		w = x;
		x = (struct gov_worker){0};
		sample(&w, 60 * MB, now += 100);
	}
	ck_assert(futile);
	ck_assert_uint_eq(replaced, GOV_POOR_N);
	ck_assert_uint_gt(governor_suggest(&g, GM_USS), 105 * MB);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("footprint");
	TCase *pace = tcase_create("pace"), *governor = tcase_create("governor");
	SRunner *sr;
	int failed;

	tcase_add_test(pace, most);
	tcase_add_test(pace, need);
	tcase_add_test(pace, statm_error);
	tcase_add_test(pace, side);
	tcase_add_test(pace, need_of_unknown);
	tcase_add_test(pace, need_with_slow_samples);
	suite_add_tcase(s, pace);
	tcase_add_checked_fixture(governor, set_up, NULL);
	tcase_add_test(governor, only_what_was_measured_counts);
	tcase_add_test(governor, never_measured);
	tcase_add_test(governor, behind_rss_before_the_rest);
	tcase_add_test(governor, futile_below_baseline);
	tcase_add_test(governor, futile_gains_nothing);
	suite_add_tcase(s, governor);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
