/*
 * memrise.h - which part of the cgroup's memory has risen, when that is no worker's heap. Pure.
 *
 * Buffers of sockets, the kernel's own memory and page cache count against the limit like heaps do,
 * but no tool of Python shows them, and they are taken for leaks. Each part is compared with its
 * lowest value within the last hour. One is named when it has risen by MEMRISE_MIN or more (and
 * 5 % of the limit), which is at least half of all that has risen, for MEMRISE_HOLD_MS. Page cache
 * is named only in a cgroup that is nearly full: growing is what it is for. So is the kernel's
 * memory where its caches of files' names cannot be told from the rest. The verdict stands until
 * half of the rise is gone.
 */
#ifndef PREFORKD_MEMRISE_H
#define PREFORKD_MEMRISE_H

#include "base/base.h"

#define MEMRISE_MIN      (UINT64_C(16) << 20)
#define MEMRISE_HOLD_MS  UINT64_C(10000)
#define MEMRISE_STEP_MS  UINT64_C(60000)
#define MEMRISE_STEPS    60u			/* of the history */
#define MEMRISE_SAY_MS   UINT64_C(3600000)	/* between two log lines at the least */
#define MEMRISE_FULL     70u			/* percent of the limit */
#define MEMRISE_TEXT_MAX 384u

enum memrise_part { MEMRISE_NONE, MEMRISE_SOCK, MEMRISE_KERNEL, MEMRISE_FILE, MEMRISE_ANON,
	MEMRISE_N };

/* Sizes in bytes. */
struct memrise_sample {
	uint64_t limit;			/* 0: none */
	uint64_t used;
	uint64_t part[MEMRISE_N];	/* [FILE] without what is dropped first */
	bool kernel_has_cache;		/* [KERNEL] includes what is dropped when memory is short */
};

struct memrise_verdict {
	enum memrise_part part;		/* NONE, SOCK, KERNEL or FILE */
	uint64_t from_bytes;		/* its lowest value before */
	uint64_t from_ms;		/* when that was */
	uint64_t bytes;			/* now */
};

struct memrise {
	struct {
		uint64_t ms;		/* of each part's lowest value within this step */
		uint64_t low[MEMRISE_N];
	} step[MEMRISE_STEPS];
	unsigned n_steps, at;		/* at: the present one */
	uint64_t step_begun_ms;
	enum memrise_part suspect;	/* since when it would be named */
	uint64_t suspect_ms;
	struct memrise_verdict verdict;
	uint64_t highest;		/* since the verdict */
	uint64_t said_ms;		/* 0: never */
	uint64_t said_bytes;
};

/* Another cgroup: nothing is known of it; what was said stays said. */
void memrise_reset(struct memrise *m);
/* A sample, MEMRISE_STEP_MS after the one before at the latest. True: m->verdict is to be logged. */
bool memrise_feed(struct memrise *m, const struct memrise_sample *s, uint64_t now_ms);

/* "sock", "kernel", "file"; NULL for others. */
const char *memrise_name(enum memrise_part part);
/* One line for log and status; "" without a verdict. Returns dst. */
const char *memrise_text(const struct memrise_verdict *v, uint64_t now_ms,
    char dst[static MEMRISE_TEXT_MAX]);

#endif
