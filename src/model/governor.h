/*
 * governor.h - who is replaced, when, how many at once. Pure.
 *
 * The pool tells the governor what it sees (samples, counts, boots, the memory of all) and asks
 * it for the next step until it answers GOV_WAIT. The governor never acts, reads no clock and
 * owns no worker: struct gov_worker is a part of the pool's worker, and the same code
 * runs in the simulator below tests/sim with a virtual clock.
 *
 * Rules: a worker is queued once, with all its reasons. At most `concurrency` successors
 * boot at a time, `spacing` apart, whatever the reason. Urgency is the pool's budget, then soft
 * memory, an operator's request, requests, lifetime, reload; each rank is worth GOV_RANK_MS of
 * waiting, so that nobody starves. Deaths, hard limits and timeouts are not queued.
 *
 * A busy worker above a soft limit is given a moment to fall back. Where there is no memory for
 * an old worker beside its successor, one at a time ends first. One that grows on fast above its
 * limit does not wait for a successor that is forked in milliseconds and is late.
 *
 * governor.c has the queue, governor_limits.c what one worker's samples mean, governor_ahead.c when
 * one that grows has to be replaced, governor_gain.c whether replacing helps, governor_budget.c the
 * memory of all of them.
 */
#ifndef PREFORKD_GOVERNOR_H
#define PREFORKD_GOVERNOR_H

#include "base/base.h"
#include "model/lifecycle.h"
#include "model/limit.h"

#define GOV_RANK_MS       UINT64_C(10000)
#define GOV_SAMPLE_PERCENT 90	/* of sample_ms: a sample may come a little early */
#define GOV_FRESH_N       8	/* fresh workers whose median is the baseline */
#define GOV_FRESH_MS      UINT64_C(3000)	/* after READY a first sample is of a fresh worker */
#define GOV_POOR_N        2	/* recycles in a row that gained too little */
#define GOV_POOR_PERCENT  10
#define GOV_REFUTED       125	/* percent of the size at which workers seemed to stay */
#define GOV_TELLING       10	/* percent more requests show whether it grows with them */
#define GOV_FLAT_PERCENT  2	/* less growth than that is none */
#define GOV_PROBE_MIN_MS  UINT64_C(30000)
#define GOV_PROBE_MAX_MS  UINT64_C(300000)
#define GOV_SETTLE_MIN_MS UINT64_C(1000)
#define GOV_SETTLE_MAX_MS UINT64_C(30000)	/* requests or not, then it has stayed at its size */
#define GOV_COUNT_MS      UINT64_C(20)	/* from one question for counts to the next */
#define GOV_ASK_MS        UINT64_C(100)	/* ahead of a limit, whether requests make it grow */
#define GOV_AHEAD_PERCENT 20	/* of a limit, that growth may be looked ahead */
#define GOV_LINE_N        64	/* workers that are nearest to a limit are looked at together */
#define GOV_OVERSHOOT     5	/* percent above a soft limit that a growing worker may go */
/* That far above it, one that grows by a percent of it in the time of a start does not wait for its
 * successor any more: where that takes no longer than GOV_LATE_BOOT_MS as a rule, and has not taken
 * so many times as long already. */
#define GOV_LATE_PERCENT  3
#define GOV_LATE_BOOT_MS  UINT64_C(100)
#define GOV_LATE_BOOTS    4
#define GOV_STOOD_MS      UINT64_C(500)	/* without growth, and the heir of a leak has to show anew
					 * that it leaks */
#define GOV_IDLE_MS       UINT64_C(5000)	/* at most, that a busy worker is waited for */
#define GOV_TRIM_MS       UINT64_C(10000)	/* an answer to TRIM is waited for so long */
#define GOV_TRIM_EACH_MS  UINT64_C(60000)	/* from one trim of a worker to its next */
#define GOV_TRIM_POOR_N   3	/* in a row that gave back less than GOV_TRIM_PERCENT */
#define GOV_TRIM_PERCENT  5
#define GOV_TRIM_OFF_MS   UINT64_C(3600000)	/* then no worker is asked for so long */
#define GOV_WORTH_BYTES   (UINT64_C(8) << 20)	/* less is no reason to replace a worker */
#define GOV_WORTH_PERCENT 10	/* of a fresh one; nor is that */
#define GOV_ROOM_PERCENT  120	/* of a fresh worker has to be free for a successor */
#define GOV_CALM_N        5	/* looks at the pool for what others use */
#define GOV_GROWTH_N      3	/* rates in a row make growth that goes on */
#define GOV_RATE_MS       UINT64_C(10)	/* a worker may not have run at all in less */
#define GOV_POOL_AHEAD_PERCENT 40	/* of memory-high, likewise for all */
#define GOV_TIGHT_PERCENT 20	/* of memory-high, when no more is left memory is tight */
#define GOV_LAST          5	/* while less than a fifth of what is above memory-high is free, memory
				 * is nearly used up */
