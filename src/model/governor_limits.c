/*
 * governor_limits.c - what the samples of one worker mean: limits reached, memory that it may give
 * back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor_private.h"

enum reason
gov_metric_reason(enum gov_metric m)
{
	static const enum reason of[] = {
		[GM_RSS] = REASON_RSS, [GM_USS] = REASON_USS, [GM_PSS] = REASON_PSS,
		[GM_AS] = REASON_AS, [GM_FDS] = REASON_FDS,
	};
	_Static_assert(ARRAY_LEN(of) == GM_N, "a reason for each metric");

	return of[m];
}

enum reason
gov_metric_evil(enum gov_metric m)
{
	return m == GM_RSS ? REASON_EVIL_RSS : m == GM_USS ? REASON_EVIL_USS : REASON_NONE;
}

uint64_t
governor_resolve(const struct governor *g, struct limit l, enum gov_metric m)
{
	return limit_bytes(l, l.kind == LIMIT_FRESH ? governor_fresh(g, m) : 0, g->pool.b.cgroup);
}

uint64_t
governor_limit(const struct governor *g, const struct gov_policy *p, enum gov_metric m)
{
	return governor_resolve(g, p->limit[m], m);
}

uint64_t
governor_evil(const struct governor *g, const struct gov_policy *p, enum gov_metric m)
{
	return governor_resolve(g, p->evil[m], m);
}

uint64_t
governor_trim(const struct governor *g, const struct gov_policy *p)
{
	return governor_resolve(g, p->trim, GM_RSS);
}

uint64_t
governor_fresh(const struct governor *g, enum gov_metric m)
{
	const struct gov_meter *meter = &g->meter[m];
	unsigned n = MIN_OF(meter->n_fresh, (unsigned)GOV_FRESH_N);
	uint64_t sorted[GOV_FRESH_N];

	for (unsigned i = 0; i < n; i++) {
		unsigned at = i;

		while (at > 0 && sorted[at - 1] > meter->fresh[i]) {
			sorted[at] = sorted[at - 1];
			at--;
		}
		sorted[at] = meter->fresh[i];
	}
	return n == 0 ? 0 : sorted[n / 2];
}

static void
note_rate(struct gov_worker *w, uint64_t value, uint64_t now_ms)
{
	uint64_t since = now_ms - w->rate_from_ms;

	if (w->rate_from_ms != 0 && since < GOV_RATE_MS)
		return;
	if (w->rate_from_ms != 0) {
		w->rates[w->n_rates++ % GOV_GROWTH_N] =
		    base_less(value, w->rate_from) * MSEC_PER_SEC / since;
		if (value <= w->rate_from) {
			w->still_requests = w->requests;
			w->still_ms = now_ms;
			w->has_stood = w->has_stood ||
			    now_ms - MAX_OF(w->grew_ms, w->ready_ms) >= GOV_STOOD_MS;
		} else {
			w->grew_ms = now_ms;
		}
	}
	w->rate_from = value;
	w->rate_from_ms = now_ms;
}

/* The first value at READY is a fresh worker's; so is one that was measured a moment before, within
 * the same millisecond. */
static void
note_fresh(struct governor *g, struct gov_worker *w, unsigned m)
{
	struct gov_meter *meter = &g->meter[m];

	if (w->fresh_noted[m] || w->state != WS_READY || w->ready_ms == 0 ||
	    w->value_ms[m] < w->ready_ms)
		return;
	w->fresh_noted[m] = true;
	if (w->value_ms[m] - w->ready_ms <= GOV_FRESH_MS)
		meter->fresh[meter->n_fresh++ % GOV_FRESH_N] = w->value[m];
}

static void
take_value(struct governor *g, const struct gov_policy *p, struct gov_worker *w, unsigned m,
    uint64_t value, uint64_t now_ms)
{
	uint64_t limit;

	if (m == GM_RSS && w->state == WS_READY)
		note_rate(w, value, now_ms);
	w->value[m] = value;
	w->value_ms[m] = now_ms;
	note_fresh(g, w, m);
	limit = governor_limit(g, p, m);
	if (limit == 0 || value + governor_ahead(g, w, m, limit) < limit) {
		w->over[m] = 0;
	} else if (w->over[m] == 0) {
		w->over[m] = 1;
		w->counted_ms[m] = now_ms;
		w->over_since[m] = governor_mark(w, value, now_ms);
	} else if (w->over[m] == 1 ||
	    now_ms - w->counted_ms[m] >= p->sample_ms / 100 * GOV_SAMPLE_PERCENT) {
		w->over[m]++;
		w->counted_ms[m] = now_ms;
	}
}

/* As far as is known. */
static bool
is_one_request(const struct gov_worker *w, unsigned m)
{
	return governor_growth(w) == 0 && w->requests == w->over_since[m].requests;
}

/* One heavy request may be all there is to it: it may end before it is judged, where no hard limit
 * is near. Else half the time that it would take to go as far above the limit as a growing worker
 * may, or to where it would be killed, less the time that a successor takes. */
