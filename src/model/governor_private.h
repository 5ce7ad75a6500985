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

/* Grows by less than GOV_FLAT_PERCENT of `size` a second. */
static inline bool
governor_is_flat(uint64_t grown_per_s, uint64_t size)
{
	return grown_per_s < size / 100 * GOV_FLAT_PERCENT;
}

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

/* Old workers that finish hold what the living need. */
bool governor_is_choked(const struct governor *g, uint64_t draining_bytes);

#endif
