/*
 * governor_limits.c - what the samples of one worker mean: limits reached, limits that cannot
 * help, memory that it may give back.
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
governor_limit(const struct governor *g, const struct gov_policy *p, enum gov_metric m)
{
	return limit_bytes(p->limit[m], governor_fresh(g, m), g->pool.b.cgroup);
}

uint64_t
governor_evil(const struct governor *g, const struct gov_policy *p, enum gov_metric m)
{
	return limit_bytes(p->evil[m], governor_fresh(g, m), g->pool.b.cgroup);
}

uint64_t
governor_trim(const struct governor *g, const struct gov_policy *p)
{
	return limit_bytes(p->trim, governor_fresh(g, GM_RSS), g->pool.b.cgroup);
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

uint64_t
governor_suggest(const struct governor *g, enum gov_metric m)
{
	const uint64_t step = m == GM_FDS ? 64 : UINT64_C(16) << 20;
	uint64_t base = MAX_OF(governor_fresh(g, m), g->meter[m].settled_value);

	return (base + base / 2 + step - 1) / step * step;
}

/* A limit is futile when a fresh worker is over it already, or when the last recycles
 * gained next to nothing. The current one, whichever the worker was started with that shows it.
 * True when this made it so. */
static bool
judge_futile(struct governor *g, enum gov_metric m)
{
	struct gov_meter *meter = &g->meter[m];
	uint64_t fresh = governor_fresh(g, m);
	uint64_t soft = limit_bytes(g->limit[m], fresh, g->pool.b.cgroup);
	uint64_t evil = limit_bytes(g->evil[m], fresh, g->pool.b.cgroup);
	bool was = meter->futile, evil_was = meter->evil_futile;

	meter->futile = soft != 0 && (meter->poor >= GOV_POOR_N ||
	    (meter->n_fresh > 0 && fresh >= soft));
	meter->evil_futile = evil != 0 && meter->n_fresh > 0 && fresh >= evil;
	return (meter->futile && !was) || (meter->evil_futile && !evil_was);
}

enum gain {
	GAIN_OPEN,		/* not known yet */
	GAIN_NONE,		/* nothing can be said */
	GAIN_LITTLE,
	GAIN_REAL,
};

/* A young worker that is over the limit again leaks when it grows on; when it stays at that size it
 * has warmed up to it. Telling takes some growth, or a second. */
static enum gain
gain_of_young(const struct gov_worker *w, unsigned m, uint64_t limit, uint64_t now_ms)
{
	uint64_t grown = w->value[m] - MIN_OF(w->value[m], w->over_value[m]);

	if (w->gain_from[m] == 0 || w->over[m] == 0)
		return GAIN_OPEN;
	if (grown >= limit / 100 * GOV_FLAT_PERCENT)
		return GAIN_REAL;
	return now_ms - w->over_ms[m] < GOV_SETTLE_MIN_MS ? GAIN_OPEN : GAIN_LITTLE;
}

static enum gain
gain_of(const struct gov_worker *w, unsigned m, uint64_t limit, bool young, uint64_t now_ms)
{
	uint64_t was = w->gain_from[m];

	if (was != 0 && w->value[m] <= was - was / 100 * GOV_POOR_PERCENT &&
	    (!young || w->over[m] > 0))
		return GAIN_REAL;
	if (young)
		return gain_of_young(w, m, limit, now_ms);
	if (was != 0)
		return GAIN_LITTLE;
	return limit == 0 || w->value[m] < limit - limit / 100 * GOV_POOR_PERCENT
	    ? GAIN_REAL : GAIN_NONE;
}

/* Has the replacement of a large worker brought anything? Asked once in a worker's life for
 * each metric, when it has served for a while or is over the limit again, and by a value of
 * that moment: one from its start would always look like a gain. */
