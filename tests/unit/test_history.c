/*
 * test_history.c - a worker's samples, thinned: they cover its life, end exactly, and take no more
 * than they may.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/history.h"

#include "run_case.h"

#include <check.h>
#include <stdlib.h>

#define MB UINT64_C(1048576)

static struct growth_sample out[1024];

static struct growth_sample
sample(uint64_t ms, uint64_t rss)
{
	return (struct growth_sample){
		.ms = ms, .rss = rss, .uss = GROWTH_UNKNOWN, .pss = GROWTH_UNKNOWN,
		.requests = ms / 10, .in_flight = 2, .fds = GROWTH_UNKNOWN, .connections = 7,
	};
}

static size_t
read_all(const struct history *h)
{
	size_t n = history_count(h);

	ck_assert_uint_le(n, 1024);
	n = history_read(h, out);
	for (size_t i = 1; i < n; i++)
		ck_assert_uint_gt(out[i].ms, out[i - 1].ms);
	return n;
}

/* A short life, looked at every 10 ms, is kept whole. */
START_TEST(exact)
{
	struct history h = { 0 };

	history_add(&h, &(struct growth_sample){ .ms = 1 });
	ck_assert_uint_eq(history_count(&h), 0);	/* no room yet */
	history_init(&h, 2);
	for (uint64_t i = 0; i < 90; i++) {
		struct growth_sample s = sample(5000 + i * 10, i * MB);

		if (i % 10 == 3) {
			s.uss = i * MB / 2;
			s.pss = i * MB / 2 + 4096;
			s.fds = i;
		}
		history_add(&h, &s);
	}
	ck_assert_uint_eq(read_all(&h), 90);
	for (uint64_t i = 0; i < 90; i++) {
		ck_assert_uint_eq(out[i].ms, 5000 + i * 10);
		ck_assert_uint_eq(out[i].rss, i * MB);
		ck_assert_uint_eq(out[i].requests, 500 + i);
		ck_assert_uint_eq(out[i].in_flight, 2);
		ck_assert_uint_eq(out[i].connections, 7);
		ck_assert_uint_eq(out[i].uss, i % 10 == 3 ? i * MB / 2 : GROWTH_UNKNOWN);
		ck_assert_uint_eq(out[i].fds, i % 10 == 3 ? i : GROWTH_UNKNOWN);
	}
	history_free(&h);
	ck_assert_uint_eq(history_bytes(&h), 0);
}
END_TEST

/* Months at one sample a second: the whole life, evenly, and the last seconds. */
START_TEST(long_life)
{
	static const uint64_t lives[] = { 97, 98, 200, 1000, 86400, 1000000 };

	for (size_t k = 0; k < sizeof(lives) / sizeof(*lives); k++) {
		struct history h = { 0 };
		uint64_t life = lives[k], gap = 0, uss = 0;
		size_t n, first_part;

		history_init(&h, 2);
		for (uint64_t i = 0; i < life; i++) {
			struct growth_sample s = sample(1000 + i * 1000, MB * (100 + i % 7));

			if (i % 10 == 0)
				s.uss = s.pss = i * 4096;
			history_add(&h, &s);
			ck_assert_uint_le(history_bytes(&h), (96 + 32) * 26);
		}
		n = read_all(&h);
		ck_assert_uint_ge(n, 48);
		ck_assert_uint_eq(out[0].ms, 1000);
		ck_assert_uint_eq(out[n - 1].ms, 1000 + (life - 1) * 1000);
		if (life > 130)
			for (size_t i = 1; i < 32; i++)
				ck_assert_uint_eq(out[n - i].ms - out[n - i - 1].ms, 1000);
		first_part = n - MIN_OF(n, (size_t)32);
		for (size_t i = 1; i < first_part; i++)
			gap = MAX_OF(gap, out[i].ms - out[i - 1].ms);
		if (life >= 1000)
			ck_assert_uint_le(gap, life * 1000 / 20);
		/* what is seldom known has not been lost */
		for (size_t i = 0; i < n; i++)
			uss += out[i].uss != GROWTH_UNKNOWN;
		ck_assert_uint_ge(uss, life >= 1000 ? 45 : life / 10);
		history_free(&h);
	}
}
END_TEST

