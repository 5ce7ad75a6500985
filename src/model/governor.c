/*
 * governor.c - the policy of governor.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor.h"

#include <assert.h>

#define BIT(r) (1u << (r))

#define MEMORY_REASONS \
	(BIT(REASON_RSS) | BIT(REASON_USS) | BIT(REASON_AS) | BIT(REASON_FDS))
#define LIMIT_REASONS \
	(BIT(REASON_MAX_REQUESTS) | BIT(REASON_MAX_LIFETIME) | MEMORY_REASONS)
/* Too young a worker is spared for these only: a memory limit protects the host. */
#define AGE_GUARDED (BIT(REASON_MAX_REQUESTS) | BIT(REASON_MAX_LIFETIME))

/* Most urgent first. */
static const enum reason ranks[] = {
	REASON_RSS, REASON_USS, REASON_AS, REASON_FDS, REASON_REQUEST, REASON_MAX_REQUESTS,
	REASON_MAX_LIFETIME, REASON_RELOAD,
};

enum reason
gov_metric_reason(enum gov_metric m)
{
	static const enum reason of[] = {
		[GM_RSS] = REASON_RSS, [GM_USS] = REASON_USS, [GM_AS] = REASON_AS,
		[GM_FDS] = REASON_FDS,
	};
	_Static_assert(ARRAY_LEN(of) == GM_N, "a reason for each metric");

	return of[m];
}

void
governor_init(struct governor *g)
{
	*g = (struct governor){0};
}

