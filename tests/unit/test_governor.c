/*
 * test_governor.c - scenarios over time: what is seen, what is decided.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor.h"

#include "run_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)
#define N  4

static struct governor g;
static struct gov_policy p;
static struct gov_worker w[2 * N];
static struct gov_worker *view[2 * N];
static size_t n;

static void
set_up(void)
{
	governor_init(&g);
	p = (struct gov_policy){
		.concurrency = 1, .samples = 2, .min_lifetime_ms = 10000, .max_draining = N,
	};
	memset(w, 0, sizeof w);
	n = N;
	for (size_t i = 0; i < 2 * N; i++) {
		view[i] = &w[i];
		w[i].serial = i + 1;
		w[i].state = i < N ? WS_READY : WS_VACANT;
		w[i].ready_ms = 1;
	}
}

static struct gov_step
next(uint64_t now)
{
	return governor_next(&g, &p, view, n, now);
}

static bool
sample(struct gov_worker *x, uint64_t rss, uint64_t now)
{
	const uint64_t value[GM_N] = {
		[GM_RSS] = rss, [GM_USS] = rss / 2, [GM_AS] = 3 * rss, [GM_FDS] = 20,
	};
	struct gov_verdict verdict = governor_sample(&g, &p, x, value, now);

	ck_assert_int_eq(verdict.kill, REASON_NONE);
	return verdict.futile;
}

static void
set_limit(uint64_t rss)
{
	p.limit[GM_RSS] = limit_size(rss);
	governor_set_policy(&g, &p);
}

/* The pool's part of GOV_REPLACE: the successor takes place i + N. */
static struct gov_worker *
start_successor(const struct gov_step *s, uint64_t now)
{
	struct gov_worker *x = s->worker + N;

	ck_assert_int_eq(s->what, GOV_REPLACE);
	*x = (struct gov_worker){ .state = WS_STARTING, .is_successor = true };
	s->worker->has_successor = true;
	governor_started(&g, x, s->worker, s->reason, now);
	n = 2 * N;
	return x;
}

static void
ready(struct gov_worker *x, uint64_t now)
{
	x->state = WS_READY;
	x->is_successor = false;
	x->ready_ms = now;
	(x - N)->state = WS_DRAINING;
	(x - N)->drain_ms = now;
	governor_boot_ok(&g);
}

START_TEST(test_idle)
{
	struct gov_step s = next(50000);

	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, UINT64_MAX);
	ck_assert_ptr_null(s.why);
	ck_assert_uint_eq(s.queued, 0);
}
END_TEST

START_TEST(test_max_requests)
{
	struct gov_step s;

	w[1].max_requests = 100;
	governor_count(&w[1], 99, 50000);
	ck_assert_int_eq(next(50000).what, GOV_WAIT);
	governor_count(&w[1], 100, 50000);
	s = next(50000);
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_ptr_eq(s.worker, &w[1]);
	ck_assert_int_eq(s.reason, REASON_MAX_REQUESTS);
}
END_TEST

START_TEST(test_min_lifetime_guards_requests_only)
{
	struct gov_step s;

	set_limit(100 * MB);
	w[0].max_requests = 10;
	governor_count(&w[0], 10, 2000);
	s = next(2000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, 10001);
	ck_assert_int_eq(next(10001).what, GOV_REPLACE);

	sample(&w[1], 20 * MB, 2000);
	sample(&w[1], 150 * MB, 3000);
	sample(&w[1], 150 * MB, 4000);
	s = next(4000);
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_int_eq(s.reason, REASON_RSS);
}
END_TEST

START_TEST(test_lifetime)
{
	struct gov_step s;

	w[2].max_lifetime_ms = 60000;
	s = next(30000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, 60001);
	s = next(60001);
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_int_eq(s.reason, REASON_MAX_LIFETIME);
}
END_TEST

START_TEST(test_memory_needs_samples_and_cancels)
{
	set_limit(100 * MB);
	sample(&w[0], 20 * MB, 20000);
	sample(&w[0], 120 * MB, 21000);
	ck_assert_int_eq(next(21000).what, GOV_WAIT);
	sample(&w[0], 50 * MB, 22000);
	sample(&w[0], 120 * MB, 23000);
	ck_assert_int_eq(next(23000).what, GOV_WAIT);
	sample(&w[0], 120 * MB, 24000);
	ck_assert_int_eq(next(24000).what, GOV_REPLACE);
	/* It fell back before anything was done: cancelled. */
	sample(&w[0], 50 * MB, 25000);
	ck_assert_int_eq(next(25000).what, GOV_WAIT);
}
END_TEST

