/*
 * test_governor_memory.c - the ladder of one worker's limits, and the memory of all of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)
#define N  4

static struct governor g;
static struct gov_policy p;
static struct gov_budget b;
static struct gov_worker w[2 * N];
static struct gov_worker *view[2 * N];
static uint64_t now;

/* Four workers of 40 MB that have just become ready. */
static void
set_up(void)
{
	governor_init(&g);
	p = (struct gov_policy){
		.concurrency = 1, .samples = 2, .min_lifetime_ms = 10000, .max_draining = N,
	};
	b = (struct gov_budget){0};
	now = 20000;
	memset(w, 0, sizeof w);
	for (size_t i = 0; i < 2 * N; i++) {
		view[i] = &w[i];
		w[i].serial = i + 1;
		w[i].state = i < N ? WS_READY : WS_VACANT;
		w[i].ready_ms = now - 100;
		w[i].can_trim = true;
	}
}

/* Within one request. */
static struct gov_verdict
sample_inside(struct gov_worker *x, uint64_t rss, uint64_t uss)
{
	const uint64_t value[GM_N] = {
		[GM_RSS] = rss, [GM_USS] = uss, [GM_PSS] = uss, [GM_AS] = 3 * rss, [GM_FDS] = 20,
	};

	x->own_bytes = uss == GOV_UNKNOWN ? rss : uss;
	x->own_is_rss = uss == GOV_UNKNOWN;
	return governor_sample(&g, &p, x, value, now);
}

static struct gov_verdict
sample_both(struct gov_worker *x, uint64_t rss, uint64_t uss)
{
	governor_count(x, x->requests + 1, now);
	return sample_inside(x, rss, uss);
}

static struct gov_verdict
sample(struct gov_worker *x, uint64_t rss)
{
	return sample_both(x, rss, rss);
}

static struct gov_step
next(void)
{
	return governor_next(&g, &p, view, N, now);
}

static bool
look(uint64_t used)
{
	b.used = used;
	return governor_look(&g, &p, &b, view, N, now);
}

static void
fresh(uint64_t bytes)
{
	for (size_t i = 0; i < N; i++)
		sample(&w[i], bytes);
	now += 1000;
}

/* Workers that have others beside them which use 20 MB, in 400 MB. */
static void
calm_pool(void)
{
	b = (struct gov_budget){ .limit = 400 * MB, .high = 340 * MB };
	fresh(40 * MB);
	for (int i = 0; i < GOV_CALM_N; i++, now += 1000)
		look(180 * MB);
	ck_assert(g.pool.others_known);
	ck_assert_uint_eq(g.pool.others, 20 * MB);
}

