/*
 * test_ids.c - users and groups by name and by number.
 */
#include "system/spawn.h"

#include "run_case.h"

#include <check.h>

START_TEST(lookup)
{
	static const struct {
		const char *user, *group;
		int want;
		uid_t uid;
		gid_t gid;
		const char *text;
	} cases[] = {
		{ "root", NULL, 0, 0, 0, NULL },
		{ "0", NULL, 0, 0, 0, NULL },
		{ "root", "daemon", 0, 0, 1, NULL },
		{ "daemon", NULL, 0, 1, 1, NULL },
		{ "123456", "77", 0, 123456, 77, NULL },
		{ "123456", NULL, -ENOENT, 0, 0,
		    "user 123456 has no entry in the user database; set group = too" },
		{ "no-such-user", NULL, -ENOENT, 0, 0, "user 'no-such-user' does not exist" },
		{ "root", "no-such-group", -ENOENT, 0, 0, "group 'no-such-group' does not exist" },
		{ "4294967295", "1", -EINVAL, 0, 0, "'4294967295' is no user number" },
		{ "99999999999999999999999", "1", -EINVAL, 0, 0,
		    "'99999999999999999999999' is no user number" },
		{ "root", "4294967295", -EINVAL, 0, 0, "'4294967295' is no group number" },
		{ "", NULL, -ENOENT, 0, 0, "user '' does not exist" },
	};
	struct err e = {0};
	uid_t uid = 7777;
	gid_t gid = 7777, *groups = NULL;
	size_t n = 0;
	int r = spawn_lookup_ids(cases[_i].user, cases[_i].group, &uid, &gid, &groups, &n, &e);

	ck_assert_msg(r == cases[_i].want, "%s: %d", cases[_i].user, r);
	if (r == 0) {
		ck_assert_uint_eq(uid, cases[_i].uid);
		ck_assert_uint_eq(gid, cases[_i].gid);
		ck_assert_uint_ge(n, 1);
		ck_assert_uint_eq(groups[0], gid);
	} else {
		ck_assert_str_eq(e.text, cases[_i].text);
		ck_assert_ptr_null(groups);
		ck_assert_uint_eq(uid, 7777);
	}
	free(groups);
}
END_TEST

START_TEST(lookup_of_this_process)
{
	uid_t uid = 7777;
	gid_t gid = 7777, *groups = NULL;
	size_t n = 999;

	ck_assert_int_eq(spawn_lookup_ids(NULL, NULL, &uid, &gid, &groups, &n, NULL), 0);
	ck_assert_uint_eq(uid, geteuid());
	ck_assert_uint_eq(gid, getegid());
	ck_assert_int_eq((int)n, getgroups(0, NULL));
	free(groups);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, lookup, 0, 12);
	tcase_add_test(tc, lookup_of_this_process);
	return run_case("ids", tc);
}
