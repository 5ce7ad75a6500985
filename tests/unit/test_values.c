/*
 * test_values.c - numbers, times, sizes and words from text and back.
 */
#include "base/buf.h"
#include "model/values.h"

#include "run_case.h"

#include <check.h>
#include <string.h>

struct row {
	const char *text;
	uint64_t want;		/* when error is NULL */
	const char *error;	/* part of the message */
};

typedef int (*parse_fn)(const char *text, uint64_t *ret, struct err *e);

static void
run_rows(parse_fn parse, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 4711;
		struct err e = {0};
		int r = parse(rows[i].text, &v, &e);

		if (!rows[i].error) {
			ck_assert_msg(r == 0, "'%s': %s", rows[i].text, e.text);
			ck_assert_msg(v == rows[i].want, "'%s': %llu", rows[i].text,
			    (unsigned long long)v);
			continue;
		}
		ck_assert_msg(r == -EINVAL || r == -ERANGE, "'%s': %d", rows[i].text, r);
		ck_assert_msg(e.code == -r, "'%s'", rows[i].text);
		ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "'%s': %s", rows[i].text,
		    e.text);
		ck_assert_msg(v == 4711, "'%s': written on failure", rows[i].text);
		ck_assert_int_eq(parse(rows[i].text, &v, NULL), r);
	}
}

START_TEST(counts)
{
	static const struct row rows[] = {
		{ "0", 0, NULL }, { "7", 7, NULL }, { " 12\t", 12, NULL }, { "007", 7, NULL },
		{ "18446744073709551615", UINT64_MAX, NULL },
		{ "18446744073709551616", 0, "too large" },
		{ "99999999999999999999999", 0, "too large" },
		{ "", 0, "empty" }, { "  ", 0, "empty" }, { "-1", 0, "'-1' is negative" },
		{ "+1", 0, "not a whole" }, { "1.0", 0, "not a whole" },
		{ "1e3", 0, "not a whole" },
		{ "0x10", 0, "not a whole" }, { "1 2", 0, "not a whole" }, { "x", 0, "'x'" },
	};

	run_rows(value_parse_count, rows, ARRAY_LEN(rows));
}
END_TEST

START_TEST(sizes)
{
	static const struct row rows[] = {
		{ "300M", UINT64_C(300) << 20, NULL }, { "300m", UINT64_C(300) << 20, NULL },
		{ "300 MB", UINT64_C(300) << 20, NULL }, { "300Mi", UINT64_C(300) << 20, NULL },
		{ "300MiB", UINT64_C(300) << 20, NULL }, { "1.5G", UINT64_C(3) << 29, NULL },
		{ "512K", 524288, NULL }, { "2T", UINT64_C(2) << 40, NULL }, { "0", 0, NULL },
		{ "0M", 0, NULL }, { "123B", 123, NULL }, { "0.5K", 512, NULL },
		{ "0.000001T", 1099511, NULL },
		{ "300", 0, "write 300M" }, { "1048576", 0, "write 1M" },
		{ "314572800", 0, "write 300M" }, { "0.5", 0, "no unit" },
		{ "50%", 0, "one worker" },
		{ "300X", 0, "not a size" }, { "300MM", 0, "not a size" }, { "M", 0, "start with" },
		{ "-5M", 0, "negative" }, { "1.M", 0, "after the point" },
		{ ".5M", 0, "start with" },
		{ "1.0000000M", 0, "too many digits" }, { "", 0, "empty" },
		{ "16777216T", 0, "too large" }, { "18446744073709551616K", 0, "too large" },
		{ "0.1B", 0, "less than a byte" }, { "1 0M", 0, "not a size" },
	};

	run_rows(value_parse_size, rows, ARRAY_LEN(rows));
}
END_TEST

