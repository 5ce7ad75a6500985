/*
 * load_stats.h - what the clients of benchmarks and loss tests count and measure, and how it is
 * printed.
 *
 * Latencies go into buckets, exact below 128 us, then 64 to the octave (1.6 %); the
 * largest is kept as it was.
 */
#ifndef PREFORKD_LOAD_STATS_H
#define PREFORKD_LOAD_STATS_H

#include <stdbool.h>
#include <stdint.h>

#define STATS_BUCKETS 2048

enum outcome { OK, REFUSED, RESET_BEFORE, RESET_INSIDE, TIMEOUT, BAD, OUTCOMES };

extern const char *const outcome_names[OUTCOMES];

/* Zeroed is empty. */
struct stats {
	uint64_t counts[OUTCOMES];		/* of the whole run */
	uint64_t connects;
	uint64_t measured, sum_usec, max_usec;	/* of the time that is measured */
	uint64_t buckets[STATS_BUCKETS];
};

/* One good response within the time that is measured. */
void stats_add(struct stats *s, uint64_t usec);

/* Adds all of `from`. */
void stats_merge(struct stats *into, const struct stats *from);

/* To standard output, without an end of line: two lines for people, or the members of a JSON
 * object without its braces. */
void stats_print(const struct stats *s, double seconds, bool json);

#endif