#define GOV_GOING_MS      UINT64_C(100)	/* one that does not wait for its successor grows on so long */
#define GOV_LEAVE_MS      UINT64_C(500)	/* an old worker keeps its memory for so long */

/* Things that have a limit and come back to a baseline in a fresh worker. */
enum gov_metric { GM_RSS, GM_USS, GM_PSS, GM_AS, GM_FDS, GM_N };

/* The value of a metric that was not measured this time: its count of samples in a row, and
 * what was decided by it, stay as they are. */
#define GOV_UNKNOWN UINT64_MAX

enum reason gov_metric_reason(enum gov_metric m);	/* also names its setting */
/* Of the limit that kills; NONE where there is no such setting. */
enum reason gov_metric_evil(enum gov_metric m);

struct gov_policy {
	uint64_t concurrency;
	uint64_t spacing_ms;
	uint64_t min_lifetime_ms;
	uint64_t max_draining;
	uint64_t samples;		/* in a row over a soft limit */
	uint64_t sample_ms;		/* from the second on, those that are so far apart count */
	struct limit limit[GM_N];	/* soft ones; of GM_FDS a count */
	struct limit evil[GM_N];	/* of GM_RSS and GM_USS */
	struct limit trim;		/* on RSS */
	bool dry_run;
};

/* What a worker was like at a moment. */
struct gov_mark {
	uint64_t value, ms, requests;
};

/* The governor's view of one worker; times are ms, 0: has not happened. */
struct gov_worker {
	enum worker_state state;
	bool is_successor;		/* boots to take over from another, or in its place */
	bool has_successor;		/* somebody boots to take over from it */
	uint64_t successor_ms;		/* since then, if anybody */
	bool breaks;			/* ends before its successor, or boots after its old one */
	bool busy;			/* requests are in progress */
	bool can_trim;			/* it understands TRIM */
	uint64_t serial;
	uint64_t ready_ms;
	uint64_t drain_ms;
	bool is_surplus;		/* its slot is gone, or it holds a door: no max-draining */
	uint64_t max_requests;		/* with jitter; 0: off */
	uint64_t max_lifetime_ms;	/* with jitter; 0: off */
	uint64_t value[GM_N];		/* the last that was known */
	uint64_t value_ms[GM_N];	/* when that was */
	bool fresh_noted[GM_N];		/* what it was at READY is among gov_meter's */
	uint64_t rates[GOV_GROWTH_N];	/* of RSS, over GOV_RATE_MS at least each; a ring */
	unsigned n_rates;
	uint64_t rate_from, rate_from_ms;	/* RSS at the end of the last of them */
	uint64_t grew_ms;		/* the last of them that was growth */
	bool has_stood;			/* for GOV_STOOD_MS none was */
	uint64_t requests;		/* completed */
	uint64_t told_ms;		/* when it told them last */
	uint64_t still_requests;	/* of these, when RSS did not grow last */
	uint64_t still_ms;		/* when that was */
	unsigned over[GM_N];		/* samples in a row at or over the limit */
	struct gov_mark over_since[GM_N];	/* at the first of them */
	uint64_t counted_ms[GM_N];	/* the last of them */
	struct gov_mark half[GM_N];	/* after half of the time after which it is judged */
	bool settled[GM_N];		/* its gain was judged */
	uint64_t gain_from[GM_N];	/* value of the one it replaced for that metric; 0 */
	uint64_t lead_ms;		/* see governor_line_up() */
	uint64_t count_ms;		/* it was asked for its counts, 0: never */
	uint64_t larger_ms[GM_N];	/* since then far larger than gov_poor's size; 0: not */
	uint64_t idle_until_ms;		/* a busy one above a soft limit is left alone; 0: not */
	unsigned due;			/* 1 << enum reason */
	uint64_t due_ms;		/* since the first of them */
	unsigned dry_noted;		/* reasons that a dry run has reported */

