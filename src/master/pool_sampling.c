/*
 * pool_sampling.c - memory and descriptors of all workers, at the settings' pace, faster for
 * a busy worker that may soon be over a limit.
 *
 * statm is read through a descriptor that stays open; descendants are found by a walk
 * over /proc, WALK_MS apart, because that costs much more.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"
#include "system/procmem.h"

#include <string.h>

#define WALK_MS      UINT64_C(5000)
#define CHECK_MS     UINT64_C(1000)
#define WALK_NEAR_MS UINT64_C(500)
#define FLOOR_MS     UINT64_C(10)	/* also of one that is waited for, as it may be idle soon */
#define IDLE_FLOOR_MS UINT64_C(50)
#define FAST_MS      UINT64_C(2)	/* of one that is above a limit, or will be in SOON_MS */
#define SOON_MS      UINT64_C(50)
#define RISING_MS    UINT64_C(50)
#define ENDING_MS    UINT64_C(1000)
#define NEWS_MS      UINT64_C(250)	/* a little more than agents take to tell their counts */
/* A Python process touches 0.5 to 1.3 GB of new memory in a second; twice that. */
#define BYTES_PER_MS UINT64_C(2147483)

static void on_sampling(struct ev_loop *loop, ev_timer *t, int revents);

static void
arm(struct pool *p, uint64_t after_ms)
{
	ev_timer_stop(p->loop, &p->sampling);
	ev_timer_set(&p->sampling, (double)after_ms / 1000.0, 0.);
	ev_timer_start(p->loop, &p->sampling);
}

void
pool_sampling_start(struct pool *p)
{
	ev_set_cb(&p->sampling, on_sampling);
	pool_cgroup_read(&p->cgroup, clock_now_ms());
	arm(p, MIN_OF(p->gen->settings->memory_interval_ms, MSEC_PER_SEC));
}

void
pool_sampling_stop(struct pool *p)
{
	ev_timer_stop(p->loop, &p->sampling);
}

static bool
is_sampled(const struct worker *w)
{
	return worker_state_is_alive(worker_state(w)) && worker_state(w) != WS_KILLED && !w->unborn;
}

/* Where memory is limited for all, it is looked at every second at least. */
static uint64_t
usual_interval(const struct pool *p, const struct generation *gen)
{
	uint64_t interval = gen->settings->memory_interval_ms;

	return p->governor.pool.b.limit != 0 ? MIN_OF(interval, MSEC_PER_SEC) : interval;
}

static bool
is_near(uint64_t limit, uint64_t value)
{
	return limit != 0 && value > limit / 10 * 8;
}

static bool
is_near_limit(const struct pool *p, const struct worker *w)
{
	const struct governor *g = &p->governor;
	const struct gov_policy *policy = &w->gen->policy;
	uint64_t rss = w->own.rss_bytes + w->group.rss_bytes;
	uint64_t uss = footprint_most(&w->footprint, rss);

	if (w->group.rss_bytes == 0)
		return false;
	return is_near(governor_limit(g, policy, GM_RSS), rss) ||
	    is_near(governor_evil(g, policy, GM_RSS), rss) ||
	    is_near(governor_limit(g, policy, GM_USS), uss) ||
	    is_near(governor_evil(g, policy, GM_USS), uss) ||
	    is_near(governor_limit(g, policy, GM_PSS), footprint_most_pss(&w->footprint, rss));
}

/* Sums of the descendants, for all workers at once. */
static void
walk(struct pool *p, uint64_t now)
{
	pid_t *leaders;
	struct procmem_sample *sums;
	unsigned *members;
	uint64_t pause = WALK_MS;
	size_t n = 0;

	leaders = calloc(p->n_all, sizeof *leaders);
	sums = calloc(p->n_all, sizeof *sums);
	members = calloc(p->n_all, sizeof *members);
	if (leaders != NULL && sums != NULL && members != NULL) {
		for (size_t i = 0; i < p->n_all; i++)
			leaders[n++] = is_sampled(p->all[i]) ? p->all[i]->pid : 0;
		if (procmem_groups(leaders, n, sums, members) >= 0)
			for (size_t i = 0; i < n; i++) {
				p->all[i]->group = sums[i];
				p->all[i]->members = members[i];
			}
	}
	for (size_t i = 0; i < p->n_all; i++)
		if (is_near_limit(p, p->all[i]))
			pause = WALK_NEAR_MS;
	free(leaders);
	free(sums);
	free(members);
	p->next_walk_ms = now + pause;
}

