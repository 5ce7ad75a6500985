/*
 * governor.c - the policy of governor.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor_private.h"

#include <assert.h>

/* Most urgent first. */
static const enum reason ranks[] = {
	REASON_MEMORY_LIMIT, REASON_RSS, REASON_USS, REASON_PSS, REASON_AS, REASON_FDS,
	REASON_REQUEST, REASON_MAX_REQUESTS, REASON_MAX_LIFETIME, REASON_RELOAD,
};

void
governor_init(struct governor *g)
{
	*g = (struct governor){0};
}

void
governor_set_policy(struct governor *g, const struct gov_policy *p)
{
	for (unsigned m = 0; m < GM_N; m++) {
		if (limit_is_equal(g->limit[m], p->limit[m]) &&
		    limit_is_equal(g->evil[m], p->evil[m]))
			continue;
		g->limit[m] = p->limit[m];
		g->evil[m] = p->evil[m];
		g->meter[m].futile = false;
		g->meter[m].evil_futile = false;
		g->meter[m].poor = 0;
	}
}

void
governor_count(struct gov_worker *w, uint64_t requests, uint64_t now_ms)
{
	w->requests = MAX_OF(w->requests, requests);
	if (w->max_requests != 0 && requests >= w->max_requests)
		governor_set_due(w, REASON_MAX_REQUESTS, now_ms);
}

void
governor_order(struct gov_worker *w, enum reason r, uint64_t now_ms)
{
	assert(r == REASON_RELOAD || r == REASON_REQUEST || r == REASON_SCALE);
	governor_set_due(w, r, now_ms);
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
	if (reason == REASON_MEMORY_LIMIT)
		w->pool_gain_from = old->own_bytes;
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
			governor_set_due(w, REASON_MAX_LIFETIME, now_ms);
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
	/* What a request has taken may come back when it ends. */
	if (due != 0 && (due & ~PASSING_REASONS) == 0 && now_ms < w->idle_until_ms &&
	    (w->busy || w->rate[GM_RSS] > 0 || w->trim_asked_ms != 0)) {
		due = 0;
		*wake = MIN_OF(*wake, w->idle_until_ms);
	}
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
	if (g->any_start && now_ms < g->last_start_ms + p->spacing_ms) {
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
	uint64_t best_key = UINT64_MAX, starting = 0, draining = 0, draining_bytes = 0;
	bool comes_back = false;

	for (size_t i = 0; i < n; i++) {
		enum reason reason;
		unsigned due, rank;
		uint64_t key;

		if ((w[i]->is_successor || w[i]->breaks) && w[i]->state == WS_STARTING)
			starting++;
		/* memory of one that was ended is not there yet */
		comes_back = comes_back || ((w[i]->state == WS_STOPPING ||
		    w[i]->state == WS_KILLED) && w[i]->own_bytes >= GOV_WORTH_BYTES);
		if (w[i]->state == WS_DRAINING && !w[i]->is_surplus) {
			draining++;
			draining_bytes += w[i]->own_bytes;
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
	step.for_memory = oldest != NULL && !comes_back &&
	    now_ms >= oldest->drain_ms + MSEC_PER_SEC && governor_is_choked(g, draining_bytes);
	if ((p->max_draining != 0 && draining > p->max_draining) || step.for_memory) {
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
	step.worker = best;
	step.reason = best_reason;
	switch (governor_room(g, w, n, now_ms, &step.worker)) {
	case ROOM_ENOUGH:
		step.what = GOV_REPLACE;
		break;
	case ROOM_NONE:
		step.worker = g->code_bad ? NULL : best;
		step.what = g->code_bad ? GOV_WAIT : GOV_BREAK;
		if (g->code_bad)
			step.why = "no memory for two workers, and the last start failed";
		break;
	case ROOM_TRIM:
		step.what = GOV_TRIM;
		break;
	case ROOM_TRIM_WAIT:
		step.worker = NULL;
		step.wake_ms = MIN_OF(step.wake_ms, now_ms + MSEC_PER_SEC);
		step.why = "no memory for two workers; an idle one is asked to give some back";
		break;
	case ROOM_BREAK_WAIT:
		step.worker = NULL;
		step.wake_ms = MIN_OF(step.wake_ms, now_ms + MSEC_PER_SEC);
		step.why = "no memory for two workers; another one is replaced first";
		break;
	}
	return step;
}
