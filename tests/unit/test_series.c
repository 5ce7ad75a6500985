/*
 * test_series.c - samples as CSV: read strictly, written so that they are read back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/series.h"

#include "base/buf.h"

#include "run_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define HEAD SERIES_HEADER "\n"

static struct errs errs;

START_TEST(reads)
{
	static const char text[] = HEAD
	    "0,2,9,1000,,,5,0,7\n"
	    "0.5,1,3,1,2,3,4,5,6\r\n"
	    "1.25,2,9,2000,,,6,1,8\n"
	    "1.2509999,2,9,,,,,,";
	struct series s;
	const struct growth_sample *p;

	ck_assert_int_eq(series_parse(text, strlen(text), &s, &errs), 0);
	ck_assert_uint_eq(s.n, 2);
	ck_assert_uint_eq(s.n_samples, 4);
	ck_assert_uint_eq(s.workers[0].slot, 1);
	ck_assert_uint_eq(s.workers[0].serial, 3);
	p = s.workers[0].samples;
	ck_assert_uint_eq(p->ms, 500);
	ck_assert_uint_eq(p->rss, 1);
	ck_assert_uint_eq(p->uss, 2);
	ck_assert_uint_eq(p->pss, 3);
	ck_assert_uint_eq(p->requests, 4);
	ck_assert_uint_eq(p->in_flight, 5);
	ck_assert_uint_eq(p->fds, 6);
	ck_assert_uint_eq(s.workers[1].n, 3);
	p = s.workers[1].samples;
	ck_assert_uint_eq(p[1].ms, 1250);
	ck_assert_uint_eq(p[1].uss, GROWTH_UNKNOWN);
	ck_assert_uint_eq(p[2].ms, 1250);
	ck_assert_uint_eq(p[2].rss, GROWTH_UNKNOWN);
	ck_assert_uint_eq(p[2].fds, GROWTH_UNKNOWN);
	series_free(&s);
	ck_assert_ptr_null(s.workers);
}
END_TEST

static const struct { const char *text, *error; } wrong[] = {
	{ "", "it has no sample" },
	{ HEAD, "it has no sample" },
	{ "seconds,slot\n0,1\n", "line 1: it has to be '" SERIES_HEADER "'" },
	{ " " HEAD "0,1,1,1,,,1,0,1\n", "line 1: it has to be '" SERIES_HEADER "'" },
	{ HEAD "0,1,1,1,,,1,0\n", "line 2: it has to have 9 fields" },
	{ HEAD "0,1,1,1,,,1,0,1,\n", "line 2: it has to have 9 fields" },
	{ HEAD "\n", "line 2: it has to have 9 fields" },
	{ HEAD ",1,1,1,,,1,0,1\n", "line 2: seconds: '' is missing" },
	{ HEAD "0,,1,1,,,1,0,1\n", "line 2: slot: '' is missing" },
	{ HEAD "0,1,,1,,,1,0,1\n", "line 2: serial: '' is missing" },
	{ HEAD "x,1,1,1,,,1,0,1\n", "line 2: seconds: 'x' is not a number of seconds" },
	{ HEAD "1.,1,1,1,,,1,0,1\n", "line 2: seconds: '1.' is not a number of seconds" },
	{ HEAD ".5,1,1,1,,,1,0,1\n", "line 2: seconds: '.5' is not a number of seconds" },
	{ HEAD "1.2.3,1,1,1,,,1,0,1\n", "line 2: seconds: '1.2.3' is not a number of seconds" },
	{ HEAD "1e3,1,1,1,,,1,0,1\n", "line 2: seconds: '1e3' is not a number of seconds" },
	{ HEAD "99999999999999999,1,1,1,,,1,0,1\n",
	    "line 2: seconds: '99999999999999999' is too large" },
	{ HEAD "0,1,1,-1,,,1,0,1\n", "line 2: rss_bytes: '-1' is not a whole number" },
	{ HEAD "0,1,1,1.5,,,1,0,1\n", "line 2: rss_bytes: '1.5' is not a whole number" },
	{ HEAD "0,1,1, 1,,,1,0,1\n", "line 2: rss_bytes: ' 1' is not a whole number" },
	{ HEAD "0,1,1,1,\x1b,,1,0,1\n", "line 2: uss_bytes: '?' is not a whole number" },
	{ HEAD "0,1,1,1,,,99999999999999999999,0,1\n",
	    "line 2: requests: '99999999999999999999' is too large" },
	/* beyond 64 bits, where a product would begin anew at 0 */
	{ HEAD "0,1,1,40000000000000000000,,,1,0,1\n",
	    "line 2: rss_bytes: '40000000000000000000' is too large" },
	{ HEAD "0,9999999,1,1,,,1,0,1\n", "line 2: slot: '9999999' is too large" },
	{ HEAD "5,1,1,1,,,1,0,1\n4,2,1,1,,,1,0,1\n4,1,1,1,,,1,0,1\n",
	    "line 4: it is earlier than line 2 of the same worker" },
};

