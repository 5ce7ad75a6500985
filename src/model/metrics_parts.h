/*
 * metrics_parts.h - what the files of the metrics share. Nothing fails but the buffer.
 */
#ifndef PREFORKD_METRICS_PARTS_H
#define PREFORKD_METRICS_PARTS_H

#include "base/buf.h"
#include "model/status.h"

struct metrics_writer {
	struct buf *out;
	enum metrics_format format;
};

/* Names are without "preforkd_", those of counters without "_total". */
void metrics_family(const struct metrics_writer *w, const char *name, const char *type,
    const char *help);
/* A family with one sample. */
void metrics_gauge(const struct metrics_writer *w, const char *name, const char *help,
    uint64_t value);
void metrics_counter(const struct metrics_writer *w, const char *name, const char *help,
    uint64_t value);

/* What the status has as "memory": that of workers, of the control group, the budget, trims. What
 * is null there has no series. */
void metrics_memory(const struct metrics_writer *w, const json_t *memory);

#endif