void
governor_set_policy(struct governor *g, const struct gov_policy *p)
{
	for (unsigned m = 0; m < GM_N; m++) {
		if (g->limit[m] == p->limit[m])
			continue;
		g->limit[m] = p->limit[m];
		g->meter[m].futile = false;
		g->meter[m].poor = 0;
	}
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
 * gained next to nothing. True when this made it so. */
static bool
judge_futile(struct governor *g, const struct gov_policy *p, enum gov_metric m)
{
	struct gov_meter *meter = &g->meter[m];
	bool was = meter->futile;

	meter->futile = p->limit[m] != 0 &&
	    (meter->poor >= GOV_POOR_N ||
	    (meter->n_fresh > 0 && governor_fresh(g, m) >= p->limit[m]));
	return meter->futile && !was;
}

/* Went over the limit and stays at that size: it has warmed up to it. A leak goes on. */
static bool
is_flat(const struct gov_policy *p, const struct gov_worker *w, unsigned m, uint64_t now_ms)
{
	uint64_t grown = w->value[m] - MIN_OF(w->value[m], w->over_value[m]);

	return grown * 100 / (now_ms - w->over_ms[m]) * MSEC_PER_SEC <
	    p->limit[m] * GOV_FLAT_PERCENT;
}

static bool
gained_little(const struct gov_policy *p, const struct gov_worker *w, unsigned m, bool early,
    uint64_t now_ms)
{
	uint64_t was = w->gain_from[m];

	if (was == 0 || w->value[m] <= was - was / 100 * GOV_POOR_PERCENT)
		return false;
	return !early || (w->over[m] > 1 && now_ms > w->over_ms[m] && is_flat(p, w, m, now_ms));
}

/* Has the replacement of a large worker brought anything? Asked once in a worker's life for
 * each metric, when it has served for a while or is over the limit again, and by a value of
 * that moment: one from its start would always look like a gain. */
static void
judge_gain(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms)
{
	uint64_t settle = MAX_OF(p->min_lifetime_ms, GOV_SETTLE_MIN_MS);
	bool early = now_ms - w->ready_ms < settle, over = false;

	if (w->ready_ms == 0)
		return;
	for (unsigned m = 0; m < GM_N; m++)
		over = over || (w->over[m] >= MAX_OF(p->samples, (uint64_t)2) &&
		    now_ms > w->over_ms[m]);
	if (!over && early)
		return;
	for (unsigned m = 0; m < GM_N; m++) {
		struct gov_meter *meter = &g->meter[m];

		if (w->settled[m] || value[m] == GOV_UNKNOWN)
			continue;
		w->settled[m] = true;
		if (gained_little(p, w, m, early, now_ms)) {
			meter->poor++;
			meter->settled_value = w->value[m];
		} else if (w->gain_from[m] != 0 || p->limit[m] == 0 ||
		    w->value[m] < p->limit[m] - p->limit[m] / 100 * GOV_POOR_PERCENT) {
			meter->poor = 0;
		}
	}
}

static void
set_due(struct gov_worker *w, enum reason r, uint64_t now_ms)
{
	if (w->due == 0)
		w->due_ms = now_ms;
	w->due |= BIT(r);
}

enum reason
governor_sample(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms, bool *ret_futile)
{
	bool futile = false;

	for (unsigned m = 0; m < GM_N; m++) {
		struct gov_meter *meter = &g->meter[m];

		if (value[m] == GOV_UNKNOWN)
			continue;
		w->value[m] = value[m];
		if (w->state == WS_READY && !w->sampled)
			meter->fresh[meter->n_fresh++ % GOV_FRESH_N] = value[m];
		if (p->limit[m] == 0 || value[m] < p->limit[m]) {
			w->over[m] = 0;
		} else if (w->over[m]++ == 0) {
			w->over_value[m] = value[m];
			w->over_ms[m] = now_ms;
		}
	}
	if (w->state == WS_READY) {
		w->sampled = true;
		judge_gain(g, p, w, value, now_ms);
		for (unsigned m = 0; m < GM_N; m++) {
			futile = judge_futile(g, p, m) || futile;
			if (w->over[m] == 0 || g->meter[m].futile)
				w->due &= ~BIT(gov_metric_reason(m));
			else if (w->over[m] >= p->samples)
				set_due(w, gov_metric_reason(m), now_ms);
		}
	}
	if (ret_futile != NULL)
		*ret_futile = futile;
	if (p->evil_rss_bytes != 0 && w->value[GM_RSS] >= p->evil_rss_bytes)
		return REASON_EVIL_RSS;
	return REASON_NONE;
}

void
governor_count(struct gov_worker *w, uint64_t requests, uint64_t now_ms)
{
	if (w->max_requests != 0 && requests >= w->max_requests)
		set_due(w, REASON_MAX_REQUESTS, now_ms);
}

void
governor_order(struct gov_worker *w, enum reason r, uint64_t now_ms)
{
	assert(r == REASON_RELOAD || r == REASON_REQUEST || r == REASON_SCALE);
	set_due(w, r, now_ms);
}

void
governor_started(struct governor *g, struct gov_worker *w, const struct gov_worker *old,
    enum reason reason, uint64_t now_ms)
{
	g->last_start_ms = now_ms;
	g->any_start = true;
	for (unsigned m = 0; m < GM_N; m++)
		if (gov_metric_reason(m) == reason)
			w->gain_from[m] = old->value[m];
}

void
governor_boot_ok(struct governor *g)
{
	g->code_bad = false;
	g->boot_failures = 0;
}

void
governor_boot_failed(struct governor *g, uint64_t now_ms)
{
	uint64_t wait = GOV_PROBE_MIN_MS;

	for (unsigned i = 0; i < g->boot_failures && wait < GOV_PROBE_MAX_MS; i++)
		wait *= 2;
	g->boot_failures++;
	g->code_bad = true;
	g->next_probe_ms = now_ms + MIN_OF(wait, GOV_PROBE_MAX_MS);
}

/* The reasons of w that count now; *wake is lowered to when more of them will. */
static unsigned
eligible(const struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    uint64_t now_ms, uint64_t *wake)
{
	unsigned due;

	if (w->state != WS_READY)
		return 0;
	if (w->max_lifetime_ms != 0) {
		uint64_t end = w->ready_ms + w->max_lifetime_ms;

		if (now_ms >= end)
			set_due(w, REASON_MAX_LIFETIME, now_ms);
		else
			*wake = MIN_OF(*wake, end);
	}
	due = w->due;
	if ((due & AGE_GUARDED) != 0 && now_ms - w->ready_ms < p->min_lifetime_ms) {
		due &= ~AGE_GUARDED;
		*wake = MIN_OF(*wake, w->ready_ms + p->min_lifetime_ms);
	}
	if (g->hold)
		due &= MEMORY_REASONS | BIT(REASON_SCALE);
	return due;
}

static unsigned
rank_of(unsigned due, enum reason *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(ranks); i++) {
		if ((due & BIT(ranks[i])) != 0) {
			*ret = ranks[i];
			return i;
		}
	}
	*ret = REASON_NONE;
	return ARRAY_LEN(ranks);
}

