/*
 * growth_parts.h - what the files of the growth verdicts share.
 *
 *   growth.c         which verdicts there are
 *   growth_steady.c  growth with requests and without
 *   growth_follow.c  what follows requests in flight or connections
 *   growth_shape.c   steps, warm-up, what stays after a load
 *   growth_share.c   what becomes private, and descriptors
 *   growth_pool.c    the verdicts of all workers together
 *   growth_text.c    words and JSON
 */
#ifndef PREFORKD_GROWTH_PARTS_H
#define PREFORKD_GROWTH_PARTS_H

#include "model/growth.h"
#include "model/growth_fit.h"

/* One worker's samples as numbers; those without an RSS are left out. */
struct growth_view {
	const struct growth_series *s;
	size_t n;
	double *t;		/* seconds since the first one */
	double *rss;
	double *requests;	/* since the first one, never falling; NULL: not known */
	double *in_flight;	/* NULL: not known */
	double *connections;	/* NULL: not known */
	struct fit_point *points;	/* scratch for n of them */
	double duration;
	double n_requests;	/* 0 when not known */
	struct growth_verdicts *out;
};

/* One of which no number is known. */
struct growth_verdict growth_nothing(enum growth_kind kind);
/* Likewise, among the worker's verdicts and with what is known of its samples. */
struct growth_verdict *growth_add(const struct growth_view *v, enum growth_kind kind);
/* Points (x[i], y[i]) in v->points. */
void growth_take(const struct growth_view *v, const double *x, const double *y);

/* Index of the last of n ascending values that is not above one; 0 when all are. */
size_t growth_last_at(const double *values, size_t n, double one);

/* More requests at a time, from so many requests on: growth could be due to that. 0, -ENOMEM. */
int growth_check_confounded(const struct growth_view *v, double from, bool *ret);

/* Bytes until the worker reaches one of its limits, 0 when it has; < 0: it has none. */
double growth_bytes_left(const struct growth_series *s);

/* Each adds its verdict if there is one. 0, -ENOMEM. */
int growth_look_steady(const struct growth_view *v);	/* with requests, idle, with time */
int growth_look_load(const struct growth_view *v);	/* requests in flight, connections; 1: found */
int growth_look_kept(const struct growth_view *v);
int growth_look_step(const struct growth_view *v);
int growth_look_flat(const struct growth_view *v);	/* warm-up, large but stable */
int growth_look_unsharing(const struct growth_view *v);
int growth_look_fds(const struct growth_view *v);

#endif
