/*
 * memory_report.h - the verdicts about all workers, as a page for a terminal and as JSON. Pure.
 */
#ifndef PREFORKD_MEMORY_REPORT_H
#define PREFORKD_MEMORY_REPORT_H

#include "base/base.h"
#include "model/growth.h"

#include <jansson.h>

struct buf;

struct memory_report {
	const char *title;		/* of the first line; may be NULL */
	const struct growth_series *series;	/* by slot, then by serial; borrowed */
	size_t n;
	struct growth_facts facts;	/* of the pool */
	struct growth_verdicts *verdicts;	/* owned: one for each series */
	struct growth_verdicts pool;
};

/* Fills verdicts and pool of a report that has the rest. 0, -ENOMEM. */
int memory_report_judge(struct memory_report *r);
void memory_report_done(struct memory_report *r);

/* No line is longer than width (at least 80). */
int memory_report_print(const struct memory_report *r, size_t width, bool is_utf8,
    struct buf *out);
/* Owned. NULL: out of memory. */
json_t *memory_report_json(const struct memory_report *r);

#endif
