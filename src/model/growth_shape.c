/*
 * growth_shape.c - shapes that are no leaks: what follows the load, what stays after it, a step,
 * a warm-up, a size that does not change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#include <string.h>

#define CORRELATED    0.8
#define CLOSELY       0.95
#define LEVEL_SAMPLES 3
#define LEVELS_MIN    4	/* of the highest concurrency; one burst has two or three */
#define QUIET         0.2	/* of the highest load */
#define QUIET_S       3.0
#define QUIET_SAMPLES 5
#define PLAIN_KEPT    (32 * GROWTH_MIB)	/* what stays may as well be a warm-up, below that */
#define MIN_S         20.0	/* a shorter life says nothing about what is flat */
#define MIN_REQUESTS  100.0
#define LIBRARIES     (8 * GROWTH_MIB)	/* of RSS: files that all share anyway */
#define OWN_OF_FORKED (4 * GROWTH_MIB)	/* what a forked worker has of its own when ready */

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
	double low, high;	/* bytes at few and at many requests in flight */
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

/* y goes up whenever more requests are in flight than ever before, and stays there: arenas and
 * pools of threads. c becomes the highest value so far. */
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

int
growth_look_concurrency(const struct growth_view *v)
{
	AUTO_FREE double *scratch = NULL;
	struct fit_windows load, memory;
	struct growth_verdict *r;
	struct levels found;
	bool does, comes_back;

	if (v->in_flight == NULL)
		return 0;
	scratch = malloc(v->n * sizeof(*scratch));
	if (scratch == NULL)
		return -ENOMEM;
	does = follows(v->in_flight, v->rss, v->n, scratch, &found);
	if (!does) {
		/* Single looks may miss what goes on; the means of windows do not. */
		growth_take(v, v->t, v->in_flight);
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
		memcpy(scratch, v->in_flight, v->n * sizeof(*scratch));
		does = follows_peak(scratch, v->rss, v->n, &found);
	}
	if (!does)
		return 0;
	r = growth_add(v, GROWTH_CONCURRENCY);
	r->given_back = comes_back ? found.high - found.low : -1.0;
	r->is_strong = v->n >= 2 * FIT_WINDOWS;
	r->grown = found.high - found.low;
	r->before = found.low;
	r->after = found.high;
	r->per_concurrent = found.per_one;
	return 0;
}

/* How much the worker had to do at each sample. */
static bool
take_load(const struct growth_view *v, double *load, double *ret_max)
{
	double max = 0.0;

	for (size_t i = 0; v->in_flight != NULL && i < v->n; i++) {
		load[i] = v->in_flight[i];
		max = MAX_OF(max, load[i]);
	}
	if (max < 2.0 && v->requests != NULL) {
		max = load[0] = 0.0;
		for (size_t i = 1; i < v->n; i++) {
			load[i] = (v->requests[i] - v->requests[i - 1]) /
			    MAX_OF(v->t[i] - v->t[i - 1], 0.001);
			max = MAX_OF(max, load[i]);
		}
	}
	*ret_max = max;
	return max > 0.0;
}

struct spike {
	double base;		/* before the load */
	double peak;
	double kept;		/* above base, right after it */
	double given_back;	/* later */
};

/* A load that has ended, and the memory around it. */
static bool
find_spike(const struct growth_view *v, const double *load, double max, struct spike *ret)
{
	double first_after[QUIET_SAMPLES], after, low;
	size_t begin = 0, end = v->n - 1;

	while (begin < v->n && load[begin] <= QUIET * max)
		begin++;
	while (end > begin && load[end] <= QUIET * max)
		end--;
	if (v->n - 1 - end < QUIET_SAMPLES || v->duration - v->t[end] < QUIET_S)
		return false;
	ret->base = ret->peak = v->rss[0];
	for (size_t i = 0; i <= end + 1; i++) {
		if (i <= begin)
			ret->base = MIN_OF(ret->base, v->rss[i]);
		ret->peak = MAX_OF(ret->peak, v->rss[i]);
	}
	/* The last request may have ended between two looks. */
	for (size_t i = 0; i < QUIET_SAMPLES; i++)
		first_after[i] = v->rss[MIN_OF(end + 1 + i, v->n - 1)];
	after = first_after[0];
	for (size_t i = 1; i < 3; i++)
		after = MIN_OF(after, first_after[i]);
	low = after;
	for (size_t i = end + 1; i < v->n; i++)
		low = MIN_OF(low, v->rss[i]);
	ret->kept = after - ret->base;
	ret->given_back = v->rss[v->n - 1] - low < 0.2 * (after - low) ? after - low : 0.0;
	return true;
}

