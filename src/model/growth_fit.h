/*
 * growth_fit.h - does a noisy series grow steadily? Robust statistics of small size. Pure.
 *
 * A series is cut into at most FIT_WINDOWS windows of equal width, and each window is represented
 * by the lowest eighth of its values: spikes of single requests and the teeth of a garbage collector are above
 * it. What counts as growth is the lower envelope of these, at each window the lowest value from
 * there to the end: memory that comes back later was not lost. A steady growth is one whose
 * envelope rises from the beginning to the end, in each part, without one jump that makes most
 * of it, close to a straight line (Theil-Sen: the median of all pairwise slopes), and whose order
 * is no chance (Kendall).
 */
#ifndef PREFORKD_GROWTH_FIT_H
#define PREFORKD_GROWTH_FIT_H

#include "base/base.h"

#define FIT_WINDOWS     24	/* 276 pairs: cheap, and each has several samples */
#define FIT_WINDOWS_MIN 7	/* fewer in perfect order could be chance (3 sigma) */

struct fit_point {
	double x;		/* ascending */
	double y;
};

struct fit_windows {
	size_t n;		/* those that have a sample */
	size_t samples;
	double x[FIT_WINDOWS];	/* mean of its samples */
	double low[FIT_WINDOWS];	/* its lowest eighth is below */
	double mid[FIT_WINDOWS];	/* median */
	double mean[FIT_WINDOWS];
};

struct fit {
	size_t windows;
	size_t samples;
	double span;		/* of x */
	double start;		/* of the envelope */
	double before;		/* it had risen by so much, where it was looked for later on */
	double grown;		/* its rise */
	double slope;		/* y for each x */
	double slope_low, slope_high;	/* two thirds of all pairwise slopes are between */
	double third[3];	/* its rise in each third of the span */
	double half[2];
	double tail;		/* and in the last sixth */
	double jump;		/* its largest step from one window to the next */
	double residual;	/* median distance of the envelope from the line, of grown */
	double tau;		/* Kendall's, -1 to 1 */
	bool is_ordered;	/* tau is no chance: more than 3 sigma */
	bool is_late;		/* it began in the last third, and less than that speaks for it */
};

/* Cuts the points with x >= from. 0, -ENOMEM. */
int fit_windows(const struct fit_point *p, size_t n, double from, struct fit_windows *ret);

/* False: too few windows to say anything. */
bool fit_line(const struct fit_windows *w, struct fit *ret);
bool fit_is_steady(const struct fit *f);

enum fit_begin {
	FIT_EARLY,		/* at a tenth of the span, else at 30 %, else at half of it */
	FIT_ALSO_LATE,		/* else at 70 or 85 % */
};

/* Looks for steady growth up to the end. It need not begin at once, because a start may be
 * anything; and where it may be late, because a leak may come with what a worker is asked for
 * after days. 1: found; 0: none, and *ret is what goes on from a tenth on, when that can be told;
 * -ENOMEM. */
int fit_steady(const struct fit_point *p, size_t n, enum fit_begin begin, struct fit *ret);

/* Kendall's tau of two series of n <= FIT_WINDOWS. */
double fit_tau(const double *x, const double *y, size_t n);
/* Pearson's correlation; 0 when one of them is constant. */
double fit_correlation(const double *x, const double *y, size_t n);
/* Sorts v. 0 when n is. */
double fit_median(double *v, size_t n);

#endif
