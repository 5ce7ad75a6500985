/*
 * growth_share.c - memory that was shared and becomes private, and descriptors that are not
 * closed.
 *
 * Both are seldom measured: their values come with some of the samples only.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth_parts.h"

#define SAMPLES_MIN  5
#define RSS_FLAT     0.35	/* of what became private */
#define SHARED_LESS  0.6
#define ORDERED      0.5
#define FDS_REQUESTS 100.0
#define FDS_S        30.0
#define FDS_EACH     4.0	/* that a connection of a client may need beside itself */

/* The median of the first or last fifth of f(sample) over those with a known USS. */
static double
end_of(const struct growth_series *s, bool is_last, size_t n_known, bool is_rss, double *scratch)
{
	size_t take = MAX_OF(n_known / 5, 1u), n = 0;

	for (size_t k = 0; k < s->n && n < take; k++) {
		const struct growth_sample *p = &s->samples[is_last ? s->n - 1 - k : k];

		if (p->uss != GROWTH_UNKNOWN && p->rss != GROWTH_UNKNOWN)
			scratch[n++] = (double)(is_rss ? p->rss : p->uss);
	}
	return fit_median(scratch, n);
}

int
growth_look_unsharing(const struct growth_view *v)
{
	const struct growth_series *s = v->s;
	AUTO_FREE double *scratch = malloc(s->n * sizeof(*scratch));
	double rss[2], uss[2], grown, moved;
	struct growth_verdict *r;
	struct fit_windows w;
	size_t n = 0;

	if (scratch == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < s->n && n < v->n; i++)
		if (s->samples[i].uss != GROWTH_UNKNOWN && s->samples[i].rss != GROWTH_UNKNOWN)
			v->points[n++] = (struct fit_point){
				.x = (double)(s->samples[i].ms - s->samples[0].ms),
				.y = (double)s->samples[i].uss,
			};
	if (n < SAMPLES_MIN)
		return 0;
	for (unsigned k = 0; k < 2; k++) {
		rss[k] = end_of(s, k == 1, n, true, scratch);
		uss[k] = end_of(s, k == 1, n, false, scratch);
	}
	grown = uss[1] - uss[0];
	moved = rss[1] > rss[0] ? rss[1] - rss[0] : rss[0] - rss[1];
	if (grown < GROWTH_UNSHARED_MIN || grown < GROWTH_UNSHARED_PART * (rss[0] - uss[0]) ||
	    moved > RSS_FLAT * grown ||
	    (rss[0] - uss[0]) - (rss[1] - uss[1]) < SHARED_LESS * grown)
		return 0;
	if (fit_windows(v->points, n, 0.0, &w) < 0)
		return -ENOMEM;
	if (fit_tau(w.x, w.low, w.n) < ORDERED)
		return 0;
	r = growth_add(v, GROWTH_UNSHARING);
	r->is_strong = n >= 12 && grown >= 2.0 * GROWTH_UNSHARED_MIN;
	r->samples = n;
	r->grown = grown;
	r->before = uss[0];
	r->after = uss[1];
	return 0;
}

/* Points of the descriptors over requests or seconds; how many. */
static size_t
take_fds(const struct growth_view *v, bool by_requests)
{
	const struct growth_series *s = v->s;
	double highest = 0.0;
	size_t n = 0;

	for (size_t i = 0; i < s->n && n < v->n; i++) {
		const struct growth_sample *p = &s->samples[i];
		double x = (double)(p->ms - s->samples[0].ms) / 1000.0;
		uint64_t fds = p->fds;

		if (p->fds == GROWTH_UNKNOWN)
			continue;
		/* Those of clients are theirs. */
		if (p->connections != GROWTH_UNKNOWN)
			fds = base_less(fds, p->connections);
		if (by_requests && p->requests != GROWTH_UNKNOWN)
			x = (double)p->requests;
		highest = MAX_OF(highest, x);
		v->points[n++] = (struct fit_point){ .x = by_requests ? highest : x,
			.y = (double)fds };
	}
	return n;
}

/* So many may be the work of connections that have become more since `from` seconds: files, pipes,
 * connections to other servers that go with them. */
static int
check_with_connections(const struct growth_view *v, double grown, double from, bool *ret)
{
	double first = 0.0, last = 0.0;
	struct fit_windows w;
	size_t part;

	*ret = false;
	if (v->connections == NULL)
		return 0;
	growth_take(v, v->t, v->connections);
	if (fit_windows(v->points, v->n, from, &w) < 0)
		return -ENOMEM;
	part = MAX_OF(w.n / 3, (size_t)1);
	for (size_t i = 0; i < part && i < w.n; i++) {
		first += w.mean[i] / (double)part;
		last += w.mean[w.n - 1 - i] / (double)part;
	}
	*ret = last > first && grown <= FDS_EACH * (last - first);
	return 0;
}

int
growth_look_fds(const struct growth_view *v)
{
	struct growth_verdict *r;
	struct fit f;
	bool is_confounded, by_requests = v->n_requests >= FDS_REQUESTS;
	int found;

	found = growth_check_confounded(v, 0.0, &is_confounded);
	if (found < 0 || is_confounded)
		return found;
	found = fit_steady(v->points, take_fds(v, by_requests), FIT_EARLY, &f);
	if (found == 0 && by_requests) {
		by_requests = false;
		found = fit_steady(v->points, take_fds(v, false), FIT_EARLY, &f);
	}
	if (found <= 0)
		return found;
	if (f.grown < GROWTH_FDS_MIN || f.grown < GROWTH_FDS_PART * f.start ||
	    f.span < (by_requests ? FDS_REQUESTS / 2.0 : FDS_S / 2.0))
		return 0;
	if (v->requests != NULL) {
		double since = by_requests ? v->n_requests - f.span : v->duration - f.span;
		size_t i = growth_last_at(by_requests ? v->requests : v->t, v->n, since);

		found = growth_check_confounded(v, v->requests[i], &is_confounded);
		if (found == 0 && !is_confounded)
			found = check_with_connections(v, f.grown, v->t[i], &is_confounded);
		if (found < 0 || is_confounded)
			return found;
	}
	r = growth_add(v, GROWTH_FDS);
	r->is_strong = f.windows >= 12 && f.grown >= 2.0 * GROWTH_FDS_MIN &&
	    f.span >= (by_requests ? GROWTH_REQUESTS : GROWTH_IDLE_S);
	r->samples = f.samples;
	r->grown = f.grown;
	r->before = f.start;
	r->after = f.start + f.grown;
	if (by_requests) {
		r->requests = f.span;
		r->per_request = f.slope;
	} else {
		r->seconds = f.span;
		r->per_minute = f.slope * 60.0;
	}
	return 0;
}
