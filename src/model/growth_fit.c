/*
 * growth_fit.c - see growth_fit.h.
 *
 * The bounds of fit_is_steady() were chosen by what they have to tell apart:
 *  - what fills and levels off like 1 - exp(-t/T) is refused when it was watched for more than
 *    1.5 T (LAST_OF_FIRST, LAST_OF_MEAN); what has levelled off, whatever it did before, by TAIL;
 *  - a random walk that ends high is seldom near a line (RESIDUAL: it would have to end four of
 *    its standard deviations up);
 *  - a growth that began later than at a tenth and is half as fast as what was before (RATE) is
 *    the end of a warm-up, and one to where it was before the tooth of a saw. The later the
 *    beginning, the less there is to tell by: from LATE on more is asked for;
 *  - one step makes more than a third of the rise (JUMP), a saw-tooth does not rise in each third, and
 *    has slopes of all kinds (SPREAD).
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_fit.h"

#include <string.h>

#define TAU_MIN       0.7
#define THIRD_MIN     0.5	/* of the mean third */
#define LAST_OF_MEAN  0.75
#define HALF_MIN      0.6	/* the second half of the first */
#define HALF_MIN_FEW  0.85	/* with fewer than FEW windows, which show less of a curve */
#define LAST_OF_FIRST 0.65
#define TAIL_MIN      0.5	/* of the mean sixth */
#define RATE_MIN      0.55	/* of that before a later beginning */
#define LATE          0.6	/* of the time, a beginning is late */
#define RATE_LATE     1.5	/* of what was before it */
#define JUMP_MAX      0.35	/* of the rise */
#define JUMP_MAX_FEW  0.45	/* with fewer than FEW windows */
#define FEW           12
#define MANY          18	/* a sixth of them are three */
#define RESIDUAL_MAX  0.06
#define SPREAD        0.6	/* five sixths of all slopes are above so much of the median */
#define PAIRS         (FIT_WINDOWS * (FIT_WINDOWS - 1) / 2)

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double
fit_median(double *v, size_t n)
{
	if (n == 0)
		return 0.0;
	qsort(v, n, sizeof(*v), compare);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2.0;
}

/* One window from the points p[0..n). */
static void
add_window(struct fit_windows *w, const struct fit_point *p, size_t n, double *scratch)
{
	double x = 0.0, y = 0.0;

	for (size_t i = 0; i < n; i++) {
		x += p[i].x;
		y += p[i].y;
		scratch[i] = p[i].y;
	}
	w->x[w->n] = x / (double)n;
	w->mean[w->n] = y / (double)n;
	w->mid[w->n] = fit_median(scratch, n);
	w->low[w->n++] = scratch[n / 8];	/* which is sorted now */
	w->samples += n;
}

int
fit_windows(const struct fit_point *p, size_t n, double from, struct fit_windows *ret)
{
	AUTO_FREE double *scratch = NULL;
	size_t begin, windows;
	double width;

	memset(ret, 0, sizeof(*ret));
	while (n > 0 && p->x < from) {
		p++;
		n--;
	}
	if (n == 0)
		return 0;
	scratch = malloc(n * sizeof(*scratch));
	if (scratch == NULL)
		return -ENOMEM;
	windows = MIN_OF(MAX_OF(n / 3, FIT_WINDOWS_MIN), FIT_WINDOWS);
	width = (p[n - 1].x - p[0].x) / (double)windows;
	begin = 0;
	for (size_t k = 1; k <= windows && begin < n; k++) {
		size_t end = begin;

		/* The last one takes what rounding has left over. */
		while (end < n && (k == windows || p[end].x < p[0].x + width * (double)k))
			end++;
		if (end > begin)
			add_window(ret, p + begin, end - begin, scratch);
		begin = end;
	}
	return 0;
}

double
fit_tau(const double *x, const double *y, size_t n)
{
	double s = 0.0;

	for (size_t i = 0; i < n; i++)
		for (size_t j = i + 1; j < n; j++) {
			double d = (x[j] - x[i]) * (y[j] - y[i]);

			s += d > 0.0 ? 1.0 : d < 0.0 ? -1.0 : 0.0;
		}
	return n < 2 ? 0.0 : s / ((double)n * (double)(n - 1) / 2.0);
}

double
fit_correlation(const double *x, const double *y, size_t n)
{
	double mx = 0.0, my = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
	double r2;

	for (size_t i = 0; i < n; i++) {
		mx += x[i] / (double)n;
		my += y[i] / (double)n;
	}
	for (size_t i = 0; i < n; i++) {
		xx += (x[i] - mx) * (x[i] - mx);
		yy += (y[i] - my) * (y[i] - my);
		xy += (x[i] - mx) * (y[i] - my);
	}
	if (!(xx > 0.0) || !(yy > 0.0))
		return 0.0;
	/* The root of r2 by Newton's method: no other function of libm is needed. */
	r2 = xy / xx * (xy / yy);
	if (r2 <= 0.0)
		return 0.0;
	double r = 1.0;
	for (int i = 0; i < 40; i++)
		r = (r + r2 / r) / 2.0;
	return xy < 0.0 ? -r : r;
}

/* The envelope at x, between windows on a straight line. */
static double
envelope_at(const struct fit_windows *w, const double *env, double x)
{
	size_t i = 1;

	if (x <= w->x[0])
		return env[0];
	while (i < w->n - 1 && w->x[i] < x)
		i++;
	if (x >= w->x[i])
		return env[i];
	return env[i - 1] + (env[i] - env[i - 1]) * (x - w->x[i - 1]) / (w->x[i] - w->x[i - 1]);
}

