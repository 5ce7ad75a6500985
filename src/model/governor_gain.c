/*
 * governor_gain.c - limits that cannot help: workers are above them from their start, or stay as
 * large as those that they have replaced.
 *
 * A worker that is as large as its predecessor was when it went has gained little when it stays at
 * that size. When it grows on it leaks, and replacing it again will help again.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor_private.h"

enum gain {
	GAIN_OPEN,		/* not known yet */
	GAIN_NONE,		/* nothing can be said */
	GAIN_LITTLE,
	GAIN_REAL,
};

uint64_t
governor_suggest(const struct governor *g, enum gov_metric m)
{
	const uint64_t step = m == GM_FDS ? 64 : UINT64_C(16) << 20;
	uint64_t base = MAX_OF(governor_fresh(g, m), g->meter[m].poor.size);

	return (base + base / 2 + step - 1) / step * step;
}

/* Of one that is as large again: little, when it has stayed so since the mark; real, when it has
 * grown by `least` bytes. Telling takes some growth; or a while, and more requests where there are
 * any. */
static enum gain
gain_since(const struct gov_worker *w, uint64_t value, const struct gov_mark *since,
    uint64_t least, uint64_t now_ms)
{
	if (since->ms != 0 && base_less(value, since->value) >= least)
		return GAIN_REAL;
	if (since->ms == 0 || now_ms - since->ms < GOV_SETTLE_MIN_MS ||
	    (now_ms - since->ms < GOV_SETTLE_MAX_MS &&
	    (w->requests - since->requests) * 100 < since->requests * GOV_TELLING))
		return GAIN_OPEN;
	return GAIN_LITTLE;
}

static bool
is_smaller(uint64_t value, uint64_t was)
{
	return value <= was - was / 100 * GOV_POOR_PERCENT;
}

static void
note_gain(struct gov_poor *poor, enum gain gain, uint64_t value)
{
	if (gain == GAIN_REAL) {
		poor->n = 0;
	} else if (gain == GAIN_LITTLE) {
		poor->size = poor->n == 0 ? value : MAX_OF(poor->size, value);
		poor->n++;
	}
}

/* Workers did not stay at that size after all, as one of `value` shows. A spike says nothing, so
 * *larger_ms has when it was first seen so large. */
static bool
is_refuted(const struct gov_poor *poor, uint64_t value, uint64_t *larger_ms, uint64_t now_ms)
{
	if (poor->n < GOV_POOR_N || value < poor->size / 100 * GOV_REFUTED) {
		*larger_ms = 0;
		return false;
	}
	if (*larger_ms == 0)
		*larger_ms = now_ms;
	return now_ms - *larger_ms >= GOV_SETTLE_MIN_MS;
}

static enum gain
gain_of(const struct gov_worker *w, unsigned m, uint64_t limit, bool young, uint64_t now_ms)
{
	uint64_t was = w->gain_from[m], least = MAX_OF(limit, was) / 100 * GOV_FLAT_PERCENT;
	bool is_over = w->over[m] > 0;

	if (was == 0) {
		if (young)
			return GAIN_OPEN;
		return limit == 0 || is_smaller(w->value[m], limit) ? GAIN_REAL : GAIN_NONE;
	}
	if (is_smaller(w->value[m], was) && (!young || is_over))
		return GAIN_REAL;
	/* A young one that is over the limit again has warmed up to it, or leaks. */
	if (young)
		return is_over
		    ? gain_since(w, w->value[m], &w->over_since[m], least, now_ms) : GAIN_OPEN;
	return gain_since(w, w->value[m], &w->half[m], least, now_ms);
}

/* The current limit, whichever the worker was started with that shows it. True when it is futile
 * from now on. */
static bool
judge_futile(struct governor *g, enum gov_metric m)
{
	struct gov_meter *meter = &g->meter[m];
	uint64_t soft = governor_resolve(g, g->limit[m], m);
	uint64_t evil = governor_resolve(g, g->evil[m], m), fresh = governor_fresh(g, m);
	bool was = meter->futile, evil_was = meter->evil_futile;

	meter->futile = soft != 0 && (meter->poor.n >= GOV_POOR_N ||
	    (meter->n_fresh > 0 && fresh >= soft));
	meter->evil_futile = evil != 0 && meter->n_fresh > 0 && fresh >= evil;
	return (meter->futile && !was) || (meter->evil_futile && !evil_was);
}

/* One metric of one worker, whose value is known. */
static void
judge_gain(struct governor *g, struct gov_worker *w, enum gov_metric m, uint64_t value,
    uint64_t limit, uint64_t settle_ms, uint64_t now_ms)
{
	struct gov_poor *poor = &g->meter[m].poor;
	uint64_t age = now_ms - w->ready_ms;
	enum gain gain;

	if (is_refuted(poor, value, &w->larger_ms[m], now_ms))
		poor->n = 0;
	if (w->half[m].ms == 0 && age >= settle_ms / 2)
		w->half[m] = governor_mark(w, value, now_ms);
	if (w->settled[m])
		return;
	gain = gain_of(w, m, limit, age < settle_ms, now_ms);
	w->settled[m] = gain != GAIN_OPEN;
	note_gain(poor, gain, value);
}

/* Asked once in a worker's life for each metric, when it has served for a while or is over the
 * limit again, and by a value of that moment: one from its start would always look like a gain. */
bool
governor_judge_gain(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms)
{
	uint64_t settle = MAX_OF(p->min_lifetime_ms, GOV_SETTLE_MIN_MS);
	bool is_futile = false;

	for (unsigned m = 0; m < GM_N; m++) {
		if (value[m] != GOV_UNKNOWN && w->ready_ms != 0)
			judge_gain(g, w, m, value[m], governor_limit(g, p, m), settle, now_ms);
		is_futile = judge_futile(g, m) || is_futile;
	}
	return is_futile;
}

bool
governor_judge_pool_gain(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    uint64_t now_ms)
{
	struct gov_pool *pool = &g->pool;
	uint64_t settle = MAX_OF(p->min_lifetime_ms, GOV_SETTLE_MIN_MS);
	uint64_t was = w->pool_gain_from;
	bool is_ready = w->state == WS_READY;
	enum gain gain;

	if (is_refuted(&pool->poor, is_ready ? w->own_bytes : 0, &w->pool_larger_ms, now_ms)) {
		pool->poor.n = 0;
		pool->futile = false;
	}
	if (was == 0 || w->pool_settled || !is_ready || now_ms - w->ready_ms < settle)
		return false;
	gain = is_smaller(w->own_bytes, was) ? GAIN_REAL
	    : gain_since(w, w->value[GM_RSS], &w->half[GM_RSS], was / 100 * GOV_FLAT_PERCENT,
	    now_ms);
	w->pool_settled = gain != GAIN_OPEN;
	note_gain(&pool->poor, gain, w->own_bytes);
	if (pool->poor.n < GOV_POOR_N || pool->futile)
		return false;
	pool->futile = true;
	return true;
}
