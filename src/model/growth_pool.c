/*
 * growth_pool.c - the verdicts of all workers of a pool together, those that have ended too.
 *
 * A kind is the pool's when half of the workers that could be judged have it, or two of them and
 * a quarter. Workers that leak fast end before one of them can be judged: their lives are laid
 * on top of each other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#include <string.h>

#define STACK_MIN          3	/* lives */
#define STACK_REQUESTS     100.0	/* in all of them */
#define STACK_SAMPLES      4
#define STACK_REQUESTS_ONE 5.0
#define STACK_GROWN        (8 * GROWTH_MIB)
#define STACK_PART         0.2

/* No other series is of a later worker in its slot. */
static bool
is_latest(const struct growth_series *s, size_t n, size_t i)
{
	return i + 1 == n || s[i + 1].slot != s[i].slot;
}

static double
last_rss(const struct growth_series *s)
{
	for (size_t i = s->n; i-- > 0;)
		if (s->samples[i].rss != GROWTH_UNKNOWN)
			return (double)s->samples[i].rss;
	return 0.0;
}

static void
add_known(double *sum, double value)
{
	if (value >= 0.0)
		*sum = (*sum < 0.0 ? 0.0 : *sum) + value;
}

static void
take_least(double *least, double value)
{
	if (value >= 0.0 && (*least < 0.0 || value < *least))
		*least = value;
}

static void
take_most(double *most, double value)
{
	*most = MAX_OF(*most, value);
}

/* Verdicts of one kind. Descriptors grow over time in one worker, over requests in another: a rate is
 * weighted by what those have seen that have it. */
struct sum {
	struct growth_verdict v;
	double seconds, requests;	/* of those with per_minute, per_request */
};

/* One more worker with the same verdict. */
static void
merge(struct sum *sum, const struct growth_verdict *v, bool is_latest_one)
{
	struct growth_verdict *to = &sum->v;

	to->agree++;
	to->is_strong = to->is_strong || v->is_strong;
	to->samples += v->samples;
	to->seconds += v->seconds;
	add_known(&to->requests, v->requests);
	add_known(&to->grown, v->grown);
	take_least(&to->per_request_low, v->per_request_low);
	take_most(&to->per_request_high, v->per_request_high);
	if (v->per_minute >= 0.0) {
		add_known(&to->per_minute, v->per_minute * v->seconds);
		sum->seconds += v->seconds;
	}
	if (v->per_request >= 0.0) {
		add_known(&to->per_request, v->per_request * v->requests);
		sum->requests += v->requests;
	}
	take_most(&to->per_concurrent, v->per_concurrent);
	take_most(&to->shareable, v->shareable);
	take_most(&to->at_seconds, v->at_seconds);
	add_known(&to->before, v->before);
	add_known(&to->after, v->after);
	if (!is_latest_one)
		return;
	add_known(&to->given_back, v->given_back);
	take_least(&to->requests_to_limit, v->requests_to_limit);
	take_least(&to->minutes_to_limit, v->minutes_to_limit);
}

/* Sums to means, where a mean is meant. */
static void
finish(struct sum *sum)
{
	struct growth_verdict *v = &sum->v;
	double n = (double)v->agree;

	if (v->per_request > 0.0 && sum->requests > 0.0)
		v->per_request /= sum->requests;
	if (v->per_minute > 0.0 && sum->seconds > 0.0)
		v->per_minute /= sum->seconds;
	if (v->before >= 0.0)
		v->before /= n;
	if (v->after >= 0.0)
		v->after /= n;
	v->is_strong = v->is_strong || v->agree >= 3;
}

static void
combine(const struct growth_series *s, const struct growth_verdicts *all, size_t n,
    enum growth_kind kind, double size, struct growth_verdicts *ret)
{
	struct sum sum = { .v = growth_nothing(kind) };