/* What keeps the queue from moving; NULL: nothing. */
static const char *
blocked(const struct governor *g, const struct gov_policy *p, uint64_t starting,
    uint64_t now_ms, uint64_t *wake)
{
	if (starting >= p->concurrency)
		return "another successor is starting";
	if (g->mold_away)
		return "the mold is not ready";
	if (g->code_bad && now_ms < g->next_probe_ms) {
		*wake = MIN_OF(*wake, g->next_probe_ms);
		return "the last start failed; will be tried again";
	}
	if (g->any_start && now_ms - g->last_start_ms < p->spacing_ms) {
		*wake = MIN_OF(*wake, g->last_start_ms + p->spacing_ms);
		return "recycle-spacing";
	}
	return NULL;
}

struct gov_step
governor_next(struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n, uint64_t now_ms)
{
	struct gov_step step = { .what = GOV_WAIT, .wake_ms = UINT64_MAX };
	struct gov_worker *best = NULL, *oldest = NULL;
	enum reason best_reason = REASON_NONE;
	uint64_t best_key = UINT64_MAX, starting = 0, draining = 0;

	for (size_t i = 0; i < n; i++) {
		enum reason reason;
		unsigned due, rank;
		uint64_t key;

		if (w[i]->is_successor && w[i]->state == WS_STARTING)
			starting++;
		if (w[i]->state == WS_DRAINING && !w[i]->is_surplus) {
			draining++;
			if (oldest == NULL || w[i]->drain_ms < oldest->drain_ms)
				oldest = w[i];
		}
		due = eligible(g, p, w[i], now_ms, &step.wake_ms);
		if ((due & BIT(REASON_SCALE)) != 0) {
			step.what = GOV_RETIRE;
			step.worker = w[i];
			step.reason = REASON_SCALE;
			return step;
		}
		if (due == 0 || w[i]->has_successor)
			continue;
		if (p->dry_run && (due & LIMIT_REASONS) != 0) {
			unsigned fresh = due & LIMIT_REASONS & ~w[i]->dry_noted;

			if (fresh != 0) {
				rank_of(fresh, &step.reason);
				w[i]->dry_noted |= fresh;
				g->dry_run_would++;
				step.what = GOV_WOULD;
				step.worker = w[i];
				return step;
			}
			due &= ~LIMIT_REASONS;
			if (due == 0)
				continue;
		}
		step.queued++;
		rank = rank_of(due, &reason);
		key = w[i]->due_ms + rank * GOV_RANK_MS;
		if (best == NULL || key < best_key) {
			best = w[i];
			best_key = key;
			best_reason = reason;
		}
	}
	if (p->max_draining != 0 && draining > p->max_draining) {
		step.what = GOV_END_DRAIN;
		step.worker = oldest;
		return step;
	}
	if (best == NULL)
		return step;
	/* A drain that is cut short loses requests; a recycle that is due for nothing but a
	 * number loses nothing when it waits. */
	if (p->max_draining != 0 && draining == p->max_draining &&
	    (best->due & ~AGE_GUARDED) == 0) {
		step.why = "max-draining workers are finishing";
		return step;
	}
	step.why = blocked(g, p, starting, now_ms, &step.wake_ms);
	if (step.why != NULL)
		return step;
	step.what = GOV_REPLACE;
	step.worker = best;
	step.reason = best_reason;
	return step;
}
