/*
 * growth.c - which verdicts there are about one worker, from its samples.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#include <string.h>

#define TOLD_S         0.25	/* agents tell of requests five times a second */

static const char *const names[GROWTH_N] = {
	[GROWTH_WITH_REQUESTS] = "grows-with-requests",
	[GROWTH_WHILE_IDLE] = "grows-while-idle",
	[GROWTH_WITH_TIME] = "grows-with-time",
	[GROWTH_CONCURRENCY] = "follows-concurrency",
	[GROWTH_CONNECTIONS] = "follows-connections",
	[GROWTH_STEP] = "step",
	[GROWTH_WARM_UP] = "warm-up-then-flat",
	[GROWTH_STABLE] = "large-but-stable",
	[GROWTH_KEPT] = "kept-after-load",
	[GROWTH_UNSHARING] = "unsharing",
	[GROWTH_FDS] = "descriptors-grow",
};

const char *
growth_name(enum growth_kind kind)
{
	return names[kind];
}

bool
growth_is_leak(enum growth_kind kind)
{
	return kind == GROWTH_WITH_REQUESTS || kind == GROWTH_WHILE_IDLE ||
	    kind == GROWTH_WITH_TIME || kind == GROWTH_FDS;
}

const struct growth_verdict *
growth_find(const struct growth_verdicts *all, enum growth_kind kind)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->v[i].kind == kind)
			return &all->v[i];
	return NULL;
}

struct growth_verdict
growth_nothing(enum growth_kind kind)
{
	return (struct growth_verdict){
		.kind = kind, .requests = -1.0, .grown = -1.0, .per_request = -1.0,
		.per_request_low = -1.0, .per_request_high = -1.0, .per_minute = -1.0,
		.per_concurrent = -1.0, .requests_to_limit = -1.0, .minutes_to_limit = -1.0,
		.given_back = -1.0, .shareable = -1.0, .at_seconds = -1.0, .before = -1.0,
		.after = -1.0,
	};
}

struct growth_verdict *
growth_add(const struct growth_view *v, enum growth_kind kind)
{
	struct growth_verdict *r = &v->out->v[v->out->n++];

	*r = growth_nothing(kind);
	r->samples = v->n;
	r->seconds = v->duration;
	r->size = v->rss[v->n - 1];
	if (v->requests != NULL)
		r->requests = v->n_requests;
	return r;
}

void
growth_take(const struct growth_view *v, const double *x, const double *y)
{
	for (size_t i = 0; i < v->n; i++)
		v->points[i] = (struct fit_point){ .x = x[i], .y = y[i] };
}

double
growth_bytes_left(const struct growth_series *s)
{
	double left = -1.0;

	for (size_t i = s->n; s->facts.limit_rss != 0 && left < 0.0 && i-- > 0;)
		if (s->samples[i].rss != GROWTH_UNKNOWN)
			left = MAX_OF((double)s->facts.limit_rss - (double)s->samples[i].rss, 0.0);
	for (size_t i = s->n; s->facts.limit_uss != 0 && i-- > 0;) {
		double more;

		if (s->samples[i].uss == GROWTH_UNKNOWN)
			continue;
		more = MAX_OF((double)s->facts.limit_uss - (double)s->samples[i].uss, 0.0);
		return left < 0.0 ? more : MIN_OF(left, more);
	}
	return left;
}

static int
look_all(const struct growth_view *v)
{
	int r, follows;

	if ((r = growth_look_unsharing(v)) < 0 || (r = growth_look_fds(v)) < 0 ||
	    (r = follows = growth_look_load(v)) < 0 || (r = growth_look_steady(v)) < 0)
		return r;
	for (size_t i = 0; i < v->out->n; i++)
		if (growth_is_leak(v->out->v[i].kind) && v->out->v[i].kind != GROWTH_FDS)
			return 0;
	if (follows > 0)
		return 0;
	if ((r = growth_look_kept(v)) < 0 || growth_find(v->out, GROWTH_KEPT) != NULL)
		return r;
	if ((r = growth_look_step(v)) < 0 || growth_find(v->out, GROWTH_STEP) != NULL)
		return r;
	return growth_look_flat(v);
}