static void
take_slopes(const struct fit_windows *w, struct fit *f)
{
	double slope[PAIRS];
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		for (size_t j = i + 1; j < w->n; j++)
			if (w->x[j] > w->x[i])
				slope[n++] = (w->low[j] - w->low[i]) / (w->x[j] - w->x[i]);
	if (n == 0)
		return;
	f->slope = fit_median(slope, n);
	f->slope_low = slope[n / 6];
	f->slope_high = slope[n - 1 - n / 6];
}

bool
fit_line(const struct fit_windows *w, struct fit *ret)
{
	double env[FIT_WINDOWS], off[FIT_WINDOWS];
	double n = (double)w->n, s, base;

	if (w->n < FIT_WINDOWS_MIN || !(w->x[w->n - 1] > w->x[0]))
		return false;
	*ret = (struct fit){ .windows = w->n, .samples = w->samples };
	/* Nothing comes after the last window that could be lower. */
	env[w->n - 1] = w->n < MANY ? w->low[w->n - 1] : MIN_OF(w->low[w->n - 1], w->low[w->n - 2]);
	for (size_t i = w->n - 1; i-- > 0;)
		env[i] = MIN_OF(w->low[i], env[i + 1]);
	ret->span = w->x[w->n - 1] - w->x[0];
	ret->start = env[0];
	ret->grown = env[w->n - 1] - env[0];
	for (size_t i = 1; i < w->n; i++)
		ret->jump = MAX_OF(ret->jump, env[i] - env[i - 1]);
	for (size_t i = 0; i < 3; i++)
		ret->third[i] = envelope_at(w, env, w->x[0] + ret->span * (double)(i + 1) / 3.0) -
		    envelope_at(w, env, w->x[0] + ret->span * (double)i / 3.0);
	ret->half[0] = envelope_at(w, env, w->x[0] + ret->span / 2.0) - env[0];
	ret->half[1] = ret->grown - ret->half[0];
	ret->tail = env[w->n - 1] - envelope_at(w, env, w->x[0] + ret->span * 5.0 / 6.0);
	take_slopes(w, ret);
	for (size_t i = 0; i < w->n; i++)
		off[i] = env[i] - ret->slope * w->x[i];
	base = fit_median(off, w->n);
	for (size_t i = 0; i < w->n; i++) {
		double d = env[i] - ret->slope * w->x[i] - base;

		off[i] = d < 0.0 ? -d : d;
	}
	ret->residual = ret->grown > 0.0 ? fit_median(off, w->n) / ret->grown : 1.0;
	ret->tau = fit_tau(w->x, w->low, w->n);
	s = ret->tau * n * (n - 1.0) / 2.0;
	ret->is_ordered = s > 0.0 && s * s > 9.0 * n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
	return true;
}

bool
fit_is_steady(const struct fit *f)
{
	double mean = f->grown / 3.0;
	bool is_few = f->windows < FEW;

	if (f->grown <= 0.0 || !f->is_ordered || f->tau < TAU_MIN || f->residual > RESIDUAL_MAX)
		return false;
	for (size_t i = 0; i < 3; i++)
		if (f->third[i] < THIRD_MIN * mean)
			return false;
	return f->half[1] >= (is_few ? HALF_MIN_FEW : HALF_MIN) * f->half[0] &&
	    f->third[2] >= LAST_OF_MEAN * mean && f->third[2] >= LAST_OF_FIRST * f->third[0] &&
	    f->tail >= TAIL_MIN * mean / 2.0 && f->slope_low >= SPREAD * f->slope &&
	    f->jump <= (is_few ? JUMP_MAX_FEW : JUMP_MAX) * f->grown;
}

/* Where the growth is looked for from later on, it must not be the end of a faster one, nor the
 * way back to where it was before. One that began late is faster than what was before it, and goes
 * where nothing was. */
static bool
has_kept_pace(const struct fit_windows *all, const struct fit *f, bool late)
{
	double x = all->x[all->n - 1] - f->span, before = x - all->x[0];

	for (size_t i = 0; i < all->n && all->x[i] < x; i++)
		if (all->low[i] > f->start + f->grown / (late ? 4.0 : 2.0))
			return false;
	return before <= 0.0 || f->grown / f->span >=
	    (late ? RATE_LATE : RATE_MIN) * (f->start - all->low[0]) / before;
}

int
fit_steady(const struct fit_point *p, size_t n, enum fit_begin begin, struct fit *ret)
{
	static const double skip[] = { 0.1, 0.3, 0.5, 0.7, 0.85 };
	size_t n_skip = begin == FIT_ALSO_LATE ? ARRAY_LEN(skip) : 3;
	struct fit_windows all, w;
	struct fit f;
	int r = fit_windows(p, n, n > 0 ? p[0].x : 0.0, &all);

	for (size_t i = 0; r == 0 && i < n_skip && n > 0; i++) {
		r = fit_windows(p, n, p[0].x + (p[n - 1].x - p[0].x) * skip[i], &w);
		if (r < 0 || !fit_line(&w, &f))
			continue;
		if (i == 0)
			*ret = f;
		if (!fit_is_steady(&f) || (i > 0 && !has_kept_pace(&all, &f, skip[i] > LATE)))
			continue;
		*ret = f;
		ret->before = ret->start - all.low[0];
		ret->is_late = skip[i] > LATE;
		return 1;
	}
	return r;
}
