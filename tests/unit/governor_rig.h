/*
 * governor_rig.h - four workers of a made-up pool, and what is known of their memory.
 */
#ifndef PREFORKD_TESTS_GOVERNOR_RIG_H
#define PREFORKD_TESTS_GOVERNOR_RIG_H

#include "model/governor.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)
#define N  4

static struct governor g;
static struct gov_policy p;
static struct gov_budget b;
static struct gov_worker w[2 * N];
static struct gov_worker *view[2 * N];
static uint64_t now;

/* Four workers of 40 MB that have just become ready. */
static inline void
set_up(void)
{
	governor_init(&g);
	p = (struct gov_policy){
		.concurrency = 1, .samples = 2, .min_lifetime_ms = 10000, .max_draining = N,
	};
	b = (struct gov_budget){0};
	now = 20000;
	memset(w, 0, sizeof w);
	for (size_t i = 0; i < 2 * N; i++) {
		view[i] = &w[i];
		w[i].serial = i + 1;
		w[i].state = i < N ? WS_READY : WS_VACANT;
		w[i].ready_ms = now - 100;
		w[i].can_trim = true;
	}
}

/* Within one request. */
static inline struct gov_verdict
sample_inside(struct gov_worker *x, uint64_t rss, uint64_t uss)
{
	const uint64_t value[GM_N] = {
		[GM_RSS] = rss, [GM_USS] = uss, [GM_PSS] = uss, [GM_AS] = 3 * rss, [GM_FDS] = 20,
	};

	x->own_bytes = uss == GOV_UNKNOWN ? rss : uss;
	x->own_is_rss = uss == GOV_UNKNOWN;
	return governor_sample(&g, &p, x, value, now);
}

static inline struct gov_verdict
sample_both(struct gov_worker *x, uint64_t rss, uint64_t uss)
{
	governor_count(x, x->requests + 1, now);
	return sample_inside(x, rss, uss);
}

static inline struct gov_verdict
sample(struct gov_worker *x, uint64_t rss)
{
	return sample_both(x, rss, rss);
}

static inline struct gov_step
next(void)
{
	return governor_next(&g, &p, view, N, now);
}

static inline bool
look(uint64_t used)
{
	b.used = used;
	return governor_look(&g, &p, &b, view, N, now);
}

static inline void
fresh(uint64_t bytes)
{
	for (size_t i = 0; i < N; i++)
		sample(&w[i], bytes);
	now += 1000;
}

/* Workers that have others beside them which use 20 MB, in 400 MB. */
static inline void
calm_pool(void)
{
	b = (struct gov_budget){ .limit = 400 * MB, .high = 340 * MB };
	fresh(40 * MB);
	for (int i = 0; i < GOV_CALM_N; i++, now += 1000)
		look(180 * MB);
	ck_assert(g.pool.others_known);
	ck_assert_uint_eq(g.pool.others, 20 * MB);
}

#endif