static void
count_fds(struct worker *w, uint64_t now)
{
	uint64_t n;
	int r = procmem_count_fds(w->pid, &n);

	w->fds_ms = now;
	w->fds_unavailable = r == -EACCES || r == -EPERM;
	if (r >= 0)
		w->fds = n;
	if (w->fds_unavailable && w->gen->policy.limit[GM_FDS].kind != LIMIT_OFF && !w->gen->fds_said) {
		w->gen->fds_said = true;
		worker_log(w, LOG_LEVEL_WARN, "reload-on-fds has no effect: descriptors of another "
		    "user's process cannot be counted without CAP_DAC_READ_SEARCH");
	}
}

/* What is left of a limit that is set and not reached yet. */
static uint64_t
left_of(uint64_t limit, uint64_t value)
{
	return limit > value ? limit - value : UINT64_MAX;
}

/* Above a limit, and a moment later will tell whether it stays there, or grows on. */
static bool
is_rising(const struct pool *p, const struct worker *w, uint64_t now)
{
	static const enum gov_metric metrics[] = { GM_RSS, GM_USS, GM_PSS };

	for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
		enum gov_metric m = metrics[i];

		if (w->gov.over[m] > 0 && !p->governor.meter[m].futile &&
		    (w->gov.due & 1u << gov_metric_reason(m)) == 0 &&
		    now - w->gov.over_since[m].ms < RISING_MS)
			return worker_state(w) == WS_READY;
	}
	return false;
}

/* The governor has something to decide about it that it does not know of. */
bool
pool_is_due(const struct worker *w)
{
	return worker_state(w) == WS_READY && !w->gov.has_successor &&
	    (w->gov.due & ~w->gov.dry_noted) != 0;
}

/* Short requests are over by the time that they are told of: one that has completed some may be at
 * the next. Nobody tells how busy a plain command is. */
static bool
is_busy(const struct worker *w, uint64_t now)
{
	return !w->gen->has_agent || w->agent_lost || w->in_flight > 0 ||
	    (w->moved_ms != 0 && now - w->moved_ms < NEWS_MS) ||
	    (worker_state(w) == WS_READY && (w->gov.n_rates == 0 || governor_rate(&w->gov) > 0));
}

/* The time until a busy worker could reach the nearest limit at the fastest. */
static uint64_t
next_interval(const struct pool *p, const struct worker *w, uint64_t now)
{
	const struct governor *g = &p->governor;
	const struct gov_policy *policy = &w->gen->policy;
	uint64_t usual = usual_interval(p, w->gen);
	uint64_t rss = w->own.rss_bytes + w->group.rss_bytes, left, growth, floor;

	left = MIN_OF(left_of(governor_limit(g, policy, GM_RSS), rss),
	    left_of(governor_evil(g, policy, GM_RSS), rss));
	if (w->uss_unavailable == NULL) {
		uint64_t uss = footprint_most(&w->footprint, rss);

		left = MIN_OF(left, left_of(governor_limit(g, policy, GM_USS), uss));
		left = MIN_OF(left, left_of(governor_evil(g, policy, GM_USS), uss));
		left = MIN_OF(left, left_of(governor_limit(g, policy, GM_PSS),
		    footprint_most_pss(&w->footprint, rss)));
	}
	if (!is_busy(w, now)) {
		/* A request that never lets go of the interpreter keeps the agent from telling of
		 * it; where there is a hard limit that must not let it run away. */
		left = left_of(governor_evil(g, policy, GM_RSS), rss);
		return MIN_OF(usual, MAX_OF(left / BYTES_PER_MS, IDLE_FLOOR_MS));
	}
	if (governor_may_be_late(g, &p->gen->policy, &w->gov, now))
		return MIN_OF(usual, FAST_MS);
	/* Above a limit the second sample comes at once; then it may fall back. */
	if (is_rising(p, w, now))
		return MIN_OF(usual, FAST_MS);
	if (pool_is_due(w))
		return MIN_OF(usual, now < w->gov.idle_until_ms ? FLOOR_MS : IDLE_FLOOR_MS);
	if (left == UINT64_MAX)
		return usual;
	growth = governor_growth(&w->gov);
	floor = growth > 0 && left / (growth / MSEC_PER_SEC + 1) < SOON_MS ? FAST_MS : FLOOR_MS;
	return MIN_OF(usual, MAX_OF(left / BYTES_PER_MS, floor));
}

