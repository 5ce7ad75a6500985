/*
 * pool_futile.c - says of limits that they cannot help.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"

static void
say_count(const struct pool *p, const char *key, enum gov_metric m)
{
	const struct governor *g = &p->governor;

	log_warn("%s = %llu is futile: a fresh worker has %llu descriptors open; "
	    "ignored; at least %llu would make sense", key,
	    (unsigned long long)governor_limit(g, &p->gen->policy, m),
	    (unsigned long long)governor_fresh(g, m),
	    (unsigned long long)governor_suggest(g, m));
}

static void
say_soft(const struct pool *p, const struct worker *w, enum gov_metric m)
{
	const struct governor *g = &p->governor;
	const struct gov_meter *meter = &g->meter[m];
	const char *key = reason_name(gov_metric_reason(m));
	char limit[32], fresh[32], suggest[32];

	value_human_size(governor_limit(g, &p->gen->policy, m), limit, sizeof limit);
	value_human_size(MAX_OF(governor_fresh(g, m), meter->poor.size), fresh, sizeof fresh);
	value_human_size(governor_suggest(g, m), suggest, sizeof suggest);
	worker_log(w, LOG_LEVEL_WARN, "%s = %s is futile: a fresh worker needs %s, so "
	    "replacing gains nothing; the limit is ignored; at least %s would make sense",
	    key, limit, fresh, suggest);
}

static void
say_evil(const struct pool *p, const struct worker *w, enum gov_metric m)
{
	const struct governor *g = &p->governor;
	char limit[32], fresh[32], suggest[32];

	value_human_size(governor_evil(g, &p->gen->policy, m), limit, sizeof limit);
	value_human_size(governor_fresh(g, m), fresh, sizeof fresh);
	value_human_size(governor_suggest(g, m), suggest, sizeof suggest);
	worker_log(w, LOG_LEVEL_WARN, "%s = %s is futile: a fresh worker needs %s, so each would be "
	    "killed at once; the limit is ignored; at least %s would make sense",
	    reason_name(gov_metric_evil(m)), limit, fresh, suggest);
}

void
pool_say_futile(const struct pool *p, const struct worker *w)
{
	for (unsigned m = 0; m < GM_N; m++) {
		const struct gov_meter *meter = &p->governor.meter[m];

		if (meter->futile && m == GM_FDS)
			say_count(p, reason_name(gov_metric_reason(m)), m);
		else if (meter->futile)
			say_soft(p, w, m);
		if (meter->evil_futile)
			say_evil(p, w, m);
	}
}
