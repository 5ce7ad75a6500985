/*
 * growth_shape.c - shapes that are no leaks: what stays after a load, a step, a warm-up, a size
 * that does not change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#define QUIET         0.2	/* of the highest load */
#define QUIET_S       3.0
#define QUIET_SAMPLES 5
#define PLAIN_KEPT    (32 * GROWTH_MIB)	/* what stays may as well be a warm-up, below that */
#define MIN_S         20.0	/* a shorter life says nothing about what is flat */
#define MIN_REQUESTS  100.0
#define LIBRARIES     (8 * GROWTH_MIB)	/* of RSS: files that all share anyway */
#define OWN_OF_FORKED (4 * GROWTH_MIB)	/* what a forked worker has of its own when ready */

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

/* It has grown by *ret_grown until it stayed, from three fifths of its life on, at *ret_low. */
static bool
has_levelled_off(const struct fit_windows *w, double start, double *ret_low, double *ret_grown)
{
	double high, grown;

	floors(w, 0.6, ret_low, &high);
	grown = *ret_grown = *ret_low - start;
	return grown >= GROWTH_WARM_MIN && grown >= 0.05 * start &&
	    high - *ret_low <= MAX_OF(MAX_OF(GROWTH_MIB, 0.25 * grown), 0.02 * *ret_low) &&
	    w->low[w->n - 1] - w->low[(size_t)((double)w->n * 0.6)] <=
	    MAX_OF(GROWTH_MIB, 0.15 * grown);
}

/* Flat over time may be for want of requests. In a short life there have to be some all the time. */
static int
check_flat_over_requests(const struct growth_view *v, bool *ret)
{
	struct fit_windows w;
	double low, grown;

	*ret = v->duration >= MIN_S;
	if (v->requests == NULL)
		return 0;
	growth_take(v, v->requests, v->rss);
	if (fit_windows(v->points, v->n, 0.0, &w) < 0)
		return -ENOMEM;
	if (w.n >= FIT_WINDOWS_MIN)
		*ret = has_levelled_off(&w, v->rss[0], &low, &grown);
	return 0;
}

int
growth_look_flat(const struct growth_view *v)
{
	double low, high, size = v->rss[v->n - 1], private = size, grown;
	struct growth_verdict *r;
	struct fit_windows w;
	bool is_flat;

	if (check_flat_over_requests(v, &is_flat) < 0)
		return -ENOMEM;
	growth_take(v, v->t, v->rss);
	if (fit_windows(v->points, v->n, 0.0, &w) < 0)
		return -ENOMEM;
	if (w.n < FIT_WINDOWS_MIN || (v->duration < MIN_S && v->n_requests < MIN_REQUESTS))
		return 0;
	if (has_levelled_off(&w, v->rss[0], &low, &grown) && is_flat) {
		r = growth_add(v, GROWTH_WARM_UP);
		r->is_strong = w.n >= 12 && grown >= 2.0 * GROWTH_WARM_MIN;
		r->grown = grown;
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