static void
kill_at_once(struct pool *p, struct worker *w, enum reason reason, const uint64_t value[GM_N])
{
	enum gov_metric m = reason == REASON_EVIL_RSS ? GM_RSS : GM_USS;
	char size[32], limit[32];

	value_human_size(value[m], size, sizeof size);
	value_human_size(governor_evil(&p->governor, &w->gen->policy, m), limit, sizeof limit);
	worker_log(w, LOG_LEVEL_ERROR, "%s: %s of %s; SIGKILL, %llu requests in flight are lost",
	    reason_name(reason), size, limit, (unsigned long long)w->in_flight);
	worker_handle(w, WE_KILL, reason);
}

static void
sample(struct pool *p, struct worker *w, bool walked, uint64_t now)
{
	const struct gov_policy *policy = &w->gen->policy;
	struct procmem_sample s;
	uint64_t value[GM_N];
	struct gov_verdict verdict;
	bool measured, is_counted;

	if (w->mem.statm_fd < 0 && procmem_open(&w->mem, w->pid) < 0)
		return;
	if (procmem_read(&w->mem, &s) < 0)
		return;
	w->own = s;
	/* A walk over /proc/PID/fd costs as much as all the rest. */
	is_counted = walked || (policy->limit[GM_FDS].kind != LIMIT_OFF &&
	    now + FLOOR_MS >= w->fds_ms + w->gen->settings->memory_interval_ms);
	if (is_counted)
		count_fds(w, now);
	value[GM_RSS] = pool_confirm_rss(p, w, s.rss_bytes + w->group.rss_bytes, now);
	worker_note_peak(w, value[GM_RSS], now);
	measured = pool_measure(p, w, value[GM_RSS], now);
	value[GM_USS] = measured ? w->footprint.uss : GOV_UNKNOWN;
	value[GM_PSS] = measured ? w->footprint.pss : GOV_UNKNOWN;
	value[GM_AS] = s.as_bytes + w->group.as_bytes;
	value[GM_FDS] = is_counted ? w->fds : GOV_UNKNOWN;
	w->gov.own_bytes = footprint_most(&w->footprint, value[GM_RSS]);
	w->gov.own_is_rss = !w->footprint.known;
	/* What a forked one shares with its mold is not known before it is ready. */
	if (worker_state(w) == WS_STARTING)
		w->gov.own_bytes = MIN_OF(w->gov.own_bytes, governor_fresh(&p->governor, GM_USS));
	worker_forget_tracing(w, value);
	pool_history_note(p, w, value, now);
	verdict = governor_sample(&p->governor, policy, &w->gov, value, now);
	w->next_sample_ms = now + next_interval(p, w, now);
	if (verdict.futile)
		pool_say_futile(p, w);
	if (verdict.trim)
		pool_trim(w, now);
	if (verdict.count && w->gen->has_agent)
		worker_ask_counts(w);
	pool_warn_shared(p, w, value[GM_RSS]);
	/* Not at once: one that is about to end closes its channel as well. */
	if (w->agent_lost && !w->lost_said && now - w->lost_ms >= ENDING_MS) {
		w->lost_said = true;
		worker_log(w, LOG_LEVEL_WARN, "closed its channel but lives: no counts and heartbeats "
		    "any more, it is treated like a plain command");
	}
	if (verdict.kill != REASON_NONE)
		kill_at_once(p, w, verdict.kill, value);
}