/* Requests are told of up to TOLD_S after they are done, memory is read at once: samples that are
 * closer together see the same count while memory rises. In the last moments before a count changes
 * it has risen evenly, as far as anybody knows; what came after the last change is not known. */
static void
spread_counts(struct growth_view *v)
{
	size_t last = 0;

	for (size_t j = 1; j < v->n; j++) {
		double from, more = v->requests[j] - v->requests[last];

		if (v->requests[j] <= v->requests[j - 1])
			continue;
		from = MAX_OF(v->t[last], v->t[j] - TOLD_S);
		for (size_t i = last + 1; i < j; i++)
			if (v->t[i] > from)
				v->requests[i] += more * (v->t[i] - from) / (v->t[j] - from);
		last = j;
	}
	if (last > 0 && v->t[v->n - 1] - v->t[last] < TOLD_S)
		v->n = last + 1;
}

/* Fills the arrays; v->n of them are used. */
static void
fill(struct growth_view *v)
{
	const struct growth_series *s = v->s;
	bool has_requests = true, has_in_flight = true, has_connections = false;
	uint64_t first_requests = 0, first_ms = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct growth_sample *p = &s->samples[i];
		double requests;

		if (p->rss == GROWTH_UNKNOWN || (v->n > 0 &&
		    (double)(p->ms - first_ms) / 1000.0 < v->t[v->n - 1]))
			continue;
		if (v->n == 0) {
			first_ms = p->ms;
			first_requests = p->requests;
		}
		has_requests = has_requests && p->requests != GROWTH_UNKNOWN;
		has_in_flight = has_in_flight && p->in_flight != GROWTH_UNKNOWN;
		/* Servers tell of them with the first one. */
		has_connections = has_connections || p->connections != GROWTH_UNKNOWN;
		requests = has_requests && p->requests > first_requests
		    ? (double)(p->requests - first_requests) : 0.0;
		v->requests[v->n] = v->n > 0 ? MAX_OF(requests, v->requests[v->n - 1]) : 0.0;
		v->in_flight[v->n] = has_in_flight ? (double)p->in_flight : 0.0;
		v->connections[v->n] = p->connections != GROWTH_UNKNOWN ? (double)p->connections : 0.0;
		v->t[v->n] = (double)(p->ms - first_ms) / 1000.0;
		v->rss[v->n++] = (double)p->rss;
	}
	if (has_requests)
		spread_counts(v);
	if (v->n > 0)
		v->duration = v->t[v->n - 1];
	if (!has_requests)
		v->requests = NULL;
	else if (v->n > 0)
		v->n_requests = v->requests[v->n - 1];
	if (!has_in_flight)
		v->in_flight = NULL;
	if (!has_connections)
		v->connections = NULL;
}

int
growth_judge(const struct growth_series *s, struct growth_verdicts *ret)
{
	AUTO_FREE double *numbers = NULL;
	AUTO_FREE struct fit_point *points = NULL;
	struct growth_view v = { .s = s, .out = ret };

	memset(ret, 0, sizeof(*ret));
	if (s->n == 0)
		return 0;
	numbers = reallocarray(NULL, s->n, 5 * sizeof(*numbers));
	points = reallocarray(NULL, s->n + 1, sizeof(*points));
	if (numbers == NULL || points == NULL)
		return -ENOMEM;
	v.t = numbers;
	v.rss = numbers + s->n;
	v.requests = numbers + 2 * s->n;
	v.in_flight = numbers + 3 * s->n;
	v.connections = numbers + 4 * s->n;
	v.points = points;
	fill(&v);
	if (v.n < FIT_WINDOWS_MIN)
		return 0;
	ret->judged = v.duration >= GROWTH_IDLE_S || v.n_requests >= GROWTH_REQUESTS;
	return look_all(&v);
}
