/*
 * pool_memory.c - which worker's private memory is measured in this tick, and what is said of it.
 *
 * model/footprint.h says for whom it is due; here the master's time is shared out among them. A
 * measurement begins only while less than TICK_US are spent, so that a tick takes as much and one
 * measurement more at the worst; who has to do without goes first in the next tick.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"
#include "system/procmem.h"

#define TICK_US    UINT64_C(2000)
#define ROUTINE_US UINT64_C(1000)	/* of these for what can wait */

void
pool_memory_tick(struct pool *p)
{
	p->measured_us = 0;
	p->left_out = false;
}

static bool
has_time(struct pool *p, const struct worker *w, uint64_t most_us)
{
	if (p->measured_us < most_us)
		return true;
	for (size_t i = 0; i < p->n_all && !p->left_out; i++) {
		if (p->all[i] != w)
			continue;
		p->sample_from = i;
		p->left_out = true;
	}
	return false;
}

/* Why it failed, for those who ask; NULL when that was a matter of the moment. */
static const char *
why_unavailable(int r)
{
	if (r == -EACCES)
		return "processes of other users cannot be looked into without CAP_SYS_PTRACE";
	if (r == -ENOTSUP)
		return "this kernel has no /proc/PID/smaps_rollup";
	return NULL;
}

static void
note_unavailable(struct worker *w, const char *why)
{
	w->footprint.known = false;
	w->uss_unavailable = why;
	if (w->gen->uss_said)
		return;
	w->gen->uss_said = true;
	if (w->gen->policy.limit[GM_USS].kind != LIMIT_OFF)
		worker_log(w, LOG_LEVEL_WARN, "reload-on-uss has no effect: %s", why);
	if (w->gen->policy.limit[GM_PSS].kind != LIMIT_OFF)
		worker_log(w, LOG_LEVEL_WARN, "reload-on-pss has no effect: %s", why);
	if (w->gen->policy.evil[GM_USS].kind != LIMIT_OFF)
		worker_log(w, LOG_LEVEL_WARN, "evil-reload-on-uss has no effect: %s", why);
}

/* The process alone. 0 or negative errno. */
static int
measure_into(struct procmem *mem, struct footprint *f, uint64_t rss, uint64_t now)
{
	struct procmem_rollup sum;
	int r;

	f->tried_ms = now;
	r = procmem_read_rollup(mem, &sum);
	if (r < 0)
		return r;
	*f = (struct footprint){
		.known = true,
		.tried_ms = now,
		.rss = rss,
		.uss = sum.uss_bytes,
		.pss = sum.pss_bytes,
		.swap = sum.swap_bytes,
	};
	return 0;
}

static bool
measure(struct worker *w, uint64_t rss, uint64_t now)
{
	int r = measure_into(&w->mem, &w->footprint, rss, now);
	const char *why = why_unavailable(r);
	struct procmem_rollup sum = {0};

	if (why != NULL)
		note_unavailable(w, why);
	if (r < 0)
		return false;
	w->uss_unavailable = NULL;
	if (w->members > 0 && procmem_group_rollup(w->pid, &sum) >= 0) {
		w->footprint.uss += sum.uss_bytes;
		w->footprint.pss += sum.pss_bytes;
		w->footprint.swap += sum.swap_bytes;
	}
	return true;
}

bool
pool_measure(struct pool *p, struct worker *w, uint64_t rss, uint64_t now)
{
	const struct gov_policy *policy = &w->gen->policy;
	const struct footprint_limits limits = {
		.uss = governor_limit(&p->governor, policy, GM_USS),
		.evil_uss = governor_evil(&p->governor, policy, GM_USS),
		.pss = governor_limit(&p->governor, policy, GM_PSS),
	};
	uint64_t begun, most_us = ROUTINE_US;
	bool done;

	/* What it maps now it may give up with an exec. */
	if (worker_state(w) == WS_STARTING || (rss > FOOTPRINT_LARGE && pool_is_pressed(p, now)))
		return false;
	switch (footprint_need(&w->footprint, rss, &limits,
	    w->gen->settings->memory_interval_ms, now)) {
	case FOOTPRINT_FRESH:
		return false;
	case FOOTPRINT_DUE:
		break;
	case FOOTPRINT_NEEDED:
		most_us = TICK_US;
		break;
	}
	if (!has_time(p, w, most_us))
		return false;
	begun = clock_now_us();
	done = measure(w, rss, now);
	p->measured_us += clock_now_us() - begun;
	return done;
}

