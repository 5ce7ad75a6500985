/*
 * json_build.h - JSON objects, member by member: what fails on the way shows at the end. Pure.
 */
#ifndef PREFORKD_JSON_BUILD_H
#define PREFORKD_JSON_BUILD_H

#include "base/base.h"

#include <jansson.h>

/* Takes value; *ok becomes false when it is NULL, or memory runs out. */
static inline void
build_put(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (value == NULL || json_object_set_new(object, key, value) < 0)
		*ok = false;
}

/* Takes object; NULL unless everything went well. */
static inline json_t *
build_done(json_t *object, bool ok)
{
	if (ok)
		return object;
	json_decref(object);
	return NULL;
}

/* Appends what was built to a list of it; takes both. NULL: out of memory, both are gone. */
static inline json_t *
build_append(json_t *list, json_t *value)
{
	if (list != NULL && value != NULL && json_array_append_new(list, value) == 0)
		return list;
	if (list == NULL)
		json_decref(value);
	json_decref(list);
	return NULL;
}

static inline json_t *
build_count(uint64_t n)
{
	return json_integer(n > INT64_MAX ? (json_int_t)INT64_MAX : (json_int_t)n);
}

static inline json_t *
build_seconds(uint64_t ms)
{
	return json_real((double)ms / (double)MSEC_PER_SEC);
}

#endif
