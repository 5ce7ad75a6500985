/*
 * test_tracing.c - who traces its allocations: one at a time, halfway to its limit.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/tracing.h"

#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N 4
#define MIB (UINT64_C(1) << 20)
#define LIMIT (160 * MIB)
#define STEP (LIMIT / TRACING_STEP)

static struct tracing states[N];
static struct tracing_view v[N];
static uint64_t now;

static void
setup(void)
{
	memset(states, 0, sizeof states);
	for (size_t i = 0; i < N; i++)
		v[i] = (struct tracing_view){
			.tracing = &states[i], .serves = true, .value = 10 * MIB, .limit = LIMIT,
		};
	now = 1000;
}

static void
expect(enum tracing_what what, size_t index)
{
	struct tracing_step step = tracing_next(v, N, true, now);

	ck_assert_int_eq(step.what, what);
	if (what != TRACING_NOTHING)
		ck_assert_uint_eq(step.index, index);
}

START_TEST(nobody_below_the_half)
{
	expect(TRACING_NOTHING, 0);
	v[2].value = LIMIT / 2 - 2 * MIB;
	expect(TRACING_NOTHING, 0);
	v[2].value = LIMIT / 2;
	ck_assert_int_eq(tracing_next(v, N, false, now).what, TRACING_NOTHING);
	expect(TRACING_START, 2);
	ck_assert(states[2].on);
	expect(TRACING_NOTHING, 0);
	ck_assert_int_eq(tracing_next(v, 0, true, now).what, TRACING_NOTHING);
}
END_TEST

/* Those that may not, or have no limit. */
START_TEST(not_everybody_can)
{
	v[0].value = v[1].value = LIMIT * 3 / 4;
	v[0].serves = false;
	v[1].limit = 0;
	expect(TRACING_NOTHING, 0);
}
END_TEST

/* The one with the longest way before it; only one at a time, until it is being replaced. */
START_TEST(one_at_a_time)
{
	v[0].value = LIMIT / 100 * 90;
	v[1].value = LIMIT / 100 * 55;
	v[3].value = LIMIT / 100 * 70;
	expect(TRACING_START, 1);
	v[2].value = LIMIT / 100 * 51;
	expect(TRACING_NOTHING, 0);
	v[1].serves = false;
	expect(TRACING_START, 2);
	/* its successor did not boot: both go on */
	v[1].serves = true;
	expect(TRACING_NOTHING, 0);
	ck_assert(states[1].on && states[2].on);
}
END_TEST

/* Shares count, not bytes. */
START_TEST(limits_may_differ)
{
	v[0].value = 100 * MIB;
	v[1].value = 20 * MIB;
	v[1].limit = 25 * MIB;
	expect(TRACING_START, 0);
}
END_TEST

START_TEST(falls_back)
{
	v[0].value = LIMIT / 2;
	expect(TRACING_START, 0);
	v[0].value = LIMIT / 100 * (TRACING_BACK_PERCENT + 1);
	expect(TRACING_NOTHING, 0);
	v[0].value = LIMIT / 100 * (TRACING_BACK_PERCENT - 1);
	expect(TRACING_STOP, 0);
	ck_assert(!states[0].on);
	v[0].value = LIMIT / 2;
	expect(TRACING_START, 0);
}
END_TEST

/* One that does not grow is slow for nothing, and keeps others from it. */
START_TEST(stands_still)
{
	v[0].value = LIMIT / 2;
	expect(TRACING_START, 0);
	now += TRACING_STILL_MS - 1;
	expect(TRACING_NOTHING, 0);
	v[0].value += STEP;
	now += 1;
	expect(TRACING_NOTHING, 0);
	now += TRACING_STILL_MS - 1;
	v[0].value += STEP - 1;
	expect(TRACING_NOTHING, 0);
	now += 1;
	expect(TRACING_STOP, 0);
	expect(TRACING_NOTHING, 0);
	v[1].value = LIMIT / 100 * 60;
	expect(TRACING_START, 1);
	v[1].serves = false;
	v[0].value += STEP;
	expect(TRACING_START, 0);
}
END_TEST

START_TEST(too_dear)
{
	v[0].value = LIMIT / 2;
	expect(TRACING_START, 0);
	v[0].cost = STEP;
	expect(TRACING_NOTHING, 0);
	v[0].cost = STEP + 1;
	expect(TRACING_FINISH, 0);
	ck_assert(!states[0].on);
	v[0].cost = 0;
	expect(TRACING_NOTHING, 0);
	v[0].value += STEP;
	expect(TRACING_START, 0);
	/* an absolute bound, for large limits */
	v[0].limit = 1024 * LIMIT;
	v[0].value = 512 * LIMIT;
	v[0].cost = TRACING_COST_MAX + 1;
	expect(TRACING_FINISH, 0);
}
END_TEST

START_TEST(switched_off)
{
	v[0].value = v[1].value = LIMIT / 2;
	expect(TRACING_START, 0);
	ck_assert_int_eq(tracing_next(v, N, false, now).what, TRACING_STOP);
	ck_assert_int_eq(tracing_next(v, N, false, now).what, TRACING_NOTHING);
	/* the limit was taken away */
	expect(TRACING_START, 1);
	v[1].limit = 0;
	expect(TRACING_STOP, 1);
}
END_TEST

/* Workers that leak at different speeds and are replaced at the limit: one traces at any time,
 * nobody keeps the others from it for ever, and each that is traced was so for a while. */
START_TEST(over_a_day)
{
	unsigned traced[N] = {0};

	for (unsigned second = 0; second < 86400; second++) {
		unsigned holders = 0;

		now += 1000;
		for (size_t i = 0; i < N; i++) {
			v[i].value += i * 40000;	/* the first does not leak */
			if (i == 0)
				v[i].value = LIMIT / 100 * 75;
			if (v[i].value >= LIMIT) {
				traced[i] += states[i].on;
				states[i] = (struct tracing){0};
				v[i].value = 10 * MIB;
			}
		}
		for (int n = 0; tracing_next(v, N, true, now).what != TRACING_NOTHING; n++)
			ck_assert_int_lt(n, 4);
		for (size_t i = 0; i < N; i++)
			holders += states[i].on;
		ck_assert_uint_le(holders, 1);
	}
	ck_assert_uint_eq(traced[0], 0);
	for (size_t i = 1; i < N; i++)
		ck_assert_msg(traced[i] > 3, "worker %zu: %u reports", i, traced[i]);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("tracing");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, nobody_below_the_half);
	tcase_add_test(tc, not_everybody_can);
	tcase_add_test(tc, one_at_a_time);
	tcase_add_test(tc, limits_may_differ);
	tcase_add_test(tc, falls_back);
	tcase_add_test(tc, stands_still);
	tcase_add_test(tc, too_dear);
	tcase_add_test(tc, switched_off);
	tcase_add_test(tc, over_a_day);
	return run_case("tracing", tc);
}
