/*
 * test_limit.c - limits on memory: text, bytes, and which of them contradict each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/limit.h"

#include "base/buf.h"
#include "model/settings.h"

#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)

static const struct {
	const char *text, *prints;
	enum limit_kind kind;
	uint64_t value;
} good[] = {
	{ "300M", "300M", LIMIT_SIZE, 300 * MB },
	{ "1.5G", "1536M", LIMIT_SIZE, 1536 * MB },
	{ "0", "0", LIMIT_OFF, 0 },
	{ "2x", "2x", LIMIT_FRESH, 200 },
	{ "2.5x", "2.5x", LIMIT_FRESH, 250 },
	{ "2.5X", "2.5x", LIMIT_FRESH, 250 },
	{ "1.25x", "1.25x", LIMIT_FRESH, 125 },
	{ "1.10x", "1.1x", LIMIT_FRESH, 110 },
	{ "2.05x", "2.05x", LIMIT_FRESH, 205 },
	{ "100x", "100x", LIMIT_FRESH, 10000 },
	{ "1%", "1%", LIMIT_PERCENT, 1 },
	{ "100%", "100%", LIMIT_PERCENT, 100 },
};

START_TEST(reads_and_prints)
{
	struct buf out AUTO_BUF = BUF_INIT(40);
	struct limit l = {0}, again = {0};
	struct err e;

	ck_assert_int_eq(limit_parse(good[_i].text, &l, &e), 0);
	ck_assert_int_eq(l.kind, good[_i].kind);
	ck_assert_uint_eq(l.value, good[_i].value);
	ck_assert_int_eq(limit_print(l, &out), 0);
	ck_assert_str_eq(out.data, good[_i].prints);
	ck_assert_int_eq(limit_parse(out.data, &again, &e), 0);
	ck_assert(limit_is_equal(l, again));
}
END_TEST

static const struct { const char *text, *part; } bad[] = {
	{ "300", "no unit" }, { "x", "multiple" }, { ".5x", "multiple" }, { "2.x", "multiple" },
	{ "2.555x", "multiple" }, { "2.5.5x", "multiple" }, { "-2x", "multiple" },
	{ "1x", "1.1x to 100x" }, { "1.09x", "1.1x to 100x" }, { "100.01x", "1.1x to 100x" },
	{ "99999999999999x", "multiple" }, { "%", "percentage" }, { "0%", "1% to 100%" },
	{ "101%", "1% to 100%" }, { "1.5%", "percentage" }, { "5 %", "percentage" },
	{ "99999999999999%", "percentage" }, { "", "empty" },
};

START_TEST(refuses)
{
	struct limit l = { LIMIT_SIZE, 7 };
	struct err e;

	ck_assert_int_lt(limit_parse(bad[_i].text, &l, &e), 0);
	ck_assert_msg(strstr(e.text, bad[_i].part) != NULL, "%s: %s", bad[_i].text, e.text);
	ck_assert_uint_eq(l.value, 7);
}
END_TEST

START_TEST(becomes_bytes)
{
	const struct limit x = { LIMIT_FRESH, 250 }, percent = { LIMIT_PERCENT, 20 };

	ck_assert_uint_eq(limit_bytes((struct limit){0}, 40 * MB, 400 * MB), 0);
	ck_assert_uint_eq(limit_bytes((struct limit){ .kind = LIMIT_AUTO }, 40 * MB, 400 * MB), 0);
	ck_assert_uint_eq(limit_bytes(limit_size(5), 40 * MB, 400 * MB), 5);
	ck_assert_uint_eq(limit_bytes(x, 40 * MB, 0), 100 * MB);
	ck_assert_uint_eq(limit_bytes(x, 0, 400 * MB), 0);
	ck_assert_uint_eq(limit_bytes(percent, 0, 400 * MB), 80 * MB);
	ck_assert_uint_eq(limit_bytes(percent, 40 * MB, 0), 0);
	ck_assert_uint_eq(limit_bytes(x, 199, 0), 497);
	/* as large as memory can be */
	ck_assert_uint_eq(limit_bytes((struct limit){ LIMIT_PERCENT, 100 }, 0, UINT64_MAX),
	    UINT64_MAX);
}
END_TEST

static struct settings *
load(const char *lines, uint64_t cgroup, struct errs *errs)
{
	char text[400];
	struct settings *s = NULL;
	struct settings_source src = {
		.file = "app.ini", .text = text, .base_dir = "/srv", .default_workers = 2,
		.cgroup_limit_bytes = cgroup,
	};

	src.len = (size_t)snprintf(text, sizeof(text), "[preforkd]\nwsgi = a:b\n%s", lines);
	(void)settings_load(&src, &s, errs);
	return s;
}

START_TEST(share_needs_a_whole)
{
	struct errs errs = {0};
	struct settings *s = load("reload-on-rss = 20%\nmemory-limit = 90%\n", 400 * MB, &errs);

	ck_assert_ptr_nonnull(s);
	ck_assert_int_eq(s->reload_on_rss.kind, LIMIT_PERCENT);
	ck_assert_int_eq(s->memory_limit.kind, LIMIT_PERCENT);
	settings_free(s);
	ck_assert_ptr_null(load("reload-on-rss = 20%\nmemory-limit = 90%\n", 0, &errs));
	ck_assert_uint_eq(errs.n, 2);
	errs_clear(&errs);
}
END_TEST

/* What is no contradiction, or cannot be known to be one before it is in bytes. */
START_TEST(these_go_together)
{
	static const char *const fine[] = {
		"", "memory-limit = no\n", "memory-limit = auto\nmemory-high = 90%\n",
		"memory-limit = 400M\nmemory-high = 300M\n",
		"reload-on-rss = 2x\nevil-reload-on-rss = 100M\n",
		"reload-on-rss = 300M\nevil-reload-on-rss = 2x\n",
		"trim-on-rss = 1.5x\nreload-on-rss = 2x\nevil-reload-on-rss = 4x\n",
		"trim-on-rss = 100M\nreload-on-rss = off\nevil-reload-on-uss = 200M\n",
		"reload-on-pss = 10%\nevil-reload-on-rss = 50%\n",
	};
	struct errs errs = {0};
	struct settings *s = load(fine[_i], 400 * MB, &errs);

	ck_assert_msg(s != NULL, "%s%s", fine[_i], errs.n > 0 ? errs.text[0] : "");
	settings_free(s);
	errs_clear(&errs);
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("limit");

	tcase_add_loop_test(t, reads_and_prints, 0, (int)ARRAY_LEN(good));
	tcase_add_loop_test(t, refuses, 0, (int)ARRAY_LEN(bad));
	tcase_add_test(t, becomes_bytes);
	tcase_add_test(t, share_needs_a_whole);
	tcase_add_loop_test(t, these_go_together, 0, 9);
	return run_case("limit", t);
}
