/*
 * test_governor_growth.c - workers that grow: who is waited for, who is early, who stays.
 *
 * SPDX-License-Identifier: MIT
 */
#include "governor_rig.h"
#include "run_case.h"

/* Its requests are told five times a second at the latest: old news when it is about a leak. */
START_TEST(counts_are_asked_for)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	fresh(40 * MB);
	now += 20000;
	w[0].busy = true;
	ck_assert(!sample_inside(&w[0], 99 * MB, 99 * MB).count);
	now += 2;
	ck_assert(sample_inside(&w[0], 101 * MB, 101 * MB).count);
	now += 2;
	ck_assert(!sample_inside(&w[0], 102 * MB, 102 * MB).count);
	/* one request, as far as is known */
	ck_assert_int_eq(next().what, GOV_WAIT);
	/* those may all have been before it */
	governor_count(&w[0], 500, now);
	now += 2;
	ck_assert(!sample_inside(&w[0], 104 * MB, 104 * MB).count);
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += GOV_COUNT_MS;
	ck_assert(sample_inside(&w[0], 105 * MB, 105 * MB).count);
	now += 2;
	governor_count(&w[0], 520, now);
	sample_inside(&w[0], 106 * MB, 106 * MB);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

/* And before that: an answer that comes when the limit is reached is too late for a successor. */
START_TEST(counts_are_asked_for_ahead)
{
	bool asked = false;

	fresh(40 * MB);
	now += 20000;
	w[0].busy = true;
	/* 10 MB in 10 ms: 100 more in 100 ms */
	for (uint64_t mb = 40; mb <= 80; mb += 10, now += 10) {
		p.limit[GM_RSS] = limit_size((mb + 101) * MB);
		ck_assert(!sample_inside(&w[0], mb * MB, mb * MB).count);
	}
	p.limit[GM_RSS] = limit_size(185 * MB);
	ck_assert(sample_inside(&w[0], 90 * MB, 90 * MB).count);
	now += 10;
	ck_assert(!sample_inside(&w[0], 100 * MB, 100 * MB).count);
	/* those may have been before; the next ones are known to be of now */
	governor_count(&w[0], w[0].requests + 100, now);
	now += 10;
	ck_assert(sample_inside(&w[0], 105 * MB, 105 * MB).count);
	now += 1;
	governor_count(&w[0], w[0].requests + 10, now);
	for (uint64_t mb = 110; mb <= 160; mb += 10, now += 10)
		asked = sample_inside(&w[0], mb * MB, mb * MB).count || asked;
	ck_assert(!asked);
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

/* Successors take 50 ms. 0.1 MB a ms: w[0] will be at its limit in 100 ms, w[1] and w[2] each 10 ms
 * later; w[3] stays as it is. */
static void
grow_in_line(void)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	b.boot_ms = 50;
	look(0);
	fresh(40 * MB);
	now += 20000;
	for (uint64_t k = 0; k < 5; k++, now += 10)
		for (size_t i = 0; i < N; i++)
			sample(&w[i], (i == 3 ? 90 : 86 + k - i) * MB);
}

START_TEST(line_of_those_that_grow)
{
	grow_in_line();
	governor_line_up(&g, &p, view, N);
	ck_assert_uint_eq(w[3].lead_ms, 0);
	ck_assert_uint_eq(w[2].lead_ms, 50);	/* asked for at 70 of 120 ms */
	ck_assert_uint_eq(w[1].lead_ms, 90);	/* at 20 of 110 */
	ck_assert_uint_eq(w[0].lead_ms, 100);	/* at once: it would have to be at -30 */
	p.concurrency = 2;
	governor_line_up(&g, &p, view, N);
	ck_assert_uint_eq(w[2].lead_ms, 50);
	ck_assert_uint_eq(w[1].lead_ms, 50);
	ck_assert_uint_eq(w[0].lead_ms, 80);	/* at 20 of 100, as the third needs its place at 70 */
	/* who has a successor is in nobody's way */
	p.concurrency = 1;
	w[1].has_successor = true;
	governor_line_up(&g, &p, view, N);
	ck_assert_uint_eq(w[1].lead_ms, 0);
	ck_assert_uint_eq(w[0].lead_ms, 80);
}
END_TEST

/* One that is in front of the line is over its limit, for all that matters, when it will be. */
START_TEST(first_in_line_goes_early)
{
	grow_in_line();
	ck_assert_int_eq(next().what, GOV_WAIT);
	governor_line_up(&g, &p, view, N);
	for (uint64_t k = 0; k < 2; k++, now += 1)
		sample_inside(&w[0], 91 * MB + k * 100000, 91 * MB);
	/* half of what is left until it has to */
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += 25;
	ck_assert_int_eq(next().what, GOV_REPLACE);
	ck_assert_ptr_eq(next().worker, &w[0]);
}
END_TEST

