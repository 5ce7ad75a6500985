/*
 * governor_private.h - what the files of the governor share.
 */
#ifndef PREFORKD_GOVERNOR_PRIVATE_H
#define PREFORKD_GOVERNOR_PRIVATE_H

#include "model/governor.h"

#define BIT(r) (1u << (r))

#define MEMORY_REASONS \
	(BIT(REASON_RSS) | BIT(REASON_USS) | BIT(REASON_PSS) | BIT(REASON_AS) | \
	BIT(REASON_FDS) | BIT(REASON_MEMORY_LIMIT))
/* May go away by themselves when a request ends. */
#define PASSING_REASONS (BIT(REASON_RSS) | BIT(REASON_USS) | BIT(REASON_PSS))
#define LIMIT_REASONS \
	(BIT(REASON_MAX_REQUESTS) | BIT(REASON_MAX_LIFETIME) | MEMORY_REASONS)
/* Too young a worker is spared for these only: a memory limit protects the host. */
#define AGE_GUARDED (BIT(REASON_MAX_REQUESTS) | BIT(REASON_MAX_LIFETIME))

_Static_assert(REASON_N <= 32, "a bit for each");

static inline void
governor_set_due(struct gov_worker *w, enum reason r, uint64_t now_ms)
{
	if (w->due == 0)
		w->due_ms = now_ms;
	w->due |= BIT(r);
}

/* So long before w reaches a limit its successor has to be asked for. */
static inline uint64_t
governor_lead(const struct governor *g, const struct gov_worker *w)
{
	return MAX_OF(w->lead_ms, g->pool.b.boot_ms);
}

/* What w, when it grows on, will have grown by when a successor that is asked for now could serve:
 * one that will be above its limit by then need not be waited for. Bytes, 0 for metrics that are
 * none. */
uint64_t governor_ahead(const struct governor *g, const struct gov_worker *w, enum gov_metric m,
    uint64_t limit);

/* As governor_growth(), of one of which no requests are known for it. */
uint64_t governor_unexplained(const struct gov_worker *w);

/* What l is now; 0: off, or not known yet. */
uint64_t governor_resolve(const struct governor *g, struct limit l, enum gov_metric m);

static inline struct gov_mark
governor_mark(const struct gov_worker *w, uint64_t value, uint64_t now_ms)
{
	return (struct gov_mark){ .value = value, .ms = now_ms, .requests = w->requests };
}

/* Have replacements brought anything? From a sample of a ready worker, with what was measured of it
 * now, or from a look at all. True when this has made a limit futile. */
bool governor_judge_gain(struct governor *g, const struct gov_policy *p, struct gov_worker *w,
    const uint64_t value[GM_N], uint64_t now_ms);
bool governor_judge_pool_gain(struct governor *g, const struct gov_policy *p,
    struct gov_worker *w, uint64_t now_ms);

/* The baseline of own_bytes. */
uint64_t governor_fresh_own(const struct governor *g, bool is_rss);

enum gov_room {
	ROOM_ENOUGH,
	ROOM_TRIM,		/* *ret_peer may give memory back first */
	ROOM_TRIM_WAIT,		/* somebody is asked to */
	ROOM_NONE,		/* one of the two has to go first */
	ROOM_BREAK_WAIT,	/* that is going on somewhere */
};

/* Whether a successor finds room beside what there is. */
enum gov_room governor_room(const struct governor *g, struct gov_worker *const *w, size_t n,
    uint64_t now_ms, struct gov_worker **ret_peer);

/* Memory is nearly used up, and old workers that finish hold what the living need. */
bool governor_is_choked(const struct governor *g, uint64_t draining_bytes);

#endif