static void
judge_gain(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms)
{
	bool young = now_ms - w->ready_ms < MAX_OF(p->min_lifetime_ms, GOV_SETTLE_MIN_MS);

	if (w->ready_ms == 0)
		return;
	for (unsigned m = 0; m < GM_N; m++) {
		struct gov_meter *meter = &g->meter[m];
		enum gain gain;

		if (w->settled[m] || value[m] == GOV_UNKNOWN)
			continue;
		gain = gain_of(w, m, governor_limit(g, p, m), young, now_ms);
		w->settled[m] = gain != GAIN_OPEN;
		if (gain == GAIN_LITTLE) {
			meter->poor++;
			meter->settled_value = w->value[m];
		} else if (gain == GAIN_REAL) {
			meter->poor = 0;
		}
	}
}

/* What a worker that grows on will have grown by when a successor could serve: one that will be
 * above its limit by then need not be waited for. */
static uint64_t
ahead(const struct governor *g, const struct gov_worker *w, unsigned m, uint64_t limit)
{
	if ((BIT(gov_metric_reason(m)) & PASSING_REASONS) == 0)
		return 0;
	return MIN_OF(governor_growth(w) * g->pool.b.boot_ms / MSEC_PER_SEC,
	    limit / 100 * GOV_AHEAD_PERCENT);
}

static void
note_rate(struct gov_worker *w, uint64_t rate)
{
	w->rates[w->n_rates++ % GOV_GROWTH_N] = rate;
	if (rate == 0)
		w->still_requests = w->requests;
}

static void
take_value(struct governor *g, const struct gov_policy *p, struct gov_worker *w, unsigned m,
    uint64_t value, uint64_t now_ms)
{
	struct gov_meter *meter = &g->meter[m];
	bool first = w->value_ms[m] == 0;
	uint64_t since = now_ms - w->value_ms[m], limit;

	if (!first && since > 0)
		w->rate[m] = value > w->value[m]
		    ? (value - w->value[m]) * MSEC_PER_SEC / since : 0;
	if (m == GM_RSS && w->state == WS_READY && !first && since > 0)
		note_rate(w, w->rate[m]);
	if (w->state == WS_READY && w->ready_ms != 0 && w->value_ms[m] < w->ready_ms &&
	    now_ms - w->ready_ms <= GOV_FRESH_MS)
		meter->fresh[meter->n_fresh++ % GOV_FRESH_N] = value;
	w->value[m] = value;
	w->value_ms[m] = now_ms;
	limit = governor_limit(g, p, m);
	if (limit == 0 || value + ahead(g, w, m, limit) < limit) {
		w->over[m] = 0;
	} else if (w->over[m]++ == 0) {
		w->over_value[m] = value;
		w->over_ms[m] = now_ms;
		w->over_requests[m] = w->requests;
	}
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

	if (governor_growth(w) == 0 && w->requests == w->over_requests[m])
		most = evil != 0 ? evil : UINT64_MAX;
	else if (evil != 0)
		most = MIN_OF(most, evil);
	if (w->value[m] >= most)
		return now_ms;
	left = most - w->value[m];
	if (w->rate[m] == 0)
		return now_ms + GOV_IDLE_MS;
	left = left > UINT64_MAX / MSEC_PER_SEC ? UINT64_MAX : left * MSEC_PER_SEC / w->rate[m];
	left -= MIN_OF(left, g->pool.b.boot_ms);
	return now_ms + MIN_OF(GOV_IDLE_MS, left / 2);
}

static void
judge_over(struct governor *g, const struct gov_policy *p, struct gov_worker *w, unsigned m,
    uint64_t now_ms)
{
	enum reason r = gov_metric_reason(m);
	uint64_t until;

	if (w->over[m] == 0 || g->meter[m].futile) {
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
	uint64_t gain = before > after ? before - after : 0;

	w->trim_asked_ms = 0;
	w->trim_next_ms = now_ms + GOV_TRIM_EACH_MS;
	w->trim_floor = after + after / 10;
	g->trim_gain = before != 0 ? gain * 10000 / before : 0;
	if (g->trim_gain >= GOV_TRIM_PERCENT * 100) {
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
	if (w->state == WS_READY) {
		judge_gain(g, p, w, value, now_ms);
		for (unsigned m = 0; m < GM_N; m++) {
			verdict.futile = judge_futile(g, m) || verdict.futile;
			judge_over(g, p, w, m, now_ms);
		}
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