int
growth_look_kept(const struct growth_view *v)
{
	const struct growth_facts *facts = &v->s->facts;
	AUTO_FREE double *load = calloc(v->n, sizeof(*load));
	bool has_trim = facts->trim_malloc != GROWTH_UNKNOWN;
	struct growth_verdict *r;
	double max, trimmed = 0.0, rise;
	struct spike spike = { 0 };
	bool has_spike;

	if (load == NULL)
		return -ENOMEM;
	if (has_trim)
		trimmed = (double)facts->trim_malloc + (facts->trim_gc == GROWTH_UNKNOWN ? 0.0 :
		    (double)facts->trim_gc);
	has_spike = take_load(v, load, &max) && find_spike(v, load, max, &spike);
	rise = spike.peak - spike.base;
	has_spike = has_spike && rise >= GROWTH_KEPT_MIN && rise >= GROWTH_KEPT_PART * spike.base &&
	    spike.kept >= 0.5 * rise;
	if (has_spike && spike.given_back < 0.4 * spike.kept) {
		spike.given_back = 0.0;
		/* Neither seen to come back nor so much that a warm-up is unlikely. */
		has_spike = trimmed > 0.0 || (rise >= PLAIN_KEPT && rise >= 0.5 * spike.base);
	}
	if (!has_spike && (trimmed < GROWTH_MIN || trimmed < 0.1 * v->rss[v->n - 1]))
		return 0;
	r = growth_add(v, GROWTH_KEPT);
	r->is_strong = spike.given_back > 0.0 || trimmed >= GROWTH_MIN;
	if (has_spike) {
		r->grown = spike.kept;
		r->before = spike.base;
		r->after = spike.peak;
	}
	if (spike.given_back > 0.0 || has_trim)
		r->given_back = MAX_OF(spike.given_back, trimmed);
	return 0;
}

/* Where the memory went up at once and stayed: the last window before it, 0: nowhere. */
static size_t
find_step(const struct fit_windows *w, double *ret_before, double *ret_height)
{
	size_t best = 0;

	*ret_height = 0.0;
	for (size_t j = 1; j + 4 < w->n; j++) {
		double before = w->mid[0], low = w->low[j], after = w->low[j + 2];
		double high = w->mid[j + 2], height;

		for (size_t i = 1; i <= j; i++)
			before = MAX_OF(before, w->mid[i]);
		for (size_t i = MAX_OF(j / 2, 1u); i < j; i++)
			low = MIN_OF(low, w->low[i]);
		for (size_t i = j + 3; i < w->n; i++) {
			after = MIN_OF(after, w->low[i]);
			high = MAX_OF(high, w->mid[i]);
		}
		height = after - before;
		/* Flat on both sides. */
		if (height > *ret_height && before - low <= 0.3 * height &&
		    high - after <= 0.3 * height) {
			best = j;
			*ret_before = before;
			*ret_height = height;
		}
	}
	return best;
}

