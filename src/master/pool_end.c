/*
 * pool_end.c - a worker has ended: why, what it means for its slot, who is told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "master/launch.h"
#include "model/values.h"
#include "system/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define OOM_MS UINT64_C(2000)	/* from a kill by the kernel to the death, at most */

bool
pool_oom_rose(struct pool *p)
{
	uint64_t now;
	bool rose;

	if (cgroup_oom_kills(&now) < 0)
		return false;
	/* The kernel may have killed several before the first of them is looked at; others that
	 * it killed are none of ours. */
	if (clock_now_ms() - p->oom_ms > OOM_MS)
		p->oom_owed = 0;
	if (now > p->oom_seen) {
		p->oom_ms = clock_now_ms();
		p->oom_owed = MIN_OF(p->oom_owed + (now - p->oom_seen), (uint64_t)p->n_all + 1);
	}
	p->oom_seen = now;
	rose = p->oom_owed > 0;
	p->oom_owed -= rose;
	return rose;
}

static void
attribute(struct pool *p, struct worker *w, const struct death *d)
{
	/* One that was ending anyway may have been the kernel's choice as well. */
	if (d->by_signal && d->status == SIGKILL && !w->kill_sent && pool_oom_rose(p))
		w->reason = REASON_OOM;
	else if (w->reason == REASON_NONE)
		w->reason = REASON_CRASH;
}

static void
count(struct pool *p, const struct worker *w)
{
	p->past_requests += w->requests;
	if (w->reason == REASON_CRASH) {
		if (w->gov.ready_ms != 0)
			p->crashes++;
	} else if (!reason_is_planned(w->reason)) {
		p->recycles[w->reason]++;
		p->oom_kills += w->reason == REASON_OOM;
	}
}

static void
run_hook(struct pool *p, const struct worker *w, const char *how)
{
	struct launch_hook h = {
		.gen = w->gen, .slot = w->slot, .worker_id = w->worker_id, .pid = w->pid,
		.reason = reason_name(w->reason), .status = how,
	};
	struct err e;
	pid_t pid;

	if (w->gen->settings->on_worker_exit == NULL || w->pid == 0)
		return;
	if (p->hooks >= POOL_HOOKS_MAX) {
		worker_log(w, LOG_LEVEL_WARN, "on-worker-exit: %u of them run still; left out "
		    "for this one", p->hooks);
		return;
	}
	pid = launch_hook(&h, &e);
	if (pid < 0) {
		worker_log(w, LOG_LEVEL_WARN, "on-worker-exit: %s", e.text);
		return;
	}
	p->hook_ids[p->hooks] = w->worker_id;
	p->hook_pids[p->hooks++] = pid;
}

bool
pool_hook_reaped(struct pool *p, pid_t pid)
{
	for (unsigned i = 0; i < p->hooks; i++) {
		if (p->hook_pids[i] == pid) {
			p->hook_pids[i] = p->hook_pids[--p->hooks];
			p->hook_ids[i] = p->hook_ids[p->hooks];
			return true;
		}
	}
	return false;
}

static void
log_end(const struct worker *w, const char *how, const char *words, const char *next)
{
	struct log_about about = worker_about(w);
	bool is_failure = !reason_is_planned(w->reason);
	char age[32], size[32], peak[64] = "";

	about.event = "exit";
	value_human_time(w->ended_ms - w->spawned_ms, age, sizeof age);
	if (w->peak_bytes > 0) {
		value_human_size(w->peak_bytes, size, sizeof size);
		(void)snprintf(peak, sizeof peak, ", peak RSS %s", size);
	}
	if (w->gov.ready_ms == 0 && is_failure)
		log_write(LOG_LEVEL_ERROR, &about, "ended before it was ready: %s after %s%s%s%.*s%s",
		    how, age, peak, words[0] != '\0' ? ": " : "", (int)strcspn(words, "\n"), words,
		    next);
	else if (w->reason == REASON_OOM)
		log_write(LOG_LEVEL_ERROR, &about, "killed by the kernel because the cgroup ran out "
		    "of memory, after %llu requests and %s%s%s", (unsigned long long)w->requests,
		    age, peak, next);
	else if (w->reason == REASON_CRASH)
		log_write(LOG_LEVEL_ERROR, &about, "ended unasked: %s after %llu requests and %s%s%s",
		    how, (unsigned long long)w->requests, age, peak, next);
	else
		log_write(is_failure ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &about,
		    "ended: %s after %llu requests and %s%s%s", how,
		    (unsigned long long)w->requests, age, peak, next);
}

/* The serving worker of a slot is gone and nobody boots to take over. Returns the delay
 * before the next one. */
static uint64_t
next_delay(struct pool *p, struct slot *slot, const struct worker *w)
{
	/* A worker that was killed for what a request did has begun one. */
	bool has_served = w->gov.ready_ms != 0 && (w->requests > 0 ||
	    (w->reason != REASON_CRASH && w->reason != REASON_OOM));

	if (reason_is_planned(w->reason) || has_served) {
		slot->failures = 0;
		return 0;
	}
	slot->failures++;
	if (w->gov.ready_ms == 0)
		governor_boot_failed(&p->governor, clock_now_ms());
	return backoff_ms(slot->failures);
}

