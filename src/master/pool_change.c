/*
 * pool_change.c - another number of workers, another generation, the end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "system/clock.h"

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
		} else {
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
	if (workers > p->n_slots) {
		struct slot *slots = reallocarray(p->slots, workers, sizeof *slots);

		if (slots == NULL)
			return -ENOMEM;
		memset(slots + p->n_slots, 0, (workers - p->n_slots) * sizeof *slots);
		p->slots = slots;
		p->n_slots = workers;
	}
	p->target = workers;
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
	r = worker_spawn(w, e);
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

/* Addresses of the old generation that the new one does not have. */
static void
note_leaving(struct pool *p, const struct generation *old, const struct generation *gen)
{
	struct listener **v = reallocarray(p->leaving, p->n_leaving + old->n_listeners + 1,
	    sizeof *v);

	if (v == NULL) {
		log_error("out of memory: removed addresses stay open until the old workers end");
		return;
	}
	p->leaving = v;
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!generation_has_listener(gen, old->listeners[i]))
			v[p->n_leaving++] = listener_ref(old->listeners[i]);
}

/* An address is given up once no worker serves it: shutting it down earlier would make
 * accept() fail in those that do, and a server that draws breath there may die of it. */
void
pool_check_leaving(struct pool *p)
{
	for (size_t i = p->n_leaving; i > 0; i--) {
		struct listener *l = p->leaving[i - 1];
		bool used = generation_has_listener(p->gen, l);
		bool wanted = used;

		for (size_t k = 0; k < p->n_all && !used; k++) {
			enum worker_state s = worker_state(p->all[k]);

			used = (s == WS_READY || s == WS_STARTING) &&
			    generation_has_listener(p->all[k]->gen, l);
		}
		if (used && !wanted)
			continue;
		if (!wanted) {
			log_info("no longer listening on %s", l->address.text);
			listener_shutdown(l);
		}
		listener_unref(l);
		p->leaving[i - 1] = p->leaving[--p->n_leaving];
	}
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
}

void
pool_commit(struct pool *p, struct generation *gen)
{
	struct generation *old = p->gen;

	p->gen = generation_ref(gen);
	governor_set_policy(&p->governor, &gen->policy);
	note_leaving(p, old, gen);
	generation_unref(old);
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
pool_stop(struct pool *p, bool quick)
{
	p->stopping = true;
	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		worker_handle(w, quick ? WE_STOP : WE_DRAIN, REASON_STOP);
	}
	pool_wake(p);
}
