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
		g->meter[m].poor.n = 0;
	}
}

void
governor_count(struct gov_worker *w, uint64_t requests, uint64_t now_ms)
{
	/* What it tells first when it is asked was done before: it counts what comes after. */
	if (w->count_ms != 0 && w->told_ms < w->count_ms && governor_growth(w) == 0)
		for (unsigned m = 0; m < GM_N; m++)
			if (w->over_since[m].ms >= w->told_ms)
				w->over_since[m].requests = w->still_requests = requests;
	/* Nor do those that may have been done before it began to grow. */
	if (w->told_ms <= w->still_ms)
		w->still_requests = requests;
	w->told_ms = now_ms;
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
governor_started(struct governor *g, struct gov_worker *w, struct gov_worker *old,
    enum reason reason, uint64_t now_ms)
{
	old->successor_ms = now_ms;
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
	    (w->busy || governor_rate(w) > 0 || w->trim_asked_ms != 0)) {
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

/* What one walk over all workers has found. */
struct queue {
	struct gov_worker *best;	/* who is next */
	enum reason reason;
	uint64_t key;
	uint64_t starting;		/* successors that boot */
	uint64_t draining, draining_bytes;
	struct gov_worker *oldest;	/* of those that drain */
	bool hurry;			/* memory is nearly used up */
	bool comes_back;		/* memory of some that were ended is not there yet */
	bool breaks;			/* a slot has nobody who serves, as there is no room for two */
	struct gov_worker *held;	/* the largest that serves until its successor does */
	struct gov_worker *late;	/* one that does not, see governor_late() */
	enum reason late_reason;
};

static void
count_in(struct queue *q, struct gov_worker *w)
{
	if ((w->is_successor || w->breaks) && w->state == WS_STARTING)
		q->starting++;
	q->breaks = q->breaks || w->breaks;
	if ((w->state == WS_STOPPING || w->state == WS_KILLED) && w->own_bytes >= GOV_WORTH_BYTES)
		q->comes_back = true;
	if (w->state == WS_READY && w->has_successor &&
	    (q->held == NULL || w->own_bytes > q->held->own_bytes))
		q->held = w;
	if (w->state != WS_DRAINING || w->is_surplus)
		return;
	q->draining++;
	q->draining_bytes += w->own_bytes;
	if (q->oldest == NULL || w->drain_ms < q->oldest->drain_ms)
		q->oldest = w;
}

/* What a dry run keeps of its reasons; those that it has not told of yet go into *step. */
static unsigned
without_limits(struct governor *g, struct gov_worker *w, unsigned due, struct gov_step *step)
{
	unsigned fresh = due & LIMIT_REASONS & ~w->dry_noted;

	if (fresh != 0) {
		rank_of(fresh, &step->reason);
		w->dry_noted |= fresh;
		g->dry_run_would++;
		step->what = GOV_WOULD;
		step->worker = w;
	}
	return due & ~LIMIT_REASONS;
}

/* Queues it by its reasons. False: *step is to be carried out first. */
static bool
enqueue(struct governor *g, const struct gov_policy *p, struct queue *q, struct gov_worker *w,
    uint64_t now_ms, struct gov_step *step)
{
	unsigned due = eligible(g, p, w, now_ms, &step->wake_ms);
	enum reason reason;
	uint64_t key;

	if ((due & BIT(REASON_SCALE)) != 0) {
		step->what = GOV_RETIRE;
		step->worker = w;
		step->reason = REASON_SCALE;
		return false;
	}
	if (w->has_successor)
		return true;
	if (p->dry_run)
		due = without_limits(g, w, due, step);
	if (step->what == GOV_WOULD)
		return false;
	if (due == 0)
		return true;
	step->queued++;
	key = w->due_ms + rank_of(due, &reason) * GOV_RANK_MS;
	/* It may not last until all are replaced that have waited for so long. */
	if (q->hurry && reason == REASON_MEMORY_LIMIT)
		key = 0;
	if (q->best == NULL || key < q->key || (key == q->key && reason == REASON_MEMORY_LIMIT &&
	    governor_reclaimable(g, w) > governor_reclaimable(g, q->best))) {
		q->best = w;
		q->key = key;
		q->reason = reason;
	}
	return true;
}

/* Whether the oldest of those that drain has to go now: too many of them drain, or what it holds
 * is needed. */
static bool
must_end_drain(const struct governor *g, const struct gov_policy *p, const struct queue *q,
    uint64_t now_ms, enum reason *ret)
{
	bool for_memory = q->oldest != NULL && !q->comes_back && !p->dry_run &&
	    now_ms >= q->oldest->drain_ms + MSEC_PER_SEC &&
	    governor_is_choked(g, q->draining_bytes);

	*ret = for_memory ? REASON_MEMORY_LIMIT : REASON_NONE;
	return for_memory || (p->max_draining != 0 && q->draining > p->max_draining);
}

/* A successor takes longer than it should, or workers grow meanwhile. What waits in the sockets for
 * a moment is not lost; what the kernel kills is. */
static bool
must_let_go(const struct governor *g, const struct gov_policy *p, const struct queue *q,
    uint64_t now_ms)
{
	return q->hurry && q->held != NULL && !p->dry_run && !g->code_bad &&
	    !q->breaks && g->made_room == 0 && !q->comes_back &&
	    q->draining_bytes < GOV_WORTH_BYTES &&
	    governor_reclaimable(g, q->held) >= GOV_WORTH_BYTES &&
	    (g->pool.growth > 0 || now_ms >= q->held->successor_ms + g->pool.b.boot_ms);
}

/* The replacement of q->best, as there is room for it. */
static void
replace(const struct governor *g, const struct queue *q, struct gov_worker *const *w, size_t n,
    uint64_t now_ms, struct gov_step *step)
{
	struct gov_worker *peer = NULL;

	step->reason = q->reason;
	switch (governor_room(g, w, n, now_ms, &peer)) {
	case ROOM_ENOUGH:
		step->what = GOV_REPLACE;
		step->worker = q->best;
		return;
	case ROOM_TRIM:
		step->what = GOV_TRIM;
		step->worker = peer;
		return;
	case ROOM_NONE:
		if (g->code_bad) {
			step->why = "no memory for two workers, and the last start failed";
			return;
		}
		step->what = GOV_BREAK;
		step->worker = q->best;
		return;
	case ROOM_TRIM_WAIT:
		step->why = "no memory for two workers; an idle one is asked to give some back";
		break;
	case ROOM_BREAK_WAIT:
		step->why = "no memory for two workers; another one is replaced first";
		break;
	}
	step->wake_ms = MIN_OF(step->wake_ms, now_ms + MSEC_PER_SEC);
}

struct gov_step
governor_next(struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n, uint64_t now_ms)
{
	struct gov_step step = { .what = GOV_WAIT, .wake_ms = UINT64_MAX };
	struct queue q = { .hurry = governor_hurries(g) };

	for (size_t i = 0; i < n; i++) {
		count_in(&q, w[i]);
		if (q.late == NULL) {
			q.late_reason = governor_late(g, p, w[i], now_ms);
			q.late = q.late_reason != REASON_NONE ? w[i] : NULL;
		}
		if (!enqueue(g, p, &q, w[i], now_ms, &step))
			return step;
	}
	if (must_end_drain(g, p, &q, now_ms, &step.reason)) {
		step.what = GOV_END_DRAIN;
		step.worker = q.oldest;
		return step;
	}
	if (must_let_go(g, p, &q, now_ms)) {
		step.what = GOV_LET_GO;
		step.worker = q.held;
		step.reason = REASON_MEMORY_LIMIT;
		return step;
	}
	if (q.late != NULL) {
		step.what = GOV_LET_GO;
		step.worker = q.late;
		step.reason = q.late_reason;
		return step;
	}
	if (q.best == NULL)
		return step;
	/* A drain that is cut short loses requests; a recycle that is due for nothing but a
	 * number loses nothing when it waits. */
	if (p->max_draining != 0 && q.draining == p->max_draining &&
	    (q.best->due & ~AGE_GUARDED) == 0) {
		step.why = "max-draining workers are finishing";
		return step;
	}
	step.why = blocked(g, p, q.starting, now_ms, &step.wake_ms);
	if (step.why == NULL)
		replace(g, &q, w, n, now_ms, &step);
	return step;
}
