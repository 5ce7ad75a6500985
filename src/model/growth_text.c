/*
 * growth_text.c - verdicts in words and as JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/growth.h"

#include "base/buf.h"
#include "model/values.h"

#include <stdio.h>

#define CELL 24

static const char *
size(double bytes, char dst[static CELL])
{
	uint64_t n = bytes > 0.0 ? (uint64_t)(bytes + 0.5) : 0;

	/* Leaks of a few bytes per request are worth their digits. */
	if (n < 10 * 1024)
		snprintf(dst, CELL, "%llu bytes", (unsigned long long)n);
	else
		value_human_size(n, dst, CELL);
	return dst;
}

static const char *
duration(double seconds, char dst[static CELL])
{
	value_human_time((uint64_t)(MAX_OF(seconds, 0.0) * 1000.0), dst, CELL);
	return dst;
}

static void
put_by_requests(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL], c[CELL];

	(void)buf_printf(out, "%s more after %.0f requests, in step with them: %s for each",
	    size(v->grown, a), v->requests, size(v->per_request, b));
	if (v->per_request_low > 0.0 && v->per_request_high > v->per_request_low)
		(void)buf_printf(out, " (%s to %s)", size(v->per_request_low, b),
		    size(v->per_request_high, c));
	if (v->requests_to_limit >= 0.0)
		(void)buf_printf(out, "; %.0f requests to the limit", v->requests_to_limit);
}

static void
put_by_time(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL], c[CELL];

	(void)buf_printf(out, "%s more in %s%s: %s a minute", size(v->grown, a),
	    duration(v->seconds, b), v->kind == GROWTH_WHILE_IDLE
	    ? ", whether requests come or not" : " (requests are not known)",
	    size(v->per_minute, c));
	if (v->minutes_to_limit >= 0.0)
		(void)buf_printf(out, "; %s to the limit", duration(v->minutes_to_limit * 60.0, a));
}

static void
put_following(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL], c[CELL];

	(void)buf_printf(out, "%s with few %s, %s with many, %s: %s for each", size(v->before, a),
	    v->kind == GROWTH_CONNECTIONS ? "connections" : "requests in flight",
	    size(v->after, b), v->given_back >= 0.0 ? "and back" :
	    "and so it stays until there are more", size(v->per_concurrent, c));
}

static void
put_step(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL], c[CELL];

	(void)buf_printf(out, "from %s to %s at once, %s after the first sample, flat before and since",
	    size(v->before, a), size(v->after, b), duration(v->at_seconds, c));
}

static void
put_warm_up(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL];

	(void)buf_printf(out, "from %s to %s, then flat", size(v->before, a), size(v->after, b));
}

static void
put_stable(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL];

	(void)buf_printf(out, "between %s and %s for half of its life", size(v->before, a),
	    size(v->after, b));
	if (v->shareable > 0.0)
		(void)buf_printf(out, "; preload could share up to %s over all workers",
		    size(v->shareable, a));
}

static void
put_kept(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL], c[CELL];

	if (v->grown >= 0.0)
		(void)buf_printf(out, "%s before a load, %s at its height, %s more than before when it "
		    "was over", size(v->before, a), size(v->after, b), size(v->grown, c));
	else
		(void)buf_puts(out, "memory is free inside of the process");
	if (v->given_back >= 0.0)
		(void)buf_printf(out, "; %s given back since", size(v->given_back, a));
}

static void
put_unsharing(const struct growth_verdict *v, struct buf *out)
{
	char a[CELL], b[CELL];

	(void)buf_printf(out, "private memory (USS) from %s to %s while RSS stayed",
	    size(v->before, a), size(v->after, b));
}

static void
put_fds(const struct growth_verdict *v, struct buf *out)
{
	(void)buf_printf(out, "from %.0f to %.0f descriptors, ", v->before, v->after);
	if (v->per_request >= 0.0)
		(void)buf_printf(out, "%.1f more in 1000 requests", v->per_request * 1000.0);
	else
		(void)buf_printf(out, "%.1f more a minute", v->per_minute);
}

int
growth_put_evidence(const struct growth_verdict *v, struct buf *out)
{
	static void (*const put[GROWTH_N])(const struct growth_verdict *, struct buf *) = {
		[GROWTH_WITH_REQUESTS] = put_by_requests,
		[GROWTH_WHILE_IDLE] = put_by_time,
		[GROWTH_WITH_TIME] = put_by_time,
		[GROWTH_CONCURRENCY] = put_following,
		[GROWTH_CONNECTIONS] = put_following,
		[GROWTH_STEP] = put_step,
		[GROWTH_WARM_UP] = put_warm_up,
		[GROWTH_STABLE] = put_stable,
		[GROWTH_KEPT] = put_kept,
		[GROWTH_UNSHARING] = put_unsharing,
		[GROWTH_FDS] = put_fds,
	};
	char a[CELL];

	put[v->kind](v, out);
	(void)buf_printf(out, " (%zu samples, %s)", v->samples, duration(v->seconds, a));
	return out->failed ? -ENOMEM : 0;
}

