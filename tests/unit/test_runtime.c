/*
 * test_runtime.c - places of the control socket, names, and texts that are made safe.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/runtime.h"

#include "base/buf.h"
#include "model/text.h"

#include "run_case.h"

#include <check.h>
#include <string.h>

static const struct {
	const char *file, *want;
} names[] = {
	{ NULL, "preforkd" }, { "", "preforkd" }, { "/etc/preforkd/shop.ini", "shop" },
	{ "shop.ini", "shop" }, { "./a.b.ini", "a.b" }, { "/etc/shop.conf", "shop.conf" },
	{ ".ini", ".ini" }, { "/etc/..", "preforkd" }, { "/etc/", "preforkd" },
};

START_TEST(instance_name)
{
	AUTO_FREE char *got = runtime_instance_name(names[_i].file);

	ck_assert_str_eq(got, names[_i].want);
}
END_TEST

static const struct {
	const char *runtime, *user;
	size_t n;
	const char *want[3];
} places[] = {
	{ NULL, NULL, 1, { "/run/preforkd/shop/control" } },
	{ "", "", 1, { "/run/preforkd/shop/control" } },
	{ "rel", "rel", 1, { "/run/preforkd/shop/control" } },
	{ "/run/x", NULL, 2, { "/run/x/control", "/run/preforkd/shop/control" } },
	{ "/run/x:/run/y", "/run/user/7", 3, { "/run/x/control", "/run/preforkd/shop/control",
	    "/run/user/7/preforkd/shop/control" } },
};

START_TEST(candidates)
{
	struct string_list list;

	ck_assert_int_eq(runtime_control_candidates("shop", places[_i].runtime, places[_i].user,
	    &list), 0);
	ck_assert_uint_eq(list.n, places[_i].n);
	for (size_t i = 0; i < list.n; i++)
		ck_assert_str_eq(list.v[i], places[_i].want[i]);
	runtime_free_candidates(&list);
	ck_assert_uint_eq(list.n, 0);
}
END_TEST

START_TEST(bad_names)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "/" };
	struct string_list list;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(runtime_control_candidates(bad[i], NULL, NULL, &list) == -EINVAL,
		    "'%s'", bad[i]);
	ck_assert_int_eq(runtime_control_candidates(NULL, NULL, NULL, &list), -EINVAL);
}
END_TEST

static const struct {
	const char *text, *want;	/* NULL: not set */
} inis[] = {
	{ "", NULL },
	{ "[preforkd]\ncontrol = /run/c\n", "/run/c" },
	{ "[preforkd]\r\ncontrol=/run/c\r\n", "/run/c" },
	{ "\xef\xbb\xbf[preforkd]\ncontrol = /run/c", "/run/c" },
	{ "[preforkd]\n  control\t=  my folder/c  \n", "/base/my folder/c" },
	{ "[preforkd]\ncontrol = /run/a ; b\n", "/run/a ; b" },
	{ "[preforkd]\nworkers = many\n[broken\n=\ncontrol = /run/c\n", NULL },
	{ "[preforkd]\nworkers = many\nrubbish\ncontrol = /run/c\n", "/run/c" },
	{ "[preforkd]\n#control = /run/c\n; control = /run/c\n", NULL },
	{ "[preforkd]\ncontrol =\n", NULL },
	{ "[preforkd]\ncontrol-mode = 0660\n", NULL },
	{ "[server]\ncontrol = /run/c\n", NULL },
	{ "control = /run/c\n", NULL },
	{ "[preforkd]\ncontrol = /run/a\ncontrol = /run/b\n", "/run/b" },
};

START_TEST(find_control)
{
	AUTO_FREE char *path = NULL;
	int r = runtime_find_control(inis[_i].text, strlen(inis[_i].text), "/base", &path);

	ck_assert_msg(r == (inis[_i].want != NULL), "'%s': %d", inis[_i].text, r);
	if (r > 0)
		ck_assert_str_eq(path, inis[_i].want);
}
END_TEST

static const struct {
	const char *text;
	unsigned flags;
	const char *want, *json;
} texts[] = {
	{ "plain", 0, "plain", "plain" },
	{ "a\x1b[31mb", 0, "a\\x1b[31mb", "a\x1b[31mb" },
	{ "a\nb\tc\r", 0, "a\\x0ab\\x09c\\x0d", "a\nb\tc\r" },
	{ "a\nb\tc\r", TEXT_LINES, "a\nb\tc\\x0d", "a\nb\tc\r" },
	{ "\x7f", 0, "\\x7f", "\x7f" },
	{ "\xc3\xa4\xe2\x82\xac", 0, "\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac" },
	{ "\xc3\xa4\xe2\x82\xac", TEXT_ASCII, "??", "\xc3\xa4\xe2\x82\xac" },
	{ "\xc2\x9b", 0, "\\x9b", "\xc2\x9b" },				/* C1: CSI */
	{ "\xe2\x80\xae", TEXT_ASCII, "\\u202e", "\xe2\x80\xae" },	/* right to left */
	{ "\xff\xfe", 0, "\\xff\\xfe", "??" },
	{ "\xc3", 0, "\\xc3", "?" },					/* cut off */
	{ "\xc0\x80", 0, "\\xc0\\x80", "??" },				/* overlong */
	{ "\xed\xa0\x80", 0, "\\xed\\xa0\\x80", "???" },		/* surrogate */
	{ "\xf4\x90\x80\x80", 0, "\\xf4\\x90\\x80\\x80", "????" },	/* above U+10FFFF */
	{ "\xf0\x9f\x98\x80", 0, "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
};

START_TEST(safe_text)
{
	AUTO_BUF struct buf b = BUF_INIT(256);
	json_t *json;

	ck_assert_int_eq(text_put_safe(&b, texts[_i].text, texts[_i].flags), 0);
	ck_assert_str_eq(b.data, texts[_i].want);
	json = text_to_json(texts[_i].text);
	ck_assert_str_eq(json_string_value(json), texts[_i].json);
	json_decref(json);
}
END_TEST

START_TEST(no_text)
{
	AUTO_BUF struct buf b = BUF_INIT(4);
	json_t *json = text_to_json(NULL);

	ck_assert(json_is_null(json));
	ck_assert_int_eq(text_put_safe(&b, NULL, 0), 0);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_int_lt(text_put_safe(&b, "\x1b\x1b", 0), 0);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_loop_test(tc, instance_name, 0, (int)ARRAY_LEN(names));
	tcase_add_loop_test(tc, candidates, 0, (int)ARRAY_LEN(places));
	tcase_add_test(tc, bad_names);
	tcase_add_loop_test(tc, find_control, 0, (int)ARRAY_LEN(inis));
	tcase_add_loop_test(tc, safe_text, 0, (int)ARRAY_LEN(texts));
	tcase_add_test(tc, no_text);
	return run_case("runtime", tc);
}