	sum.v.size = size;
	for (size_t i = 0; i < n; i++) {
		const struct growth_verdict *v = growth_find(&all[i], kind);

		sum.v.judged += all[i].judged || all[i].n > 0;
		if (v != NULL)
			merge(&sum, v, is_latest(s, n, i));
	}
	if (sum.v.agree == 0 || (2 * sum.v.agree < sum.v.judged &&
	    (sum.v.agree < 2 || 4 * sum.v.agree < sum.v.judged)))
		return;
	finish(&sum);
	ret->v[ret->n++] = sum.v;
}

/* One life. */
struct life {
	double requests;
	double rate;		/* bytes for each request */
	double start, grown;
	double third[3];	/* over time: counts come every 50 ms or so, which is a step here */
	double seconds;
	size_t samples;
};

/* RSS at a time; samples with an RSS only. */
static double
rss_at(const struct growth_series *s, double ms)
{
	double x0 = 0.0, y0 = 0.0;
	bool has_one = false;

	for (size_t i = 0; i < s->n; i++) {
		double x = (double)s->samples[i].ms, y = (double)s->samples[i].rss;

		if (s->samples[i].rss == GROWTH_UNKNOWN)
			continue;
		if (x >= ms)
			return has_one && x > x0 ? y0 + (y - y0) * (ms - x0) / (x - x0) : y;
		x0 = x;
		y0 = y;
		has_one = true;
	}
	return y0;
}

static bool
take_life(const struct growth_series *s, struct life *ret)
{
	const struct growth_sample *first = NULL, *last = NULL, *counted = NULL;
	double from, span;

	*ret = (struct life){ 0 };
	for (size_t i = 0; i < s->n; i++) {
		if (s->samples[i].requests == GROWTH_UNKNOWN)
			return false;
		if (s->samples[i].rss == GROWTH_UNKNOWN)
			continue;
		if (first == NULL)
			first = counted = &s->samples[i];
		/* A count is fresh when it has just changed. */
		if (s->samples[i].requests > counted->requests)
			counted = &s->samples[i];
		last = &s->samples[i];
		ret->samples++;
	}
	if (ret->samples < STACK_SAMPLES || last->requests < first->requests)
		return false;
	from = (double)first->ms;
	span = (double)last->ms - from;
	ret->requests = (double)counted->requests - (double)first->requests;
	ret->start = (double)first->rss;
	ret->grown = (double)last->rss - ret->start;
	ret->seconds = (double)(last->ms - first->ms) / 1000.0;
	if (ret->requests < STACK_REQUESTS_ONE)
		return false;
	ret->rate = ((double)counted->rss - ret->start) / ret->requests;
	for (unsigned k = 0; k < 3; k++)
		ret->third[k] = rss_at(s, from + span * (k + 1) / 3.0) -
		    rss_at(s, from + span * k / 3.0);
	return true;
}

/* It was too short to be judged, or is this one alone. Who was judged, and does not grow, does
 * not. */
static bool
is_stackable(const struct growth_verdicts *v)
{
	return (v->n == 0 && !v->judged) || (v->n == 1 && v->v[0].kind == GROWTH_WITH_REQUESTS);
}

/* Workers that have just started grow; that it goes on is shown by those that have ended for it. */
static size_t
count_ended(const struct growth_series *s, const struct growth_verdicts *all, size_t n)
{
	size_t ended = 0;

	for (size_t i = 0; i < n; i++)
		ended += is_stackable(&all[i]) && s[i].is_ended;
	return ended;
}

/* Lives that say something, and how many requests half of them have had at least. */
static size_t
take_lives(const struct growth_series *s, const struct growth_verdicts *all, size_t n,
    struct life *lives, double *scratch)
{
	size_t n_lives = 0, kept = 0;
	double usual;

	for (size_t i = 0; i < n; i++)
		if (is_stackable(&all[i]) && take_life(&s[i], &lives[n_lives]))
			n_lives++;
	for (size_t i = 0; i < n_lives; i++)
		scratch[i] = lives[i].requests;
	usual = fit_median(scratch, n_lives);
	/* One that has just begun says nothing yet. */
	for (size_t i = 0; i < n_lives; i++)
		if (lives[i].requests >= usual / 2.0)
			lives[kept++] = lives[i];
	return kept;
}

