/*
 * status_expect.h - what a status in JSON, and the texts made of it, have to contain.
 */
#ifndef PREFORKD_TESTS_STATUS_EXPECT_H
#define PREFORKD_TESTS_STATUS_EXPECT_H

#include "base/base.h"

#include <check.h>
#include <jansson.h>
#include <string.h>

/* want -1: null */
static inline void
check_number(const json_t *o, const char *key, json_int_t want)
{
	const json_t *value = json_object_get(o, key);

	if (want < 0)
		ck_assert_msg(json_is_null(value), "'%s' is not null", key);
	else
		ck_assert_msg(json_is_integer(value) && json_integer_value(value) == want,
		    "'%s' is not %lld", key, (long long)want);
}

static inline void
expect(const char *text, const char *part, bool is_there)
{
	ck_assert_msg((strstr(text, part) != NULL) == is_there, "%s'%s' in:\n%.1500s",
	    is_there ? "no " : "", part, text);
}

#endif
