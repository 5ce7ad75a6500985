/*
 * test_governor_memory.c - the ladder of one worker's limits.
 *
 * SPDX-License-Identifier: MIT
 */
#include "governor_rig.h"
#include "run_case.h"

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

/* Near a limit samples come much faster than that. */
START_TEST(samples_are_an_interval_apart)
{
	p.limit[GM_RSS] = limit_size(100 * MB);
	p.samples = 4;
	p.sample_ms = 1000;
	fresh(40 * MB);
	now += 20000;
	for (int i = 0; i < 400; i++, now += 2)
		sample(&w[0], 101 * MB);
	ck_assert_uint_eq(w[0].over[GM_RSS], 2);
	/* a timer may fire a little early */
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(next().what, GOV_WAIT);
		now += 950;
		sample(&w[0], 101 * MB);
	}
	ck_assert_int_eq(next().what, GOV_REPLACE);
	/* one below the limit and it starts anew */
	sample(&w[0], 90 * MB);
	for (int i = 0; i < 3; i++, now += 1000) {
		ck_assert_int_eq(next().what, GOV_WAIT);
		sample(&w[0], 101 * MB);
	}
	ck_assert_int_eq(next().what, GOV_WAIT);
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

/* Looked at as one that starts, and ready within the same millisecond. */
START_TEST(fresh_at_once)
{
	p.evil[GM_RSS] = limit_size(5 * MB);
	p.evil[GM_USS] = limit_size(100 * MB);
	governor_set_policy(&g, &p);
	w[0].state = WS_STARTING;
	w[0].ready_ms = 0;
	ck_assert_int_eq(sample_both(&w[0], 20 * MB, 10 * MB).kill, REASON_NONE);
	w[0].state = WS_READY;
	w[0].ready_ms = now;
	ck_assert_int_eq(sample_both(&w[0], 20 * MB, GOV_UNKNOWN).kill, REASON_NONE);
	ck_assert(g.meter[GM_RSS].evil_futile);
	ck_assert_uint_eq(governor_fresh(&g, GM_USS), 10 * MB);
	/* by then it is not fresh any more */
	now += 200;
	ck_assert_int_eq(sample_both(&w[0], 300 * MB, 200 * MB).kill, REASON_EVIL_USS);
	ck_assert_uint_eq(governor_fresh(&g, GM_USS), 10 * MB);
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

int
main(void)
{
	TCase *t = tcase_create("core");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, fresh_multiple);
	tcase_add_test(t, samples_are_an_interval_apart);
	tcase_add_test(t, share_of_the_cgroup);
	tcase_add_test(t, kills_for_uss);
	tcase_add_test(t, futile_hard_limit);
	tcase_add_test(t, fresh_at_once);
	tcase_add_test(t, futile_limit_of_an_older_generation);
	tcase_add_test(t, other_reasons_do_not_wait);
	tcase_add_test(t, trims);
	tcase_add_test(t, useless_trims_stop);
	tcase_add_test(t, lost_trim);
	return run_case("governor's memory", t);
}