START_TEST(test_evil)
{
	const uint64_t low[GM_N] = { [GM_RSS] = 499 * MB }, high[GM_N] = { [GM_RSS] = 500 * MB };

	p.evil[GM_RSS] = limit_size(500 * MB);
	ck_assert_int_eq(governor_sample(&g, &p, &w[0], low, 5).kill, REASON_NONE);
	ck_assert_int_eq(governor_sample(&g, &p, &w[0], high, 5).kill, REASON_EVIL_RSS);
	w[0].state = WS_STARTING;
	ck_assert_int_eq(governor_sample(&g, &p, &w[0], high, 5).kill, REASON_EVIL_RSS);
}
END_TEST

START_TEST(test_one_after_another)
{
	struct gov_worker *x;
	struct gov_step s;

	for (unsigned i = 0; i < N; i++) {
		w[i].max_requests = 10;
		governor_count(&w[i], 10, 20000 + i);
	}
	s = next(20010);
	ck_assert_ptr_eq(s.worker, &w[0]);
	ck_assert_uint_eq(s.queued, N);
	x = start_successor(&s, 20010);
	s = next(20010);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_ptr_nonnull(s.why);
	ck_assert_uint_eq(s.queued, N - 1);
	ready(x, 20500);
	s = next(20500);
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_ptr_eq(s.worker, &w[1]);
}
END_TEST

START_TEST(test_concurrency_and_spacing)
{
	struct gov_step s;

	p.concurrency = 2;
	p.spacing_ms = 3000;
	for (unsigned i = 0; i < N; i++)
		governor_order(&w[i], REASON_REQUEST, 20000);
	s = next(20000);
	start_successor(&s, 20000);
	s = next(20000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, 23000);
	s = next(23000);
	start_successor(&s, 23000);
	s = next(26000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, UINT64_MAX);
}
END_TEST

START_TEST(test_urgency)
{
	struct gov_step s;

	set_limit(100 * MB);
	governor_order(&w[0], REASON_RELOAD, 20000);
	w[1].max_requests = 1;
	governor_count(&w[1], 1, 20000);
	governor_order(&w[2], REASON_REQUEST, 20000);
	sample(&w[3], 10 * MB, 19000);
	sample(&w[3], 110 * MB, 19500);
	sample(&w[3], 110 * MB, 20000);
	for (int i = 3; i >= 0; i--) {
		static const int order[] = { 0, 1, 2, 3 };

		s = next(20000);
		ck_assert_ptr_eq(s.worker, &w[order[i]]);
		s.worker->state = WS_DRAINING;
	}
}
END_TEST

START_TEST(test_nobody_starves)
{
	governor_order(&w[0], REASON_RELOAD, 20000);
	governor_order(&w[1], REASON_REQUEST, 20000 + 6 * GOV_RANK_MS);
	ck_assert_ptr_eq(next(90000).worker, &w[0]);
}
END_TEST

START_TEST(test_scale_needs_no_token)
{
	struct gov_step s;

	governor_order(&w[0], REASON_REQUEST, 20000);
	s = next(20000);
	start_successor(&s, 20000);
	governor_boot_failed(&g, 20000);
	governor_order(&w[3], REASON_SCALE, 20000);
	s = next(20000);
	ck_assert_int_eq(s.what, GOV_RETIRE);
	ck_assert_ptr_eq(s.worker, &w[3]);
}
END_TEST

