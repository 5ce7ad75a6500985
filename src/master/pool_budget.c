/*
 * pool_budget.c - the memory of all workers: how much there is, what is used, and how many
 * workers fit.
 *
 * With memory-limit = auto or a percentage it is the cgroup that counts, with everything else in
 * it. A size of one's own is compared with what the workers and their molds use.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"

#include <stdio.h>

#define LOOK_NEAR_MS UINT64_C(50)
#define SAY_MS       UINT64_C(3600000)
/* As fast as a few workers together can fill memory. */
#define BYTES_PER_MS UINT64_C(4294967)

static uint64_t
used_by_us(const struct pool *p)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < p->n_all; i++)
		sum += p->all[i]->gov.own_bytes;
	for (size_t i = 0; i < p->n_molds; i++)
		sum += p->molds[i]->rss_bytes;
	return sum;
}

static bool
is_in_cgroup(const struct pool *p, struct limit l)
{
	if (!p->cgroup.known || p->cgroup.memory.limit_bytes == 0)
		return false;
	return l.kind == LIMIT_AUTO || l.kind == LIMIT_PERCENT ||
	    (l.kind == LIMIT_SIZE && l.value >= p->cgroup.memory.limit_bytes);
}

static void
warn_of_size(struct pool *p, struct limit l)
{
	char size[32], cgroup[32];

	if (l.kind != LIMIT_SIZE || p->size_said)
		return;
	p->size_said = true;
	value_human_size(l.value, size, sizeof size);
	value_human_size(p->cgroup.memory.limit_bytes, cgroup, sizeof cgroup);
	log_warn("memory-limit = %s is not below the limit of the cgroup, %s: that one counts",
	    size, cgroup);
}

static void
read_budget(struct pool *p, struct gov_budget *b, uint64_t now)
{
	const struct settings *s = p->gen->settings;
	struct limit l = s->memory_limit;

	*b = (struct gov_budget){
		.boot_ms = (p->boot_usec + 2 * p->boot_spread_usec) / USEC_PER_MSEC,
	};
	pool_cgroup_read(&p->cgroup, now);
	b->cgroup = p->cgroup.known ? p->cgroup.memory.limit_bytes : 0;
	if (is_in_cgroup(p, l)) {
		warn_of_size(p, l);
		b->limit = l.kind == LIMIT_PERCENT ? limit_bytes(l, 0, b->cgroup) : b->cgroup;
		b->used = p->cgroup.memory.used_bytes;
		b->cache = p->cgroup.memory.active_file_bytes;
	} else if (l.kind == LIMIT_SIZE) {
		b->limit = l.value;
		b->used = used_by_us(p);
	}
	b->high = limit_bytes(s->memory_high, 0, b->limit);
	if (b->high == 0 || b->high > b->limit)
		b->high = b->limit;
}

void
pool_describe_budget(const struct pool *p, const struct worker *w, char *dst, size_t len)
{
	const struct gov_budget *b = &p->governor.pool.b;
	char used[32], limit[32], more[32], grows[64] = "", growth[32];

	value_human_size(b->used, used, sizeof used);
	value_human_size(p->governor.pool.growth, growth, sizeof growth);
	if (b->used < b->high)
		snprintf(grows, sizeof grows, ", %s more each second", growth);
	value_human_size(b->limit, limit, sizeof limit);
	value_human_size(governor_reclaimable(&p->governor, &w->gov), more, sizeof more);
	snprintf(dst, len, "%s of %s used%s; it has %s more than a fresh worker after %llu requests",
	    used, limit, grows, more, (unsigned long long)w->requests);
}

static void
say_by_others(struct pool *p, uint64_t now)
{
	const struct gov_pool *pool = &p->governor.pool;
	char used[32], limit[32], ours[32], last[32];

	if (!pool->by_others || (p->others_said_ms != 0 && now - p->others_said_ms < SAY_MS))
		return;
	p->others_said_ms = now;
	value_human_size(pool->b.used, used, sizeof used);
	value_human_size(pool->b.limit, limit, sizeof limit);
	value_human_size(pool->ours, ours, sizeof ours);
	value_human_size(governor_last(&pool->b), last, sizeof last);
	log_warn("memory-limit: %s of %s are used, but by others than the workers, which have %s; "
	    "none is replaced for that before %s are used", used, limit, ours, last);
}