START_TEST(times)
{
	static const struct row rows[] = {
		{ "30", 30000, NULL }, { "1.5", 1500, NULL }, { "500ms", 500, NULL },
		{ "10s", 10000, NULL }, { "10 sec", 10000, NULL }, { "5min", 300000, NULL },
		{ "5m", 300000, NULL }, { "2h", 7200000, NULL }, { "1d", 86400000, NULL },
		{ "0", 0, NULL }, { "0.001", 1, NULL }, { "1.9999ms", 1, NULL },
		{ "0.0001", 0, "less than a millisecond" }, { "5x", 0, "not a time" },
		{ "5 ms s", 0, "not a time" }, { "-1", 0, "negative" }, { "", 0, "empty" },
		{ "s", 0, "start with" }, { "213503982335d", 0, "too large" },
	};

	run_rows(value_parse_time, rows, ARRAY_LEN(rows));
}
END_TEST

START_TEST(modes)
{
	static const struct row rows[] = {
		{ "0660", 0660, NULL }, { "660", 0660, NULL }, { "0o600", 0600, NULL },
		{ "0", 0, NULL }, { "7777", 07777, NULL }, { "10000", 0, "above" },
		{ "0668", 0, "octal" }, { "", 0, "octal" }, { "rw", 0, "octal" },
		{ "0o", 0, "octal" },
		{ "-1", 0, "octal" }, { "7777777777777777777777777", 0, "above" },
	};

	run_rows(value_parse_mode, rows, ARRAY_LEN(rows));
}
END_TEST

