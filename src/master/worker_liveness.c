/*
 * worker_liveness.c - whether a worker that serves or drains still lives: its heartbeat, and
 * the age of its oldest request.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/worker.h"

#include "model/values.h"
#include "system/clock.h"

static struct liveness
liveness_of(const struct worker *w)
{
	const struct settings *s = w->gen->settings;
	struct liveness l = {
		.last_beat_ms = w->last_beat_ms,
		.oldest_ms = w->oldest_ms,
		.request_timeout_ms = s->request_timeout_ms,
	};

	if (l.request_timeout_ms == REQUEST_TIMEOUT_AUTO)
		l.request_timeout_ms = w->is_sync ? s->timeout_ms : 0;
	/* A plain command is held to heartbeats once it has sent one. */
	if (w->gen->has_agent ? s->timeout_ms != 0 : w->has_beat)
		l.timeout_ms = s->timeout_ms;
	/* A sync worker beats between requests only. */
	if (w->is_sync)
		l.last_beat_ms = MAX_OF(l.last_beat_ms, w->oldest_ms);
	return l;
}

void
worker_liveness_rearm(struct worker *w)
{
	struct liveness l = liveness_of(w);
	uint64_t now = clock_now_ms(), next = now;

	if ((worker_state(w) != WS_READY && worker_state(w) != WS_DRAINING) || w->agent_lost) {
		ev_timer_stop(w->loop, &w->liveness);
		return;
	}
	if (liveness_check(&l, now, &next) == REASON_NONE && next == UINT64_MAX) {
		ev_timer_stop(w->loop, &w->liveness);
		return;
	}
	next = MAX_OF(next, w->live_until_ms);
	/* A timer that runs already and fires no later will look again by itself: beats
	 * come often, and each would cost a heap operation otherwise. */
	if (ev_is_active(&w->liveness) && w->liveness_ms <= next)
		return;
	w->liveness_ms = next;
	ev_timer_stop(w->loop, &w->liveness);
	ev_timer_set(&w->liveness, (double)(next > now ? next - now : 0) / 1000.0, 0.);
	ev_timer_start(w->loop, &w->liveness);
}

static void
on_liveness(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct worker *w = container_of(t, struct worker, liveness);
	uint64_t now = clock_now_ms(), late = now - w->liveness_ms, next;
	struct liveness l;
	enum reason reason;
	char age[32];

	worker_channel_drain(w);
	if (worker_state(w) != WS_READY && worker_state(w) != WS_DRAINING)
		return;
	l = liveness_of(w);
	if (late > WORKER_LATE_MS) {
		/* Everybody may have been frozen with us: a whole new term for all. */
		w->live_until_ms = now + MAX_OF(l.timeout_ms, l.request_timeout_ms);
		worker_log(w, LOG_LEVEL_INFO, "the master itself was stopped for %llu ms; "
		    "timeouts start anew", (unsigned long long)late);
	}
	reason = liveness_check(&l, now, &next);
	if (reason == REASON_NONE || now < w->live_until_ms) {
		worker_liveness_rearm(w);
		return;
	}
	if (reason == REASON_REQUEST_TIMEOUT) {
		value_human_time(now - w->oldest_ms, age, sizeof age);
		worker_log(w, LOG_LEVEL_ERROR, "a request runs for %s (request-timeout); it is "
		    "killed%s and replaced", age, w->prints_stacks ? ", its stacks follow," : "");
	} else {
		value_human_time(now - l.last_beat_ms, age, sizeof age);
		worker_log(w, LOG_LEVEL_ERROR, "no heartbeat for %s (timeout); it hangs, is "
		    "killed%s and replaced", age, w->prints_stacks ? ", its stacks follow," : "");
	}
	worker_handle(w, WE_KILL, reason);
}

void
worker_liveness_init(struct worker *w)
{
	ev_init(&w->liveness, on_liveness);
}
