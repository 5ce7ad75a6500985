/*
 * test_memrise.c - which part of the cgroup's memory is said to have risen.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/memrise.h"

#include "run_case.h"

#include <check.h>
#include <string.h>

#define MB     (UINT64_C(1) << 20)
#define SEC    UINT64_C(1000)
#define MINUTE (60 * SEC)

static struct memrise m;
static uint64_t now;

static void
set_up(void)
{
	m = (struct memrise){ 0 };
	now = 1000 * SEC;
}

static struct memrise_sample
sample(uint64_t sock, uint64_t kernel, uint64_t file, uint64_t anon)
{
	struct memrise_sample s = {
		.used = (sock + kernel + file + anon) * MB,
		.part = { [MEMRISE_SOCK] = sock * MB, [MEMRISE_KERNEL] = kernel * MB,
		    [MEMRISE_FILE] = file * MB, [MEMRISE_ANON] = anon * MB },
	};

	return s;
}

/* One sample a second; how many lines that made. */
static unsigned
feed(struct memrise_sample s, uint64_t seconds)
{
	unsigned lines = 0;

	for (uint64_t i = 0; i < seconds; i++) {
		lines += memrise_feed(&m, &s, now);
		now += SEC;
	}
	return lines;
}

START_TEST(names_what_rose)
{
	static const struct {
		const char *label;
		uint64_t limit;
		uint64_t before[4], after[4];	/* sock, kernel, file, anon in MB */
		enum memrise_part want;
	} cases[] = {
		{ "sockets", 0, { 2, 10, 20, 100 }, { 62, 12, 20, 110 }, MEMRISE_SOCK },
		{ "kernel", 0, { 2, 10, 20, 100 }, { 2, 60, 20, 110 }, MEMRISE_KERNEL },
		{ "heap", 0, { 2, 10, 20, 100 }, { 2, 10, 20, 300 }, MEMRISE_NONE },
		{ "mostly heap", 0, { 2, 10, 20, 100 }, { 40, 10, 20, 160 }, MEMRISE_NONE },
		{ "less than half of it", 0, { 2, 10, 20, 100 }, { 42, 32, 20, 121 }, MEMRISE_NONE },
		{ "heap falls meanwhile", 0, { 2, 10, 20, 100 }, { 42, 10, 20, 20 }, MEMRISE_SOCK },
		{ "a little", 0, { 2, 10, 20, 100 }, { 17, 10, 20, 100 }, MEMRISE_NONE },
		{ "a little of a large limit", 1000, { 2, 10, 20, 100 }, { 50, 10, 20, 100 },
		    MEMRISE_NONE },
		{ "enough of a large limit", 1000, { 2, 10, 20, 100 }, { 53, 10, 20, 100 },
		    MEMRISE_SOCK },
		{ "page cache with room", 400, { 2, 10, 20, 100 }, { 2, 10, 120, 100 },
		    MEMRISE_NONE },
		{ "page cache that fills it", 400, { 2, 10, 20, 100 }, { 2, 10, 220, 100 },
		    MEMRISE_FILE },
		{ "page cache without a limit", 0, { 2, 10, 20, 100 }, { 2, 10, 9999, 100 },
		    MEMRISE_NONE },
		{ "all falls", 0, { 90, 90, 90, 100 }, { 2, 10, 20, 20 }, MEMRISE_NONE },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const uint64_t *b = cases[i].before, *a = cases[i].after;
		struct memrise_sample before = sample(b[0], b[1], b[2], b[3]);
		struct memrise_sample after = sample(a[0], a[1], a[2], a[3]);
		unsigned lines;

		set_up();
		before.limit = after.limit = cases[i].limit * MB;
		ck_assert_uint_eq(feed(before, 100), 0);
		lines = feed(after, 30);
		ck_assert_msg(m.verdict.part == cases[i].want, "%s: %d", cases[i].label,
		    m.verdict.part);
		ck_assert_msg(lines == (cases[i].want != MEMRISE_NONE), "%s: %u lines",
		    cases[i].label, lines);
	}
}
END_TEST

