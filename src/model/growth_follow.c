/*
 * growth_follow.c - memory that follows what the worker has to hold at a time: requests in flight,
 * or connections of clients, as websockets are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#include <string.h>

#define CORRELATED    0.8
#define CLOSELY       0.95
#define LEVEL_SAMPLES 3
#define LEVELS_MIN    4	/* of the highest load; one burst has two or three */

/* Median of y where c is between low and high, from index `from` on; *ret_n of them. */
static double
level(const double *c, const double *y, size_t n, size_t from, double low, double high,
    double *scratch, size_t *ret_n)
{
	*ret_n = 0;
	for (size_t i = from; i < n; i++)
		if (c[i] >= low && c[i] <= high)
			scratch[(*ret_n)++] = y[i];
	return fit_median(scratch, *ret_n);
}

struct levels {
	double low, high;	/* bytes at a low and at a high load */
	double per_one;
};

/* y goes up with c and comes down with it. */
static bool
follows(const double *c, const double *y, size_t n, double *scratch, struct levels *ret)
{
	double min = c[0], max = c[0], quarter, back, rise, mean_low = 0.0, mean_high = 0.0;
	size_t n_low, n_high, n_back, first_high = 0;

	for (size_t i = 1; i < n; i++) {
		min = MIN_OF(min, c[i]);
		max = MAX_OF(max, c[i]);
	}
	if (max - min < 2.0 || max < 2.0 * min || fit_correlation(c, y, n) < CORRELATED)
		return false;
	quarter = (max - min) / 4.0;
	ret->low = level(c, y, n, 0, min, min + quarter, scratch, &n_low);
	ret->high = level(c, y, n, 0, max - quarter, max, scratch, &n_high);
	rise = ret->high - ret->low;
	if (n_low < LEVEL_SAMPLES || n_high < LEVEL_SAMPLES || rise < GROWTH_STEP_MIN ||
	    rise < GROWTH_STEP_PART * ret->low)
		return false;
	while (c[first_high] < max - quarter)
		first_high++;
	back = level(c, y, n, first_high, min, min + quarter, scratch, &n_back);
	if (n_back < LEVEL_SAMPLES || back > ret->high - 0.6 * rise)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (c[i] <= min + quarter)
			mean_low += c[i] / (double)n_low;
		if (c[i] >= max - quarter)
			mean_high += c[i] / (double)n_high;
	}
	ret->per_one = rise / (mean_high - mean_low);
	return true;
}

/* y goes up whenever there is more load than ever before, and stays there: arenas and pools of
 * threads. c becomes the highest value so far. */
static bool
follows_peak(double *c, const double *y, size_t n, struct levels *ret)
{
	size_t steady = 0, levels = 1, since = 0;
	double rise = y[n - 1] - y[0];

	for (size_t i = 1; i < n; i++) {
		c[i] = MAX_OF(c[i], c[i - 1]);
		if (c[i] <= c[i - 1])
			continue;
		/* One that lasts. */
		levels += i - since >= LEVEL_SAMPLES;
		since = i;
	}
	steady = n - since;
	if (levels < LEVELS_MIN || steady < n / 4 || c[n - 1] - c[0] < 2.0 ||
	    rise < GROWTH_STEP_MIN || rise < GROWTH_STEP_PART * y[0] ||
	    fit_correlation(c, y, n) < CLOSELY)
		return false;
	for (size_t i = since + 1; i < n; i++)
		if (y[n - 1] - y[i] > 0.15 * rise)
			return false;
	ret->low = y[0];
	ret->high = y[n - 1];
	ret->per_one = rise / (c[n - 1] - c[0]);
	return true;
}

static int
look_following(const struct growth_view *v, const double *c, enum growth_kind kind)
{
	AUTO_FREE double *scratch = NULL;
	struct fit_windows load, memory;
	struct growth_verdict *r;
	struct levels found;
	bool does, comes_back;

	scratch = malloc(v->n * sizeof(*scratch));
	if (scratch == NULL)
		return -ENOMEM;
	does = follows(c, v->rss, v->n, scratch, &found);
	if (!does) {
		/* Single looks may miss what goes on; the means of windows do not. */
		growth_take(v, v->t, c);
		if (fit_windows(v->points, v->n, 0.0, &load) < 0)
			return -ENOMEM;
		growth_take(v, v->t, v->rss);
		if (fit_windows(v->points, v->n, 0.0, &memory) < 0)
			return -ENOMEM;
		does = load.n >= FIT_WINDOWS_MIN &&
		    follows(load.mean, memory.mid, load.n, scratch, &found);
	}
	comes_back = does;
	if (!does) {
		memcpy(scratch, c, v->n * sizeof(*scratch));
		does = follows_peak(scratch, v->rss, v->n, &found);
	}
	if (!does)
		return 0;
	r = growth_add(v, kind);
	r->given_back = comes_back ? found.high - found.low : -1.0;
	r->is_strong = v->n >= 2 * FIT_WINDOWS;
	r->grown = found.high - found.low;
	r->before = found.low;
	r->after = found.high;
	r->per_concurrent = found.per_one;
	return 1;
}

int
growth_look_load(const struct growth_view *v)
{
	int r = v->in_flight != NULL
	    ? look_following(v, v->in_flight, GROWTH_CONCURRENCY) : 0;

	/* Requests come by connections: they are the better reason where both would do. */
	if (r == 0 && v->connections != NULL)
		r = look_following(v, v->connections, GROWTH_CONNECTIONS);
	return r;
}