START_TEST(refuses)
{
	struct series s = { .n = 77 };

	ck_assert_int_eq(series_parse(wrong[_i].text, strlen(wrong[_i].text), &s, &errs), -EINVAL);
	ck_assert_uint_eq(s.n, 77);
	ck_assert_uint_ge(errs.n, 1);
	ck_assert_str_eq(errs.text[0], wrong[_i].error);
	errs_clear(&errs);
}
END_TEST

/* Every wrong line is named, up to a limit; so is a field of any length. */
START_TEST(many_errors)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	struct series s;

	(void)buf_puts(&text, HEAD);
	for (int i = 0; i < 100; i++)
		(void)buf_puts(&text, i == 50 ? "0,1,1,1,,,1,0,1\n" : "0,1,1,bad,,,worse,0,1\n");
	ck_assert_int_eq(series_parse(text.data, text.len, &s, &errs), -EINVAL);
	ck_assert_uint_ge(errs.n, SERIES_ERRORS_MAX);
	ck_assert_uint_le(errs.n, SERIES_ERRORS_MAX + 8);
	ck_assert_str_eq(errs.text[3], "line 3: requests: 'worse' is not a whole number");
	errs_clear(&errs);
	buf_clear(&text);
	(void)buf_puts(&text, HEAD "0,1,1,");
	for (int i = 0; i < 100000; i++)
		(void)buf_putc(&text, 'x');
	ck_assert_int_eq(series_parse(text.data, text.len, &s, &errs), -EINVAL);
	ck_assert_uint_lt(strlen(errs.text[0]), 120);
	errs_clear(&errs);
}
END_TEST

START_TEST(too_much)
{
	struct series s;
	static char text[1];

	ck_assert_int_eq(series_parse(text, SERIES_BYTES_MAX + 1, &s, &errs), -EINVAL);
	ck_assert_str_eq(errs.text[0], "it is larger than 64 MiB");
	errs_clear(&errs);
}
END_TEST

START_TEST(too_many)
{
	AUTO_BUF struct buf text = BUF_INIT(SERIES_BYTES_MAX);
	struct series s;

	(void)buf_puts(&text, HEAD);
	for (unsigned i = 0; i <= SERIES_SAMPLES_MAX; i++)
		(void)buf_puts(&text, "0,1,1,1,,,,,\n");
	ck_assert_int_eq(series_parse(text.data, text.len, &s, &errs), -EINVAL);
	ck_assert_str_eq(errs.text[0], "line 1000002: more than 1000000 samples");
	errs_clear(&errs);
}
END_TEST

START_TEST(there_and_back)
{
	const struct growth_sample in[] = {
		{ 5000, 1, 2, 3, 4, 5, 6, GROWTH_UNKNOWN },
		{ 5010, 100 << 20, GROWTH_UNKNOWN, GROWTH_UNKNOWN, 7, GROWTH_UNKNOWN, 0,
			GROWTH_UNKNOWN },
		{ 999999999, GROWTH_UNKNOWN, 0, 0, GROWTH_UNKNOWN, 0, GROWTH_UNKNOWN,
			GROWTH_UNKNOWN },
	};
	AUTO_BUF struct buf text = BUF_INIT(4096);
	struct series s;

	ck_assert_int_eq(series_put_header(&text), 0);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(series_put_sample(&text, 4, 70, &in[i], 5000), 0);
	ck_assert_str_eq(text.data, HEAD "0.000,4,70,1,2,3,4,5,6\n0.010,4,70,104857600,,,7,,0\n"
	    "999994.999,4,70,,0,0,,0,\n");
	ck_assert_int_eq(series_parse(text.data, text.len, &s, &errs), 0);
	ck_assert_uint_eq(s.n_samples, 3);
	for (size_t i = 0; i < 3; i++) {
		struct growth_sample want = in[i];

		want.ms -= 5000;
		ck_assert_mem_eq(&s.samples[i], &want, sizeof(want));
	}
	series_free(&s);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("csv");

	tcase_add_test(c, reads);
	tcase_add_loop_test(c, refuses, 0, (int)(sizeof(wrong) / sizeof(*wrong)));
	tcase_add_test(c, many_errors);
	tcase_add_test(c, too_much);
	tcase_add_test(c, too_many);
	tcase_add_test(c, there_and_back);
	return run_case("series", c);
}