/* Names of files that somebody has looked at are no rise where there is room for them. */
START_TEST(kernel_with_its_caches)
{
	struct memrise_sample before = sample(2, 10, 20, 100), after = sample(2, 250, 20, 110);

	before.kernel_has_cache = after.kernel_has_cache = true;
	feed(before, 100);
	ck_assert_uint_eq(feed(after, 30), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
	before.limit = after.limit = 1000 * MB;
	ck_assert_uint_eq(feed(after, 30), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
	before.limit = after.limit = 500 * MB;
	ck_assert_uint_eq(feed(after, 30), 1);
	ck_assert_int_eq(m.verdict.part, MEMRISE_KERNEL);
}
END_TEST

/* A burst is no rise; one that holds is, from its lowest value on. */
START_TEST(has_to_hold)
{
	struct memrise_sample low = sample(2, 10, 20, 100), high = sample(62, 10, 20, 100);

	feed(low, 100);
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(feed(high, 9), 0);
		ck_assert_uint_eq(feed(low, 1), 0);
		ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
	}
	ck_assert_uint_eq(feed(high, 11), 1);
	ck_assert_int_eq(m.verdict.part, MEMRISE_SOCK);
	ck_assert_uint_eq(m.verdict.from_bytes, 2 * MB);
	ck_assert_uint_eq(m.verdict.bytes, 62 * MB);
	ck_assert_uint_le(now - m.verdict.from_ms, 2 * MINUTE);
}
END_TEST

/* Slow growth is compared with an hour ago, not with the minute before. */
START_TEST(slow_growth)
{
	unsigned lines = 0;

	feed(sample(2, 10, 20, 100), 10);
	for (uint64_t mb = 2; mb <= 30; mb++)
		lines += feed(sample(mb, 10, 20, 100), 60);
	ck_assert_uint_eq(lines, 1);
	ck_assert_int_eq(m.verdict.part, MEMRISE_SOCK);
	ck_assert_uint_eq(m.verdict.from_bytes, 2 * MB);
	ck_assert_uint_eq(m.verdict.bytes, 30 * MB);
	ck_assert_uint_ge(now - m.verdict.from_ms, 28 * MINUTE);
	/* what has been as large for more than an hour is nothing that rose */
	set_up();
	feed(sample(2, 10, 20, 100), 10);
	feed(sample(17, 10, 20, 100), 2 * 3600);
	feed(sample(30, 10, 20, 100), 600);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
}
END_TEST

START_TEST(ends_and_comes_again)
{
	struct memrise_sample low = sample(2, 10, 20, 100);

	feed(low, 100);
	ck_assert_uint_eq(feed(sample(62, 10, 20, 100), 30), 1);
	/* not gone by half */
	ck_assert_uint_eq(feed(sample(34, 10, 20, 100), 30), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_SOCK);
	ck_assert_uint_eq(m.verdict.bytes, 34 * MB);
	feed(sample(30, 10, 20, 100), 1);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
	feed(low, 60);
	/* again within the hour: shown, not said */
	ck_assert_uint_eq(feed(sample(90, 10, 20, 100), 30), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_SOCK);
	/* after it, once */
	ck_assert_uint_eq(feed(sample(90, 10, 20, 100), 3600), 1);
	/* the same for hours is no news, a quarter more is */
	ck_assert_uint_eq(feed(sample(91, 10, 20, 100), 3 * 3600), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_SOCK);
	ck_assert_uint_eq(feed(sample(120, 10, 20, 100), 3 * 3600), 1);
	ck_assert_uint_eq(m.verdict.from_bytes, 2 * MB);
}
END_TEST

START_TEST(another_cgroup)
{
	feed(sample(2, 10, 20, 100), 100);
	ck_assert_uint_eq(feed(sample(62, 10, 20, 100), 30), 1);
	memrise_reset(&m);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
	ck_assert_uint_eq(feed(sample(200, 10, 20, 100), 30), 0);
	ck_assert_int_eq(m.verdict.part, MEMRISE_NONE);
}
END_TEST

START_TEST(texts)
{
	char text[MEMRISE_TEXT_MAX];
	struct memrise_verdict v = { .part = MEMRISE_SOCK, .from_bytes = 2 * MB, .from_ms = now,
		.bytes = 124 * MB };

	memrise_text(&v, now + 5 * MINUTE, text);
	ck_assert_ptr_nonnull(strstr(text, "socket buffers of the cgroup grew from 2.0M to 124.0M "
	    "within 5m00s"));
	ck_assert_ptr_nonnull(strstr(text, "not the heap of a worker"));
	ck_assert_ptr_nonnull(strstr(text, "net.ipv4.tcp_wmem"));
	ck_assert_str_eq(memrise_name(v.part), "sock");
	v.part = MEMRISE_KERNEL;
	ck_assert_ptr_nonnull(strstr(memrise_text(&v, now, text), "the kernel's memory of"));
	ck_assert_str_eq(memrise_name(v.part), "kernel");
	v.part = MEMRISE_FILE;
	ck_assert_ptr_nonnull(strstr(memrise_text(&v, now, text), "/dev/shm"));
	ck_assert_str_eq(memrise_name(v.part), "file");
	v.part = MEMRISE_NONE;
	ck_assert_str_eq(memrise_text(&v, now, text), "");
	ck_assert_ptr_null(memrise_name(v.part));
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, names_what_rose);
	tcase_add_test(tc, kernel_with_its_caches);
	tcase_add_test(tc, has_to_hold);
	tcase_add_test(tc, slow_growth);
	tcase_add_test(tc, ends_and_comes_again);
	tcase_add_test(tc, another_cgroup);
	tcase_add_test(tc, texts);
	return run_case("memrise", tc);
}
