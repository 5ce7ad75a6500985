/*
 * governor_budget.c - the memory of all workers: who goes when it runs out, and whether there is
 * room for two.
 *
 * What workers have grown by comes back when they are replaced. What a fresh one needs does not,
 * and is no reason to replace anybody. Nor is what others in the cgroup use, before memory is nearly
 * used up: then the kernel would kill a worker that has grown, whoever has filled it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor_private.h"

uint64_t
governor_fresh_own(const struct governor *g, bool is_rss)
{
	uint64_t uss = governor_fresh(g, GM_USS);

	return is_rss || uss == 0 ? governor_fresh(g, GM_RSS) : uss;
}

uint64_t
governor_reclaimable(const struct governor *g, const struct gov_worker *w)
{
	uint64_t fresh = governor_fresh_own(g, w->own_is_rss);

	return fresh == 0 || w->own_bytes < fresh ? 0 : w->own_bytes - fresh;
}

static bool
is_worth_it(const struct governor *g, const struct gov_worker *w)
{
	uint64_t least = governor_fresh_own(g, w->own_is_rss) / 100 * GOV_WORTH_PERCENT;

	return governor_reclaimable(g, w) >= MAX_OF(least, GOV_WORTH_BYTES);
}

/* A fresh one has nothing that it could give back, and useless trims end all of them. */
static bool
may_give(const struct governor *g, const struct gov_worker *w)
{
	return governor_reclaimable(g, w) > w->own_bytes / 100 * GOV_TRIM_PERCENT;
}

static bool
is_ending(const struct gov_worker *w)
{
	return w->state == WS_DRAINING || w->state == WS_STOPPING || w->state == WS_KILLED;
}

/* Those that are replaced for anything else, as for a reload, may wait for long. */
static bool
goes_soon(const struct gov_worker *w)
{
	return w->has_successor || (w->due & BIT(REASON_MEMORY_LIMIT)) != 0;
}

/* What others use, from looks at moments when what each worker has is known. A single look may be
 * wrong by what changed between its parts, so the most of some in a row counts, and the least of
 * these. */
static void
note_others(struct gov_pool *pool, uint64_t others, bool calm)
{
	/* without the page cache that would be dropped for a worker */
	uint64_t fixed = base_less(others, pool->b.cache);

	if (!calm) {
		pool->calm_n = 0;
		pool->calm_most = pool->calm_fixed = 0;
		return;
	}
	pool->calm_most = MAX_OF(pool->calm_most, others);
	pool->calm_fixed = MAX_OF(pool->calm_fixed, fixed);
	if (++pool->calm_n < GOV_CALM_N)
		return;
	pool->others = pool->others_known ? MIN_OF(pool->others, pool->calm_most)
	    : pool->calm_most;
	pool->others_fixed = pool->others_known ? MIN_OF(pool->others_fixed, pool->calm_fixed)
	    : pool->calm_fixed;
	pool->others_known = true;
	pool->calm_n = 0;
	pool->calm_most = pool->calm_fixed = 0;
}

/* Another limit may be another group's, with others in it. */
static void
forget_others(struct gov_pool *pool)
{
	pool->others_known = false;
	note_others(pool, 0, false);
}

/* Sums up; true when what each worker has is known. */
static bool
add_up(struct governor *g, struct gov_worker *const *w, size_t n)
{
	struct gov_pool *pool = &g->pool;
	uint64_t back = 0;
	bool calm = n > 0;

	pool->ours = pool->growth = pool->most = 0;
	for (size_t i = 0; i < n; i++) {
		pool->ours += w[i]->own_bytes;
		w[i]->seen_bytes = w[i]->own_bytes;
		/* one that has just begun, or is just ending */
		if (w[i]->state == WS_KILLED || w[i]->state == WS_STOPPING ||
		    (w[i]->state == WS_STARTING && w[i]->own_bytes == 0))
			calm = false;
		if (w[i]->state == WS_READY) {
			pool->growth += governor_growth(w[i]);
			pool->most = MAX_OF(pool->most, governor_reclaimable(g, w[i]));
		}
		if (is_ending(w[i]))
			back += w[i]->own_bytes;
		else if (w[i]->state == WS_READY && goes_soon(w[i]))
			back += governor_reclaimable(g, w[i]);
	}
	pool->expected = base_less(pool->b.used, back);
	pool->ahead = MIN_OF(pool->growth * (pool->b.boot_ms + GOV_LEAVE_MS) / MSEC_PER_SEC,
	    pool->b.high / 100 * GOV_POOL_AHEAD_PERCENT);
	return calm;
}

static void
release(struct gov_worker *const *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!w[i]->has_successor)
			w[i]->due &= ~BIT(REASON_MEMORY_LIMIT);
}

static struct gov_worker *
find_victim(const struct governor *g, struct gov_worker *const *w, size_t n)
{
	struct gov_worker *best = NULL;

	for (size_t i = 0; i < n; i++) {
		if (w[i]->state != WS_READY || goes_soon(w[i]) || !is_worth_it(g, w[i]))
			continue;
		if (best == NULL || governor_reclaimable(g, w[i]) > governor_reclaimable(g, best))
			best = w[i];
	}
	return best;
}

/* What is used has reached high. Workers that grow fast will be half way from there to the limit
 * before the first of them can be gone. */
static bool
is_over(const struct gov_pool *pool, uint64_t used)
{
	return used >= pool->b.high ||
	    used + pool->ahead >= pool->b.high + (pool->b.limit - pool->b.high) / 2;
}

/* Page cache is dropped before anybody is killed. */
static bool
is_nearly_used_up(const struct gov_budget *b, uint64_t used)
{
	return b->limit > b->high && base_less(used, b->cache) >= governor_last(b);
}

