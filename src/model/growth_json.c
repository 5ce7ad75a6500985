/*
 * growth_json.c - a verdict as JSON. The names are what scripts are written against.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "base/buf.h"

#define TEXT_MAX 4096

static json_t *
whole(double n)
{
	return n < 0.0 ? json_null() : n >= 9e18 ? json_integer(INT64_MAX) :
	    json_integer((json_int_t)(n + 0.5));
}

static json_t *
rounded(double n, double factor)
{
	return n < 0.0 ? json_null() : json_real((double)(int64_t)(n * factor * 1000.0 + 0.5) / 1000.0);
}

static void
put(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (value == NULL || json_object_set_new(object, key, value) < 0)
		*ok = false;
}

static void
put_text(json_t *object, const char *key, struct buf *text, bool *ok)
{
	put(object, key, text->failed || text->data == NULL ? NULL : json_string(text->data), ok);
	buf_clear(text);
}

static void
put_numbers(json_t *o, const struct growth_verdict *v, bool *ok)
{
	bool is_fds = v->kind == GROWTH_FDS;
	double none = -1.0;

	put(o, "samples", json_integer((json_int_t)v->samples), ok);
	put(o, "seconds", rounded(v->seconds, 1.0), ok);
	put(o, "requests", whole(v->requests), ok);
	put(o, "rss_bytes", whole(v->size), ok);
	put(o, "grown_bytes", whole(is_fds ? none : v->grown), ok);
	put(o, "before_bytes", whole(is_fds ? none : v->before), ok);
	put(o, "after_bytes", whole(is_fds ? none : v->after), ok);
	put(o, "bytes_per_request", whole(is_fds ? none : v->per_request), ok);
	put(o, "bytes_per_request_low", whole(v->per_request_low), ok);
	put(o, "bytes_per_request_high", whole(v->per_request_high), ok);
	put(o, "bytes_per_minute", whole(is_fds ? none : v->per_minute), ok);
	put(o, "bytes_per_concurrent_request", whole(v->per_concurrent), ok);
	put(o, "requests_to_limit", whole(v->requests_to_limit), ok);
	put(o, "minutes_to_limit", rounded(v->minutes_to_limit, 1.0), ok);
	put(o, "given_back_bytes", whole(v->given_back), ok);
	put(o, "shareable_bytes", whole(v->shareable), ok);
	put(o, "at_seconds", rounded(v->at_seconds, 1.0), ok);
	put(o, "grown_descriptors", whole(is_fds ? v->grown : none), ok);
	put(o, "descriptors_per_1000_requests", rounded(is_fds ? v->per_request : none, 1000.0), ok);
	put(o, "descriptors_per_minute", rounded(is_fds ? v->per_minute : none, 1.0), ok);
}

json_t *
growth_to_json(const struct growth_verdict *v, const struct growth_facts *facts)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);
	json_t *o = json_object();
	bool ok = o != NULL;

	if (!ok)
		return NULL;
	put(o, "verdict", json_string(growth_name(v->kind)), &ok);
	put(o, "strength", json_string(v->is_strong ? "strong" : "fair"), &ok);
	put_numbers(o, v, &ok);
	if (v->judged > 0) {
		put(o, "workers_agree", json_integer((json_int_t)v->agree), &ok);
		put(o, "workers_judged", json_integer((json_int_t)v->judged), &ok);
	}
	(void)growth_put_evidence(v, &text);
	put_text(o, "evidence", &text, &ok);
	(void)growth_put_remedy(v, facts, &text);
	put_text(o, "remedy", &text, &ok);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}