static bool
is_boot_failure(const struct worker *w)
{
	return w->gov.ready_ms == 0 && !reason_is_planned(w->reason);
}

/* What the end means for the slot; `next` is the end of the log line about it. */
static uint64_t
settle_slot(struct pool *p, struct worker *w, char *next, size_t len)
{
	struct slot *slot = w->slot <= p->n_slots ? &p->slots[w->slot - 1] : NULL;
	uint64_t delay = 0;
	char text[32];

	next[0] = '\0';
	if (w->is_canary && is_boot_failure(w))
		governor_boot_failed(&p->governor, clock_now_ms());
	if (slot == NULL)
		return 0;
	if (slot->successor == w) {
		slot->successor = NULL;
		if (slot->serving != NULL)
			slot->serving->gov.has_successor = false;
		if (is_boot_failure(w)) {
			governor_boot_failed(&p->governor, clock_now_ms());
			value_human_time(p->governor.next_probe_ms - clock_now_ms(), text,
			    sizeof text);
			snprintf(next, len, "; the old worker serves on, next attempt in %s", text);
		}
		return 0;
	}
	if (slot->serving != w)
		return 0;
	/* Its next start is nobody's recycle. */
	w->gov.is_successor = false;
	slot->last_reason = w->reason;
	slot->serving = NULL;
	if (p->stopping || w->slot > p->target)
		return 0;
	if (slot->successor != NULL) {
		(void)pool_take_over(slot);
		if (slot->serving->unborn)
			snprintf(next, len, "; its successor, starting already, takes its place");
		else
			snprintf(next, len, "; pid %d, starting already, takes its place",
			    (int)slot->serving->pid);
		return 0;
	}
	delay = next_delay(p, slot, w);
	if (delay == 0) {
		snprintf(next, len, "; a new one starts");
		return 0;
	}
	value_human_time(delay, text, sizeof text);
	snprintf(next, len, "; next attempt in %s", text);
	slot->serving = w;
	return delay;
}

void
pool_reaped(struct pool *p, struct worker *w, const struct death *d)
{
	AUTO_FREE char *words = NULL;
	uint64_t delay;
	bool gave_up;
	char how[80], next[128];

	worker_reaped(w, d);
	pool_history_ended(p, w);
	attribute(p, w, d);
	count(p, w);
	death_describe(d, how, sizeof how);
	delay = settle_slot(p, w, next, sizeof next);
	gave_up = !p->ever_ready && !p->stopping && is_boot_failure(w) && !w->is_canary &&
	    p->slots[w->slot - 1].failures >= w->gen->settings->boot_attempts;
	if (is_boot_failure(w))
		words = worker_last_words(w);
	log_end(w, how, words != NULL ? words : "", gave_up
	    ? "; it was the last attempt (boot-attempts)" : next);
	run_hook(p, w, how);
	if (is_boot_failure(w) && !p->stopping) {
		p->boot_failures++;
		p->ops->boot_failed(p->ctx, w, how, words != NULL ? words : "");
	}
	p->ops->ended(p->ctx, w);
	/* Not those of its own generation: some may have been shut down on purpose. */
	pool_check_sockets(p, p->gen, w->lane);
	pool_steer(p);
	if (gave_up)
		p->ops->gave_up(p->ctx, words != NULL ? words : "");
	if (delay > 0 && !p->stopping)
		worker_hold(w, delay);
	pool_wake(p);
}

bool
pool_remove_dead(struct pool *p)
{
	size_t before = p->n_all;

	for (size_t i = p->n_all; i > 0; i--)
		if (worker_state(p->all[i - 1]) == WS_VACANT)
			pool_remove(p, p->all[i - 1]);
	return p->n_all < before;
}

/* Its mold has ended before it got to it: no fault of the worker. The slot, or the worker whose
 * successor it was to be, waits for the next mold. */
static void
forget_stillborn(struct pool *p, struct worker *w)
{
	static const struct death none = {0};
	struct slot *slot = w->slot <= p->n_slots ? &p->slots[w->slot - 1] : NULL;

	worker_reaped(w, &none);
	if (slot != NULL && slot->successor == w) {
		slot->successor = NULL;
		if (slot->serving != NULL)
			slot->serving->gov.has_successor = false;
	} else if (slot != NULL && slot->serving == w) {
		slot->serving = NULL;
	}
	worker_log(w, LOG_LEVEL_INFO, "was not forked: mold pid %d ended before",
	    (int)w->mold_pid);
	if (w == p->canary)
		p->ops->boot_failed(p->ctx, w, "its mold ended", "");
	p->ops->ended(p->ctx, w);
	pool_wake(p);
}

void
pool_stillborn(struct pool *p, struct worker *w)
{
	static const struct death none = {0};

	w->unborn = false;
	if (w->reason == REASON_NONE && w->last_words == NULL && !pool_has_mold(p, w->mold_pid))
		forget_stillborn(p, w);
	else
		pool_reaped(p, w, &none);
}
