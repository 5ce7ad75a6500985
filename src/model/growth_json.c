/*
 * growth_json.c - a verdict as JSON. The names are what scripts are written against.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "base/buf.h"
#include "model/json_build.h"

#define TEXT_MAX 4096

static json_t *
whole(double n)
{
	return !(n >= 0.0) ? json_null() : n >= 9e18 ? json_integer(INT64_MAX) :
	    json_integer((json_int_t)(n + 0.5));
}

static json_t *
rounded(double n, double factor)
{
	double thousandths = n * factor * 1000.0 + 0.5;

	/* Nothing that large has a fraction. */
	return !(n >= 0.0) ? json_null() : thousandths >= 9e18 ? json_real(n * factor)
	    : json_real((double)(int64_t)thousandths / 1000.0);
}

static void
put_text(json_t *object, const char *key, struct buf *text, bool *ok)
{
	build_put(object, key, text->failed || text->data == NULL ? NULL : json_string(text->data), ok);
	buf_clear(text);
}

static void
put_numbers(json_t *o, const struct growth_verdict *v, bool *ok)
{
	bool is_fds = v->kind == GROWTH_FDS;
	double none = -1.0;

	build_put(o, "samples", json_integer((json_int_t)v->samples), ok);
	build_put(o, "seconds", rounded(v->seconds, 1.0), ok);
	build_put(o, "requests", whole(v->requests), ok);
	build_put(o, "rss_bytes", whole(v->size), ok);
	build_put(o, "grown_bytes", whole(is_fds ? none : v->grown), ok);
	build_put(o, "before_bytes", whole(is_fds ? none : v->before), ok);
	build_put(o, "after_bytes", whole(is_fds ? none : v->after), ok);
	build_put(o, "bytes_per_request", whole(is_fds ? none : v->per_request), ok);
	build_put(o, "bytes_per_request_low", whole(v->per_request_low), ok);
	build_put(o, "bytes_per_request_high", whole(v->per_request_high), ok);
	build_put(o, "bytes_per_minute", whole(is_fds ? none : v->per_minute), ok);
	build_put(o, "bytes_per_concurrent_request",
	    whole(v->kind == GROWTH_CONCURRENCY ? v->per_concurrent : none), ok);
	build_put(o, "bytes_per_connection",
	    whole(v->kind == GROWTH_CONNECTIONS ? v->per_concurrent : none), ok);
	build_put(o, "requests_to_limit", whole(v->requests_to_limit), ok);
	build_put(o, "minutes_to_limit", rounded(v->minutes_to_limit, 1.0), ok);
	build_put(o, "given_back_bytes", whole(v->given_back), ok);
	build_put(o, "shareable_bytes", whole(v->shareable), ok);
	build_put(o, "at_seconds", rounded(v->at_seconds, 1.0), ok);
	build_put(o, "grown_descriptors", whole(is_fds ? v->grown : none), ok);
	build_put(o, "descriptors_per_1000_requests", rounded(is_fds ? v->per_request : none, 1000.0), ok);
	build_put(o, "descriptors_per_minute", rounded(is_fds ? v->per_minute : none, 1.0), ok);
}

json_t *
growth_to_json(const struct growth_verdict *v, const struct growth_facts *facts)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "verdict", json_string(growth_name(v->kind)), &ok);
	build_put(o, "strength", json_string(v->is_strong ? "strong" : "fair"), &ok);
	put_numbers(o, v, &ok);
	if (v->judged > 0) {
		build_put(o, "workers_agree", json_integer((json_int_t)v->agree), &ok);
		build_put(o, "workers_judged", json_integer((json_int_t)v->judged), &ok);
	}
	(void)growth_put_evidence(v, &text);
	put_text(o, "evidence", &text, &ok);
	(void)growth_put_remedy(v, facts, &text);
	put_text(o, "remedy", &text, &ok);
	return build_done(o, ok);
}
