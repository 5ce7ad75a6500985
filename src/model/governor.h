/*
 * governor.h - who is replaced, when, how many at once. Pure.
 *
 * The pool tells the governor what it sees (samples, counts, boots) and asks it for the
 * next step until it answers GOV_WAIT. The governor never acts, reads no clock and
 * owns no worker: struct gov_worker is a part of the pool's worker, and the same code
 * runs in the simulator below tests/sim with a virtual clock.
 *
 * Rules: a worker is queued once, with all its reasons. At most `concurrency` successors
 * boot at a time, `spacing` apart, whatever the reason. Urgency is soft memory, then an
 * operator's request, requests, lifetime, reload; each rank is worth GOV_RANK_MS of
 * waiting, so that nobody starves. Deaths, hard limits and timeouts are not queued.
 */
#ifndef PREFORKD_GOVERNOR_H
#define PREFORKD_GOVERNOR_H

#include "base/base.h"
#include "model/lifecycle.h"

#define GOV_RANK_MS       UINT64_C(10000)
#define GOV_FRESH_N       8	/* fresh workers whose median is the baseline */
#define GOV_POOR_N        2	/* recycles in a row that gained too little */
#define GOV_POOR_PERCENT  10
#define GOV_FLAT_PERCENT  2	/* growth per second below which a worker does not grow */
#define GOV_PROBE_MIN_MS  UINT64_C(30000)
#define GOV_PROBE_MAX_MS  UINT64_C(300000)
#define GOV_SETTLE_MIN_MS UINT64_C(1000)

/* Things that have a limit and come back to a baseline in a fresh worker. */
enum gov_metric { GM_RSS, GM_USS, GM_AS, GM_FDS, GM_N };

/* The value of a metric that was not measured this time: its count of samples in a row, and
 * what was decided by it, stay as they are. */
#define GOV_UNKNOWN UINT64_MAX

enum reason gov_metric_reason(enum gov_metric m);	/* also names its setting */

struct gov_policy {
	uint64_t concurrency;
	uint64_t spacing_ms;
	uint64_t min_lifetime_ms;
	uint64_t max_draining;
	uint64_t samples;		/* in a row over a soft limit */
	uint64_t limit[GM_N];		/* bytes, of GM_FDS a count; 0: off */
	uint64_t evil_rss_bytes;	/* 0: off */
	bool dry_run;
};

/* The governor's view of one worker; times are ms, 0: has not happened. */
struct gov_worker {
	enum worker_state state;
	bool is_successor;		/* boots to take over from another */
	bool has_successor;		/* somebody boots to take over from it */
	uint64_t serial;
	uint64_t ready_ms;
	uint64_t drain_ms;
	bool is_surplus;		/* its slot is gone, or it holds a door: no max-draining */
	uint64_t max_requests;		/* with jitter; 0: off */
	uint64_t max_lifetime_ms;	/* with jitter; 0: off */
	uint64_t value[GM_N];		/* the last that was known */
	unsigned over[GM_N];		/* samples in a row at or over the limit */
	uint64_t over_value[GM_N];	/* at the first of them */
	uint64_t over_ms[GM_N];
	bool sampled;			/* since it became ready */
	bool settled[GM_N];		/* its gain was judged */
	uint64_t gain_from[GM_N];	/* value of the one it replaced for that metric; 0 */
	unsigned due;			/* 1 << enum reason */
	uint64_t due_ms;		/* since the first of them */
	unsigned dry_noted;		/* reasons that a dry run has reported */
};

struct gov_meter {
	uint64_t fresh[GOV_FRESH_N];	/* ring of first samples */
	unsigned n_fresh;		/* ever, the ring's position */
	unsigned poor;			/* recycles in a row that gained too little */
	uint64_t settled_value;		/* of the last one that gained too little */
	bool futile;
};

struct governor {
	struct gov_meter meter[GM_N];
	uint64_t limit[GM_N];		/* those that meter[].futile is about */
	uint64_t last_start_ms;
	bool any_start;
	bool hold;			/* a reload has not committed: only memory recycles */
	bool mold_away;			/* nobody can be forked now */
	bool code_bad;			/* the last boot failed */
	unsigned boot_failures;		/* in a row */
	uint64_t next_probe_ms;
	uint64_t dry_run_would;
};

enum gov_what {
	GOV_WAIT,	/* nothing to do before wake_ms, or an event */
	GOV_REPLACE,	/* start a successor for worker */
	GOV_RETIRE,	/* drain worker, nobody takes over (scale) */
	GOV_END_DRAIN,	/* too many are draining: end this one, the oldest */
	GOV_WOULD,	/* dry run: this would have been replaced */
};

struct gov_step {
	enum gov_what what;
	struct gov_worker *worker;
	enum reason reason;
	uint64_t wake_ms;	/* GOV_WAIT; UINT64_MAX: no time matters */
	const char *why;	/* GOV_WAIT with somebody queued: what it waits for */
	unsigned queued;	/* workers that wait for their replacement */
};

void governor_init(struct governor *g);
/* New settings: judgements about limits that changed are forgotten. */
void governor_set_policy(struct governor *g, const struct gov_policy *p);

/* One measurement of a live worker. REASON_EVIL_RSS: kill it now; else REASON_NONE.
 * *ret_futile (may be NULL) is true when this sample made a limit futile. */
enum reason governor_sample(struct governor *g, const struct gov_policy *p,
    struct gov_worker *w, const uint64_t value[GM_N], uint64_t now_ms, bool *ret_futile);

/* Requests completed so far. */
void governor_count(struct gov_worker *w, uint64_t requests, uint64_t now_ms);
/* An order: REASON_RELOAD, REASON_REQUEST, REASON_SCALE. */
void governor_order(struct gov_worker *w, enum reason r, uint64_t now_ms);

/* w was started as the successor of old (which had `reason`). */
void governor_started(struct governor *g, struct gov_worker *w,
    const struct gov_worker *old, enum reason reason, uint64_t now_ms);
/* A worker became ready, or ended before that without being told to. */
void governor_boot_ok(struct governor *g);
void governor_boot_failed(struct governor *g, uint64_t now_ms);

/* The next step; the caller carries it out (changing the workers' states) and asks
 * again until GOV_WAIT. */
struct gov_step governor_next(struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n, uint64_t now_ms);

/* Median of fresh workers, 0: none seen. */
uint64_t governor_fresh(const struct governor *g, enum gov_metric m);
/* A limit that would make sense when meter[m] is futile. */
uint64_t governor_suggest(const struct governor *g, enum gov_metric m);

#endif
