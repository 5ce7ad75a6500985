/*
 * pool_trim.c - workers are asked to give memory back, and what came of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"

void
pool_trim(struct worker *w, uint64_t now)
{
	governor_trim_asked(&w->gov, now);
	/* One that cannot be asked is not asked again at once. */
	if (worker_ask_trim(w) < 0)
		w->gov.trim_asked_ms = 0;
}

static void
say_useless(const struct pool *p)
{
	char off[32];

	value_human_time(GOV_TRIM_OFF_MS, off, sizeof off);
	log_warn("memory: the last %u trims gave back less than %u%%: no worker is asked for %s; "
	    "the memory is in use, see preforkctl memory", p->governor.trims_poor,
	    GOV_TRIM_PERCENT, off);
}

static void
say_done(const struct worker *w)
{
	const struct trim_result *t = &w->trims.last;
	char before[32], gc[32], after[32], took[32];

	value_human_size(t->before, before, sizeof before);
	value_human_size(t->after_gc, gc, sizeof gc);
	value_human_size(t->after_trim, after, sizeof after);
	value_human_time(w->trims.took_us / USEC_PER_MSEC, took, sizeof took);
	worker_log(w, LOG_LEVEL_INFO, "trimmed: %s of its own, %s after the collection, %s "
	    "after malloc_trim, within %s", before, gc, after, took);
}

void
pool_on_trimmed(void *ctx, struct worker *w)
{
	struct pool *p = ctx;
	const struct trim_result *t = &w->trims.last;
	uint64_t now = clock_now_ms();

	if (w->trims.refusal != NULL) {
		worker_log(w, LOG_LEVEL_INFO, "not trimmed: %s", w->trims.refusal);
		w->gov.trim_asked_ms = 0;
	} else {
		say_done(w);
		p->trims++;
		p->trimmed_bytes += trim_gain(t);
		if (governor_trimmed(&p->governor, &w->gov, t->before, t->after_trim, now))
			say_useless(p);
	}
	/* Somebody may wait for the room. */
	w->footprint.tried_ms = 0;
	pool_sample_now(p, w);
	pool_look_now(p);
	pool_wake(p);
}