	uint64_t own_bytes;		/* would be free without it; 0: not known yet */
	bool own_is_rss;		/* for want of something better */
	uint64_t seen_bytes;		/* own_bytes at the last look at all */
	uint64_t pool_gain_from;	/* own_bytes of the one that it replaced for the pool */
	bool pool_settled;
	uint64_t pool_larger_ms;

	uint64_t trim_asked_ms;		/* 0: none under way */
	uint64_t trim_next_ms;		/* not before */
	uint64_t trim_floor;		/* nor below this RSS */
};

/* Recycles in a row that gained too little. */
struct gov_poor {
	unsigned n;
	uint64_t size;			/* where the largest of these stayed, or of the last such row */
};

struct gov_meter {
	uint64_t fresh[GOV_FRESH_N];	/* ring of first samples */
	unsigned n_fresh;		/* ever, the ring's position */
	struct gov_poor poor;
	bool futile;
	bool evil_futile;		/* a fresh worker would be killed at once */
};

/* The memory of all; bytes. */
struct gov_budget {
	uint64_t limit;			/* 0: there is none */
	uint64_t high;			/* workers are replaced from here on */
	uint64_t used;			/* of the limit, by workers and by others */
	uint64_t cache;			/* of used: page cache that can be dropped for want of memory */
	uint64_t cgroup;		/* what percentages are of, 0: nothing */
	uint64_t boot_ms;		/* from a successor's start until it serves, as a rule; 0: not
					 * known */
};

struct gov_pool {
	struct gov_budget b;
	uint64_t ours;			/* of used: what workers have of their own */
	uint64_t expected;		/* used, once those that are being replaced are gone */
	uint64_t growth;		/* of all workers, a second */
	uint64_t most;			/* that one of them has grown by */
	uint64_t ahead;			/* what they will have grown by when a successor has come, and
					 * its old one gone */
	uint64_t others;		/* of used: what others had when all was calm */
	bool others_known;
	uint64_t others_fixed;		/* likewise, but for page cache that can be dropped */
	uint64_t calm_most, calm_fixed;	/* of the looks since */
	unsigned calm_n;		/* there were so many */
	bool by_others;			/* used has reached high, or will be far above soon, and not
					 * for what workers have grown: none is replaced for it
					 * before memory is nearly used up */
	struct gov_poor poor;
	bool futile;
};

struct governor {
	struct gov_meter meter[GM_N];
	struct limit limit[GM_N];	/* those that meter[].futile is about */
	struct limit evil[GM_N];
	struct gov_pool pool;
	unsigned trims_poor;		/* in a row */
	uint64_t trims_off_ms;		/* since when nobody is asked, 0: somebody may be */
	uint64_t last_start_ms;
	bool any_start;
	bool hold;			/* a reload has not committed: only memory recycles */
	bool mold_away;			/* nobody can be forked now */
	unsigned made_room;		/* slots whose worker went for GOV_BREAK and has no successor */
	bool code_bad;			/* the last boot failed */
	unsigned boot_failures;		/* in a row */
	uint64_t next_probe_ms;
	uint64_t dry_run_would;
};

