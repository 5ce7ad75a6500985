/*
 * pool_change.c - another number of workers, another generation, the end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "system/clock.h"
#include "system/lanes.h"

#include <string.h>

/* Slots above the target give up their workers; those that serve finish first. */
static void
release_surplus(struct pool *p)
{
	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];
		struct slot *slot = w->slot <= p->n_slots ? &p->slots[w->slot - 1] : NULL;

		if (w->slot <= p->target || slot == NULL || w == p->canary)
			continue;
		if (slot->serving != w && slot->successor != w)
			continue;
		if (worker_state(w) == WS_READY) {
			governor_order(&w->gov, REASON_SCALE, clock_now_ms());
		} else if (worker_state(w) != WS_STARTING || !pool_is_waited_for(w)) {
			if (slot->serving == w)
				slot->serving = NULL;
			worker_handle(w, WE_DRAIN, REASON_SCALE);
		}
	}
}

int
pool_scale(struct pool *p, size_t workers)
{
	if (workers < 1 || workers > POOL_WORKERS_MAX)
		return -ERANGE;
	p->wanted = workers;
	workers = (size_t)MIN_OF((uint64_t)workers, p->fit);
	if (workers > p->n_slots) {
		struct slot *slots = reallocarray(p->slots, workers, sizeof *slots);

		if (slots == NULL)
			return -ENOMEM;
		memset(slots + p->n_slots, 0, (workers - p->n_slots) * sizeof *slots);
		p->slots = slots;
		p->n_slots = workers;
	}
	p->target = workers;
	pool_fit_lanes(p);
	/* A slot that is wanted again keeps its worker. */
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i]->slot <= workers && worker_state(p->all[i]) == WS_READY)
			p->all[i]->gov.due &= ~(1u << REASON_SCALE);
	release_surplus(p);
	pool_wake(p);
	return 0;
}

int
pool_start_canary(struct pool *p, struct generation *gen, struct err *e)
{
	struct worker *w = pool_add(p, gen, 1);
	int r;

	if (w == NULL)
		return err_sys(e, ENOMEM, "cannot start a worker");
	r = pool_launch(p, w, e);
	if (r < 0) {
		pool_remove(p, w);
		return r;
	}
	w->is_canary = true;
	w->gov.is_successor = true;
	p->canary = w;
	return 0;
}

void
pool_drop_canary(struct pool *p, enum reason reason)
{
	struct worker *w = p->canary;

	p->canary = NULL;
	if (w != NULL)
		worker_handle(w, WE_DRAIN, reason);
	pool_wake(p);
}

/* The canary becomes the worker of its slot. */
static void
seat_canary(struct pool *p)
{
	struct worker *w = p->canary;
	struct slot *slot = &p->slots[w->slot - 1];

	p->canary = NULL;
	w->is_canary = false;
	w->gov.is_successor = false;
	if (slot->successor != NULL) {
		worker_handle(slot->successor, WE_DRAIN, REASON_RELOAD);
		slot->successor = NULL;
	}
	if (slot->serving != NULL) {
		slot->serving->gov.has_successor = false;
		if (worker_state(slot->serving) == WS_READY)
			pool_drain(p, slot->serving, REASON_RELOAD);
		else
			worker_handle(slot->serving, WE_DRAIN, REASON_RELOAD);
	}
	slot->serving = w;
	slot->failures = 0;
	slot->broken = 0;
}

void
pool_commit(struct pool *p, struct generation *gen)
{
	struct generation *old = p->gen;

	p->gen = generation_ref(gen);
	for (size_t i = 0; i < p->n_molds; i++)
		p->molds[i]->is_candidate = false;
	p->mold_next_ms = 0;
	governor_set_policy(&p->governor, &gen->policy);
	pool_budget_changed(p);
	pool_note_leaving(p, old);
	generation_unref(old);
	/* Some may have been on their way out when they were asked for again. */
	for (size_t i = 0; i < gen->n_listeners; i++)
		(void)lanes_unblock(gen->listeners[i]);
	seat_canary(p);
	for (size_t i = 0; i < p->n_slots; i++) {
		struct slot *slot = &p->slots[i];
		struct worker *w = slot->serving;

		if (slot->successor != NULL && slot->successor->gen != gen) {
			if (w != NULL)
				w->gov.has_successor = false;
			worker_handle(slot->successor, WE_DRAIN, REASON_RELOAD);
			slot->successor = NULL;
		}
		if (w == NULL || w->gen == gen)
			continue;
		slot->failures = 0;
		if (worker_state(w) == WS_READY) {
			governor_order(&w->gov, REASON_RELOAD, clock_now_ms());
			continue;
		}
		/* It boots with the old settings, or waits to: start over with the new. */
		slot->serving = NULL;
		worker_handle(w, WE_DRAIN, REASON_RELOAD);
	}
	/* Cannot fail for lack of range, settings are checked; without memory the old number
	 * of workers goes on. */
	if (pool_scale(p, gen->settings->workers) < 0)
		log_error("cannot change the number of workers: out of memory");
	pool_sampling_start(p);
	pool_wake(p);
}

void
pool_announce_close(struct pool *p)
{
	p->closing = true;
	for (size_t i = 0; i < p->n_all; i++)
		if (worker_state(p->all[i]) == WS_READY)
			worker_announce_close(p->all[i]);
}

void
pool_stop(struct pool *p, bool quick)
{
	p->stopping = true;
	p->stop_ms = clock_now_ms();
	if (!quick)
		pool_block_all(p);
	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		if (quick) {
			worker_handle(w, WE_STOP, REASON_STOP);
			continue;
		}
		if (worker_state(w) == WS_READY)
			w->holds = pool_must_hold(p, w);
		else if (worker_state(w) == WS_STARTING && pool_is_waited_for(w))
			continue;
		worker_handle(w, WE_DRAIN, REASON_STOP);
	}
	if (!quick)
		pool_hold_start(p);
	/* What they were asked for already they still fork. */
	pool_end_molds(p);
	pool_wake(p);
}
