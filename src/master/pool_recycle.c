/*
 * pool_recycle.c - the governor's steps carried out: a successor is started, the old worker
 * drains once it serves.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"

#include <assert.h>
#include <stdio.h>

#define STEPS_PER_ROUND 256

static void
describe(const struct pool *p, const struct worker *w, enum reason reason, char *dst, size_t len)
{
	const struct gov_policy *policy = &w->gen->policy;
	char a[32], b[32];

	switch (reason) {
	case REASON_MAX_REQUESTS:
		snprintf(dst, len, "%llu requests of %llu", (unsigned long long)w->requests,
		    (unsigned long long)w->gov.max_requests);
		return;
	case REASON_MAX_LIFETIME:
		value_human_time(clock_now_ms() - w->gov.ready_ms, a, sizeof a);
		value_human_time(w->gov.max_lifetime_ms, b, sizeof b);
		snprintf(dst, len, "age %s of %s", a, b);
		return;
	case REASON_RSS:
		value_human_size(w->gov.value[GM_RSS], a, sizeof a);
		value_human_size(governor_limit(&p->governor, policy, GM_RSS), b, sizeof b);
		break;
	case REASON_USS:
		value_human_size(w->gov.value[GM_USS], a, sizeof a);
		value_human_size(governor_limit(&p->governor, policy, GM_USS), b, sizeof b);
		break;
	case REASON_PSS:
		value_human_size(w->gov.value[GM_PSS], a, sizeof a);
		value_human_size(governor_limit(&p->governor, policy, GM_PSS), b, sizeof b);
		break;
	case REASON_MEMORY_LIMIT:
		pool_describe_budget(p, w, dst, len);
		return;
	case REASON_AS:
		value_human_size(w->gov.value[GM_AS], a, sizeof a);
		value_human_size(governor_limit(&p->governor, policy, GM_AS), b, sizeof b);
		break;
	case REASON_FDS:
		snprintf(dst, len, "%llu descriptors of %llu",
		    (unsigned long long)w->gov.value[GM_FDS],
		    (unsigned long long)policy->limit[GM_FDS].value);
		return;
	case REASON_NONE: case REASON_RELOAD: case REASON_SCALE: case REASON_REQUEST:
	case REASON_EVIL_RSS: case REASON_EVIL_USS: case REASON_BOOT_TIMEOUT: case REASON_TIMEOUT:
	case REASON_REQUEST_TIMEOUT: case REASON_CRASH: case REASON_OOM: case REASON_STOP:
	case REASON_N:
		snprintf(dst, len, "%llu requests served", (unsigned long long)w->requests);
		return;
	}
	snprintf(dst, len, "%s of %s after %llu requests", a, b, (unsigned long long)w->requests);
}

/* False when no successor could be started. */
static bool
replace(struct pool *p, struct worker *old, enum reason reason)
{
	struct slot *slot = &p->slots[old->slot - 1];
	struct worker *w = pool_add(p, p->gen, old->slot);
	uint64_t now = clock_now_ms();
	struct log_about about = worker_about(old);
	char detail[192];

	assert(slot->serving == old && slot->successor == NULL);
	if (w == NULL || !pool_spawn(p, w)) {
		if (w != NULL)
			pool_remove(p, w);
		governor_boot_failed(&p->governor, now);
		return false;
	}
	w->gov.is_successor = true;
	slot->successor = w;
	old->gov.has_successor = true;
	/* Written when it drains; known from here on for status and for the case that it
	 * dies before. */
	governor_started(&p->governor, &w->gov, &old->gov, reason, now);
	pool_trace_before_end(old);
	if (governor_may_be_late(&p->governor, &p->gen->policy, &old->gov, now))
		pool_sample_soon(p, old);
	describe(p, old, reason, detail, sizeof detail);
	about.reason = reason_name(reason);
	about.event = "recycle";
	if (w->unborn)
		log_write(LOG_LEVEL_INFO, &about, "%s: %s; a successor is forked",
		    reason_name(reason), detail);
	else
		log_write(LOG_LEVEL_INFO, &about, "%s: %s; successor pid %d starts",
		    reason_name(reason), detail, (int)w->pid);
	return true;
}

/* The most urgent of its reasons, now that it goes. */
enum reason
pool_drain_reason(const struct worker *old)
{
	static const enum reason order[] = {
		REASON_MEMORY_LIMIT, REASON_RSS, REASON_USS, REASON_PSS, REASON_AS, REASON_FDS,
		REASON_REQUEST, REASON_MAX_REQUESTS, REASON_MAX_LIFETIME, REASON_RELOAD,
		REASON_SCALE,
	};

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		if ((old->gov.due & 1u << order[i]) != 0)
			return order[i];
	return REASON_REQUEST;
}

void
pool_drain(struct pool *p, struct worker *w, enum reason reason)
{
	struct slot *slot = &p->slots[w->slot - 1];

	if (slot->serving == w)
		slot->serving = NULL;
	slot->last_reason = reason;
	p->recycles[reason]++;
	/* The sockets of one that makes room wait for its successor. */
	w->holds = !w->gov.breaks && pool_must_hold(p, w);
	w->gov.is_surplus = w->holds || reason == REASON_SCALE;
	worker_handle(w, WE_DRAIN, reason);
	if (w->holds)
		pool_hold_start(p);
}

