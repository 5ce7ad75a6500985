/*
 * growth.c - which verdicts there are about one worker; growth with requests and without.
 *
 * Growth is looked for on two axes: the time in which the worker had nothing to do, all such
 * stretches put together, and the requests. What grew by itself is taken away before requests
 * are blamed. Where a worker is never idle, the axis on which the growth is the straighter line
 * wins, and the requests when that is no matter.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#include <string.h>

#define CLOCK_WINS     0.2	/* times the distance from the line over the requests */
#define CLOCK_MATTERS  0.03	/* below that, neither is better */
#define EVEN           0.03	/* distance of requests over time from a line */
#define TREND          0.6	/* of concurrency over the requests */
#define STRONG_WINDOWS 12
#define STRONG_TAU     0.9

static const char *const names[GROWTH_N] = {
	[GROWTH_WITH_REQUESTS] = "grows-with-requests",
	[GROWTH_WHILE_IDLE] = "grows-while-idle",
	[GROWTH_WITH_TIME] = "grows-with-time",
	[GROWTH_CONCURRENCY] = "follows-concurrency",
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

/* Enough bytes, and long enough for so many of them. */
static bool
is_enough(const struct fit *f, double usual, double fast)
{
	if (f->grown < GROWTH_MIN || f->grown < GROWTH_MIN_PART * f->start)
		return false;
	if (f->grown < GROWTH_FAST && f->grown < GROWTH_AFTER_START * f->before)
		return false;
	if (f->span >= usual)
		return true;
	return f->span >= fast && f->grown >= GROWTH_FAST &&
	    f->grown >= GROWTH_FAST_PART * f->start;
}

static bool
is_strong(const struct fit *f)
{
	return f->windows >= STRONG_WINDOWS && f->tau >= STRONG_TAU &&
	    f->grown >= 2.0 * GROWTH_MIN && f->grown >= 2.0 * GROWTH_MIN_PART * f->start;
}

static bool
is_idle(const struct growth_view *v, size_t i)
{
	return v->requests[i] <= v->requests[i - 1] && (v->in_flight == NULL ||
	    (v->in_flight[i] <= 0.0 && v->in_flight[i - 1] <= 0.0));
}

/* All stretches without work, one after another. Memory may still fall in the first interval
 * after some work. */
static size_t
take_idle(const struct growth_view *v)
{
	double x = 0.0, y = v->rss[0];
	bool was_idle = false;
	size_t n = 0;

	for (size_t i = 1; i < v->n; i++) {
		bool now_idle = is_idle(v, i);

		if (now_idle && was_idle) {
			if (n == 0)
				v->points[n++] = (struct fit_point){ .x = x, .y = y };
			x += v->t[i] - v->t[i - 1];
			y += v->rss[i] - v->rss[i - 1];
			v->points[n++] = (struct fit_point){ .x = x, .y = y };
		}
		was_idle = now_idle;
	}
	return n;
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

/* A verdict about growth with time; f is over seconds. */
static void
add_by_time(const struct growth_view *v, enum growth_kind kind, const struct fit *f)
{
	struct growth_verdict *r = growth_add(v, kind);
	double left = growth_bytes_left(v->s);

	r->is_strong = is_strong(f);
	r->samples = f->samples;
	r->seconds = f->span;
	r->grown = f->grown;
	r->per_minute = f->slope * 60.0;
	if (left >= 0.0)
		r->minutes_to_limit = left / r->per_minute;
}

static void
add_by_requests(const struct growth_view *v, const struct fit *f)
{
	struct growth_verdict *r = growth_add(v, GROWTH_WITH_REQUESTS);
	double left = growth_bytes_left(v->s);

	r->is_strong = is_strong(f);
	r->samples = f->samples;
	r->requests = f->span;
	r->grown = f->grown;
	r->per_request = f->slope;
	r->per_request_low = MAX_OF(f->slope_low, 0.0);
	r->per_request_high = f->slope_high;
	if (left >= 0.0)
		r->requests_to_limit = left / f->slope;
}

int
growth_check_confounded(const struct growth_view *v, bool *ret)
{
	struct fit_windows w;
	double low, high;
	int r;

	*ret = false;
	if (v->in_flight == NULL || v->requests == NULL)
		return 0;
	growth_take(v, v->requests, v->in_flight);
	r = fit_windows(v->points, v->n, 0.0, &w);
	if (r < 0 || w.n < 2)
		return r;
	low = high = w.mean[0];
	for (size_t i = 1; i < w.n; i++) {
		low = MIN_OF(low, w.mean[i]);
		high = MAX_OF(high, w.mean[i]);
	}
	*ret = high - low >= 2.0 && high >= 2.0 * low && fit_tau(w.x, w.mean, w.n) >= TREND;
	return 0;
}

/* Growth in the idle time. Its rate in *ret_rate, bytes for each second. */
static int
look_idle(const struct growth_view *v, double *ret_rate)
{
	struct fit f;
	size_t n;
	int r;

	*ret_rate = 0.0;
	if (v->requests == NULL)
		return 0;
	n = take_idle(v);
	r = fit_steady(v->points, n, &f);
	if (r <= 0)
		return r;
	v->out->judged = true;
	if (is_enough(&f, GROWTH_IDLE_S, GROWTH_IDLE_S_FAST)) {
		add_by_time(v, GROWTH_WHILE_IDLE, &f);
		*ret_rate = f.slope;
	}
	return 0;
}

/* Requests came so evenly that nobody can tell them from time. */
static int
check_even(const struct growth_view *v, bool *ret)
{
	struct fit_windows w;
	struct fit f;
	int r;

	growth_take(v, v->t, v->requests);
	r = fit_windows(v->points, v->n, 0.0, &w);
	*ret = r < 0 || !fit_line(&w, &f) || f.residual < EVEN;
	return r;
}

static int
look_requests(const struct growth_view *v, double idle_rate)
{
	struct fit by_time = { .residual = 1.0 }, by_requests = { .residual = 1.0 };
	bool has_time, has_requests, is_confounded, is_even;
	int r;

	r = growth_check_confounded(v, &is_confounded);
	if (r < 0 || is_confounded)
		return r;
	growth_take(v, v->requests, v->rss);
	for (size_t i = 0; i < v->n; i++)
		v->points[i].y -= idle_rate * v->t[i];
	r = fit_steady(v->points, v->n, &by_requests);
	if (r < 0)
		return r;
	has_requests = r > 0 && is_enough(&by_requests, GROWTH_REQUESTS, GROWTH_REQUESTS_FAST);
	if (idle_rate > 0.0) {
		if (has_requests)
			add_by_requests(v, &by_requests);
		return 0;
	}
	growth_take(v, v->t, v->rss);
	r = fit_steady(v->points, v->n, &by_time);
	if (r < 0)
		return r;
	has_time = r > 0;
	r = check_even(v, &is_even);
	if (r < 0)
		return r;
	has_time = has_time && !is_even &&
	    is_enough(&by_time, GROWTH_IDLE_S, GROWTH_IDLE_S_FAST) &&
	    by_requests.residual >= CLOCK_MATTERS &&
	    by_time.residual < CLOCK_WINS * by_requests.residual;
	if (has_time)
		add_by_time(v, GROWTH_WHILE_IDLE, &by_time);
	else if (has_requests)
		add_by_requests(v, &by_requests);
	return 0;
}

static int
look_growth(const struct growth_view *v)
{
	double idle_rate;
	struct fit f;
	int r;

	if (v->requests != NULL) {
		r = look_idle(v, &idle_rate);
		return r < 0 ? r : look_requests(v, idle_rate);
	}
	growth_take(v, v->t, v->rss);
	r = fit_steady(v->points, v->n, &f);
	if (r > 0 && is_enough(&f, GROWTH_IDLE_S, GROWTH_IDLE_S_FAST))
		add_by_time(v, GROWTH_WITH_TIME, &f);
	return r < 0 ? r : 0;
}

static int
look_all(const struct growth_view *v)
{
	int r;

	if ((r = growth_look_unsharing(v)) < 0 || (r = growth_look_fds(v)) < 0 ||
	    (r = growth_look_concurrency(v)) < 0 || (r = look_growth(v)) < 0)
		return r;
	for (size_t i = 0; i < v->out->n; i++)
		if (growth_is_leak(v->out->v[i].kind) && v->out->v[i].kind != GROWTH_FDS)
			return 0;
	if (growth_find(v->out, GROWTH_CONCURRENCY) != NULL)
		return 0;
	if ((r = growth_look_kept(v)) < 0 || growth_find(v->out, GROWTH_KEPT) != NULL)
		return r;
	if ((r = growth_look_step(v)) < 0 || growth_find(v->out, GROWTH_STEP) != NULL)
		return r;
	return growth_look_flat(v);
}

/* Fills the arrays; v->n of them are used. */
static void
fill(struct growth_view *v)
{
	const struct growth_series *s = v->s;
	bool has_requests = true, has_in_flight = true;
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
		requests = has_requests && p->requests > first_requests
		    ? (double)(p->requests - first_requests) : 0.0;
		v->requests[v->n] = v->n > 0 ? MAX_OF(requests, v->requests[v->n - 1]) : 0.0;
		v->in_flight[v->n] = has_in_flight ? (double)p->in_flight : 0.0;
		v->t[v->n] = (double)(p->ms - first_ms) / 1000.0;
		v->rss[v->n++] = (double)p->rss;
	}
	if (v->n > 0)
		v->duration = v->t[v->n - 1];
	if (!has_requests)
		v->requests = NULL;
	else if (v->n > 0)
		v->n_requests = v->requests[v->n - 1];
	if (!has_in_flight)
		v->in_flight = NULL;
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
	numbers = reallocarray(NULL, s->n, 4 * sizeof(*numbers));
	points = reallocarray(NULL, s->n + 1, sizeof(*points));
	if (numbers == NULL || points == NULL)
		return -ENOMEM;
	v.t = numbers;
	v.rss = numbers + s->n;
	v.requests = numbers + 2 * s->n;
	v.in_flight = numbers + 3 * s->n;
	v.points = points;
	fill(&v);
	if (v.n < FIT_WINDOWS_MIN)
		return 0;
	ret->judged = v.duration >= GROWTH_IDLE_S || v.n_requests >= GROWTH_REQUESTS;
	return look_all(&v);
}