/* Somebody has to go. */
static bool
is_short(const struct gov_pool *pool, uint64_t used)
{
	return pool->by_others ? is_nearly_used_up(&pool->b, used + pool->ahead)
	    : is_over(pool, used);
}

bool
governor_look(struct governor *g, const struct gov_policy *p, const struct gov_budget *b,
    struct gov_worker *const *w, size_t n, uint64_t now_ms)
{
	struct gov_pool *pool = &g->pool;
	bool futile = false, calm;

	if (b->limit != pool->b.limit || b->high != pool->b.high) {
		pool->poor.n = 0;
		pool->futile = false;
		forget_others(pool);
	}
	pool->b = *b;
	calm = add_up(g, w, n);
	if (b->limit != 0)
		note_others(pool, base_less(b->used, pool->ours), calm);
	for (size_t i = 0; i < n; i++)
		futile = governor_judge_pool_gain(g, p, w[i], now_ms) || futile;
	pool->by_others = b->limit != 0 && is_over(pool, b->used) && pool->others_known &&
	    !is_over(pool, pool->ours + pool->others);
	if (b->limit == 0 || !is_over(pool, b->used + b->used / 100 * GOV_POOR_PERCENT)) {
		/* It fits again, and well, whoever has made room. */
		pool->futile = false;
		pool->poor.n = 0;
	}
	if (b->limit == 0 || !is_short(pool, b->used) || pool->futile) {
		release(w, n);
		return futile;
	}
	while (is_short(pool, pool->expected)) {
		struct gov_worker *victim = find_victim(g, w, n);

		if (victim == NULL)
			break;
		governor_set_due(victim, REASON_MEMORY_LIMIT, now_ms);
		pool->expected = base_less(pool->expected, governor_reclaimable(g, victim));
	}
	return futile;
}

uint64_t
governor_left(const struct governor *g)
{
	const struct gov_pool *pool = &g->pool;
	const struct gov_budget *b = &pool->b;

	if (b->limit == 0 || pool->futile ||
	    (pool->by_others && pool->growth == 0 && pool->most < GOV_WORTH_BYTES))
		return UINT64_MAX;
	return base_less(pool->by_others ? governor_last(b) + b->cache : b->high,
	    b->used + pool->ahead);
}

bool
governor_is_tight(const struct governor *g)
{
	return governor_left(g) <= g->pool.b.high / 100 * GOV_TIGHT_PERCENT;
}

uint64_t
governor_fit(const struct governor *g)
{
	const struct gov_pool *pool = &g->pool;
	uint64_t fresh = governor_fresh_own(g, false);

	if (pool->b.limit == 0 || fresh == 0 || !pool->others_known)
		return UINT64_MAX;
	return MAX_OF(base_less(pool->b.high, pool->others_fixed) / fresh, (uint64_t)1);
}

/* Of memory, with some to spare. */
static uint64_t
need_of_one(const struct governor *g)
{
	return governor_fresh_own(g, false) / 100 * GOV_ROOM_PERCENT;
}

uint64_t
governor_lack(const struct governor *g, uint64_t beside)
{
	const struct gov_budget *b = &g->pool.b;

	return b->limit == 0 ? 0 : base_less(b->used + need_of_one(g) + beside, b->limit + b->cache);
}

enum gov_room
governor_room(const struct governor *g, struct gov_worker *const *w, size_t n, uint64_t now_ms,
    struct gov_worker **ret_peer)
{
	const struct gov_pool *pool = &g->pool;
	uint64_t each = need_of_one(g), need = each;
	struct gov_worker *peer = NULL;
	bool breaks = g->made_room > 0, trims = false;

	/* Those that boot will need as much as they lack; those that were not there at the last
	 * look are in nobody's count yet. */
	need += g->made_room * each + pool->growth * pool->b.boot_ms / MSEC_PER_SEC;
	for (size_t i = 0; i < n; i++)
		if (w[i]->state == WS_STARTING || (w[i]->state == WS_READY && w[i]->seen_bytes == 0))
			need += base_less(each, w[i]->seen_bytes);
	if (pool->b.limit == 0 || base_less(pool->b.limit + pool->b.cache, pool->b.used) >= need)
		return ROOM_ENOUGH;
	for (size_t i = 0; i < n; i++) {
		breaks = breaks || w[i]->breaks;
		trims = trims || (w[i]->trim_asked_ms != 0 &&
		    now_ms < w[i]->trim_asked_ms + GOV_TRIM_MS);
		if (w[i]->state != WS_READY || w[i]->busy || !w[i]->can_trim ||
		    now_ms < w[i]->trim_next_ms || g->trims_off_ms != 0 || !may_give(g, w[i]))
			continue;
		if (peer == NULL || governor_reclaimable(g, w[i]) > governor_reclaimable(g, peer))
			peer = w[i];
	}
	if (breaks)
		return ROOM_BREAK_WAIT;
	if (trims)
		return ROOM_TRIM_WAIT;
	*ret_peer = peer;
	return peer != NULL ? ROOM_TRIM : ROOM_NONE;
}

bool
governor_is_choked(const struct governor *g, uint64_t draining_bytes)
{
	/* What others have filled and nobody adds to may stay so for long. */
	return is_nearly_used_up(&g->pool.b, g->pool.b.used) && draining_bytes >= GOV_WORTH_BYTES &&
	    (!g->pool.by_others || g->pool.growth > 0);
}

bool
governor_hurries(const struct governor *g)
{
	const struct gov_budget *b = &g->pool.b;
	uint64_t more = g->pool.growth * GOV_GOING_MS / MSEC_PER_SEC;

	return is_nearly_used_up(b, b->used + MIN_OF(more, (b->limit - b->high) / 2));
}
