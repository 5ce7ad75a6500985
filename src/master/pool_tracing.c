/*
 * pool_tracing.c - leak-report: one worker at a time traces its allocations, and its report goes
 * to the log before it is replaced.
 *
 * model/tracing.h says who; here it is told, and what it answers is logged. Nothing waits for an
 * answer: a worker that does not give it in time loses nothing but its report.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/tracing.h"
#include "model/values.h"
#include "system/clock.h"

#include <string.h>

#define LINES_MAX 24u
#define LINE_MAX_BYTES 300
#define STEPS_MAX 4

/* True when a / b is more than c / d. */
static bool
is_more(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return (unsigned __int128)a * d > (unsigned __int128)c * b;
}

/* The limit that w is nearest to, which is what it will be replaced for; its share of
 * memory-high when it has none of its own. */
static void
nearest_limit(const struct pool *p, const struct worker *w, uint64_t *value, uint64_t *limit)
{
	static const enum gov_metric metrics[] = { GM_RSS, GM_USS, GM_PSS };
	const struct governor *g = &p->governor;

	*value = *limit = 0;
	for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
		uint64_t l = governor_limit(g, &w->gen->policy, metrics[i]);
		uint64_t v = w->gov.value[metrics[i]];

		if (l == 0 || v == GOV_UNKNOWN || g->meter[metrics[i]].futile)
			continue;
		if (*limit == 0 || is_more(v, l, *value, *limit)) {
			*value = v;
			*limit = l;
		}
	}
	if (*limit == 0 && g->pool.b.high != 0 && !g->pool.futile && p->target > 0) {
		*value = worker_without_tracing(w, w->gov.own_bytes);
		*limit = g->pool.b.high / p->target;
	}
}

static void
carry_out(struct worker *w, enum tracing_what what, uint64_t value, uint64_t limit)
{
	char a[32], b[32];
	int r = 0;

	value_human_size(value, a, sizeof a);
	value_human_size(limit, b, sizeof b);
	switch (what) {
	case TRACING_NOTHING:
		return;
	case TRACING_START:
		r = worker_trace(w, true);
		if (r >= 0)
			worker_log(w, LOG_LEVEL_INFO, "leak-report: %s of %s; it traces its "
			    "allocations from now on, and is slower meanwhile", a, b);
		break;
	case TRACING_FINISH:
		(void)worker_ask_memory(w, WORKER_REPORT_FOR_LOG, 0);
		r = worker_trace(w, false);
		break;
	case TRACING_STOP:
		r = worker_trace(w, false);
		if (r >= 0)
			worker_log(w, LOG_LEVEL_INFO, "leak-report: it has stopped growing (%s of %s); "
			    "it traces no longer", a, b);
		break;
	}
	if (r < 0) {
		/* It does what it did before; the next look tells it again. */
		w->tracing.on = what != TRACING_START;
		worker_log(w, LOG_LEVEL_DEBUG, "leak-report: it cannot be told: %s", strerror(-r));
	}
}

static bool
any_traces(const struct pool *p)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i]->tracing.on)
			return true;
	return false;
}

void
pool_trace_tick(struct pool *p, uint64_t now)
{
	bool enabled = p->gen->settings->leak_report;
	AUTO_FREE struct tracing_view *v = NULL;

	if (p->n_all == 0 || (!enabled && !any_traces(p)))
		return;
	v = calloc(p->n_all, sizeof *v);
	if (v == NULL)
		return;
	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		v[i] = (struct tracing_view){
			.tracing = &w->tracing,
			.serves = worker_state(w) == WS_READY && !w->gov.has_successor &&
			    w->gen->has_agent && !w->agent_lost && w->gov.value_ms[GM_RSS] != 0,
			.cost = w->traced_bytes,
		};
		nearest_limit(p, w, &v[i].value, &v[i].limit);
	}
	for (int i = 0; i < STEPS_MAX; i++) {
		struct tracing_step step = tracing_next(v, p->n_all, enabled, now);

		if (step.what == TRACING_NOTHING)
			break;
		carry_out(p->all[step.index], step.what, v[step.index].value,
		    v[step.index].limit);
	}
}

void
pool_trace_before_end(struct worker *w)
{
	int r;

	if (!w->tracing.on)
		return;
	r = worker_ask_memory(w, WORKER_REPORT_FOR_LOG, 0);
	if (r < 0)
		worker_log(w, LOG_LEVEL_INFO, "leak-report: no report: %s", r == -EAGAIN
		    ? "another one is under way" : strerror(-r));
}

bool
pool_trace_reported(const struct worker *w, uint64_t id, const char *text)
{
	if (id != WORKER_REPORT_FOR_LOG)
		return false;
	for (unsigned n = 0; *text != '\0' && n < LINES_MAX; n++) {
		size_t len = strcspn(text, "\n");

		worker_log(w, LOG_LEVEL_NOTICE, "leak-report: %.*s",
		    (int)MIN_OF(len, (size_t)LINE_MAX_BYTES), text);
		text += len;
		text += *text == '\n';
	}
	return true;
}