/* There is no room for its successor beside it. */
static void
break_first(struct pool *p, struct worker *w, enum reason reason)
{
	struct slot *slot = &p->slots[w->slot - 1];
	struct log_about about = worker_about(w);
	char detail[192];

	describe(p, w, reason, detail, sizeof detail);
	about.reason = reason_name(reason);
	about.event = "recycle";
	log_write(LOG_LEVEL_NOTICE, &about, "%s: %s; memory has no room for two, so it finishes "
	    "before its successor starts", reason_name(reason), detail);
	slot->broken = w->gov.serial;
	slot->broken_reason = reason;
	slot->broken_gov = w->gov;
	w->gov.breaks = true;
	pool_trace_before_end(w);
	pool_drain(p, w, reason);
}

/* Its successor, which still boots, has the slot. */
static void
let_go(struct pool *p, struct worker *w, enum reason reason)
{
	struct slot *slot = &p->slots[w->slot - 1];
	char limit[32], detail[192];

	assert(slot->serving == w && slot->successor != NULL);
	w->gov.breaks = slot->successor->gov.breaks = reason == REASON_MEMORY_LIMIT;
	if (w->gov.breaks) {
		value_human_size(p->governor.pool.b.limit, limit, sizeof limit);
		worker_log(w, LOG_LEVEL_WARN, "memory-limit: %s are nearly used up, and its successor "
		    "is not ready yet; it finishes now", limit);
	} else {
		describe(p, w, reason, detail, sizeof detail);
		worker_log(w, LOG_LEVEL_DEBUG, "%s: %s; its successor is not ready yet; it finishes now",
		    reason_name(reason), detail);
	}
	(void)pool_take_over(slot);
	pool_drain(p, w, pool_drain_reason(w));
}

static void
end_drain(const struct pool *p, struct worker *w, enum reason reason)
{
	char why[96], limit[32];

	if (reason == REASON_MEMORY_LIMIT) {
		value_human_size(p->governor.pool.b.limit, limit, sizeof limit);
		snprintf(why, sizeof why, "memory-limit: %s are nearly used up", limit);
	} else {
		snprintf(why, sizeof why, "more than max-draining (%llu) workers drain",
		    (unsigned long long)p->gen->policy.max_draining);
	}
	worker_log(w, LOG_LEVEL_WARN, "%s; this one, the oldest that drains, gets SIGTERM, %llu "
	    "requests in flight", why, (unsigned long long)w->in_flight);
	worker_handle(w, WE_STOP, REASON_NONE);
}

static void
retire(struct pool *p, struct worker *w)
{
	struct slot *slot = &p->slots[w->slot - 1];

	if (slot->successor != NULL) {
		worker_handle(slot->successor, WE_DRAIN, REASON_SCALE);
		slot->successor = NULL;
	}
	worker_log(w, LOG_LEVEL_INFO, "scale: %zu workers wanted; it finishes", p->target);
	pool_drain(p, w, REASON_SCALE);
}

static void
would(struct pool *p, struct worker *w, enum reason reason)
{
	char detail[192];

	describe(p, w, reason, detail, sizeof detail);
	worker_log(w, LOG_LEVEL_INFO, "recycle-dry-run: would be replaced now, %s: %s",
	    reason_name(reason), detail);
}

/* Slots whose worker went so that there is room for its successor. */
static unsigned
count_broken(const struct pool *p)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->target; i++)
		n += p->slots[i].broken != 0 && p->slots[i].serving == NULL;
	return n;
}

void
pool_govern(struct pool *p)
{
	const struct gov_policy *policy = &p->gen->policy;
	uint64_t now = clock_now_ms();

	for (int i = 0; i < STEPS_PER_ROUND; i++) {
		struct gov_step step;
		struct worker *w;

		for (size_t k = 0; k < p->n_all; k++)
			p->view[k] = &p->all[k]->gov;
		p->governor.made_room = count_broken(p);
		step = governor_next(&p->governor, policy, p->view, p->n_all, now);
		p->waiting = step.why;
		p->queued = step.queued;
		w = step.worker != NULL ? container_of(step.worker, struct worker, gov) : NULL;
		switch (step.what) {
		case GOV_WAIT:
			if (step.wake_ms != UINT64_MAX && !ev_is_active(&p->round)) {
				ev_timer_set(&p->round, (double)(step.wake_ms > now
				    ? step.wake_ms - now : 0) / 1000.0, 0.);
				ev_timer_start(p->loop, &p->round);
			}
			return;
		case GOV_REPLACE:
			assert(w != NULL);
			if (!replace(p, w, step.reason))
				return;
			break;
		case GOV_BREAK:
			assert(w != NULL);
			break_first(p, w, step.reason);
			break;
		case GOV_LET_GO:
			assert(w != NULL);
			let_go(p, w, step.reason);
			break;
		case GOV_TRIM:
			assert(w != NULL);
			pool_trim(w, now);
			break;
		case GOV_RETIRE:
			assert(w != NULL);
			retire(p, w);
			break;
		case GOV_END_DRAIN:
			assert(w != NULL);
			end_drain(p, w, step.reason);
			break;
		case GOV_WOULD:
			assert(w != NULL);
			would(p, w, step.reason);
			break;
		}
	}
	pool_wake(p);
}
