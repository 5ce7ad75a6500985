/*
 * loss_tally.h - what the loss client counts for each kind of conversation, and its last words.
 */
#ifndef PREFORKD_LOSS_TALLY_H
#define PREFORKD_LOSS_TALLY_H

#include "loss_plan.h"

#include "../bench/load_stats.h"
#include "base/base.h"

struct tally {
	struct stats stats;		/* outcomes of requests; latencies of the good ones */
	uint64_t requests;		/* begun */
	uint64_t idle_closed;
	uint64_t closed_early;		/* connections */
};

enum note { NOTE_LOST, NOTE_EARLY, NOTE_LATE, NOTES };

/* One line about a loss, a connection closed early or a late answer to standard error, with the
 * time of day for comparison with other logs; only the first ones of each. */
void tally_note(enum note note, const char *format, ...) PRINTF_LIKE(2, 3);

/* All kinds, to standard output. seconds: how long it ran. */
void tally_print(const struct tally tallies[KINDS], const struct plan *plan, double seconds);

#endif
