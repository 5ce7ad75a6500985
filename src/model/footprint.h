/*
 * footprint.h - what of a worker's memory is its own: when it is measured, and what it can be
 * meanwhile. Pure.
 *
 * RSS costs nothing to read but counts shared pages in every worker. What is private (USS) costs
 * milliseconds of the master and holds a lock of the worker, so it is measured seldom, and
 * often only when a limit on it may have been reached: it cannot have grown by more than RSS has.
 */
#ifndef PREFORKD_FOOTPRINT_H
#define PREFORKD_FOOTPRINT_H

#include "base/base.h"

#define FOOTPRINT_USUAL_MS  UINT64_C(10000)	/* from one measurement to the next */
#define FOOTPRINT_GROWN_MS  UINT64_C(1000)	/* of one that has grown by a quarter since */
#define FOOTPRINT_LARGE_MS  UINT64_C(60000)	/* of a large worker */
#define FOOTPRINT_EVIL_MS   UINT64_C(1000)	/* of a large one that may have to be killed */
#define FOOTPRINT_URGENT_MS UINT64_C(100)	/* at the least, whatever may have been reached */
#define FOOTPRINT_LARGE     (UINT64_C(1) << 30)	/* takes 7 ms and more */
#define FOOTPRINT_NEAR      80			/* percent of the limit from which on it is near */

/* The last measurement of a worker with its descendants; sizes in bytes. */
struct footprint {
	bool known;
	uint64_t tried_ms;		/* when it was tried last, 0: never */
	uint64_t rss;			/* at that time, by the cheap way */
	uint64_t uss;
	uint64_t pss;
	uint64_t swap;
};

enum footprint_need {
	FOOTPRINT_FRESH,		/* nothing to do */
	FOOTPRINT_DUE,			/* old; can wait for a moment with time to spare */
	FOOTPRINT_NEEDED,		/* a decision depends on it */
};

/* Bytes, 0: none. */
struct footprint_limits {
	uint64_t uss;
	uint64_t evil_uss;		/* a large worker is measured for it as well */
	uint64_t pss;
};

/* Whether a worker that has `rss` bytes now is to be measured. interval_ms: the pace of the cheap
 * samples. */
enum footprint_need footprint_need(const struct footprint *f, uint64_t rss,
    const struct footprint_limits *limits, uint64_t interval_ms, uint64_t now_ms);

/* The most that can be private by now; rss when nothing is known. */
uint64_t footprint_most(const struct footprint *f, uint64_t rss);
/* The same for PSS, as far as this worker's own growth goes. */
uint64_t footprint_most_pss(const struct footprint *f, uint64_t rss);

/* More than half of it is shared for sure. */
bool footprint_is_mostly_shared(const struct footprint *f, uint64_t rss);

/* How far /proc/PID/statm may be from the truth, either way, for one process, in bytes.
 *
 * Before Linux 6.2 each thread keeps up to 64 page faults to itself (TASK_RSS_EVENTS_THRESH in
 * mm/memory.c); FOOTPRINT_THREADS of them are assumed. Then each of the three counters that RSS is
 * the sum of (file, anonymous, shmem) became a percpu_counter, of which every CPU keeps back less
 * than a batch of max(32, 2 * CPUs) pages (lib/percpu_counter.c): with many CPUs hundreds of MB.
 * From 6.16 on statm sums them up and is exact (task_statm() in fs/proc/task_mmu.c). Stable series
 * that took this over are not told apart; they are measured more often than they need to be. */
#define FOOTPRINT_THREADS 32u
uint64_t footprint_statm_error(unsigned major, unsigned minor, unsigned cpus, uint64_t page_bytes);

/* What a size from statm says about a limit. */
enum footprint_side {
	FOOTPRINT_UNDER,
	FOOTPRINT_UNSURE,		/* so near that smaps_rollup has to be asked */
	FOOTPRINT_OVER,
};

/* limit 0: none. error: footprint_statm_error(), times the processes that rss is the sum of. */
enum footprint_side footprint_side(uint64_t rss, uint64_t limit, uint64_t error);

#endif
