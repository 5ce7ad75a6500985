/*
 * footprint.c - when a worker's private memory is measured.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/footprint.h"

/* Samples come a little early when others are due. */
#define EARLY_MS UINT64_C(10)

uint64_t
footprint_most(const struct footprint *f, uint64_t rss)
{
	uint64_t grown = rss > f->rss ? rss - f->rss : 0;

	if (!f->known)
		return rss;
	/* Huge pages of its own are in USS only. */
	return MIN_OF(f->uss + grown, MAX_OF(rss, f->uss));
}

bool
footprint_is_mostly_shared(const struct footprint *f, uint64_t rss)
{
	return f->known && footprint_most(f, rss) < rss / 2;
}

uint64_t
footprint_most_pss(const struct footprint *f, uint64_t rss)
{
	return f->known ? f->pss + (rss > f->rss ? rss - f->rss : 0) : rss;
}

/* Each sample counts once it is near; before that the first one which may be over the limit.
 * Those that are large take too long for either. */
static bool
is_needed(uint64_t last, uint64_t most, uint64_t limit, uint64_t age, uint64_t interval_ms,
    uint64_t large_ms)
{
	if (limit == 0)
		return false;
	if (large_ms != 0)
		interval_ms = MAX_OF(interval_ms, large_ms);
	else if (last < limit && most >= limit)
		interval_ms = MIN_OF(interval_ms, FOOTPRINT_URGENT_MS);
	return age >= interval_ms && (most >= limit || last >= limit / 100 * FOOTPRINT_NEAR);
}

enum footprint_need
footprint_need(const struct footprint *f, uint64_t rss, const struct footprint_limits *limits,
    uint64_t interval_ms, uint64_t now_ms)
{
	bool is_large = rss > FOOTPRINT_LARGE;
	uint64_t age = now_ms - f->tried_ms + EARLY_MS, most = footprint_most(f, rss);

	if (f->tried_ms == 0)
		return FOOTPRINT_DUE;
	if (f->known && (is_needed(f->uss, most, limits->uss, age, interval_ms,
	    is_large ? FOOTPRINT_USUAL_MS : 0) ||
	    is_needed(f->uss, most, limits->evil_uss, age, interval_ms,
	    is_large ? FOOTPRINT_EVIL_MS : 0) ||
	    is_needed(f->pss, footprint_most_pss(f, rss), limits->pss, age, interval_ms,
	    is_large ? FOOTPRINT_USUAL_MS : 0)))
		return FOOTPRINT_NEEDED;
	/* Else a size that is long past would stand beside a new one in the status. */
	if (f->known && !is_large && age >= FOOTPRINT_GROWN_MS && rss > f->rss + f->rss / 4)
		return FOOTPRINT_DUE;
	if (age >= (is_large ? FOOTPRINT_LARGE_MS : FOOTPRINT_USUAL_MS))
		return FOOTPRINT_DUE;
	return FOOTPRINT_FRESH;
}

/* Three counters make RSS. */
#define COUNTERS        UINT64_C(3)
#define PAGES_OF_THREAD UINT64_C(64)
#define BATCH_MIN       UINT64_C(32)

static bool
is_before(unsigned major, unsigned minor, unsigned than_major, unsigned than_minor)
{
	return major != than_major ? major < than_major : minor < than_minor;
}

uint64_t
footprint_statm_error(unsigned major, unsigned minor, unsigned cpus, uint64_t page_bytes)
{
	uint64_t n = MAX_OF(cpus, 1u);

	if (!is_before(major, minor, 6, 16))
		return 0;
	if (is_before(major, minor, 6, 2))
		return PAGES_OF_THREAD * FOOTPRINT_THREADS * page_bytes;
	return COUNTERS * n * MAX_OF(BATCH_MIN, 2 * n) * page_bytes;
}

enum footprint_side
footprint_side(uint64_t rss, uint64_t limit, uint64_t error)
{
	uint64_t off = rss > limit ? rss - limit : limit - rss;

	if (limit == 0)
		return FOOTPRINT_UNDER;
	if (off < error)
		return FOOTPRINT_UNSURE;
	return rss >= limit ? FOOTPRINT_OVER : FOOTPRINT_UNDER;
}