START_TEST(test_code_bad_probes)
{
	struct gov_step s;

	governor_order(&w[0], REASON_REQUEST, 1000);
	governor_boot_failed(&g, 1000);
	s = next(1000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_uint_eq(s.wake_ms, 31000);
	ck_assert_int_eq(next(31000).what, GOV_REPLACE);
	governor_boot_failed(&g, 31000);
	ck_assert_uint_eq(next(31000).wake_ms, 91000);
	for (int i = 0; i < 10; i++)
		governor_boot_failed(&g, 100000);
	ck_assert_uint_eq(next(100000).wake_ms, 400000);
	governor_boot_ok(&g);
	ck_assert_int_eq(next(100001).what, GOV_REPLACE);
}
END_TEST

START_TEST(test_hold_lets_memory_through)
{
	g.hold = true;
	set_limit(100 * MB);
	governor_order(&w[0], REASON_REQUEST, 20000);
	ck_assert_int_eq(next(20000).what, GOV_WAIT);
	sample(&w[1], 10 * MB, 20000);
	sample(&w[1], 110 * MB, 21000);
	sample(&w[1], 110 * MB, 22000);
	ck_assert_ptr_eq(next(22000).worker, &w[1]);
}
END_TEST

/* Nobody can be forked: everything waits but what needs no successor. */
START_TEST(test_mold_away)
{
	struct gov_step s;

	g.mold_away = true;
	set_limit(100 * MB);
	sample(&w[1], 10 * MB, 19000);
	sample(&w[1], 110 * MB, 20000);
	sample(&w[1], 110 * MB, 21000);
	s = next(21000);
	ck_assert_int_eq(s.what, GOV_WAIT);
	ck_assert_str_eq(s.why, "the mold is not ready");
	ck_assert_uint_eq(s.queued, 1);
	governor_order(&w[3], REASON_SCALE, 21000);
	ck_assert_int_eq(next(21000).what, GOV_RETIRE);
	w[3].state = WS_DRAINING;
	g.mold_away = false;
	ck_assert_ptr_eq(next(21000).worker, &w[1]);
}
END_TEST

START_TEST(test_max_draining)
{
	struct gov_step s;

	p.max_draining = 1;
	w[0].state = w[1].state = WS_DRAINING;
	w[0].drain_ms = 500;
	w[1].drain_ms = 400;
	s = next(600);
	ck_assert_int_eq(s.what, GOV_END_DRAIN);
	ck_assert_ptr_eq(s.worker, &w[1]);
	w[1].state = WS_STOPPING;
	ck_assert_int_eq(next(600).what, GOV_WAIT);
}
END_TEST

/* A number can wait for the end of a drain; memory cannot. */
START_TEST(test_max_draining_holds_back)
{
	p.max_draining = 1;
	w[0].state = WS_DRAINING;
	w[0].drain_ms = 20000;
	w[1].max_requests = 5;
	governor_count(&w[1], 5, 20000);
	ck_assert_int_eq(next(20000).what, GOV_WAIT);
	ck_assert_str_eq(next(20000).why, "max-draining workers are finishing");
	w[0].is_surplus = true;
	ck_assert_int_eq(next(20000).what, GOV_REPLACE);
	w[0].is_surplus = false;
	governor_order(&w[1], REASON_REQUEST, 20000);
	ck_assert_int_eq(next(20000).what, GOV_REPLACE);
}
END_TEST

/* Drains of slots that are gone are never cut short. */
START_TEST(test_surplus_drains)
{
	p.max_draining = 1;
	for (int i = 0; i < 3; i++) {
		w[i].state = WS_DRAINING;
		w[i].is_surplus = true;
	}
	ck_assert_int_eq(next(600).what, GOV_WAIT);
}
END_TEST

START_TEST(test_dry_run)
{
	struct gov_step s;

	p.dry_run = true;
	w[0].max_requests = 5;
	governor_count(&w[0], 5, 20000);
	s = next(20000);
	ck_assert_int_eq(s.what, GOV_WOULD);
	ck_assert_int_eq(s.reason, REASON_MAX_REQUESTS);
	ck_assert_int_eq(next(20000).what, GOV_WAIT);
	ck_assert_uint_eq(g.dry_run_would, 1);
	/* What an operator asks for is done all the same. */
	governor_order(&w[0], REASON_REQUEST, 20000);
	s = next(20000);
	ck_assert_int_eq(s.what, GOV_REPLACE);
	ck_assert_int_eq(s.reason, REASON_REQUEST);
}
END_TEST

START_TEST(test_futile_below_baseline)
{
	set_limit(50 * MB);
	w[0].ready_ms = 4000;
	ck_assert(sample(&w[0], 80 * MB, 5000));
	ck_assert(!sample(&w[0], 80 * MB, 6000));
	ck_assert(!sample(&w[0], 80 * MB, 7000));
	ck_assert_int_eq(next(7000).what, GOV_WAIT);
	ck_assert_uint_eq(governor_fresh(&g, GM_RSS), 80 * MB);
	ck_assert_uint_gt(governor_suggest(&g, GM_RSS), 80 * MB);
	/* A better limit clears it. */
	set_limit(200 * MB);
	sample(&w[0], 210 * MB, 8000);
	sample(&w[0], 210 * MB, 9000);
	ck_assert_int_eq(next(9000).what, GOV_REPLACE);
}
END_TEST

/* A limit above a worker's size at READY that each one warms up to at once. */
START_TEST(test_futile_gains_nothing)
{
	uint64_t now = 20000;
	unsigned replaced = 0;
	bool futile = false;

	set_limit(100 * MB);
	sample(&w[0], 60 * MB, now);
	for (int i = 0; i < 10; i++) {
		struct gov_step s;
		struct gov_worker *x;

		sample(&w[0], 105 * MB, now += 1000);
		futile = sample(&w[0], 105 * MB, now += 1000) || futile;
		s = next(now);
		if (s.what != GOV_REPLACE)
			break;
		replaced++;
		x = start_successor(&s, now);
		ready(x, now += 500);
		w[0] = *x;
		*x = (struct gov_worker){0};
		sample(&w[0], 60 * MB, now += 100);
	}
	ck_assert(futile);
	ck_assert_uint_eq(replaced, GOV_POOR_N);
	ck_assert_uint_gt(governor_suggest(&g, GM_RSS), 105 * MB);
}
END_TEST

/* A real leak grows to the limit again and again, and every recycle gains. */
/* A request, and what is left of it. */
static bool
serve(struct gov_worker *x, uint64_t rss, uint64_t now)
{
	governor_count(x, x->requests + 1, now);
	return sample(x, rss, now);
}

START_TEST(test_leak_is_not_futile)
{
	uint64_t now = 20000;

	set_limit(100 * MB);
	for (int i = 0; i < 20; i++) {
		struct gov_step s;
		struct gov_worker *x;

		for (uint64_t mb = 40; mb < 101; mb += 3)
			ck_assert(!serve(&w[0], mb * MB, now += 1000));
		serve(&w[0], 101 * MB, now += 1000);
		serve(&w[0], 102 * MB, now += 1000);
		s = next(now += 1500);
		x = start_successor(&s, now);
		ready(x, now += 500);
		w[0] = *x;
		*x = (struct gov_worker){0};
	}
}
END_TEST

/* The same, so fast that each worker is over the limit long before it has settled. */
START_TEST(test_fast_leak_is_not_futile)
{
	uint64_t now = 20000;

	set_limit(100 * MB);
	for (int i = 0; i < 20; i++) {
		struct gov_step s;
		struct gov_worker *x;

		for (uint64_t mb = 40; mb < 100; mb += 10)
			ck_assert(!serve(&w[0], mb * MB, now += 50));
		ck_assert(!serve(&w[0], 101 * MB, now += 50));
		ck_assert(!serve(&w[0], 102 * MB, now += 50));
		/* it could stay there */
		if (i > 0)
			ck_assert_int_eq(next(now + 10000).what, GOV_WAIT);
		ck_assert(!serve(&w[0], 104 * MB, now += 50));
		s = next(now += 50);
		x = start_successor(&s, now);
		ready(x, now += 500);
		w[0] = *x;
		*x = (struct gov_worker){0};
	}
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("scenarios");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, test_idle);
	tcase_add_test(t, test_max_requests);
	tcase_add_test(t, test_min_lifetime_guards_requests_only);
	tcase_add_test(t, test_lifetime);
	tcase_add_test(t, test_memory_needs_samples_and_cancels);
	tcase_add_test(t, test_evil);
	tcase_add_test(t, test_one_after_another);
	tcase_add_test(t, test_concurrency_and_spacing);
	tcase_add_test(t, test_urgency);
	tcase_add_test(t, test_nobody_starves);
	tcase_add_test(t, test_scale_needs_no_token);
	tcase_add_test(t, test_code_bad_probes);
	tcase_add_test(t, test_hold_lets_memory_through);
	tcase_add_test(t, test_mold_away);
	tcase_add_test(t, test_max_draining);
	tcase_add_test(t, test_max_draining_holds_back);
	tcase_add_test(t, test_surplus_drains);
	tcase_add_test(t, test_dry_run);
	tcase_add_test(t, test_futile_below_baseline);
	tcase_add_test(t, test_futile_gains_nothing);
	tcase_add_test(t, test_leak_is_not_futile);
	tcase_add_test(t, test_fast_leak_is_not_futile);
	return run_case("governor", t);
}