/* The next tick comes in time for w. */
static void
rearm_for(struct pool *p, const struct worker *w, uint64_t now)
{
	uint64_t after = w->next_sample_ms > now ? w->next_sample_ms - now : FAST_MS;

	if (ev_timer_remaining(p->loop, &p->sampling) * 1000.0 > (double)after)
		arm(p, MAX_OF(after, FAST_MS));
}

void
pool_sample_soon(struct pool *p, struct worker *w)
{
	uint64_t now = clock_now_ms();

	w->next_sample_ms = MIN_OF(w->next_sample_ms, now + FAST_MS);
	rearm_for(p, w, now);
}

void
pool_sampling_hint(struct pool *p, struct worker *w)
{
	uint64_t now = clock_now_ms(), due;

	if (!is_busy(w, now) || worker_state(w) != WS_READY)
		return;
	/* What is known now may end the patience with it. */
	if (pool_is_due(w) && now < w->gov.idle_until_ms) {
		pool_sample_soon(p, w);
		return;
	}
	due = now + next_interval(p, w, now);
	if (due + FLOOR_MS >= w->next_sample_ms)
		return;
	w->next_sample_ms = due;
	rearm_for(p, w, now);
}

void
pool_sample_now(struct pool *p, struct worker *w)
{
	uint64_t now = clock_now_ms();

	pool_memory_tick(p);
	sample(p, w, false, now);
	if (is_sampled(w) && ev_is_active(&p->sampling))
		rearm_for(p, w, now);
}

void
pool_sample_all(struct pool *p)
{
	for (size_t i = 0; i < p->n_all; i++)
		p->all[i]->next_sample_ms = 0;
	p->next_look_ms = 0;
	arm(p, 0);
}

static void
on_sampling(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct pool *p = container_of(t, struct pool, sampling);
	uint64_t now = clock_now_ms(), next = p->gen->settings->memory_interval_ms;
	bool walked = now >= p->next_walk_ms;
	bool due = false;

	if (walked)
		walk(p, now);
	if (now >= p->next_check_ms) {
		p->next_check_ms = now + CHECK_MS;
		pool_check_all_sockets(p);
	}
	if (now >= p->next_queues_ms) {
		p->next_queues_ms = now + FLOOR_MS;
		pool_look_at_queues(p);
	}
	pool_memory_tick(p);
	for (size_t i = 0; i < p->n_all; i++)
		p->view[i] = &p->all[i]->gov;
	governor_line_up(&p->governor, &p->gen->policy, p->view, p->n_all);
	for (size_t i = 0, from = p->sample_from; i < p->n_all; i++) {
		struct worker *w = p->all[(from + i) % p->n_all];

		if (!is_sampled(w))
			continue;
		/* Those that are due within a little while go along, to wake up less often. */
		if (walked || p->is_tight || now + FLOOR_MS >= w->next_sample_ms)
			sample(p, w, walked, now);
		if (is_sampled(w))
			next = MIN_OF(next, w->next_sample_ms > now ? w->next_sample_ms - now : FAST_MS);
		due = due || (p->waiting == NULL && pool_is_due(w)) ||
		    governor_late(&p->governor, &p->gen->policy, &w->gov, now) != REASON_NONE;
	}
	pool_measure_molds(p, now);
	next = MIN_OF(next, pool_look_at_budget(p, now));
	pool_trace_tick(p, now);
	if (due || governor_hurries(&p->governor))
		pool_wake(p);
	arm(p, MAX_OF(next, FAST_MS));
}