void
pool_say_lack(const struct pool *p, bool with_mold)
{
	const struct gov_budget *b = &p->governor.pool.b;
	const struct mold *m = pool_mold(p, p->gen);
	uint64_t lack = governor_lack(&p->governor, with_mold && m != NULL ? m->rss_bytes : 0);
	char used[32], limit[32], more[32];

	if (lack == 0)
		return;
	value_human_size(b->used, used, sizeof used);
	value_human_size(b->limit, limit, sizeof limit);
	value_human_size(lack, more, sizeof more);
	log_warn("reload: memory-limit = %s lacks about %s for a new %s beside those of now, %s are used; "
	    "the reload goes on, and may be short of memory", limit, more,
	    with_mold ? "mold and worker" : "worker", used);
}

static void
say_futile(const struct pool *p)
{
	const struct gov_pool *pool = &p->governor.pool;
	char limit[32], each[32];

	value_human_size(pool->b.limit, limit, sizeof limit);
	value_human_size(pool->poor.size, each, sizeof each);
	log_warn("memory-limit: %zu workers that need %s each after a while are too many for %s%s, and "
	    "replacing them gains nothing; none is replaced for it any more; give them more "
	    "memory, or have fewer of them", p->target, each, limit,
	    pool->by_others ? " beside what others use" : "");
}

void
pool_budget_changed(struct pool *p)
{
	p->fit = UINT64_MAX;
	p->fit_of = 0;
}

/* For each limit and generation it may become more, as others turn out to need less, but not less:
 * what workers grow by is a matter for recycling. */
static void
fit_workers(struct pool *p)
{
	const struct gov_pool *pool = &p->governor.pool;
	bool again = pool->b.limit == p->fit_of;
	uint64_t fit;
	char high[32], each[32];

	if (pool->b.limit == 0 && p->fit != UINT64_MAX) {
		pool_budget_changed(p);
		(void)pool_scale(p, p->wanted);
	}
	if (pool->b.limit == 0 || (again && p->fit >= p->wanted))
		return;
	fit = governor_fit(&p->governor);
	if (fit == UINT64_MAX || (again && fit <= p->fit))
		return;
	p->fit_of = pool->b.limit;
	p->fit = fit;
	if (again) {
		log_notice("workers = %zu: %llu of them fit into memory now", p->wanted,
		    (unsigned long long)MIN_OF(fit, (uint64_t)p->wanted));
	} else if (fit < p->wanted) {
		value_human_size(pool->b.high, high, sizeof high);
		value_human_size(governor_fresh(&p->governor, GM_USS), each, sizeof each);
		log_warn("workers = %zu: only %llu fresh workers of %s fit into %s (memory-high); no "
		    "more are run", p->wanted, (unsigned long long)fit, each, high);
	}
	if (fit < p->target || p->target < p->wanted)
		(void)pool_scale(p, p->wanted);
}

static uint64_t
next_look(const struct pool *p)
{
	const struct gov_budget *b = &p->governor.pool.b;
	uint64_t usual = p->gen->settings->memory_interval_ms, left;

	if (b->limit == 0)
		return usual;
	usual = MIN_OF(usual, MSEC_PER_SEC);
	left = governor_left(&p->governor);
	return MIN_OF(usual, MAX_OF(left / BYTES_PER_MS, LOOK_NEAR_MS));
}

static void
look(struct pool *p, uint64_t now)
{
	struct gov_budget b;

	pool_pressure_tick(p, now);
	read_budget(p, &b, now);
	for (size_t i = 0; i < p->n_all; i++)
		p->view[i] = &p->all[i]->gov;
	if (governor_look(&p->governor, &p->gen->policy, &b, p->view, p->n_all, now))
		say_futile(p);
	say_by_others(p, now);
	if (!p->stopping)
		fit_workers(p);
	p->is_tight = governor_is_tight(&p->governor);
	p->next_look_ms = now + next_look(p);
}

uint64_t
pool_look_at_budget(struct pool *p, uint64_t now)
{
	if (now >= p->next_look_ms)
		look(p, now);
	return p->next_look_ms - now;
}

void
pool_look_now(struct pool *p)
{
	look(p, clock_now_ms());
}
