/*
 * test_buf.c - bounded byte strings, and texts of errors.
 */
#include "base/buf.h"
#include "base/err.h"

#include "run_case.h"

#include <check.h>
#include <string.h>

START_TEST(appends_and_terminates)
{
	struct buf b AUTO_BUF = BUF_INIT(1000);

	ck_assert_int_eq(buf_puts(&b, "ab"), 0);
	ck_assert_int_eq(buf_putc(&b, 'c'), 0);
	ck_assert_int_eq(buf_append(&b, "d\0e", 3), 0);
	ck_assert_int_eq(buf_printf(&b, "%d-%s", 42, "x"), 0);
	ck_assert_uint_eq(b.len, 10);
	ck_assert_mem_eq(b.data, "abcd\0e42-x", 11);
}
END_TEST

START_TEST(stops_at_the_limit)
{
	static const struct {
		const char *label;
		size_t limit, first, second;
		bool fits;
	} rows[] = {
		{ "exactly", 10, 4, 6, true },
		{ "one too many", 10, 4, 7, false },
		{ "at once", 10, 0, 11, false },
		{ "nothing allowed", 0, 0, 1, false },
		{ "nothing wanted", 0, 0, 0, true },
		{ "beyond the first growth", 200, 63, 137, true },
		{ "beyond it by one", 200, 64, 137, false },
	};
	char data[256];

	memset(data, 'x', sizeof(data));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b AUTO_BUF = BUF_INIT(rows[i].limit);

		ck_assert_int_eq(buf_append(&b, data, rows[i].first), 0);
		ck_assert_msg((buf_append(&b, data, rows[i].second) == 0) == rows[i].fits, "%s",
		    rows[i].label);
		ck_assert_msg(b.failed == !rows[i].fits, "%s", rows[i].label);
		ck_assert_msg(b.len == rows[i].first + (rows[i].fits ? rows[i].second : 0), "%s",
		    rows[i].label);
	}
}
END_TEST

START_TEST(failure_is_sticky)
{
	struct buf b AUTO_BUF = BUF_INIT(5);

	ck_assert_int_eq(buf_puts(&b, "abc"), 0);
	ck_assert_int_lt(buf_printf(&b, "%s", "def"), 0);
	/* would fit, but then the content had a hole */
	ck_assert_int_lt(buf_putc(&b, 'g'), 0);
	ck_assert_str_eq(b.data, "abc");
	ck_assert_ptr_null(buf_take(&b));
	ck_assert(!b.failed);
	ck_assert_int_eq(buf_puts(&b, "abcde"), 0);
	ck_assert_int_lt(buf_putc(&b, 'f'), 0);
	buf_clear(&b);
	ck_assert(!b.failed);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq(b.data, "");
}
END_TEST

START_TEST(huge_lengths_do_not_wrap)
{
	struct buf b AUTO_BUF = BUF_INIT(100);

	ck_assert_int_eq(buf_puts(&b, "abc"), 0);
	ck_assert_int_lt(buf_append(&b, "x", SIZE_MAX), 0);
	ck_assert_int_lt(buf_append(&b, "x", SIZE_MAX - 3), 0);
	ck_assert_str_eq(b.data, "abc");
}
END_TEST

START_TEST(consumes_from_the_front)
{
	struct buf b AUTO_BUF = BUF_INIT(100);

	buf_consume(&b, 0);
	buf_puts(&b, "hello");
	buf_consume(&b, 2);
	ck_assert_str_eq(b.data, "llo");
	buf_consume(&b, 3);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq(b.data, "");
	buf_puts(&b, "again");
	ck_assert_str_eq(b.data, "again");
}
END_TEST

START_TEST(take_hands_over)
{
	struct buf b AUTO_BUF = BUF_INIT(100);
	char *s;

	s = buf_take(&b);
	ck_assert_str_eq(s, "");
	free(s);
	buf_puts(&b, "text");
	s = buf_take(&b);
	ck_assert_str_eq(s, "text");
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(b.limit, 100);
	free(s);
}
END_TEST

START_TEST(err_carries_code_and_text)
{
	struct err e;
	char big[2 * ERR_TEXT_MAX];

	ck_assert_int_eq(err_set(&e, EINVAL, "no %s", "way"), -EINVAL);
	ck_assert_int_eq(e.code, EINVAL);
	ck_assert_str_eq(e.text, "no way");
	ck_assert_int_eq(err_sys(&e, ENOENT, "cannot open '%s'", "x"), -ENOENT);
	ck_assert_str_eq(e.text, "cannot open 'x': No such file or directory");
	ck_assert_int_eq(err_set(&e, EPERM, "%s", ""), -EPERM);
	ck_assert_uint_gt(strlen(e.text), 0);
	ck_assert_int_eq(err_set(NULL, EPERM, "x"), -EPERM);
	ck_assert_int_eq(err_sys(NULL, EPERM, "x"), -EPERM);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_sys(&e, EIO, "%s", big);
	ck_assert_uint_eq(strlen(e.text), ERR_TEXT_MAX - 1);
}
END_TEST

START_TEST(errs_are_bounded)
{
	struct errs errs = {0};

	for (int i = 0; i < ERRS_MAX + 5; i++)
		errs_add(&errs, "text %d", i);
	ck_assert_uint_eq(errs.n, ERRS_MAX);
	ck_assert_uint_eq(errs.dropped, 5);
	ck_assert_str_eq(errs.text[ERRS_MAX - 1], "text 199");
	errs_clear(&errs);
	ck_assert_uint_eq(errs.n, 0);
	ck_assert_uint_eq(errs.dropped, 0);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, appends_and_terminates);
	tcase_add_test(tc, stops_at_the_limit);
	tcase_add_test(tc, failure_is_sticky);
	tcase_add_test(tc, huge_lengths_do_not_wrap);
	tcase_add_test(tc, consumes_from_the_front);
	tcase_add_test(tc, take_hands_over);
	tcase_add_test(tc, err_carries_code_and_text);
	tcase_add_test(tc, errs_are_bounded);
	return run_case("buf", tc);
}