static uint64_t
idle_deadline(const struct governor *g, const struct gov_policy *p, const struct gov_worker *w,
    unsigned m, uint64_t now_ms)
{
	uint64_t limit = governor_limit(g, p, m), evil = governor_evil(g, p, m);
	uint64_t most = limit + limit / 100 * GOV_OVERSHOOT, left;

	if (is_one_request(w, m))
		most = evil != 0 ? evil : UINT64_MAX;
	else if (evil != 0)
		most = MIN_OF(most, evil);
	if (w->value[m] >= most)
		return now_ms;
	left = most - w->value[m];
	if (governor_rate(w) == 0)
		return now_ms + GOV_IDLE_MS;
	left = left > UINT64_MAX / MSEC_PER_SEC ? UINT64_MAX
	    : left * MSEC_PER_SEC / governor_rate(w);
	left = base_less(left, governor_lead(g, w));
	return now_ms + MIN_OF(GOV_IDLE_MS, left / 2);
}

static void
judge_over(struct governor *g, const struct gov_policy *p, struct gov_worker *w, unsigned m,
    uint64_t now_ms)
{
	enum reason r = gov_metric_reason(m);
	uint64_t until;

	if (w->over[m] == 0 || g->meter[m].futile) {
		if (!w->has_successor)
			w->due &= ~BIT(r);
		return;
	}
	if (w->over[m] < p->samples || (w->gain_from[m] != 0 && !w->settled[m]))
		return;
	governor_set_due(w, r, now_ms);
	if ((BIT(r) & PASSING_REASONS) == 0)
		return;
	until = idle_deadline(g, p, w, m, now_ms);
	w->idle_until_ms = w->idle_until_ms == 0 ? until : MIN_OF(w->idle_until_ms, until);
}

/* Its counts may be 200 ms old, and whether it is one request is for them to tell: when it is above
 * a limit, and in time for a successor when it will soon be. */
static bool
wants_count(const struct governor *g, const struct gov_policy *p, const struct gov_worker *w,
    unsigned m, uint64_t now_ms)
{
	uint64_t limit = governor_limit(g, p, m);

	if ((BIT(gov_metric_reason(m)) & PASSING_REASONS) == 0 ||
	    (w->count_ms != 0 && now_ms - w->count_ms < GOV_COUNT_MS))
		return false;
	if (w->over[m] > 0)
		return is_one_request(w, m) && now_ms - w->over_since[m].ms < GOV_IDLE_MS;
	return limit != 0 && w->value_ms[m] != 0 && w->value[m] +
	    governor_unexplained(w) * GOV_ASK_MS / MSEC_PER_SEC >= limit;
}

static bool
wants_trim(const struct governor *g, const struct gov_policy *p, const struct gov_worker *w,
    uint64_t now_ms)
{
	uint64_t limit = governor_trim(g, p);

	return limit != 0 && w->can_trim && w->state == WS_READY && w->value[GM_RSS] >= limit &&
	    w->value[GM_RSS] >= w->trim_floor && w->trim_asked_ms == 0 &&
	    now_ms >= w->trim_next_ms && g->trims_off_ms == 0;
}

void
governor_trim_asked(struct gov_worker *w, uint64_t now_ms)
{
	w->trim_asked_ms = MAX_OF(now_ms, (uint64_t)1);
	w->trim_next_ms = now_ms + GOV_TRIM_EACH_MS;
}

bool
governor_trimmed(struct governor *g, struct gov_worker *w, uint64_t before, uint64_t after,
    uint64_t now_ms)
{
	uint64_t least = before / 100 * GOV_TRIM_PERCENT;

	w->trim_asked_ms = 0;
	w->trim_next_ms = now_ms + GOV_TRIM_EACH_MS;
	w->trim_floor = after + after / 10;
	if (before != 0 && base_less(before, after) >= least) {
		g->trims_poor = 0;
		return false;
	}
	if (++g->trims_poor < GOV_TRIM_POOR_N || g->trims_off_ms != 0)
		return false;
	g->trims_off_ms = MAX_OF(now_ms, (uint64_t)1);
	return true;
}

struct gov_verdict
governor_sample(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms)
{
	struct gov_verdict verdict = { .kill = REASON_NONE };

	for (unsigned m = 0; m < GM_N; m++)
		if (value[m] != GOV_UNKNOWN)
			take_value(g, p, w, m, value[m], now_ms);
		else
			note_fresh(g, w, m);
	if (w->state == WS_READY) {
		verdict.futile = governor_judge_gain(g, p, w, value, now_ms);
		for (unsigned m = 0; m < GM_N; m++) {
			judge_over(g, p, w, m, now_ms);
			verdict.count = verdict.count || wants_count(g, p, w, m, now_ms);
		}
		if (verdict.count)
			w->count_ms = now_ms;
		if ((w->due & PASSING_REASONS) == 0)
			w->idle_until_ms = 0;
	}
	for (unsigned m = 0; m < GM_N; m++) {
		uint64_t evil = governor_evil(g, p, m);

		/* Whether any worker can stay below it is known from the first that is ready. */
		if (w->state == WS_STARTING && g->meter[m].n_fresh == 0)
			continue;
		/* By the worker's own limit, which may be an older one than that which is judged. */
		if (evil != 0 && value[m] != GOV_UNKNOWN && value[m] >= evil &&
		    (g->meter[m].n_fresh == 0 || governor_fresh(g, m) < evil) &&
		    verdict.kill == REASON_NONE)
			verdict.kill = gov_metric_evil(m);
	}
	if (g->trims_off_ms != 0 && now_ms - g->trims_off_ms >= GOV_TRIM_OFF_MS) {
		g->trims_off_ms = 0;
		g->trims_poor = 0;
	}
	if (w->trim_asked_ms != 0 && now_ms - w->trim_asked_ms >= GOV_TRIM_MS)
		w->trim_asked_ms = 0;
	verdict.trim = wants_trim(g, p, w, now_ms);
	return verdict;
}