int
growth_look_step(const struct growth_view *v)
{
	struct growth_verdict *r;
	struct fit_windows w;
	double before, height;
	size_t j, i = 1;

	growth_take(v, v->t, v->rss);
	if (fit_windows(v->points, v->n, 0.0, &w) < 0)
		return -ENOMEM;
	j = find_step(&w, &before, &height);
	if (j == 0 || height < GROWTH_STEP_MIN || height < GROWTH_STEP_PART * before)
		return 0;
	while (i < v->n - 1 && (v->t[i] < w.x[j] || v->rss[i] < before + height / 2.0))
		i++;
	/* With the first requests it is a warm-up. */
	if (v->requests != NULL && v->requests[i] < 10.0 && v->n_requests >= MIN_REQUESTS)
		return 0;
	r = growth_add(v, GROWTH_STEP);
	r->is_strong = w.n >= 12 && height >= 2.0 * GROWTH_STEP_MIN;
	r->grown = height;
	r->at_seconds = v->t[i];
	r->before = before;
	r->after = before + height;
	return 0;
}

/* Lowest and highest floor from this part of the life on. */
static void
floors(const struct fit_windows *w, double from, double *ret_low, double *ret_high)
{
	size_t first = (size_t)((double)w->n * from);

	*ret_low = *ret_high = w->low[first];
	for (size_t i = first + 1; i < w->n; i++) {
		*ret_low = MIN_OF(*ret_low, w->low[i]);
		*ret_high = MAX_OF(*ret_high, w->low[i]);
	}
}

static double
shareable(const struct growth_view *v, double private)
{
	const struct growth_facts *f = &v->s->facts;
	double first = v->rss[0] - LIBRARIES;

	if (f->preloaded == GROWTH_YES || f->workers < 2)
		return -1.0;
	for (size_t i = 0; i < v->s->n; i++) {
		const struct growth_sample *s = &v->s->samples[i];

		if (s->uss == GROWTH_UNKNOWN || s->rss == GROWTH_UNKNOWN)
			continue;
		/* Most is shared already, whoever did it. */
		if (s->uss < s->rss / 2)
			return -1.0;
		first = (double)s->uss;
		break;
	}
	first = MIN_OF(first, private) - OWN_OF_FORKED;
	return first > 0.0 ? first * (double)(f->workers - 1) : -1.0;
}

static bool
is_large(double private, uint64_t workers)
{
	return private >= GROWTH_LARGE || (private >= GROWTH_LARGE_EACH &&
	    private * (double)workers >= GROWTH_LARGE_ALL);
}

int
growth_look_flat(const struct growth_view *v)
{
	double low, high, size = v->rss[v->n - 1], private = size, growth;
	struct growth_verdict *r;
	struct fit_windows w;

	growth_take(v, v->t, v->rss);
	if (fit_windows(v->points, v->n, 0.0, &w) < 0)
		return -ENOMEM;
	if (w.n < FIT_WINDOWS_MIN || (v->duration < MIN_S && v->n_requests < MIN_REQUESTS))
		return 0;
	floors(&w, 0.6, &low, &high);
	growth = low - v->rss[0];
	if (growth >= GROWTH_WARM_MIN && growth >= 0.05 * v->rss[0] &&
	    high - low <= MAX_OF(MAX_OF(GROWTH_MIB, 0.25 * growth), 0.02 * low) &&
	    w.low[w.n - 1] - w.low[(size_t)((double)w.n * 0.6)] <= MAX_OF(GROWTH_MIB, 0.15 * growth)) {
		r = growth_add(v, GROWTH_WARM_UP);
		r->is_strong = w.n >= 12 && growth >= 2.0 * GROWTH_WARM_MIN;
		r->grown = growth;
		r->before = v->rss[0];
		r->after = low;
	}
	for (size_t i = v->s->n; i-- > 0;)
		if (v->s->samples[i].uss != GROWTH_UNKNOWN) {
			private = (double)v->s->samples[i].uss;
			break;
		}
	floors(&w, 0.5, &low, &high);
	if (!is_large(private, v->s->facts.workers) || high - low > MAX_OF(GROWTH_MIN, GROWTH_STEP_PART * low))
		return 0;
	r = growth_add(v, GROWTH_STABLE);
	r->is_strong = w.n >= 12 && (v->duration >= 60.0 || v->n_requests >= GROWTH_REQUESTS);
	r->before = low;
	r->after = high;
	r->shareable = shareable(v, private);
	return 0;
}
