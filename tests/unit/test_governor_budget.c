/*
 * test_governor_budget.c - the memory of all workers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "governor_rig.h"
#include "run_case.h"

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
	/* two of some 50 MB each bring it below 340, the larger one first */
	sample(&w[2], 95 * MB);
	look(395 * MB);
	ck_assert_uint_eq(next().queued, 2);
	ck_assert_ptr_eq(next().worker, &w[2]);
}
END_TEST

/* A reload takes them one after the other, and memory may not last until the turn of the one that
 * has grown. */
START_TEST(budget_goes_before_a_reload)
{
	calm_pool();
	sample(&w[3], 210 * MB);
	for (size_t i = 0; i < N; i++)
		governor_order(&w[i], REASON_RELOAD, now);
	look(330 * MB);
	ck_assert_ptr_eq(next().worker, &w[0]);
	ck_assert_int_eq(next().reason, REASON_RELOAD);
	look(350 * MB);
	ck_assert_ptr_eq(next().worker, &w[3]);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
	ck_assert_uint_eq(next().queued, N);
	/* memory is there again: its turn is that of the reload */
	look(330 * MB);
	ck_assert_ptr_eq(next().worker, &w[0]);
	ck_assert_uint_eq(w[3].due, 1u << REASON_RELOAD);
}
END_TEST

START_TEST(budget_for_one_more)
{
	ck_assert_uint_eq(governor_lack(&g, 1000 * MB), 0);
	calm_pool();
	/* 48 of 220 */
	ck_assert_uint_eq(governor_lack(&g, 0), 0);
	ck_assert_uint_eq(governor_lack(&g, 200 * MB) / MB, 27);
	look(360 * MB);
	ck_assert_uint_eq(governor_lack(&g, 0) / MB, 7);
	b.cache = 20 * MB;
	look(360 * MB);
	ck_assert_uint_eq(governor_lack(&g, 0), 0);
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
	look(387 * MB);
	ck_assert(g.pool.by_others);
	ck_assert(!governor_hurries(&g));
	ck_assert_int_eq(next().what, GOV_WAIT);
	/* ... until the workers' own growth would do it alone */
	for (size_t i = 0; i < N; i++)
		sample(&w[i], 80 * MB);
	look(387 * MB);
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
	ck_assert_uint_eq(g.pool.poor.size, 89 * MB);
	for (size_t i = 0; i < N; i++)
		ck_assert_uint_eq(w[i].due, 0);
	/* they do not stay at that size after all */
	sample(&w[0], 112 * MB);
	look(390 * MB);
	ck_assert(g.pool.futile);
	now += 1000;
	look(390 * MB);
	ck_assert(!g.pool.futile);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
	g.pool.futile = true;
	w[0].due = 0;
	sample(&w[0], 89 * MB);
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
	TCase *t = tcase_create("core");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, budget_takes_the_largest);
	tcase_add_test(t, budget_takes_several);
	tcase_add_test(t, budget_for_one_more);
	tcase_add_test(t, budget_goes_before_a_reload);
	tcase_add_test(t, budget_is_cancelled);
	tcase_add_test(t, budget_looks_ahead);
	tcase_add_test(t, growth_of_others);
	tcase_add_test(t, fresh_workers_are_no_victims);
	tcase_add_test(t, budget_that_gains_nothing);
	tcase_add_test(t, no_room_for_two);
	tcase_add_test(t, others_are_learnt_in_calm);
	tcase_add_test(t, others_of_another_limit);
	return run_case("governor's budget", t);
}