/* w[0], which is busy, has replaced one of 101 MB. */
static void
make_heir(uint64_t boot_ms)
{
	struct gov_worker old;

	p.limit[GM_RSS] = limit_size(100 * MB);
	p.min_lifetime_ms = 0;
	b.boot_ms = boot_ms;
	look(0);
	fresh(40 * MB);
	now += 20000;
	w[0].busy = true;
	old = w[1];
	old.value[GM_RSS] = 101 * MB;
	governor_started(&g, &w[0], &old, REASON_RSS, now);
}

/* Its requests are not known yet, and it did not run for a while: what it has replaced leaked. */
START_TEST(heir_of_a_leak)
{
	bool has_paused = false;
	uint64_t mb = 80;

	make_heir(50);
	for (; mb < 100 && next().what == GOV_WAIT; now += 10) {
		if (mb != 95 || has_paused)
			mb++;
		else
			has_paused = true;
		sample_inside(&w[0], mb * MB, mb * MB);
	}
	ck_assert_int_eq(next().what, GOV_REPLACE);
	ck_assert_uint_ge(mb, 96);
	ck_assert_uint_lt(mb, 100);
	/* of any other it would be one request */
	w[0].gain_from[GM_RSS] = w[0].gain_from[GM_USS] = 0;
	w[0].idle_until_ms = w[0].due = 0;
	sample_inside(&w[0], 101 * MB, 101 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* One that has stayed at its size is like any other: one request may be all there is to it. */
START_TEST(heir_that_stood_still)
{
	make_heir(500);
	for (int i = 0; i < 20; i++, now += 1000)
		sample(&w[0], (i == 0 ? 50 : 60) * MB);
	/* some short ones have come before it, and are told of late */
	for (uint64_t mb = 60; mb < 110; mb += 3, now += 10) {
		if (sample_inside(&w[0], mb * MB, mb * MB).count)
			governor_count(&w[0], 500, now);
		ck_assert_int_eq(next().what, GOV_WAIT);
	}
}
END_TEST

/* 0.1 MB a ms; its successor was asked for in time, and takes longer than they do. */
START_TEST(successor_is_late)
{
	struct gov_step s;

	grow_in_line();
	w[0].due = 1u << REASON_RSS;
	w[0].has_successor = true;
	w[0].successor_ms = now;
	sample(&w[0], 102 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += 10;
	sample(&w[0], 103 * MB);
	s = next();
	ck_assert_int_eq(s.what, GOV_LET_GO);
	ck_assert_int_eq(s.reason, REASON_RSS);
	ck_assert_ptr_eq(s.worker, &w[0]);
	/* nobody knows whether the next start will succeed */
	governor_boot_failed(&g, now);
	ck_assert_int_eq(next().what, GOV_WAIT);
	governor_boot_ok(&g);
	/* too long to have nobody there */
	b.boot_ms = GOV_LATE_BOOT_MS + 1;
	look(0);
	ck_assert_int_eq(next().what, GOV_WAIT);
	b.boot_ms = GOV_LATE_BOOT_MS;
	look(0);
	ck_assert_int_eq(next().what, GOV_LET_GO);
	/* it may never come */
	w[0].successor_ms = now - GOV_LATE_BOOTS * b.boot_ms - 1;
	ck_assert_int_eq(next().what, GOV_WAIT);
	w[0].successor_ms = now;
	ck_assert_int_eq(next().what, GOV_LET_GO);
	p.dry_run = true;
	ck_assert_int_eq(next().what, GOV_WAIT);
	p.dry_run = false;
	/* one moment is no growth; and when it is slow the limit has a margin */
	for (uint64_t mb = 103; mb < 108; mb++) {
		now += 1000;
		sample(&w[0], mb * MB);
		w[0].successor_ms = now;
		ck_assert_int_eq(next().what, GOV_WAIT);
	}
	now += 10;
	sample(&w[0], 110 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* It had stood still, was asked for much at once, and went when it was above its limit: two of three
 * moments of growth are enough now. */
START_TEST(late_after_a_pause)
{
	grow_in_line();
	for (int i = 0; i < 5; i++, now += 10)
		sample(&w[0], 91 * MB);
	w[0].due = 1u << REASON_RSS;
	sample(&w[0], 101 * MB);
	ck_assert_uint_eq(governor_growth(&w[0]), 0);
	w[0].has_successor = true;
	w[0].successor_ms = now;
	ck_assert(governor_may_be_late(&g, &p, &w[0], now));
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += 10;
	governor_count(&w[0], w[0].requests + 40, now);
	sample(&w[0], 109 * MB);
	ck_assert_int_eq(next().what, GOV_LET_GO);
	/* it is looked at as often when it did not run for a moment */
	now += 10;
	sample(&w[0], 109 * MB);
	ck_assert_uint_eq(governor_rate(&w[0]), 0);
	ck_assert(governor_may_be_late(&g, &p, &w[0], now));
	/* and one moment is not */
	for (int i = 0; i < 5; i++, now += 10)
		sample(&w[0], 109 * MB);
	ck_assert(!governor_may_be_late(&g, &p, &w[0], now));
	sample(&w[0], 119 * MB);
	ck_assert(governor_may_be_late(&g, &p, &w[0], now));
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* More than fit into the line: the nearest are in it. */
START_TEST(long_line)
{
	static struct gov_worker many[3 * GOV_LINE_N];
	static struct gov_worker *all[3 * GOV_LINE_N];

	p.limit[GM_RSS] = limit_size(1000 * MB);
	b.boot_ms = 100;
	look(0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		/* in no order */
		uint64_t rss = 100 + i * 7 % ARRAY_LEN(many);

		all[i] = &many[i];
		many[i] = (struct gov_worker){ .state = WS_READY, .ready_ms = 1, .requests = 100,
			.n_rates = GOV_GROWTH_N, .rates = { 1000, 1000, 1000 },
			.value = { [GM_RSS] = rss * MB }, .value_ms = { [GM_RSS] = now } };
	}
	governor_line_up(&g, &p, all, ARRAY_LEN(many));
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		ck_assert_uint_eq(many[i].lead_ms > 0,
		    many[i].value[GM_RSS] >= (100 + 2 * GOV_LINE_N) * MB);
}
END_TEST

/* Load comes and goes: a leaking worker that is large again, and has nothing to do. */
START_TEST(pauses_are_no_gain)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	p.min_lifetime_ms = 0;
	for (int i = 0; i < 5; i++) {
		struct gov_worker old = w[0];

		w[0] = (struct gov_worker){ .state = WS_READY, .ready_ms = now, .can_trim = true };
		if (i > 0)
			governor_started(&g, &w[0], &old, REASON_RSS, now);
		for (uint64_t mb = 40; mb <= 98; mb += 2, now += 10)
			sample(&w[0], mb * MB);
		for (int k = 0; k < 10; k++, now += 1000)
			ck_assert(!sample_inside(&w[0], 98 * MB, 98 * MB).futile);
		for (uint64_t mb = 98; mb <= 104; mb++, now += 10)
			ck_assert(!sample(&w[0], mb * MB).futile);
		ck_assert_int_eq(next().what, GOV_REPLACE);
	}
}
END_TEST

/* A limit that seemed to be too low for workers that stay at their size: they do not. */
START_TEST(futile_is_refuted)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	governor_set_policy(&g, &p);
	g.meter[GM_RSS].poor.n = GOV_POOR_N;
	g.meter[GM_RSS].poor.size = 110 * MB;
	now += 20000;
	for (uint64_t mb = 100; mb < 137; mb += 2, now += 1000)
		sample(&w[0], mb * MB);
	ck_assert(g.meter[GM_RSS].futile);
	ck_assert_int_eq(next().what, GOV_WAIT);
	for (uint64_t mb = 138; mb < 144; mb += 2, now += 1000)
		sample(&w[0], mb * MB);
	ck_assert(!g.meter[GM_RSS].futile);
	ck_assert_int_eq(next().what, GOV_REPLACE);
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("core");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, counts_are_asked_for);
	tcase_add_test(t, counts_are_asked_for_ahead);
	tcase_add_test(t, busy_one_may_fall_back);
	tcase_add_test(t, one_large_request);
	tcase_add_test(t, busy_one_that_grows);
	tcase_add_test(t, line_of_those_that_grow);
	tcase_add_test(t, first_in_line_goes_early);
	tcase_add_test(t, heir_of_a_leak);
	tcase_add_test(t, heir_that_stood_still);
	tcase_add_test(t, successor_is_late);
	tcase_add_test(t, late_after_a_pause);
	tcase_add_test(t, long_line);
	tcase_add_test(t, pauses_are_no_gain);
	tcase_add_test(t, futile_is_refuted);
	return run_case("governor's growth", t);
}
