/*
 * growth.h - what the memory of a worker does over time, from its samples. Pure.
 *
 * Takes the samples of one worker and some facts and gives verdicts, each with numbers; a second
 * function combines the verdicts of all workers, those that have ended too. Nothing is said when
 * the evidence is thin: an unfounded "leak" costs somebody a day, a late one costs nothing.
 *
 * What the thresholds are for:
 *  - a growth counts from GROWTH_MIN bytes and GROWTH_MIN_PART of the size on: arenas, interned
 *    strings, connection pools and the cache of compiled expressions of usual applications move by
 *    some hundred kB for hours;
 *  - it has to go on for GROWTH_REQUESTS requests, or GROWTH_IDLE_S seconds without any, because
 *    the first ones of every worker load modules, fill caches and open connections. Less will do
 *    (GROWTH_*_FAST) when it is so large that nothing of that kind is likely: GROWTH_FAST bytes
 *    and GROWTH_FAST_PART of the size; a worker that leaks fast does not live long;
 *  - a small growth (below GROWTH_FAST) has to be larger than what came in the first tenth of the
 *    time: it could be the last of it;
 *  - a growth that began in the last third of a life has to be as large as that, and is not strong:
 *    a cache may be filled by what is asked for then;
 *  - how regular it must be is fit_is_steady() of growth_fit.h: caches that fill and level off,
 *    teeth of a garbage collector, steps and chance are no steady growth;
 *  - growth while the number of requests at a time, or of connections, grows as well proves nothing;
 *  - descriptors: GROWTH_FDS_MIN more, half of those it began with, just as regular: connection
 *    pools level off. Those of clients do not count where the server tells of them, nor a few more
 *    for each client that has come.
 */
#ifndef PREFORKD_GROWTH_H
#define PREFORKD_GROWTH_H

#include "base/base.h"

#include <jansson.h>

struct buf;

#define GROWTH_UNKNOWN UINT64_MAX

#define GROWTH_MIB            (1024.0 * 1024.0)
#define GROWTH_MIN            (5 * GROWTH_MIB)
#define GROWTH_MIN_PART       0.08
#define GROWTH_AFTER_START    1.25	/* times what it grew in its first tenth, up to GROWTH_FAST */
#define GROWTH_FAST           (16 * GROWTH_MIB)
#define GROWTH_FAST_PART      0.25
#define GROWTH_REQUESTS       1000.0
#define GROWTH_REQUESTS_FAST  30.0
#define GROWTH_IDLE_S         60.0
#define GROWTH_IDLE_S_FAST    8.0
#define GROWTH_FDS_MIN        16.0
#define GROWTH_FDS_PART       0.5
#define GROWTH_LARGE          (96 * GROWTH_MIB)	/* private; twice what Django takes */
#define GROWTH_LARGE_ALL      (512 * GROWTH_MIB)	/* of all workers, each from */
#define GROWTH_LARGE_EACH     (32 * GROWTH_MIB)	/* so much on: preload is worth a try */
#define GROWTH_STEP_MIN       (8 * GROWTH_MIB)
#define GROWTH_STEP_PART      0.1
#define GROWTH_WARM_MIN       (2 * GROWTH_MIB)
#define GROWTH_KEPT_MIN       (16 * GROWTH_MIB)	/* a spike, above what was there before */
#define GROWTH_KEPT_PART      0.2
#define GROWTH_UNSHARED_MIN   (8 * GROWTH_MIB)	/* beyond the few MB that any worker takes */
#define GROWTH_UNSHARED_PART  0.15		/* of what was shared */

enum growth_kind {
	GROWTH_WITH_REQUESTS,
	GROWTH_WHILE_IDLE,
	GROWTH_WITH_TIME,	/* requests are not known: a plain command */
	GROWTH_CONCURRENCY,
	GROWTH_CONNECTIONS,
	GROWTH_STEP,
	GROWTH_WARM_UP,
	GROWTH_STABLE,		/* large but stable */
	GROWTH_KEPT,
	GROWTH_UNSHARING,
	GROWTH_FDS,
	GROWTH_N,
};

/* One look at a worker; GROWTH_UNKNOWN for what is not known. Sizes in bytes. */
struct growth_sample {
	uint64_t ms;		/* of any clock; ascending */
	uint64_t rss, uss, pss;
	uint64_t requests;	/* completed so far */
	uint64_t in_flight;
	uint64_t fds;
	uint64_t connections;	/* that clients have open */
};

enum growth_maybe { GROWTH_MAYBE, GROWTH_NO, GROWTH_YES };

struct growth_facts {
	uint64_t limit_rss;	/* 0: none */
	uint64_t limit_uss;
	uint64_t workers;	/* how many like it there are, at least 1 */
	enum growth_maybe preloaded;
	uint64_t trim_gc;	/* bytes that the last trim gave back, by gc.collect() */
	uint64_t trim_malloc;	/* and by malloc_trim(); GROWTH_UNKNOWN: no trim known */
};

struct growth_series {
	unsigned slot;
	uint64_t serial;
	bool is_ended;
	const struct growth_sample *samples;
	size_t n;
	struct growth_facts facts;
};

struct growth_verdict {
	enum growth_kind kind;
	bool is_strong;			/* else fair */
	size_t samples;			/* that it is founded on */
	double seconds;			/* that they cover */
	double requests;		/* < 0: not known; so with all that follow */
	double grown;			/* bytes, of GROWTH_FDS descriptors */
	double size;			/* bytes of the worker at the end */
	double per_request;		/* bytes or descriptors */
	double per_request_low, per_request_high;
	double per_minute;
	double per_concurrent;		/* bytes for each request in flight, or connection */
	double requests_to_limit;
	double minutes_to_limit;
	double given_back;		/* by a trim, or while idle after the load */
	double shareable;		/* what preload would share, over all workers */
	double at_seconds;		/* of a step, since the first sample */
	double before, after;		/* bytes, around a step or a load */
	size_t agree, judged;		/* of a pool: workers; else 0 */
};

struct growth_verdicts {
	bool judged;			/* there was enough to find a steady growth */
	size_t n;
	struct growth_verdict v[GROWTH_N];
};

const char *growth_name(enum growth_kind kind);		/* "grows-with-requests" */
/* Memory or descriptors are lost with time; the others are no leaks. */
bool growth_is_leak(enum growth_kind kind);

/* NULL: not among them. */
const struct growth_verdict *growth_find(const struct growth_verdicts *all,
    enum growth_kind kind);

/* 0, -ENOMEM. */
int growth_judge(const struct growth_series *s, struct growth_verdicts *ret);

/* all[i] is the outcome of growth_judge() for s[i]; these are by slot, then by serial. Lives that were too short to be judged by
 * themselves are put on top of each other: a worker that leaks fast is replaced within a second,
 * one after another. 0, -ENOMEM. */
int growth_judge_pool(const struct growth_series *s, const struct growth_verdicts *all, size_t n,
    struct growth_verdicts *ret);

/* growth_text.c, growth_json.c: a sentence without a full stop at its end, for people. */
int growth_put_evidence(const struct growth_verdict *v, struct buf *out);
int growth_put_remedy(const struct growth_verdict *v, const struct growth_facts *facts,
    struct buf *out);
/* Owned; numbers that are not known are null. NULL: out of memory. */
json_t *growth_to_json(const struct growth_verdict *v, const struct growth_facts *facts);

#endif
