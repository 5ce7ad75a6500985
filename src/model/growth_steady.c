/*
 * growth_steady.c - growth with requests and without.
 *
 * Growth is looked for on two axes: the time in which the worker had nothing to do, all such
 * stretches put together, and the requests. What grew by itself is taken away before requests
 * are blamed. Where a worker is never idle, the axis on which the growth is the straighter line
 * wins, and the requests when that is no matter.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#define CLOCK_WINS     0.2	/* times the distance from the line over the requests */
#define CLOCK_MATTERS  0.03	/* below that, neither is better */
#define ONE_PART       3.0	/* of the time, for one request */
#define EVEN           0.03	/* distance of requests over time from a line */
#define TREND          0.6	/* of concurrency over the requests */
#define STRONG_WINDOWS 12
#define STRONG_TAU     0.9

/* Enough bytes, and long enough for so many of them. */
static bool
is_enough(const struct fit *f, double usual, double fast)
{
	bool is_large = f->grown >= GROWTH_FAST && f->grown >= GROWTH_FAST_PART * f->start;

	if (f->grown < GROWTH_MIN || f->grown < GROWTH_MIN_PART * f->start ||
	    (f->is_late && !is_large))
		return false;
	if (f->grown < GROWTH_FAST && f->grown < GROWTH_AFTER_START * f->before)
		return false;
	if (f->span >= usual)
		return true;
	return f->span >= fast && is_large;
}

static bool
is_strong(const struct fit *f)
{
	return !f->is_late && f->windows >= STRONG_WINDOWS && f->tau >= STRONG_TAU &&
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
	r->seconds = v->duration - v->t[growth_last_at(v->requests, v->n, v->n_requests - f->span)];
	r->requests = f->span;
	r->grown = f->grown;
	r->per_request = f->slope;
	r->per_request_low = MAX_OF(f->slope_low, 0.0);
	r->per_request_high = f->slope_high;
	if (left >= 0.0)
		r->requests_to_limit = left / f->slope;
}

size_t
growth_last_at(const double *values, size_t n, double one)
{
	size_t i = 0;

	while (i + 1 < n && values[i + 1] <= one)
		i++;
	return i;
}

/* Whether y becomes more and more, at least twice as much, from x = `from` on. */
static int
check_rise(const struct growth_view *v, const double *x, const double *y, double from, bool *ret)
{
	struct fit_windows w;
	double low, high;
	int r;

	*ret = false;
	if (x == NULL || y == NULL)
		return 0;
	growth_take(v, x, y);
	r = fit_windows(v->points, v->n, from, &w);
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

int
growth_check_confounded(const struct growth_view *v, double from, bool *ret)
{
	return check_rise(v, v->requests, v->in_flight, from, ret);
}

/* So with connections: who waits at a websocket makes no requests, and takes memory. */
static int
check_connections(const struct growth_view *v, double from, bool *ret)
{
	return check_rise(v, v->t, v->connections,
	    from > 0.0 ? v->t[growth_last_at(v->requests, v->n, from)] : 0.0, ret);
}

/* Growth in the idle time. Its rate in *ret_rate, bytes for each second. */
static int
look_idle(const struct growth_view *v, double *ret_rate)
{
	struct fit f;
	int r;

	*ret_rate = 0.0;
	r = fit_steady(v->points, take_idle(v), FIT_EARLY, &f);
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

/* For a good part of the last `span` seconds no request was completed, and one was in progress: it
 * may be the reason for all. */
static bool
is_one_request(const struct growth_view *v, double span)
{
	double longest = 0.0, since = v->duration - span;

	for (size_t i = 1; i < v->n; i++) {
		if (v->requests[i] > v->requests[i - 1] || is_idle(v, i))
			since = MAX_OF(since, v->t[i]);
		longest = MAX_OF(longest, v->t[i] - since);
	}
	return longest >= span / ONE_PART;
}

static int
look_requests(const struct growth_view *v, double idle_rate)
{
	struct fit by_time = { .residual = 1.0 }, by_requests = { .residual = 1.0 };
	bool has_time, has_requests, is_confounded, is_even;
	int r;

	r = growth_check_confounded(v, 0.0, &is_confounded);
	if (r < 0 || is_confounded)
		return r;
	growth_take(v, v->requests, v->rss);
	for (size_t i = 0; i < v->n; i++)
		v->points[i].y -= idle_rate * v->t[i];
	r = fit_steady(v->points, v->n, FIT_ALSO_LATE, &by_requests);
	if (r < 0)
		return r;
	has_requests = r > 0 && is_enough(&by_requests, GROWTH_REQUESTS, GROWTH_REQUESTS_FAST);
	if (has_requests) {
		double from = v->n_requests - by_requests.span;

		r = growth_check_confounded(v, from, &is_confounded);
		if (r == 0 && !is_confounded)
			r = check_connections(v, from, &is_confounded);
		if (r < 0 || is_confounded)
			return r;
	}
	if (idle_rate > 0.0) {
		if (has_requests)
			add_by_requests(v, &by_requests);
		return 0;
	}
	growth_take(v, v->t, v->rss);
	/* One long request would be a late growth over time. */
	r = fit_steady(v->points, v->n, FIT_EARLY, &by_time);
	if (r < 0)
		return r;
	has_time = r > 0;
	r = check_even(v, &is_even);
	if (r < 0)
		return r;
	has_time = has_time && !is_even && !is_one_request(v, by_time.span) &&
	    is_enough(&by_time, GROWTH_IDLE_S, GROWTH_IDLE_S_FAST) &&
	    by_requests.residual >= CLOCK_MATTERS &&
	    by_time.residual < CLOCK_WINS * by_requests.residual;
	if (has_time)
		add_by_time(v, GROWTH_WHILE_IDLE, &by_time);
	else if (has_requests)
		add_by_requests(v, &by_requests);
	return 0;
}

int
growth_look_steady(const struct growth_view *v)
{
	bool is_confounded;
	double idle_rate;
	struct fit f;
	int r;

	r = check_connections(v, 0.0, &is_confounded);
	if (r < 0 || is_confounded)
		return r;
	if (v->requests != NULL) {
		r = look_idle(v, &idle_rate);
		return r < 0 ? r : look_requests(v, idle_rate);
	}
	growth_take(v, v->t, v->rss);
	r = fit_steady(v->points, v->n, FIT_EARLY, &f);
	if (r > 0 && is_enough(&f, GROWTH_IDLE_S, GROWTH_IDLE_S_FAST))
		add_by_time(v, GROWTH_WITH_TIME, &f);
	return r < 0 ? r : 0;
}
