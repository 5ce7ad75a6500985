/*
 * lifecycle.c - the tables of lifecycle.h, and the small pure rules beside them.
 *
 * Reading a row tells all that can happen in that state. NEVER cells are bugs of ours
 * (the caller asserts); IGNORE cells are the races that are expected: a READY that
 * arrives after a drain was ordered, a second order to drain.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/lifecycle.h"

#include "model/settings.h"

#define GO(state, act) { STEP_GO, state, act }
#define IGNORE         { STEP_IGNORE, 0, 0 }
#define NEVER          { STEP_NEVER, 0, 0 }

static const struct worker_step worker_steps[WS_N][WE_N] = {
	[WS_VACANT] = {
		[WE_SPAWN]    = GO(WS_STARTING, 0),
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = IGNORE,
		[WE_STOP]     = IGNORE,
		[WE_KILL]     = IGNORE,
		[WE_DEADLINE] = NEVER,
		[WE_EXIT]     = NEVER,
		[WE_HOLD]     = GO(WS_BACKOFF, 0),
	},
	[WS_STARTING] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = GO(WS_READY, 0),
		/* It serves nobody yet, so there is nothing to drain. */
		[WE_DRAIN]    = GO(WS_STOPPING, ACT_TERM),
		[WE_STOP]     = GO(WS_STOPPING, ACT_TERM),
		[WE_KILL]     = GO(WS_KILLED, ACT_KILL),
		[WE_DEADLINE] = GO(WS_KILLED, ACT_KILL),
		[WE_EXIT]     = GO(WS_VACANT, ACT_GONE),
		[WE_HOLD]     = NEVER,
	},
	[WS_READY] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = GO(WS_DRAINING, ACT_DRAIN),
		[WE_STOP]     = GO(WS_STOPPING, ACT_TERM),
		[WE_KILL]     = GO(WS_KILLED, ACT_KILL),
		[WE_DEADLINE] = NEVER,	/* liveness decides and then sends KILL */
		[WE_EXIT]     = GO(WS_VACANT, ACT_GONE),
		[WE_HOLD]     = NEVER,
	},
	[WS_DRAINING] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = IGNORE,
		[WE_STOP]     = GO(WS_STOPPING, ACT_TERM),
		[WE_KILL]     = GO(WS_KILLED, ACT_KILL),
		[WE_DEADLINE] = GO(WS_STOPPING, ACT_TERM),
		[WE_EXIT]     = GO(WS_VACANT, ACT_GONE),
		[WE_HOLD]     = NEVER,
	},
	[WS_STOPPING] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = IGNORE,
		[WE_STOP]     = IGNORE,
		[WE_KILL]     = GO(WS_KILLED, ACT_KILL_NOW),
		[WE_DEADLINE] = GO(WS_KILLED, ACT_KILL_NOW),
		[WE_EXIT]     = GO(WS_VACANT, ACT_GONE),
		[WE_HOLD]     = NEVER,
	},
	[WS_KILLED] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = IGNORE,
		[WE_STOP]     = IGNORE,
		[WE_KILL]     = GO(WS_KILLED, ACT_KILL_NOW),
		/* After SIGABRT, or a process that the kernel cannot end yet. */
		[WE_DEADLINE] = GO(WS_KILLED, ACT_KILL_NOW),
		[WE_EXIT]     = GO(WS_VACANT, ACT_GONE),
		[WE_HOLD]     = NEVER,
	},
	[WS_BACKOFF] = {
		[WE_SPAWN]    = NEVER,
		[WE_READY]    = IGNORE,
		[WE_DRAIN]    = GO(WS_VACANT, 0),
		[WE_STOP]     = GO(WS_VACANT, 0),
		[WE_KILL]     = GO(WS_VACANT, 0),
		[WE_DEADLINE] = GO(WS_VACANT, 0),
		[WE_EXIT]     = NEVER,
		[WE_HOLD]     = NEVER,
	},
};

static const char *const worker_state_names[] = {
	[WS_VACANT] = "vacant",
	[WS_STARTING] = "starting",
	[WS_READY] = "ready",
	[WS_DRAINING] = "draining",
	[WS_STOPPING] = "stopping",
	[WS_KILLED] = "killed",
	[WS_BACKOFF] = "backoff",
};
_Static_assert(ARRAY_LEN(worker_state_names) == WS_N, "a name for each state");

static const char *const worker_event_names[] = {
	[WE_SPAWN] = "spawn",
	[WE_READY] = "ready",
	[WE_DRAIN] = "drain",
	[WE_STOP] = "stop",
	[WE_KILL] = "kill",
	[WE_DEADLINE] = "deadline",
	[WE_EXIT] = "exit",
	[WE_HOLD] = "hold",
};
_Static_assert(ARRAY_LEN(worker_event_names) == WE_N, "a name for each event");

