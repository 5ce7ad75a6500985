/*
 * test_governor_hurry.c - memory that is nearly used up.
 *
 * SPDX-License-Identifier: MIT
 */
#include "governor_rig.h"
#include "run_case.h"

/* As governor_growth() has it, in MB a second. */
static void
grow(struct gov_worker *x, uint64_t from, uint64_t to, uint64_t each_second)
{
	for (uint64_t rss = from; rss <= to; rss += each_second / 10, now += 100)
		sample(x, rss * MB);
	ck_assert_uint_eq(governor_growth(x) / MB, each_second);
}

/* The kernel would kill one that has grown, whoever has filled memory. */
START_TEST(growth_of_others_to_the_end)
{
	calm_pool();
	sample(&w[0], 60 * MB);
	sample(&w[1], 80 * MB);
	b.cache = 10 * MB;
	look(397 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_int_eq(next().what, GOV_WAIT);
	b.cache = 0;
	look(389 * MB);
	ck_assert(g.pool.by_others);
	ck_assert(governor_hurries(&g));
	/* no more of them than needed */
	ck_assert_uint_eq(w[1].due, 1u << REASON_MEMORY_LIMIT);
	ck_assert_uint_eq(w[0].due, 0);
	ck_assert_int_eq(next().what, GOV_TRIM);
	look(387 * MB);
	ck_assert_uint_eq(w[1].due, 0);
	/* there is no worker that has grown */
	sample(&w[0], 40 * MB);
	sample(&w[1], 40 * MB);
	look(399 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* What they will have grown by until one that is replaced is gone counts. */
START_TEST(growth_of_both)
{
	calm_pool();
	b.boot_ms = 500;
	grow(&w[0], 60, 120, 20);
	look(366 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_uint_eq(w[0].due, 0);
	look(369 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_uint_ne(w[0].due, 0);
}
END_TEST

START_TEST(hurry_has_bounds)
{
	calm_pool();
	ck_assert(!governor_hurries(&g));
	w[0].due = 0;
	grow(&w[0], 100, 1600, 1500);
	look(355 * MB);
	ck_assert(!governor_hurries(&g));
	look(359 * MB);
	ck_assert(governor_hurries(&g));
	/* nothing is above it */
	b.high = b.limit;
	look(400 * MB);
	ck_assert(!governor_hurries(&g));
	b = (struct gov_budget){0};
	look(400 * MB);
	ck_assert(!governor_hurries(&g));
}
END_TEST

/* How far it is decides how often memory is looked at. */
START_TEST(what_is_left)
{
	ck_assert_uint_eq(governor_left(&g), UINT64_MAX);
	calm_pool();
	look(270 * MB);
	ck_assert(!governor_is_tight(&g));
	look(300 * MB);
	ck_assert_uint_eq(governor_left(&g) / MB, 40);
	ck_assert(governor_is_tight(&g));
	look(350 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_uint_eq(governor_left(&g), UINT64_MAX);
	ck_assert(!governor_is_tight(&g));
	sample(&w[0], 60 * MB);
	look(350 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_uint_eq(governor_left(&g) / MB, 38);
	b.cache = 10 * MB;
	look(350 * MB);
	ck_assert_uint_eq(governor_left(&g) / MB, 48);
	g.pool.futile = true;
	ck_assert_uint_eq(governor_left(&g), UINT64_MAX);
}
END_TEST

/* Rather a moment without it than an end by the kernel. */
START_TEST(successor_that_takes_too_long)
{
	calm_pool();
	sample(&w[0], 150 * MB);
	sample(&w[1], 160 * MB);
	w[0].has_successor = w[1].has_successor = true;
	w[2].state = WS_STARTING;
	look(387 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	look(389 * MB);
	ck_assert_int_eq(next().what, GOV_LET_GO);
	ck_assert_ptr_eq(next().worker, &w[1]);
	/* one after the other: what it holds comes back */
	w[1].state = WS_DRAINING;
	w[1].drain_ms = now;
	w[1].has_successor = false;
	ck_assert_int_eq(next().what, GOV_WAIT);
	w[1].state = WS_STOPPING;
	ck_assert_int_eq(next().what, GOV_WAIT);
	/* nothing that it would give back */
	w[1].state = WS_VACANT;
	w[0].own_bytes = 45 * MB;
	ck_assert_int_eq(next().what, GOV_WAIT);
}
END_TEST

/* It is let go so early that it does not reach the limit while it finishes. */
START_TEST(successor_that_takes_too_long_for_its_growth)
{
	calm_pool();
	for (uint64_t rss = 80; rss <= 200; rss += 15, now += 100)
		sample(&w[0], rss * MB);
	w[0].has_successor = true;
	/* 150 MB a second, of which 100 ms count */
	look(372 * MB);
	ck_assert(!governor_hurries(&g));
	ck_assert_int_eq(next().what, GOV_WAIT);
	look(374 * MB);
	ck_assert(governor_hurries(&g));
	ck_assert_int_eq(next().what, GOV_LET_GO);
}
END_TEST

static void
hold_one(void)
{
	calm_pool();
	b.boot_ms = 500;
	sample(&w[0], 150 * MB);
	w[0].has_successor = true;
	w[0].successor_ms = now;
}

/* Where nobody grows, it may take as long as it does. */
START_TEST(successor_that_is_in_time)
{
	hold_one();
	look(389 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	now += 500;
	ck_assert_int_eq(next().what, GOV_LET_GO);
}
END_TEST

/* Nobody knows whether it will ever serve. */
START_TEST(successor_of_bad_code)
{
	hold_one();
	look(389 * MB);
	now += 60000;
	g.code_bad = true;
	ck_assert_int_eq(next().what, GOV_WAIT);
	g.code_bad = false;
	p.dry_run = true;
	ck_assert_int_eq(next().what, GOV_WAIT);
	p.dry_run = false;
	ck_assert_int_eq(next().what, GOV_LET_GO);
	/* one at a time: the successor of another that was let go still boots */
	w[2].state = WS_STARTING;
	w[2].breaks = true;
	ck_assert_int_eq(next().what, GOV_WAIT);
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
	ck_assert_int_eq(s.reason, REASON_MEMORY_LIMIT);
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

/* Others may have filled memory for long: a drain costs nothing then but what it holds. */
START_TEST(old_ones_beside_others)
{
	calm_pool();
	w[0].state = WS_DRAINING;
	w[0].drain_ms = now;
	now += 5000;
	look(389 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_int_eq(next().what, GOV_WAIT);
	grow(&w[1], 60, 90, 10);
	look(389 * MB);
	ck_assert(g.pool.by_others);
	ck_assert_int_eq(next().what, GOV_END_DRAIN);
	p.dry_run = true;
	ck_assert_int_ne(next().what, GOV_END_DRAIN);
}
END_TEST

/* A busy one above a soft limit gets time to fall back, but not of memory that is not there. */
START_TEST(no_patience)
{
	calm_pool();
	p.limit[GM_RSS] = limit_size(200 * MB);
	governor_set_policy(&g, &p);
	w[0].busy = true;
	for (int i = 0; i < 2; i++, now += 1000)
		sample_inside(&w[0], 210 * MB, 210 * MB);
	ck_assert_uint_eq(w[0].due, 1u << REASON_RSS);
	look(335 * MB);
	ck_assert_int_eq(next().what, GOV_WAIT);
	look(350 * MB);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
}
END_TEST

/* Whoever has waited for longest goes first, but not then. */
START_TEST(no_turns)
{
	calm_pool();
	sample(&w[3], 210 * MB);
	for (size_t i = 0; i < 3; i++)
		governor_order(&w[i], REASON_RELOAD, now);
	now += 200000;
	look(350 * MB);
	ck_assert_ptr_eq(next().worker, &w[0]);
	ck_assert_int_eq(next().reason, REASON_RELOAD);
	p.concurrency = 2;
	look(389 * MB);
	p.trim = (struct limit){0};
	for (size_t i = 0; i < N; i++)
		w[i].busy = true;
	ck_assert_ptr_eq(next().worker, &w[3]);
	ck_assert_int_eq(next().reason, REASON_MEMORY_LIMIT);
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("core");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_add_test(t, growth_of_others_to_the_end);
	tcase_add_test(t, growth_of_both);
	tcase_add_test(t, hurry_has_bounds);
	tcase_add_test(t, what_is_left);
	tcase_add_test(t, successor_that_takes_too_long);
	tcase_add_test(t, successor_that_takes_too_long_for_its_growth);
	tcase_add_test(t, successor_that_is_in_time);
	tcase_add_test(t, successor_of_bad_code);
	tcase_add_test(t, old_ones_that_hold_memory);
	tcase_add_test(t, old_ones_beside_others);
	tcase_add_test(t, no_patience);
	tcase_add_test(t, no_turns);
	return run_case("governor in a hurry", t);
}
