/*
 * tracing.h - which worker traces its allocations (leak-report). Pure.
 *
 * Tracing costs a worker most of its speed, so at most one does it at a time: one that has come
 * halfway to its limit, until it is replaced. One that stops growing on its way is let go, and
 * comes into question again when it has grown.
 */
#ifndef PREFORKD_TRACING_H
#define PREFORKD_TRACING_H

#include "base/base.h"

#define TRACING_FROM_PERCENT 50		/* of the limit */
#define TRACING_BACK_PERCENT 38		/* it has shrunk: others may be nearer */
#define TRACING_STEP         16		/* a sixteenth of the limit is growth */
#define TRACING_STILL_MS     UINT64_C(300000)	/* without growth */
#define TRACING_COST_MAX     (UINT64_C(32) << 20)	/* bytes, or a sixteenth of the limit */

/* Of each worker; zero at its begin. */
struct tracing {
	bool on;
	uint64_t mark;		/* bytes when it began, or at its last step of growth */
	uint64_t mark_ms;
	uint64_t rested;	/* bytes when it was let go; 0: never */
};

struct tracing_view {
	struct tracing *tracing;
	bool serves;		/* ready, can trace, and nobody starts to take its place */
	uint64_t value;		/* bytes, without what tracing costs */
	uint64_t limit;		/* of the value, 0: none */
	uint64_t cost;		/* bytes */
};

enum tracing_what {
	TRACING_NOTHING,
	TRACING_START,
	TRACING_STOP,
	TRACING_FINISH,		/* it gets too dear: a report, then the end */
};

struct tracing_step {
	enum tracing_what what;
	size_t index;		/* of the worker */
};

/* The next thing to be done, which is noted in the worker's struct tracing; to be called until it
 * is nothing. enabled: leak-report. */
struct tracing_step tracing_next(const struct tracing_view *v, size_t n, bool enabled,
    uint64_t now_ms);

#endif