static const struct master_step master_steps[MS_N][ME_N] = {
	[MS_STARTING] = {
		[ME_SERVING]  = GO(MS_RUNNING, 0),
		/* The first generation has not served yet: load what is wanted now after it. */
		[ME_RELOAD]   = GO(MS_STARTING, MACT_QUEUE_RELOAD),
		[ME_RELOADED] = NEVER,
		[ME_STOP]     = GO(MS_STOPPING, MACT_STOP),
		[ME_QUIT]     = GO(MS_STOPPING, MACT_QUIT),
	},
	[MS_RUNNING] = {
		[ME_SERVING]  = IGNORE,
		[ME_RELOAD]   = GO(MS_RELOADING, MACT_BEGIN_RELOAD),
		[ME_RELOADED] = NEVER,
		[ME_STOP]     = GO(MS_STOPPING, MACT_STOP),
		[ME_QUIT]     = GO(MS_STOPPING, MACT_QUIT),
	},
	[MS_RELOADING] = {
		[ME_SERVING]  = IGNORE,
		[ME_RELOAD]   = GO(MS_RELOADING, MACT_QUEUE_RELOAD),
		[ME_RELOADED] = GO(MS_RUNNING, 0),
		[ME_STOP]     = GO(MS_STOPPING, MACT_CANCEL_RELOAD | MACT_STOP),
		[ME_QUIT]     = GO(MS_STOPPING, MACT_CANCEL_RELOAD | MACT_QUIT),
	},
	[MS_STOPPING] = {
		[ME_SERVING]  = IGNORE,
		[ME_RELOAD]   = IGNORE,	/* nothing overrides a stop */
		[ME_RELOADED] = IGNORE,
		[ME_STOP]     = GO(MS_STOPPING, MACT_QUIT),	/* asked twice: quick */
		[ME_QUIT]     = GO(MS_STOPPING, MACT_QUIT),
	},
};

static const char *const master_state_names[] = {
	[MS_STARTING] = "starting",
	[MS_RUNNING] = "running",
	[MS_RELOADING] = "reloading",
	[MS_STOPPING] = "stopping",
};
_Static_assert(ARRAY_LEN(master_state_names) == MS_N, "a name for each state");

static const struct {
	const char *name;
	bool planned;
} reasons[] = {
	[REASON_NONE] = { "none", false },
	[REASON_MAX_REQUESTS] = { "max-requests", true },
	[REASON_MAX_LIFETIME] = { "max-worker-lifetime", true },
	[REASON_RSS] = { "reload-on-rss", true },
	[REASON_USS] = { "reload-on-uss", true },
	[REASON_PSS] = { "reload-on-pss", true },
	[REASON_AS] = { "reload-on-as", true },
	[REASON_FDS] = { "reload-on-fds", true },
	[REASON_MEMORY_LIMIT] = { "memory-limit", true },
	[REASON_RELOAD] = { "reload", true },
	[REASON_SCALE] = { "scale", true },
	[REASON_REQUEST] = { "request", true },
	[REASON_EVIL_RSS] = { "evil-reload-on-rss", false },
	[REASON_EVIL_USS] = { "evil-reload-on-uss", false },
	[REASON_BOOT_TIMEOUT] = { "boot-timeout", false },
	[REASON_TIMEOUT] = { "timeout", false },
	[REASON_REQUEST_TIMEOUT] = { "request-timeout", false },
	[REASON_CRASH] = { "crash", false },
	[REASON_OOM] = { "oom", false },
	[REASON_STOP] = { "stop", true },
};
_Static_assert(ARRAY_LEN(reasons) == REASON_N, "a name for each reason");

const struct worker_step *
lifecycle_worker_step(enum worker_state s, enum worker_event e)
{
	return &worker_steps[s][e];
}

const char *
worker_state_name(enum worker_state s)
{
	return worker_state_names[s];
}

const char *
worker_event_name(enum worker_event e)
{
	return worker_event_names[e];
}

bool
worker_state_is_alive(enum worker_state s)
{
	return s != WS_VACANT && s != WS_BACKOFF;
}

const struct master_step *
lifecycle_master_step(enum master_state s, enum master_event e)
{
	return &master_steps[s][e];
}

const char *
master_state_name(enum master_state s)
{
	return master_state_names[s];
}

const char *
reason_name(enum reason r)
{
	return reasons[r].name;
}

bool
reason_is_planned(enum reason r)
{
	return reasons[r].planned;
}

uint64_t
backoff_ms(unsigned failures)
{
	uint64_t delay = 500;

	for (unsigned i = 1; i < failures && delay < 30 * MSEC_PER_SEC; i++)
		delay += delay / 2;
	return MIN_OF(delay, 30 * MSEC_PER_SEC);
}

uint64_t
mold_backoff_ms(unsigned failures)
{
	uint64_t delay = 30 * MSEC_PER_SEC;

	if (failures < 2)
		return backoff_ms(failures);
	for (unsigned i = 2; i < failures && delay < 300 * MSEC_PER_SEC; i++)
		delay *= 2;
	return MIN_OF(delay, 300 * MSEC_PER_SEC);
}

uint64_t
draw_limit(uint64_t limit, const struct jitter_setting *jitter, uint64_t random)
{
	uint64_t span;

	if (limit == 0)
		return 0;
	span = jitter->value;
	if (jitter->is_percent)
		span = limit / 100 * span + limit % 100 * span / 100;
	span = MIN_OF(span, UINT64_MAX - limit);
	if (span == 0)
		return limit;
	return limit + (span == UINT64_MAX ? random : random % (span + 1));
}

enum reason
liveness_check(const struct liveness *l, uint64_t now_ms, uint64_t *ret_next_ms)
{
	uint64_t next = UINT64_MAX;

	if (l->request_timeout_ms != 0 && l->oldest_ms != 0) {
		uint64_t due = l->oldest_ms + l->request_timeout_ms;

		if (now_ms >= due)
			return REASON_REQUEST_TIMEOUT;
		next = due;
	}
	if (l->timeout_ms != 0) {
		uint64_t due = l->last_beat_ms + l->timeout_ms;

		if (now_ms >= due)
			return REASON_TIMEOUT;
		next = MIN_OF(next, due);
	}
	*ret_next_ms = next;
	return REASON_NONE;
}
