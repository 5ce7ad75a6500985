/*
 * test_memory_report.c - the page and the JSON of preforkctl memory, and the small drawings.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/memory_report.h"

#include "base/buf.h"
#include "growth_series.h"
#include "run_case.h"
#include "model/sparkline.h"

#include <check.h>
#include <stdlib.h>

static struct made made[3];
static struct growth_series series[3];

static struct growth_sample
rss(uint64_t ms, uint64_t bytes)
{
	return (struct growth_sample){ .ms = ms, .rss = bytes };
}

static const char *
drawn(const struct growth_sample *s, size_t n, size_t columns, bool is_utf8)
{
	static char text[1024];
	AUTO_BUF struct buf out = BUF_INIT(1000);

	ck_assert_int_eq(sparkline_put(&out, s, n, columns, is_utf8), 0);
	ck_assert_uint_lt(out.len, sizeof(text));
	memcpy(text, out.data, out.len + 1);
	return text;
}

START_TEST(sparklines)
{
	struct growth_sample s[8];

	for (size_t i = 0; i < 8; i++)
		s[i] = rss(i * 100, (i + 1) * 1000000);
	ck_assert_str_eq(drawn(s, 8, 8, false), "_.-=+*%#");
	ck_assert_str_eq(drawn(s, 8, 8, true), "▁▂▃▄▅▆▇█");
	ck_assert_str_eq(drawn(s, 8, 4, false), "_-*#");
	/* noise is flat, a gap is like what was before it, what is not known is left out */
	for (size_t i = 0; i < 8; i++)
		s[i] = rss(i * 100, 1000000 + i * 1000);
	ck_assert_str_eq(drawn(s, 8, 8, false), "________");
	s[1] = rss(700, 9000000);
	ck_assert_str_eq(drawn(s, 2, 8, false), "_______#");
	s[1].rss = GROWTH_UNKNOWN;
	ck_assert_str_eq(drawn(s, 2, 4, false), "____");
	s[0].rss = GROWTH_UNKNOWN;
	ck_assert_str_eq(drawn(s, 2, 4, false), "    ");
	ck_assert_str_eq(drawn(s, 0, 4, false), "    ");
	ck_assert_str_eq(drawn(s, 1, 4, false), "    ");
}
END_TEST

static struct memory_report
report(void)
{
	struct memory_report r = {
		.title = "shop: 2 workers", .series = series, .n = 3,
		.facts = { .workers = 2, .limit_rss = 400 << 20, .trim_gc = GROWTH_UNKNOWN,
			.trim_malloc = GROWTH_UNKNOWN },
	};

	for (unsigned i = 0; i < 3; i++) {
		make_series(i == 2 ? FLAT : LEAK, i, &made[i]);
		series[i] = (struct growth_series){ .slot = i == 0 ? 1 : i, .serial = 10 + i,
			.is_ended = i == 0, .samples = made[i].samples, .n = made[i].n,
			.facts = r.facts };
	}
	ck_assert_int_eq(memory_report_judge(&r), 0);
	return r;
}

START_TEST(page)
{
	struct memory_report r = report();

	for (size_t width = 80; width < 200; width += 7)
		for (unsigned utf8 = 0; utf8 < 2; utf8++) {
			AUTO_BUF struct buf out = BUF_INIT(1 << 20);
			size_t column = 0;

			ck_assert_int_eq(memory_report_print(&r, width, utf8 == 1, &out), 0);
			for (const char *p = out.data; *p != '\0'; p++) {
				/* characters, not bytes */
				column = *p == '\n' ? 0 : column + ((*p & 0xc0) != 0x80);
				ck_assert_msg(column <= width, "%s", out.data);
				ck_assert(utf8 == 1 || (*p & 0x80) == 0);
			}
			ck_assert_ptr_nonnull(strstr(out.data, "shop: 2 workers\n SLOT SERIAL"));
			ck_assert_ptr_nonnull(strstr(out.data, "\n   1*     10 "));
			ck_assert_ptr_nonnull(strstr(out.data, "\npool, reload-on-rss = 400.0M:\n  "
			    "grows with requests (strong, 2 of 3 workers): "));
			ck_assert_ptr_nonnull(strstr(out.data, "    remedy: reload-on-rss"));
			ck_assert_ptr_nonnull(strstr(out.data, "* has ended\n"));
		}
	memory_report_done(&r);
}
END_TEST

START_TEST(nothing_to_say)
{
	struct memory_report r = { .series = series, .n = 1, .facts = { .workers = 1 } };
	AUTO_BUF struct buf out = BUF_INIT(1 << 20);

	make_series(QUIET, 3, &made[0]);
	series[0] = (struct growth_series){ .slot = 1, .serial = 1, .samples = made[0].samples,
		.n = made[0].n, .facts = { .workers = 1, .trim_gc = GROWTH_UNKNOWN,
		.trim_malloc = GROWTH_UNKNOWN } };
	ck_assert_int_eq(memory_report_judge(&r), 0);
	ck_assert_int_eq(memory_report_print(&r, 80, false, &out), 0);
	ck_assert_ptr_nonnull(strstr(out.data, "pool:\n  no growth"));
	memory_report_done(&r);
	series[0].n = 5;
	buf_clear(&out);
	ck_assert_int_eq(memory_report_judge(&r), 0);
	ck_assert_int_eq(memory_report_print(&r, 80, false, &out), 0);
	ck_assert_ptr_nonnull(strstr(out.data, "pool:\n  too little was seen"));
	memory_report_done(&r);
	r.n = 0;
	buf_clear(&out);
	ck_assert_int_eq(memory_report_judge(&r), 0);
	ck_assert_int_eq(memory_report_print(&r, 80, false, &out), 0);
	memory_report_done(&r);
}
END_TEST

START_TEST(names)
{
	struct memory_report r = report();
	json_t *o = memory_report_json(&r), *workers, *w, *v;

	ck_assert_ptr_nonnull(o);
	workers = json_object_get(o, "workers");
	ck_assert_uint_eq(json_array_size(workers), 3);
	w = json_array_get(workers, 1);
	ck_assert_int_eq(json_integer_value(json_object_get(w, "slot")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(w, "serial")), 11);
	ck_assert(json_is_false(json_object_get(w, "ended")));
	v = json_array_get(json_object_get(w, "verdicts"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(v, "verdict")), "grows-with-requests");
	ck_assert(json_integer_value(json_object_get(v, "bytes_per_request")) > 0);
	ck_assert(json_is_null(json_object_get(v, "bytes_per_minute")));
	ck_assert(json_is_integer(json_object_get(v, "requests_to_limit")));
	ck_assert_ptr_null(json_object_get(v, "workers_agree"));
	ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(workers, 2),
	    "verdicts")), 0);
	v = json_array_get(json_object_get(json_object_get(o, "pool"), "verdicts"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(v, "verdict")), "grows-with-requests");
	ck_assert_int_eq(json_integer_value(json_object_get(v, "workers_agree")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(v, "workers_judged")), 3);
	json_decref(o);
	memory_report_done(&r);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("report");

	tcase_add_test(c, sparklines);
	tcase_add_test(c, page);
	tcase_add_test(c, nothing_to_say);
	tcase_add_test(c, names);
	return run_case("memory_report", c);
}