enum gov_what {
	GOV_WAIT,	/* nothing to do before wake_ms, or an event */
	GOV_REPLACE,	/* start a successor for worker */
	GOV_BREAK,	/* drain worker, and start its successor when it is gone */
	GOV_RETIRE,	/* drain worker, nobody takes over (scale) */
	GOV_END_DRAIN,	/* end this one, the oldest that drains: too many do, or with
			 * REASON_MEMORY_LIMIT, what it holds is needed */
	GOV_LET_GO,	/* drain worker now, although its successor still boots: with
			 * REASON_MEMORY_LIMIT as memory runs out, else as it is above a limit */
	GOV_TRIM,	/* ask worker to give memory back, to make room for a successor */
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

/* Limits as they are now; 0: off, or what it is a share of is not known yet. */
uint64_t governor_limit(const struct governor *g, const struct gov_policy *p, enum gov_metric m);
uint64_t governor_evil(const struct governor *g, const struct gov_policy *p, enum gov_metric m);
uint64_t governor_trim(const struct governor *g, const struct gov_policy *p);

struct gov_verdict {
	enum reason kill;	/* now, for this; or NONE */
	bool futile;		/* this sample has made a limit futile */
	bool trim;		/* ask it to give memory back; then governor_trim_asked() */
	bool count;		/* ask how many requests it has completed: what it told may be old */
};

/* One measurement of a live worker. */
struct gov_verdict governor_sample(struct governor *g, const struct gov_policy *p,
    struct gov_worker *w, const uint64_t value[GM_N], uint64_t now_ms);

void governor_trim_asked(struct gov_worker *w, uint64_t now_ms);
/* Its answer; bytes. True when it was the last useless one: nobody is asked for an hour. */
bool governor_trimmed(struct governor *g, struct gov_worker *w, uint64_t before, uint64_t after,
    uint64_t now_ms);

/* A look at the memory of all workers; own_bytes of each is of this moment. Marks those that
 * have to go for it. True when this look made the limit futile: workers need as much. */
bool governor_look(struct governor *g, const struct gov_policy *p, const struct gov_budget *b,
    struct gov_worker *const *w, size_t n, uint64_t now_ms);

/* From here on, of used bytes, memory is nearly used up; limit where nothing is above high. */
static inline uint64_t
governor_last(const struct gov_budget *b)
{
	return b->limit - (b->limit - b->high) / GOV_LAST;
}

/* How much more may be used before somebody has to go, as far as is known; UINT64_MAX: whatever
 * comes, nobody would. Bytes. */
uint64_t governor_left(const struct governor *g);
/* So little that all workers should be sampled together. */
bool governor_is_tight(const struct governor *g);

/* Memory is nearly used up, or will be in a moment: a time to ask for the next step even while
 * others wait for theirs. */
bool governor_hurries(const struct governor *g);
/* How many fresh workers find room below `high`; UINT64_MAX: no limit, or not known. */
uint64_t governor_fit(const struct governor *g);
/* What one more worker, and so many bytes beside it, need beyond what is free. 0: there is room for
 * them, or no limit. */
uint64_t governor_lack(const struct governor *g, uint64_t beside);
/* What it has of its own beyond a fresh worker. */
uint64_t governor_reclaimable(const struct governor *g, const struct gov_worker *w);

/* Growth of RSS a second lately, over GOV_RATE_MS at least. */
uint64_t governor_rate(const struct gov_worker *w);
/* Growth of RSS a second that goes on, over several requests; 0 when it does not, or is not known
 * yet. One large request may have asked for all that it needs. */
uint64_t governor_growth(const struct gov_worker *w);

/* Requests completed so far. */
void governor_count(struct gov_worker *w, uint64_t requests, uint64_t now_ms);
/* An order: REASON_RELOAD, REASON_REQUEST, REASON_SCALE. */
void governor_order(struct gov_worker *w, enum reason r, uint64_t now_ms);

/* w was started as the successor of old (which had `reason`); noted in both. */
void governor_started(struct governor *g, struct gov_worker *w, struct gov_worker *old,
    enum reason reason, uint64_t now_ms);
/* A worker became ready, or ended before that without being told to. */
void governor_boot_ok(struct governor *g);
void governor_boot_failed(struct governor *g, uint64_t now_ms);

/* w goes for its size, and has grown a moment ago; its successor boots, which takes milliseconds:
 * it should be looked at often, as it may not wait. */
bool governor_may_be_late(const struct governor *g, const struct gov_policy *p,
    const struct gov_worker *w, uint64_t now_ms);
/* The limit that w is so far above that it does not serve on until its successor does; NONE. */
enum reason governor_late(const struct governor *g, const struct gov_policy *p,
    const struct gov_worker *w, uint64_t now_ms);

/* Workers that will reach a limit at about the same time get their successors one after the other:
 * those in front have to be asked for earlier, so that the last is not late. Works that out for the
 * samples to come. */
void governor_line_up(const struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n);

/* The next step; the caller carries it out (changing the workers' states) and asks
 * again until GOV_WAIT. */
struct gov_step governor_next(struct governor *g, const struct gov_policy *p,
    struct gov_worker *const *w, size_t n, uint64_t now_ms);

/* Median of fresh workers, 0: none seen. */
uint64_t governor_fresh(const struct governor *g, enum gov_metric m);
/* A limit that would make sense when meter[m] is futile. */
uint64_t governor_suggest(const struct governor *g, enum gov_metric m);

#endif
