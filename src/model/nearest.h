/*
 * nearest.h - which legal word did a mistyped one mean?
 *
 * Start with NEAREST_INIT(text), offer every legal word, read `best`: the one with
 * the smallest edit distance (insert, delete, replace, swap of neighbours), or NULL
 * when none is near enough to be worth a suggestion. Case does not count, and '_'
 * is '-'. Pure, allocates nothing.
 */
#ifndef PREFORKD_NEAREST_H
#define PREFORKD_NEAREST_H

#include "base/base.h"

struct nearest {
	const char *text;
	const char *best;	/* borrowed from the caller of nearest_offer */
	size_t distance;	/* of best */
};

#define NEAREST_INIT(mistyped) ((struct nearest){ .text = (mistyped) })

void nearest_offer(struct nearest *n, const char *word);

#endif