START_TEST(integers)
{
	static const struct { const char *text; int64_t want; bool ok; } rows[] = {
		{ "5", 5, true }, { "-1000", -1000, true }, { "+3", 3, true }, { "0", 0, true },
		{ "9223372036854775807", INT64_MAX, true },
		{ "-9223372036854775807", -INT64_MAX, true },
		{ "9223372036854775808", 0, false }, { "-9223372036854775809", 0, false },
		{ "", 0, false }, { "-", 0, false }, { "--1", 0, false }, { "1-", 0, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t v = 4711;
		int r = value_parse_int(rows[i].text, &v, NULL);

		ck_assert_msg((r == 0) == rows[i].ok, "'%s'", rows[i].text);
		ck_assert_msg(v == (rows[i].ok ? rows[i].want : 4711), "'%s'", rows[i].text);
	}
}
END_TEST

START_TEST(booleans)
{
	static const struct { const char *text; int want; } rows[] = {
		{ "yes", 1 }, { "no", 0 }, { "True", 1 }, { "FALSE", 0 }, { "on", 1 }, { "off", 0 },
		{ "1", 1 }, { "0", 0 }, { " yes ", 1 }, { "", -1 }, { "y", -1 }, { "2", -1 },
		{ "yess", -1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool v = rows[i].want == 0;
		struct err e = {0};
		int r = value_parse_bool(rows[i].text, &v, &e);

		ck_assert_msg((r == 0) == (rows[i].want >= 0), "'%s'", rows[i].text);
		if (rows[i].want >= 0)
			ck_assert_msg(v == (rows[i].want == 1), "'%s'", rows[i].text);
	}
}
END_TEST

START_TEST(printing_is_exact)
{
	static const uint64_t numbers[] = {
		0, 1, 999, 1000, 1023, 1024, 1025, 1500, 59999, 60000, 61000, 119999, 120000, 90000,
		3600000, 7200000, 86400000, 172800000, 1u << 20, 314572800, 314572801,
		UINT64_C(1) << 40, (UINT64_C(1) << 40) + 1024, UINT64_C(1) << 53,
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct buf size AUTO_BUF = BUF_INIT(40), time AUTO_BUF = BUF_INIT(40);
		uint64_t v;

		ck_assert_int_eq(value_print_size(numbers[i], &size), 0);
		ck_assert_int_eq(value_parse_size(size.data, &v, NULL), 0);
		ck_assert_msg(v == numbers[i], "%s", size.data);
		ck_assert_int_eq(value_print_time(numbers[i], &time), 0);
		ck_assert_int_eq(value_parse_time(time.data, &v, NULL), 0);
		ck_assert_msg(v == numbers[i], "%s", time.data);
	}
}
END_TEST

START_TEST(human_numbers)
{
	static const struct { uint64_t n; const char *size, *time; } rows[] = {
		{ 0, "0B", "0ms" },
		{ 90, "90B", "90ms" },
		{ 999, "999B", "999ms" },
		{ 1000, "1000B", "1.0s" },
		{ 1023, "1023B", "1.0s" },
		{ 1024, "1.0K", "1.0s" },
		{ 1500, "1.5K", "1.5s" },
		{ 9949, "9.7K", "9.9s" },
		{ 9950, "9.7K", "10s" },
		{ 59499, "58.1K", "59s" },
		{ 59500, "58.1K", "1m00s" },
		{ 200000, "195.3K", "3m20s" },
		{ 3599499, "3.4M", "59m59s" },
		{ 3599500, "3.4M", "1h00m" },
		{ 7500000, "7.2M", "2h05m" },
		{ 86369999, "82.4M", "23h59m" },
		{ 86370000, "82.4M", "1d00h" },
		{ 273600000, "260.9M", "3d04h" },
		{ 327575142, "312.4M", "3d19h" },
		{ (UINT64_C(1) << 20) - 1, "1.0M", "17m29s" },
		{ UINT64_C(1288490189), "1.2G", "14d22h" },
		{ UINT64_MAX, "16.0E", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[32];

		value_human_size(rows[i].n, text, sizeof(text));
		ck_assert_str_eq(text, rows[i].size);
		value_human_time(rows[i].n, text, sizeof(text));
		if (rows[i].time)
			ck_assert_str_eq(text, rows[i].time);
	}
	{
		char tiny[3];

		value_human_size(327575142, tiny, sizeof(tiny));
		ck_assert_str_eq(tiny, "31");
	}
}
END_TEST

START_TEST(quoting)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "abc", "'abc'" }, { "", "''" }, { "a\tb\x1b[0m", "'a?b?[0m'" },
		{ "12345678901234567890", "'12345678901234...'" },
		{ "1234567890123\xc3\xa9 and more", "'1234567890123...'" },
		{ "12345678901234", "'12345678901234'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char dst[20];

		ck_assert_str_eq(value_quote(rows[i].text, dst, sizeof(dst)), rows[i].want);
	}
}
END_TEST

START_TEST(words)
{
	static const struct { const char *text, *want, *error; } rows[] = {
		{ "a", "a|", NULL }, { "  a  b\tc ", "a|b|c|", NULL },
		{ "sh -c 'a ; b'", "sh|-c|a ; b|", NULL },
		{ "a \"b \\\" \\\\ \\n\"", "a|b \" \\ \\n|", NULL },
		{ "a b\\ c \\'", "a|b c|'|", NULL }, { "'' \"\"", "||", NULL },
		{ "a'b'\"c\"d", "abcd|", NULL }, { "--x=';'", "--x=;|", NULL },
		{ "a ';' \\; \"#\" b;c d#e", "a|;|;|#|b;c|d#e|", NULL }, { "{fd}", "{fd}|", NULL },
		{ "", NULL, "empty" }, { "  ", NULL, "empty" }, { "'a", NULL, "quote '" },
		{ "a \"b", NULL, "quote \"" }, { "a \\", NULL, "backslash" },
		{ "a ; b", NULL, "';'" }, { "a # b", NULL, "line of its own" },
		{ "a && b", NULL, "'&&'" }, { "a | b", NULL, "sh -c" }, { "a > f", NULL, "'>'" },
		{ "a #", NULL, "'#'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf got AUTO_BUF = BUF_INIT(200);
		struct err e = {0};
		char **w = value_split_words(rows[i].text, &e);

		if (rows[i].error) {
			ck_assert_msg(!w, "%s", rows[i].text);
			ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "%s: %s", rows[i].text,
			    e.text);
			continue;
		}
		ck_assert_msg(w != NULL, "%s: %s", rows[i].text, e.text);
		for (char **p = w; *p; p++)
			buf_printf(&got, "%s|", *p);
		ck_assert_msg(strcmp(got.data, rows[i].want) == 0, "%s: %s", rows[i].text,
		    got.data);
		values_free_words(w);
	}
	values_free_words(NULL);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, counts);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, times);
	tcase_add_test(tc, modes);
	tcase_add_test(tc, integers);
	tcase_add_test(tc, booleans);
	tcase_add_test(tc, printing_is_exact);
	tcase_add_test(tc, human_numbers);
	tcase_add_test(tc, quoting);
	tcase_add_test(tc, words);
	return run_case("values", tc);
}
