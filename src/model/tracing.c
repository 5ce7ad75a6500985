/*
 * tracing.c - see tracing.h. Works on the caller's array and cannot fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/tracing.h"

static uint64_t
percent(uint64_t limit, unsigned part)
{
	return limit / 100 * part;
}

static struct tracing_step
let_go(const struct tracing_view *v, size_t i, enum tracing_what how)
{
	v[i].tracing->on = false;
	v[i].tracing->rested = v[i].value;
	return (struct tracing_step){ how, i };
}

/* What one that traces is to do. */
static struct tracing_step
look_at(const struct tracing_view *v, size_t i, bool enabled, uint64_t now_ms)
{
	struct tracing *t = v[i].tracing;
	uint64_t step = v[i].limit / TRACING_STEP;

	if (!enabled || v[i].limit == 0)
		return let_go(v, i, TRACING_STOP);
	if (v[i].cost > MIN_OF(step, TRACING_COST_MAX))
		return let_go(v, i, TRACING_FINISH);
	if (v[i].value >= t->mark + step) {
		t->mark = v[i].value;
		t->mark_ms = now_ms;
	}
	if (v[i].value < percent(v[i].limit, TRACING_BACK_PERCENT) ||
	    now_ms - t->mark_ms >= TRACING_STILL_MS)
		return let_go(v, i, TRACING_STOP);
	return (struct tracing_step){ TRACING_NOTHING, i };
}

static bool
is_candidate(const struct tracing_view *v)
{
	const struct tracing *t = v->tracing;

	if (!v->serves || t->on || v->limit == 0 ||
	    v->value < percent(v->limit, TRACING_FROM_PERCENT))
		return false;
	return t->rested == 0 || v->value >= t->rested + v->limit / TRACING_STEP;
}

/* How far it has come; nobody has as much memory that this overflows. */
static uint64_t
share(const struct tracing_view *v)
{
	return (v->value >> 10) * 1000 / MAX_OF(v->limit >> 10, UINT64_C(1));
}

struct tracing_step
tracing_next(const struct tracing_view *v, size_t n, bool enabled, uint64_t now_ms)
{
	struct tracing_step none = { TRACING_NOTHING, 0 };
	bool taken = false;
	size_t best = n;

	for (size_t i = 0; i < n; i++) {
		struct tracing_step step;

		/* One that is being replaced traces to its end, and others may begin. */
		if (!v[i].tracing->on || !v[i].serves)
			continue;
		step = look_at(v, i, enabled, now_ms);
		if (step.what != TRACING_NOTHING)
			return step;
		taken = true;
	}
	if (!enabled || taken)
		return none;
	/* The one that has most of its way before it. */
	for (size_t i = 0; i < n; i++)
		if (is_candidate(&v[i]) && (best == n || share(&v[i]) < share(&v[best])))
			best = i;
	if (best == n)
		return none;
	*v[best].tracing = (struct tracing){
		.on = true, .mark = v[best].value, .mark_ms = now_ms,
		.rested = v[best].tracing->rested,
	};
	return (struct tracing_step){ TRACING_START, best };
}
