/*
 * governor_ahead.c - workers that grow from request to request: when a successor has to be asked
 * for, so that it serves before the limit is reached.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor_private.h"

struct place {
	struct gov_worker *w;
	uint64_t reach_ms;		/* from now until it is at its limit */
};

uint64_t
governor_rate(const struct gov_worker *w)
{
	return w->n_rates == 0 ? 0 : w->rates[(w->n_rates - 1) % GOV_GROWTH_N];
}

/* It has replaced one that had grown, and has not stood still since: what made that one grow is taken
 * to go on in it. */
static bool
is_heir(const struct gov_worker *w)
{
	return !w->has_stood && (w->gain_from[GM_RSS] != 0 || w->gain_from[GM_USS] != 0 ||
	    w->gain_from[GM_PSS] != 0);
}

/* Of the last three rates that between the others. All have to be growth, but of an heir, which may
 * not have run for a while, and of one that goes anyway. */
static uint64_t
steady_rate(const struct gov_worker *w)
{
	uint64_t least = UINT64_MAX, most = 0, sum = 0;

	_Static_assert(GOV_GROWTH_N == 3, "what is between the extremes is one");
	if (w->n_rates < GOV_GROWTH_N)
		return 0;
	for (size_t i = 0; i < GOV_GROWTH_N; i++) {
		least = MIN_OF(least, w->rates[i]);
		most = MAX_OF(most, w->rates[i]);
		sum += w->rates[i];
	}
	return least == 0 && !is_heir(w) && !w->has_successor ? 0 : sum - least - most;
}

/* A moment ago at least; it need not have run since. */
static bool
has_grown(const struct gov_worker *w)
{
	for (size_t i = 0; i < GOV_GROWTH_N; i++)
		if (w->rates[i] > 0)
			return true;
	return false;
}

/* As far as is known. */
static bool
grows_with_requests(const struct gov_worker *w)
{
	return w->requests - w->still_requests >= 2 || is_heir(w);
}

uint64_t
governor_growth(const struct gov_worker *w)
{
	return grows_with_requests(w) ? steady_rate(w) : 0;
}

uint64_t
governor_unexplained(const struct gov_worker *w)
{
	return grows_with_requests(w) ? 0 : steady_rate(w);
}

uint64_t
governor_ahead(const struct governor *g, const struct gov_worker *w, enum gov_metric m,
    uint64_t limit)
{
	if ((BIT(gov_metric_reason(m)) & PASSING_REASONS) == 0)
		return 0;
	return MIN_OF(governor_growth(w) * governor_lead(g, w) / MSEC_PER_SEC,
	    limit / 100 * GOV_AHEAD_PERCENT);
}

bool
governor_may_be_late(const struct governor *g, const struct gov_policy *p,
    const struct gov_worker *w, uint64_t now_ms)
{
	uint64_t boot = g->pool.b.boot_ms;

	return w->state == WS_READY && w->has_successor && (w->due & PASSING_REASONS) != 0 &&
	    !p->dry_run && !g->code_bad && boot > 0 && boot <= GOV_LATE_BOOT_MS &&
	    now_ms - w->successor_ms <= GOV_LATE_BOOTS * boot && has_grown(w);
}

enum reason
governor_late(const struct governor *g, const struct gov_policy *p, const struct gov_worker *w,
    uint64_t now_ms)
{
	uint64_t more = governor_growth(w) * g->pool.b.boot_ms / MSEC_PER_SEC;

	if (!governor_may_be_late(g, p, w, now_ms))
		return REASON_NONE;
	for (unsigned m = 0; m < GM_N; m++) {
		enum reason r = gov_metric_reason(m);
		uint64_t limit = governor_limit(g, p, m);

		if ((w->due & BIT(r) & PASSING_REASONS) != 0 && limit != 0 &&
		    w->value[m] >= limit + limit / 100 * GOV_LATE_PERCENT && more >= limit / 100)
			return r;
	}
	return REASON_NONE;
}

/* How long it takes w to reach the nearest of the limits. */
static uint64_t
reach(const struct gov_worker *w, const uint64_t limit[GM_N], uint64_t growth)
{
	uint64_t left = UINT64_MAX / MSEC_PER_SEC;

	for (unsigned m = 0; m < GM_N; m++)
		if (limit[m] != 0 && w->value_ms[m] != 0)
			left = MIN_OF(left, base_less(limit[m], w->value[m]));
	return left * MSEC_PER_SEC / growth;
}

/* Keeps the nearest ones, in their order. */
static void
stand_in(struct place line[GOV_LINE_N], size_t *n, struct place new)
{
	size_t at = *n;

	if (at == GOV_LINE_N) {
		if (line[at - 1].reach_ms <= new.reach_ms)
			return;
		at--;
	} else {
		++*n;
	}
	for (; at > 0 && line[at - 1].reach_ms > new.reach_ms; at--)
		line[at] = line[at - 1];
	line[at] = new;
}

void
governor_line_up(const struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n)
{
	uint64_t limit[GM_N] = { 0 }, start[GOV_LINE_N], boot = g->pool.b.boot_ms, growth;
	struct place line[GOV_LINE_N];
	size_t k = 0;

	for (unsigned m = 0; m < GM_N; m++)
		if ((BIT(gov_metric_reason(m)) & PASSING_REASONS) != 0)
			limit[m] = governor_limit(g, p, m);
	for (size_t i = 0; i < n; i++) {
		w[i]->lead_ms = 0;
		if (w[i]->state != WS_READY || w[i]->has_successor)
			continue;
		growth = governor_growth(w[i]);
		if (growth > 0)
			stand_in(line, &k, (struct place){ w[i], reach(w[i], limit, growth) });
	}
	for (size_t i = k; i-- > 0;) {
		uint64_t latest = line[i].reach_ms;

		if (i + p->concurrency < k)
			latest = MIN_OF(latest, start[i + p->concurrency]);
		if (i + 1 < k)
			latest = MIN_OF(latest, base_less(start[i + 1] + boot, p->spacing_ms));
		start[i] = base_less(latest, boot);
		line[i].w->lead_ms = MAX_OF(line[i].reach_ms - start[i], boot);
	}
}