/* Whether rss alone does not tell on which side of the limits it is. */
static bool
is_unsure(const struct pool *p, const struct worker *w, uint64_t rss)
{
	uint64_t error = procmem_statm_error() * (w->members + 1);
	const struct gov_policy *policy = &w->gen->policy;

	return error != 0 && (footprint_side(rss, governor_limit(&p->governor, policy, GM_RSS),
	    error) == FOOTPRINT_UNSURE || footprint_side(rss, governor_evil(&p->governor, policy,
	    GM_RSS), error) == FOOTPRINT_UNSURE);
}

uint64_t
pool_confirm_rss(struct pool *p, struct worker *w, uint64_t rss, uint64_t now)
{
	struct procmem_rollup sum, group = {0};
	uint64_t begun;

	if (worker_state(w) == WS_STARTING || !is_unsure(p, w, rss))
		return rss;
	/* Where memory is scarce a walk over a large worker makes it scarcer. */
	if (now - w->confirmed_ms < FOOTPRINT_URGENT_MS ||
	    (rss > FOOTPRINT_LARGE && pool_is_pressed(p, now)) || !has_time(p, w, TICK_US))
		return (uint64_t)MAX_OF((int64_t)rss + w->statm_error, (int64_t)0);
	begun = clock_now_us();
	if (procmem_read_rollup(&w->mem, &sum) >= 0) {
		if (w->members > 0)
			(void)procmem_group_rollup(w->pid, &group);
		w->confirmed_ms = now;
		w->statm_error = (int64_t)(sum.rss_bytes + group.rss_bytes) - (int64_t)rss;
		rss = sum.rss_bytes + group.rss_bytes;
	}
	p->measured_us += clock_now_us() - begun;
	return rss;
}

void
pool_warn_shared(const struct pool *p, struct worker *w, uint64_t rss)
{
	uint64_t limit = governor_limit(&p->governor, &w->gen->policy, GM_RSS);
	char key[32], shared[32], all[32];

	/* What a worker shares with its own children does come back. */
	if (limit == 0 || w->gen->shared_said || w->members > 0 ||
	    rss < limit / 100 * FOOTPRINT_NEAR || !footprint_is_mostly_shared(&w->footprint, rss))
		return;
	w->gen->shared_said = true;
	value_human_size(limit, key, sizeof key);
	value_human_size(rss - footprint_most(&w->footprint, rss), shared, sizeof shared);
	value_human_size(rss, all, sizeof all);
	worker_log(w, LOG_LEVEL_WARN, "reload-on-rss = %s: more than half of this worker's memory "
	    "(%s of %s) is shared with others and would not come back; reload-on-uss is the better "
	    "key", key, shared, all);
}

void
pool_measure_molds(struct pool *p, uint64_t now)
{
	for (size_t i = 0; i < p->n_molds; i++) {
		struct mold *m = p->molds[i];
		static const struct footprint_limits none = {0};
		struct procmem_sample s;
		uint64_t begun;

		/* One that imports could be another process a moment later, by exec. */
		if (m->state != MOLD_READY ||
		    (m->mem.statm_fd < 0 && procmem_open(&m->mem, m->pid) < 0) ||
		    procmem_read(&m->mem, &s) < 0)
			continue;
		m->rss_bytes = s.rss_bytes;
		if (footprint_need(&m->footprint, s.rss_bytes, &none, 0, now) == FOOTPRINT_FRESH ||
		    p->measured_us >= ROUTINE_US)
			continue;
		begun = clock_now_us();
		(void)measure_into(&m->mem, &m->footprint, s.rss_bytes, now);
		p->measured_us += clock_now_us() - begun;
	}
}