START_TEST(fresh_multiple)
{
	p.limit[GM_RSS] = (struct limit){ LIMIT_FRESH, 250 };
	governor_set_policy(&g, &p);
	ck_assert_uint_eq(governor_limit(&g, &p, GM_RSS), 0);
	fresh(40 * MB);
	ck_assert_uint_eq(governor_limit(&g, &p, GM_RSS), 100 * MB);
	sample(&w[0], 99 * MB);
	now += 1000;
	sample(&w[0], 101 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += 1000;
	sample(&w[0], 101 * MB);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

START_TEST(share_of_the_cgroup)
{
	p.limit[GM_RSS] = (struct limit){ LIMIT_PERCENT, 25 };
	ck_assert_uint_eq(governor_limit(&g, &p, GM_RSS), 0);
	b.cgroup = 400 * MB;
	look(0);
	ck_assert_uint_eq(governor_limit(&g, &p, GM_RSS), 100 * MB);
	b.cgroup = 800 * MB;
	look(0);
	ck_assert_uint_eq(governor_limit(&g, &p, GM_RSS), 200 * MB);
}
END_TEST

START_TEST(kills_for_uss)
{
	p.evil[GM_USS] = limit_size(300 * MB);
	fresh(40 * MB);
	ck_assert_int_eq(sample_both(&w[0], 900 * MB, 299 * MB).kill, REASON_NONE);
	ck_assert_int_eq(sample_both(&w[0], 900 * MB, 300 * MB).kill, REASON_EVIL_USS);
	/* not by a number that was not measured now */
	ck_assert_int_eq(sample_both(&w[0], 900 * MB, GOV_UNKNOWN).kill, REASON_NONE);
	w[1].state = WS_DRAINING;
	ck_assert_int_eq(sample_both(&w[1], 900 * MB, 300 * MB).kill, REASON_EVIL_USS);
}
END_TEST

/* Nobody is killed in a loop for what a fresh worker needs. */
START_TEST(futile_hard_limit)
{
	struct gov_verdict v;

	p.evil[GM_RSS] = limit_size(30 * MB);
	governor_set_policy(&g, &p);
	v = sample(&w[0], 40 * MB);
	ck_assert(v.futile);
	ck_assert_int_eq(v.kill, REASON_NONE);
	ck_assert(g.meter[GM_RSS].evil_futile);
	ck_assert(!g.meter[GM_RSS].futile);
	v = sample(&w[1], 40 * MB);
	ck_assert(!v.futile);
	p.evil[GM_RSS] = limit_size(300 * MB);
	governor_set_policy(&g, &p);
	ck_assert(!g.meter[GM_RSS].evil_futile);
	ck_assert_int_eq(sample(&w[0], 300 * MB).kill, REASON_EVIL_RSS);
}
END_TEST

/* A worker of an older generation is not killed for a limit that was futile, when a better one has
 * come; nor does it make that one look futile. */
START_TEST(futile_limit_of_an_older_generation)
{
	struct gov_policy old = p;

	old.evil[GM_RSS] = limit_size(30 * MB);
	old.limit[GM_RSS] = limit_size(30 * MB);
	governor_set_policy(&g, &old);
	p = old;
	ck_assert(sample(&w[0], 40 * MB).futile);
	p.evil[GM_RSS] = limit_size(300 * MB);
	p.limit[GM_RSS] = limit_size(200 * MB);
	governor_set_policy(&g, &p);
	p = old;
	for (int i = 0; i < 3; i++, now += 1000) {
		w[0].state = i < 2 ? WS_READY : WS_DRAINING;
		ck_assert_int_eq(sample(&w[0], 40 * MB).kill, REASON_NONE);
		ck_assert(!sample(&w[0], 40 * MB).futile);
	}
}
END_TEST

/* One heavy request: it may be all there is to it. */
START_TEST(busy_one_may_fall_back)
{
	struct gov_step s;

	p.limit[GM_RSS] = limit_size(100 * MB);
	fresh(40 * MB);
	w[0].busy = true;
	for (int i = 0; i < 2; i++, now += 1000)
		sample(&w[0], 102 * MB);
	s = next();
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_gt(s.wake_ms, now);
	ck_assert_uint_le(s.wake_ms, now + GOV_IDLE_MS);
	/* an idle moment */
	w[0].busy = false;
	ck_assert_int_eq(next().what, GOV_REPLACE);
	w[0].busy = true;
	ck_assert_int_eq(next().what, GOV_WAIT);
	sample(&w[0], 60 * MB);
	now += 10000;
	ck_assert_int_eq(next().what, GOV_WAIT);
	ck_assert_uint_eq(w[0].idle_until_ms, 0);
}
END_TEST

/* However large it is: it ends when it ends, unless it would have to be killed. */
START_TEST(one_large_request)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	fresh(40 * MB);
	w[0].busy = true;
	for (uint64_t rss = 60; rss <= 300; rss += 20, now += 10)
		sample_inside(&w[0], rss * MB, rss * MB);
	ck_assert_uint_ne(w[0].due, 0);
	ck_assert_int_eq(next().what, GOV_WAIT);
	ck_assert_uint_gt(w[0].idle_until_ms, now + 1000);
	/* near where it is killed it is not */
	p.evil[GM_RSS] = limit_size(340 * MB);
	sample_inside(&w[0], 320 * MB, 320 * MB);
	ck_assert_uint_le(w[0].idle_until_ms, now + 10);
}
END_TEST

/* It is not waited for longer than half the way to 5 % above. */
START_TEST(busy_one_that_grows)
{
	struct gov_step s;
	uint64_t begun;

	p.limit[GM_RSS] = limit_size(100 * MB);
	fresh(40 * MB);
	w[0].busy = true;
	sample(&w[0], 99 * MB);
	now += 100;
	sample(&w[0], 100 * MB);
	now += 100;
	sample(&w[0], 101 * MB);
	begun = now;
	s = next();
	ck_assert_int_eq(s.what, GOV_WAIT);
	/* 4 MB at 10 MB/s */
	ck_assert_uint_eq(s.wake_ms, begun + 200);
	now = s.wake_ms;
	ck_assert_int_eq(next().what, GOV_REPLACE);
	/* without any patience where it has gone that far already */
	now = begun;
	sample(&w[0], 105 * MB);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

START_TEST(other_reasons_do_not_wait)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	fresh(40 * MB);
	w[0].busy = true;
	for (int i = 0; i < 2; i++, now += 1000)
		sample(&w[0], 102 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	governor_order(&w[0], REASON_REQUEST, now);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

START_TEST(trims)
{
	p.trim = limit_size(60 * MB);
	fresh(40 * MB);
	ck_assert(!sample(&w[0], 59 * MB).trim);
	ck_assert(sample(&w[0], 60 * MB).trim);
	governor_trim_asked(&w[0], now);
	ck_assert(!sample(&w[0], 60 * MB).trim);
	ck_assert(!governor_trimmed(&g, &w[0], 80 * MB, 62 * MB, now));
	now += GOV_TRIM_EACH_MS;
	/* it has not grown by a tenth since */
	ck_assert(!sample(&w[0], 68 * MB).trim);
	ck_assert(sample(&w[0], 69 * MB).trim);
	w[0].can_trim = false;
	ck_assert(!sample(&w[0], 69 * MB).trim);
}
END_TEST

START_TEST(useless_trims_stop)
{
	p.trim = limit_size(30 * MB);
	for (int i = 0; i < 2; i++) {
		ck_assert(sample(&w[i], 40 * MB).trim);
		governor_trim_asked(&w[i], now);
		ck_assert(!governor_trimmed(&g, &w[i], 40 * MB, 39 * MB, now));
	}
	/* one that helps begins the count anew */
	ck_assert(!governor_trimmed(&g, &w[2], 40 * MB, 38 * MB, now));
	for (int i = 0; i < 2; i++)
		ck_assert(!governor_trimmed(&g, &w[i], 40 * MB, 40 * MB, now));
	ck_assert(governor_trimmed(&g, &w[2], 40 * MB, 41 * MB, now));
	ck_assert(!governor_trimmed(&g, &w[3], 40 * MB, 40 * MB, now));
	ck_assert(!sample(&w[3], 100 * MB).trim);
	now += GOV_TRIM_OFF_MS - 1;
	ck_assert(!sample(&w[3], 100 * MB).trim);
	now += 1;
	ck_assert(sample(&w[3], 100 * MB).trim);
}
END_TEST

/* A worker that never answers may be asked again. */
START_TEST(lost_trim)
{
	p.trim = limit_size(30 * MB);
	ck_assert(sample(&w[0], 40 * MB).trim);
	governor_trim_asked(&w[0], now);
	now += GOV_TRIM_MS;
	ck_assert(!sample(&w[0], 40 * MB).trim);
	ck_assert_uint_eq(w[0].trim_asked_ms, 0);
	now += GOV_TRIM_EACH_MS;
	ck_assert(sample(&w[0], 40 * MB).trim);
}
END_TEST

START_TEST(budget_takes_the_largest)
{
	struct gov_step s;

	calm_pool();
	sample(&w[0], 60 * MB);
	sample(&w[1], 110 * MB);
	sample(&w[2], 80 * MB);
	look(310 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	sample(&w[2], 120 * MB);
	look(350 * MB);
	s = next();
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_ptr_eq(s.worker, &w[2]);
	ck_assert_int_eq(s.reason, REASON_MEMORY_LIMIT);
	/* what it gives back is enough: one is */
	ck_assert_uint_eq(s.queued, 1);
	w[2].has_successor = true;
	look(352 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	ck_assert_uint_eq(w[1].due, 0);
}
END_TEST

START_TEST(budget_takes_several)
{
	calm_pool();
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 90 * MB);
	/* 380 used: two of 50 MB each bring it below 340 */
	look(390 * MB);
	ck_assert_uint_eq(next().queued, 2);
}
END_TEST

START_TEST(budget_is_cancelled)
{
	calm_pool();
	sample(&w[0], 200 * MB);
	look(345 * MB);
	ck_assert_uint_ne(w[0].due, 0);
	look(330 * MB);
	ck_assert_uint_eq(w[0].due, 0);
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* Growth that goes on is met before it is too late; one large request is no such growth. */
START_TEST(budget_looks_ahead)
{
	calm_pool();
	b.boot_ms = 1500;
	/* a step of 80 MB, then nothing */
	sample(&w[0], 120 * MB);
	now += 1000;
	look(260 * MB);
	sample(&w[0], 120 * MB);
	look(260 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	/* 30 MB a second, and 2 s until the next one could be gone: 260 + 60 of 370 */
	for (uint64_t rss = 40; rss <= 130; rss += 30, now += 1000)
		sample(&w[1], rss * MB);
	look(300 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	look(310 * MB);
	ck_assert_uint_lt(g.pool.b.used, b.high);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
}
END_TEST

/* A neighbour in the cgroup, page cache of others, socket buffers. */
START_TEST(growth_of_others)
{
	calm_pool();
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 60 * MB);
	look(395 * MB);
	ck_assert(g.pool.over);
	ck_assert(g.pool.by_others);
	ck_assert_int_eq(next().what, GOV_WAIT);
	/* ... until the workers' own growth would do it alone */
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 80 * MB);
	look(395 * MB);
	ck_assert(!g.pool.by_others);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
}
END_TEST

START_TEST(fresh_workers_are_no_victims)
{
	b = (struct gov_budget){ .limit = 150 * MB, .high = 130 * MB };
	fresh(40 * MB);
	for (int i = 0; i < 2 * GOV_CALM_N; i++, now += 1000) {
		look(160 * MB);
		ck_assert_int_eq(next().what, GOV_WAIT);
	}
	/* those that fit beside the others, which use nothing */
	ck_assert_uint_eq(governor_fit(&g), 3);
	/* dropping page cache makes room for no more than that */
	b.cache = 100 * MB;
	look(260 * MB);
	ck_assert_uint_eq(governor_fit(&g), 3);
}
END_TEST

/* Workers that warm up to more than there is. */
START_TEST(budget_that_gains_nothing)
{
	bool futile = false;
	unsigned replaced = 0;

	calm_pool();
	b.limit = 500 * MB;
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 90 * MB);
	for (int i = 0; i < 10; i++, now += 1000) {
		struct gov_step s;
		struct gov_worker *x, *old;

		futile = look(380 * MB) || futile;
		s = next();
		if (s.what != GOV_REPLACE)
			break;
		replaced++;
		old = s.worker;
		x = &w[N];
		*x = (struct gov_worker){ .state = WS_READY, .ready_ms = now, .can_trim = true };
		governor_started(&g, x, old, s.reason, now);
		*old = *x;
		for (int k = 0; k < 12; k++) {
			sample(old, 89 * MB);
			futile = look(380 * MB) || futile;
			now += 1000;
		}
	}
	ck_assert_uint_eq(replaced, GOV_POOR_N);
	ck_assert(futile);
	ck_assert_uint_eq(g.pool.settled_value, 89 * MB);
	for (size_t i = 0; i < N; i++)
		ck_assert_uint_eq(w[i].due, 0);
	/* forgotten when it fits again */
	look(300 * MB);
	ck_assert(!g.pool.futile);
}
END_TEST

START_TEST(no_room_for_two)
{
	struct gov_step s;

	calm_pool();
	p.trim = (struct limit){0};
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 50 * MB);
	w[0].busy = w[1].busy = w[2].busy = true;
	look(355 * MB);
	governor_order(&w[1], REASON_REQUEST, now);
	/* 45 MB are free, a fresh worker needs 48: an idle one is asked first */
	s = next();
	ck_assert_int_eq(s.what, GOV_TRIM);
	ck_assert_ptr_eq(s.worker, &w[3]);
	governor_trim_asked(&w[3], now);
	s = next();
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_ptr_nonnull(s.why);
	ck_assert_uint_le(s.wake_ms, now + 1000);
	governor_trimmed(&g, &w[3], 50 * MB, 46 * MB, now);
	look(351 * MB);
	ck_assert_int_eq(next().what, GOV_REPLACE);
	/* it did not help: one goes first */
	look(355 * MB);
	s = next();
	ck_assert_int_eq(s.what, GOV_BREAK);
	ck_assert_ptr_eq(s.worker, &w[1]);
	ck_assert_int_eq(s.reason, REASON_REQUEST);
	/* and only one */
	w[1].breaks = true;
	w[1].state = WS_DRAINING;
	governor_order(&w[2], REASON_REQUEST, now);
	s = next();
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_ptr_nonnull(s.why);
	/* page cache can be dropped */
	w[1].state = WS_VACANT;
	b.cache = 10 * MB;
	look(355 * MB);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

START_TEST(old_ones_that_hold_memory)
{
	struct gov_step s;

	calm_pool();
	sample(&w[0], 230 * MB);
	w[0].state = WS_DRAINING;
	w[0].drain_ms = now;
	look(395 * MB);
	ck_assert_int_ne(next().what, GOV_END_DRAIN);
	now += 1000;
	s = next();
	ck_assert_int_eq(s.what, GOV_END_DRAIN);
	ck_assert(s.for_memory);
	ck_assert_ptr_eq(s.worker, &w[0]);
	/* one that was told to end has not ended yet */
	w[1].state = WS_STOPPING;
	ck_assert_int_ne(next().what, GOV_END_DRAIN);
	w[1].state = WS_READY;
	/* page cache that can be dropped is no need */
	b.cache = 20 * MB;
	look(395 * MB);
	ck_assert_int_ne(next().what, GOV_END_DRAIN);
	b.cache = 0;
	look(380 * MB);
	ck_assert_int_ne(next().what, GOV_END_DRAIN);
}
END_TEST

/* One look while somebody ended must not pass for what others use. */
START_TEST(others_are_learnt_in_calm)
{
	calm_pool();
	for (int i = 0; i < 3 * GOV_CALM_N; i++, now += 1000)
		look(i % GOV_CALM_N == 2 ? 165 * MB : 190 * MB);
	ck_assert_uint_eq(g.pool.others, 20 * MB);
	w[3].state = WS_STARTING;
	w[3].own_bytes = 0;
	for (int i = 0; i < 3 * GOV_CALM_N; i++, now += 1000)
		look(161 * MB);
	ck_assert_uint_eq(g.pool.others, 20 * MB);
}
END_TEST

/* What was seen without a limit, or under another one, says nothing of others. */
START_TEST(others_of_another_limit)
{
	fresh(40 * MB);
	for (int i = 0; i < 2 * GOV_CALM_N; i++, now += 1000)
		look(0);
	ck_assert(!g.pool.others_known);
	calm_pool();
	b.limit = 500 * MB;
	look(180 * MB);
	ck_assert(!g.pool.others_known);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("governor's memory");
	TCase *t = tcase_create("ladder"), *pool = tcase_create("pool");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, fresh_multiple);
	tcase_add_test(t, share_of_the_cgroup);
	tcase_add_test(t, kills_for_uss);
	tcase_add_test(t, futile_hard_limit);
	tcase_add_test(t, futile_limit_of_an_older_generation);
	tcase_add_test(t, busy_one_may_fall_back);
	tcase_add_test(t, one_large_request);
	tcase_add_test(t, busy_one_that_grows);
	tcase_add_test(t, other_reasons_do_not_wait);
	tcase_add_test(t, trims);
	tcase_add_test(t, useless_trims_stop);
	tcase_add_test(t, lost_trim);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(pool, set_up, NULL);
	tcase_add_test(pool, budget_takes_the_largest);
	tcase_add_test(pool, budget_takes_several);
	tcase_add_test(pool, budget_looks_ahead);
	tcase_add_test(pool, budget_is_cancelled);
	tcase_add_test(pool, growth_of_others);
	tcase_add_test(pool, fresh_workers_are_no_victims);
	tcase_add_test(pool, budget_that_gains_nothing);
	tcase_add_test(pool, no_room_for_two);
	tcase_add_test(pool, old_ones_that_hold_memory);
	tcase_add_test(pool, others_are_learnt_in_calm);
	tcase_add_test(pool, others_of_another_limit);
	suite_add_tcase(s, pool);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