/* What to set so that a growth does no harm, with a number. */
static void
put_limit(const struct growth_verdict *v, const struct growth_facts *f, struct buf *out)
{
	double each = f->workers > 1 && v->judged > 0 ? v->size / (double)f->workers : v->size;

	if (f->limit_rss != 0 || f->limit_uss != 0)
		(void)buf_printf(out, "%s replaces the worker in time",
		    f->limit_rss != 0 ? "reload-on-rss" : "reload-on-uss");
	else
		(void)buf_printf(out, "%s = %.0fM would replace the worker in time",
		    f->preloaded == GROWTH_YES ? "reload-on-uss" : "reload-on-rss",
		    MAX_OF(each * 2.0 / GROWTH_MIB, 1.0));
}

static void
put_leak(const struct growth_verdict *v, const struct growth_facts *f, struct buf *out)
{
	put_limit(v, f, out);
	if (v->kind == GROWTH_WITH_REQUESTS)
		(void)buf_puts(out, ", or max-requests; to find the cause set leak-report = yes, and "
		    "look for what outlives a request: lists and dicts of modules, caches without a "
		    "limit (lru_cache(maxsize=None)), signal handlers added in a view, DEBUG = True of "
		    "Django");
	else if (v->kind == GROWTH_WHILE_IDLE)
		(void)buf_puts(out, ", or max-worker-lifetime; max-requests does not help; the cause is "
		    "no request: look at threads, timers, and background tasks of the application and "
		    "of monitoring libraries (preforkctl report SLOT shows the threads)");
	else
		(void)buf_puts(out, ", or max-worker-lifetime; whether requests cause it is not known "
		    "of a plain command");
}

int
growth_put_remedy(const struct growth_verdict *v, const struct growth_facts *f, struct buf *out)
{
	switch (v->kind) {
	case GROWTH_WITH_REQUESTS:
	case GROWTH_WHILE_IDLE:
	case GROWTH_WITH_TIME:
		put_leak(v, f, out);
		break;
	case GROWTH_CONCURRENCY:
		(void)buf_puts(out, "no leak: fewer threads or worker-connections bound it; count this "
		    "peak when choosing workers and memory limits; with many threads "
		    "MALLOC_ARENA_MAX=2 in section [env] makes the peak smaller");
		break;
	case GROWTH_CONNECTIONS:
		(void)buf_puts(out, "no leak: count the most connections that may come when choosing "
		    "workers and memory limits; worker-connections bounds them, or limit-concurrency "
		    "in section [server] for uvicorn, where ws-per-message-deflate = no makes "
		    "websockets smaller");
		break;
	case GROWTH_STEP:
		(void)buf_puts(out, "no leak: something was loaded or cached at that moment: look into "
		    "the access log; import it with the application (with preload it is shared), or "
		    "do it in another process; a limit has to be above this size");
		break;
	case GROWTH_WARM_UP:
		(void)buf_puts(out, "no leak: nothing to do; limits have to be above this size, and "
		    "warm-up with preload does it once for all workers");
		break;
	case GROWTH_STABLE:
		if (v->shareable > 0.0)
			(void)buf_puts(out, "no leak: preload = yes shares what the import makes; or "
			    "fewer workers with more threads");
		else
			(void)buf_puts(out, "no leak: fewer workers, each with more threads, take less; a "
			    "limit below this size would replace workers for nothing");
		break;
	case GROWTH_KEPT:
		if (f->trim_gc != GROWTH_UNKNOWN && f->trim_malloc != GROWTH_UNKNOWN &&
		    f->trim_gc > f->trim_malloc)
			(void)buf_puts(out, "no leak: most was garbage in cycles, which the collector "
			    "finds late: lower thresholds (gc.set_threshold(), gc.freeze() after the "
			    "import), or trim-on-rss");
		else
			(void)buf_puts(out, "no leak: the allocator keeps what was freed; trim-on-rss "
			    "gives it back between requests; MALLOC_ARENA_MAX=2 or "
			    "MALLOC_TRIM_THRESHOLD_=131072 in section [env] keep less");
		break;
	case GROWTH_UNSHARING:
		(void)buf_puts(out, "what the mold has made is written to in the workers, by reference "
		    "counts or the collector: gc.freeze() and gc thresholds as preload sets them, "
		    "large data outside of Python objects (array, numpy, mmap); reload-on-uss bounds "
		    "it, reload-on-rss does not see it");
		break;
	case GROWTH_FDS:
		(void)buf_puts(out, "reload-on-fds replaces the worker before limit-nofile is reached; "
		    "look for files, sockets and sessions that are not closed (ls -l /proc/PID/fd)");
		break;
	case GROWTH_N:
		break;
	}
	return out->failed ? -ENOMEM : 0;
}
