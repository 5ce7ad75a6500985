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

enum footprint_need
footprint_need(const struct footprint *f, uint64_t rss, uint64_t limit, uint64_t interval_ms,
    uint64_t now_ms)
{
	bool is_large = rss > FOOTPRINT_LARGE;
	uint64_t age = now_ms - f->tried_ms + EARLY_MS;

	if (f->tried_ms == 0)
		return FOOTPRINT_DUE;
	if (limit != 0 && f->known) {
		/* Each sample counts once it is near; before that the first one which may be over
		 * the limit. Those that are large take too long for either. */
		if (is_large)
			interval_ms = MAX_OF(interval_ms, FOOTPRINT_USUAL_MS);
		else if (f->uss < limit && footprint_most(f, rss) >= limit)
			interval_ms = MIN_OF(interval_ms, FOOTPRINT_URGENT_MS);
		if (age >= interval_ms && (footprint_most(f, rss) >= limit ||
		    f->uss >= limit / 100 * FOOTPRINT_NEAR))
			return FOOTPRINT_NEEDED;
	}
	if (age >= (is_large ? FOOTPRINT_LARGE_MS : FOOTPRINT_USUAL_MS))
		return FOOTPRINT_DUE;
	return FOOTPRINT_FRESH;
}