/* The end of a worker: a third of it stays, and the last sample. */
START_TEST(closed)
{
	for (uint64_t life = 1; life < 400; life++) {
		struct history h = { 0 };
		size_t n;

		history_init(&h, 2);
		for (uint64_t i = 0; i < life; i++)
			history_add(&h, &(struct growth_sample){ .ms = 1000 + i * 10, .rss = i * MB,
			    .uss = GROWTH_UNKNOWN });
		history_close(&h);
		ck_assert_uint_le(history_bytes(&h), 32 * 26);
		n = read_all(&h);
		ck_assert_uint_ge(n, MIN_OF(life, UINT64_C(14)));
		ck_assert_uint_le(n, 32);
		ck_assert_uint_eq(out[0].ms, 1000);
		ck_assert_uint_eq(out[n - 1].ms, 1000 + (life - 1) * 10);
		ck_assert_uint_eq(out[n - 1].rss, (life - 1) * MB);
		/* nothing is added any more */
		history_add(&h, &(struct growth_sample){ .ms = 90000 });
		ck_assert_uint_eq(history_count(&h), n);
		history_free(&h);
	}
}
END_TEST

/* 200 workers and those they followed are well below 2 MB, 10,000 have a bound, too. */
START_TEST(bounded)
{
	static const struct { size_t workers, each; } bounds[] = {
		{ 4, 6000 }, { 200, 6000 }, { 256, 6000 }, { 1000, 3200 }, { 10000, 1600 },
	};

	for (size_t k = 0; k < sizeof(bounds) / sizeof(*bounds); k++) {
		struct history live = { 0 }, ended = { 0 };
		size_t all;

		history_init(&live, bounds[k].workers);
		history_init(&ended, bounds[k].workers);
		for (uint64_t i = 0; i < 5000; i++) {
			struct growth_sample s = sample(1 + i * 100, i * MB);

			history_add(&live, &s);
			history_add(&ended, &s);
		}
		history_close(&ended);
		all = history_bytes(&live) + HISTORY_ENDED * history_bytes(&ended);
		ck_assert_msg(all <= bounds[k].each, "%zu workers: %zu bytes each",
		    bounds[k].workers, all);
		history_free(&live);
		history_free(&ended);
	}
}
END_TEST

/* What does not fit is the largest that does, and never "not known". */
START_TEST(extremes)
{
	struct history h = { 0 };

	history_init(&h, 1);
	history_add(&h, &(struct growth_sample){ .ms = 0, .rss = UINT64_MAX - 1,
	    .requests = UINT64_MAX - 1, .in_flight = UINT64_MAX - 1, .fds = UINT64_MAX - 1 });
	/* a clock that goes back */
	history_add(&h, &(struct growth_sample){ .ms = 1000 });
	history_add(&h, &(struct growth_sample){ .ms = 1 });
	ck_assert_uint_ge(history_read(&h, out), 2);
	ck_assert_uint_eq(out[0].in_flight, 65534);
	ck_assert_uint_eq(out[0].fds, 65534);
	ck_assert_uint_eq(out[0].requests, UINT32_MAX - 1);
	ck_assert_uint_eq(out[0].rss, (uint64_t)(UINT32_MAX - 1) * 4096);
	history_free(&h);
	history_close(&h);
	history_free(&h);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("history");

	tcase_add_test(c, exact);
	tcase_add_test(c, long_life);
	tcase_add_test(c, closed);
	tcase_add_test(c, bounded);
	tcase_add_test(c, extremes);
	return run_case("history", c);
}