static bool
grows_much(const struct life *l)
{
	return l->grown >= STACK_GROWN && l->grown >= STACK_PART * l->start;
}

/* Lives put on top of each other grow in a straight line. */
static bool
judge_stack(const struct life *lives, size_t n, double *scratch, struct growth_verdict *ret)
{
	double usual, third[3] = { 0.0, 0.0, 0.0 }, mean;
	size_t n_grow = 0;

	for (size_t i = 0; i < n; i++)
		if (grows_much(&lives[i]))
			scratch[n_grow++] = lives[i].rate;
	usual = fit_median(scratch, n_grow);
	if (!(usual > 0.0))
		return false;
	for (size_t i = 0; i < n; i++) {
		double rate = lives[i].rate;

		if (!grows_much(&lives[i]) || rate < usual / 2.0 || rate > usual * 2.0)
			continue;
		if (lives[i].grown < GROWTH_FAST ||
		    lives[i].grown < GROWTH_FAST_PART * lives[i].start)
			continue;
		ret->agree++;
		ret->samples += lives[i].samples;
		ret->seconds += lives[i].seconds;
		add_known(&ret->requests, lives[i].requests);
		add_known(&ret->grown, lives[i].grown);
		take_least(&ret->per_request_low, rate);
		take_most(&ret->per_request_high, rate);
		for (unsigned k = 0; k < 3; k++)
			third[k] += lives[i].third[k];
	}
	mean = (third[0] + third[1] + third[2]) / 3.0;
	ret->judged = n;
	if (ret->agree < STACK_MIN || 3 * ret->agree < 2 * n || ret->requests < STACK_REQUESTS ||
	    third[0] < 0.4 * mean || third[1] < 0.4 * mean || third[2] < 0.6 * mean)
		return false;
	ret->per_request = usual;
	ret->is_strong = ret->agree >= 2 * STACK_MIN;
	return true;
}

static int
stack(const struct growth_series *s, const struct growth_verdicts *all, size_t n, double size,
    struct growth_verdicts *ret)
{
	AUTO_FREE struct life *lives = reallocarray(NULL, n, sizeof(*lives));
	AUTO_FREE double *scratch = reallocarray(NULL, n, sizeof(*scratch));
	struct growth_verdict sum = growth_nothing(GROWTH_WITH_REQUESTS);
	size_t n_lives;

	if (lives == NULL || scratch == NULL)
		return -ENOMEM;
	sum.size = size;
	n_lives = take_lives(s, all, n, lives, scratch);
	if (count_ended(s, all, n) < STACK_MIN || n_lives < STACK_MIN || !judge_stack(lives, n_lives, scratch, &sum))
		return 0;
	/* More of them than could be judged one by one. */
	if (ret->n == 0)
		ret->n = 1;
	else if (ret->v[0].agree >= sum.agree)
		return 0;
	ret->v[0] = sum;
	return 0;
}

/* When the first of those that serve will be at its limit: of one that has just started nothing is
 * known but what the others do. */
static void
add_left(const struct growth_series *s, size_t n, struct growth_verdict *v)
{
	if (v->requests_to_limit >= 0.0 || !(v->per_request > 0.0))
		return;
	for (size_t i = 0; i < n; i++) {
		double left = growth_bytes_left(&s[i]);

		if (left >= 0.0 && !s[i].is_ended && is_latest(s, n, i))
			take_least(&v->requests_to_limit, left / v->per_request);
	}
}

int
growth_judge_pool(const struct growth_series *s, const struct growth_verdicts *all, size_t n,
    struct growth_verdicts *ret)
{
	double size = 0.0;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		ret->judged = ret->judged || all[i].judged;
		if (!s[i].is_ended && is_latest(s, n, i))
			size += last_rss(&s[i]);
	}
	for (enum growth_kind kind = 0; kind < GROWTH_N; kind++) {
		combine(s, all, n, kind, size, ret);
		if (kind != GROWTH_WITH_REQUESTS)
			continue;
		r = stack(s, all, n, size, ret);
		if (r < 0)
			return r;
		if (ret->n > 0)
			add_left(s, n, &ret->v[0]);
	}
	return 0;
}
