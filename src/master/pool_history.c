/*
 * pool_history.c - what workers have used over their lives, remembered and told.
 *
 * A worker has a history from READY on, until it has drained; those of the last ended workers of each slot are kept,
 * smaller, so that something can be said about workers that live for a second. They are told one at
 * a time, by serial, so that no answer is large and nobody is left out when workers come and go
 * in between.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include <string.h>

#define SAMPLES_MIN 4	/* a shorter life shows nothing */

/* An ended worker. */
struct past {
	struct past *older;
	struct history history;
	uint64_t serial;
	uint64_t generation;
	uint64_t limit_rss, limit_uss;
	bool preloaded;
};

void
pool_history_note(struct pool *p, struct worker *w, const uint64_t value[GM_N], uint64_t now)
{
	bool tells = w->gen->has_agent && !w->agent_lost;
	bool is_fresh = w->footprint.known && w->footprint.tried_ms == now;
	struct growth_sample s = {
		.ms = now,
		.rss = value[GM_RSS],
		.uss = is_fresh ? value[GM_USS] : GROWTH_UNKNOWN,
		.pss = is_fresh ? value[GM_PSS] : GROWTH_UNKNOWN,
		.requests = tells ? w->requests : GROWTH_UNKNOWN,
		.in_flight = tells ? w->in_flight : GROWTH_UNKNOWN,
		.fds = w->fds_unavailable || w->fds == 0 || w->fds_ms != now ? GROWTH_UNKNOWN : w->fds,
		.connections = tells && w->tells_connections ? w->connections : GROWTH_UNKNOWN,
	};

	/* What it grows by while it drains is as good as any. */
	if (worker_state(w) != WS_READY && worker_state(w) != WS_DRAINING)
		return;
	if (w->history.room == 0)
		history_init(&w->history, p->target);
	history_add(&w->history, &s);
}

static uint64_t
limit_of(const struct pool *p, const struct generation *gen, enum gov_metric m)
{
	return governor_limit(&p->governor, &gen->policy, m);
}

static void
free_past(struct past *old)
{
	history_free(&old->history);
	free(old);
}

void
pool_history_ended(struct pool *p, struct worker *w)
{
	struct slot *slot = w->slot <= p->n_slots ? &p->slots[w->slot - 1] : NULL;
	struct past *old, **last;
	unsigned n = 1;

	if (slot == NULL || history_count(&w->history) < SAMPLES_MIN ||
	    (old = calloc(1, sizeof(*old))) == NULL) {
		history_free(&w->history);
		return;
	}
	history_close(&w->history);
	*old = (struct past){
		.older = slot->past, .history = w->history, .serial = w->gov.serial,
		.generation = w->gen->number, .limit_rss = limit_of(p, w->gen, GM_RSS),
		.limit_uss = limit_of(p, w->gen, GM_USS),
		.preloaded = w->mold_pid != 0,
	};
	memset(&w->history, 0, sizeof(w->history));
	slot->past = old;
	for (last = &old->older; *last != NULL && n < HISTORY_ENDED; last = &(*last)->older)
		n++;
	if (*last != NULL) {
		free_past(*last);
		*last = NULL;
	}
}

void
pool_history_free(struct slot *slot)
{
	while (slot->past != NULL) {
		struct past *old = slot->past;

		slot->past = old->older;
		free_past(old);
	}
}

/* Who is told next: the lowest serial above the cursor. */
struct told {
	uint64_t serial;	/* UINT64_MAX: nobody */
	unsigned slot;
	const struct worker *w;	/* NULL: it has ended */
	const struct past *old;
};

static struct told
find_next(const struct pool *p, uint64_t cursor)
{
	struct told t = { .serial = UINT64_MAX };

	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (w->gov.serial > cursor && w->gov.serial < t.serial &&
		    history_count(&w->history) > 0)
			t = (struct told){ .serial = w->gov.serial, .slot = w->slot, .w = w };
	}
	for (size_t i = 0; i < p->n_slots; i++)
		for (const struct past *old = p->slots[i].past; old != NULL; old = old->older)
			if (old->serial > cursor && old->serial < t.serial)
				t = (struct told){ .serial = old->serial,
					.slot = (unsigned)i + 1, .old = old };
	return t;
}

static json_t *
number(uint64_t n)
{
	return n == GROWTH_UNKNOWN ? json_null() : json_integer((json_int_t)n);
}

/* In the order of the columns of the interface description. NULL: out of memory. */
static json_t *
samples_json(const struct history *h)
{
	size_t n = history_count(h);
	AUTO_FREE struct growth_sample *s = calloc(n, sizeof(*s));
	json_t *list = json_array();

	n = s == NULL ? 0 : history_read(h, s);
	for (size_t i = 0; list != NULL && i < n; i++) {
		json_t *row = json_pack("[I,o,o,o,o,o,o,o]", (json_int_t)s[i].ms, number(s[i].rss),
		    number(s[i].uss), number(s[i].pss), number(s[i].requests),
		    number(s[i].in_flight), number(s[i].fds), number(s[i].connections));

		if (json_array_append_new(list, row) < 0)
			goto failed;
	}
	if (n > 0)
		return list;
failed:
	json_decref(list);
	return NULL;
}

static json_t *
limit_json(uint64_t limit)
{
	return limit == 0 ? json_null() : number(limit);
}

json_t *
pool_history_part(const struct pool *p, uint64_t *cursor)
{
	struct told t = find_next(p, *cursor);
	const struct trim_result *trim = NULL;
	const struct history *h;
	uint64_t rss, uss;
	bool preloaded;

	if (t.serial == UINT64_MAX)
		return NULL;
	*cursor = t.serial;
	h = t.w != NULL ? &t.w->history : &t.old->history;
	rss = t.w != NULL ? limit_of(p, t.w->gen, GM_RSS) : t.old->limit_rss;
	uss = t.w != NULL ? limit_of(p, t.w->gen, GM_USS) : t.old->limit_uss;
	preloaded = t.w != NULL ? t.w->mold_pid != 0 : t.old->preloaded;
	if (t.w != NULL && t.w->trims.last.known)
		trim = &t.w->trims.last;
	return json_pack("{s:{s:I,s:I,s:I,s:b,s:b,s:o,s:o,s:o,s:o,s:o}}", "worker", "slot",
	    (json_int_t)t.slot, "serial", (json_int_t)t.serial, "generation",
	    (json_int_t)(t.w != NULL ? t.w->gen->number : t.old->generation), "ended",
	    t.w == NULL, "preloaded", preloaded, "limit_rss_bytes", limit_json(rss),
	    "limit_uss_bytes", limit_json(uss), "trim_gc_bytes",
	    trim == NULL ? json_null() : number(base_less(trim->before, trim->after_gc)),
	    "trim_malloc_bytes",
	    trim == NULL ? json_null() : number(base_less(trim->after_gc, trim->after_trim)),
	    "samples", samples_json(h));
}

json_t *
pool_history_facts(const struct pool *p)
{
	return json_pack("{s:{s:s,s:I,s:o,s:o,s:b}}", "facts", "name", p->gen->settings->name,
	    "workers", (json_int_t)p->target, "limit_rss_bytes",
	    limit_json(limit_of(p, p->gen, GM_RSS)), "limit_uss_bytes",
	    limit_json(limit_of(p, p->gen, GM_USS)), "preloaded", pool_mold(p, p->gen) != NULL);
}
