/*
 * sim_worker.c - see sim.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* So much that a pool leaks 8 MB a second. */
#define LEAKS 8

void
broken(const struct sim *s, const char *fmt, ...)
{
	va_list ap;

	printf("seed %llu, %llu ms: ", (unsigned long long)s->seed, (unsigned long long)s->now);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(1);
}

/* xorshift64* */
uint64_t
rnd(struct sim *s, uint64_t below)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (s->random * UINT64_C(0x2545F4914F6CDD1D) >> 11) % below;
}

struct sim_worker *
sim_spawn(struct sim *s, unsigned slot, bool is_successor)
{
	struct sim_worker *w = calloc(1, sizeof *w);

	if (w == NULL)
		abort();
	w->slot = slot;
	w->gov.state = WS_STARTING;
	w->gov.serial = ++s->serial;
	w->gov.is_successor = is_successor;
	w->gov.max_requests = rnd(s, 3) == 0 ? 0 : 2000 + rnd(s, 400);
	w->gov.max_lifetime_ms = rnd(s, 3) == 0 ? 60000 + rnd(s, 60000) : 0;
	w->boot_until = s->now + TICK_MS;
	if (!s->forks || rnd(s, 4) == 0)
		w->boot_until += rnd(s, BOOT_MAX - TICK_MS);
	w->fresh = (s->below_baseline ? 120 : 40) * MB + rnd(s, 20 * MB);
	w->leak_per_s = rnd(s, 4) == 0 ? rnd(s, 8 * MB) : rnd(s, MB / 64);
	if (s->forks && rnd(s, 8) == 0)
		w->leak_per_s = rnd(s, 40 * MB);
	/* No policy can stop a pool that leaks faster than workers boot. */
	if (s->pool_limit != 0)
		w->leak_per_s = s->others_grow ? 0 : w->leak_per_s * LEAKS / (s->n_slots + 8);
	/* Of thousands a few leak as much: a little of each would be worth no recycle. */
	if (s->pool_limit != 0 && s->n_slots >= MANY)
		w->leak_per_s = !s->others_grow && rnd(s, s->n_slots) < LEAKS ? rnd(s, 2 * MB) : 0;
	/* In some runs nothing else gives memory back. */
	if (s->pool_limit != 0 && s->seed % 3 == 0)
		w->gov.max_requests = w->gov.max_lifetime_ms = 0;
	w->gov.can_trim = s->seed % 8 == 1;
	w->rate = rnd(s, 60);
	if (s->pool_limit != 0)
		w->fresh = 48 * MB + rnd(s, 8 * MB);
	w->shared = s->shared;
	w->rss = w->fresh + w->shared;
	w->boot_fails = s->now < s->broken_until;
	s->all[s->n_all++] = w;
	return w;
}

void
sim_bury(struct sim *s, struct sim_worker *w)
{
	for (size_t i = 0; i < s->n_all; i++)
		if (s->all[i] == w)
			s->all[i] = s->all[--s->n_all];
	free(w);
}

static void
take_over(struct sim *s, struct sim_worker *w)
{
	struct sim_slot *slot = &s->slots[w->slot];
	struct sim_worker *old = slot->serving;

	w->gov.state = WS_READY;
	w->gov.ready_ms = s->now;
	governor_boot_ok(&s->g);
	if (slot->successor == w) {
		slot->successor = NULL;
		if (old != NULL) {
			if (old->gov.state != WS_READY)
				broken(s, "slot %u: the old worker stopped serving first", w->slot);
			old->gov.has_successor = false;
			old->gov.state = WS_DRAINING;
			old->gov.drain_ms = s->now;
			old->drain_until = s->now + rnd(s, 5000);
			s->recycles[w->reason]++;
		}
		slot->serving = w;
	}
	slot->crashed = slot->late = false;
	w->gov.breaks = w->gov.is_successor = false;
}

static void
fail_boot(struct sim *s, struct sim_worker *w)
{
	struct sim_slot *slot = &s->slots[w->slot];

	governor_boot_failed(&s->g, s->now);
	if (slot->successor == w) {
		slot->successor = NULL;
		if (slot->serving != NULL)
			slot->serving->gov.has_successor = false;
	} else {
		slot->serving = NULL;
		slot->late = false;
	}
	sim_bury(s, w);
}

static void
crash(struct sim *s, struct sim_worker *w)
{
	struct sim_slot *slot = &s->slots[w->slot];

	s->crashes++;
	slot->crashed = true;
	slot->serving = slot->successor;
	slot->successor = NULL;
	sim_bury(s, w);
}

void
sim_live(struct sim *s, struct sim_worker *w)
{
	uint64_t uss = w->rss - w->shared;
	uint64_t value[GM_N] = {
		[GM_RSS] = w->rss, [GM_USS] = uss, [GM_AS] = 4 * w->rss, [GM_FDS] = 30,
	};

	switch (w->gov.state) {
	case WS_STARTING:
		if (s->now < w->boot_until)
			return;
		if (w->boot_fails)
			fail_boot(s, w);
		else
			take_over(s, w);
		return;
	case WS_READY:
		w->rss += w->leak_per_s * TICK_MS / 1000;
		w->requests += rnd(s, w->rate + 1);
		w->gov.busy = rnd(s, 3) == 0;
		if (w->trim_until != 0 && s->now >= w->trim_until) {
			w->trim_until = 0;
			governor_trimmed(&s->g, &w->gov, w->rss, w->rss - rnd(s, w->rss / 8), s->now);
		}
		governor_count(&w->gov, w->requests, s->now);
		if (s->is_tight || s->now % 1000 == 0) {
			if (w->measured_at != 0 && s->now - w->measured_at < 10000 &&
			    uss < 80 * MB)
				value[GM_USS] = GOV_UNKNOWN;
			else
				w->measured_at = s->now;
			governor_sample(&s->g, &s->p, &w->gov, value, s->now);
		}
		if (rnd(s, 200000) == 0)
			crash(s, w);
		return;
	case WS_DRAINING:
		if (s->now >= w->drain_until)
			sim_bury(s, w);
		return;
	case WS_VACANT: case WS_STOPPING: case WS_KILLED: case WS_BACKOFF: case WS_N:
		sim_bury(s, w);
		return;
	}
}

void
sim_break_first(struct sim *s, struct sim_worker *w, enum reason reason)
{
	struct sim_slot *slot = &s->slots[w->slot];

	if (s->pool_limit == 0)
		broken(s, "slot %u: a worker makes room where there is plenty", w->slot);
	slot->serving = NULL;
	slot->broken = true;
	slot->broken_gov = w->gov;
	slot->broken_reason = reason;
	w->gov.breaks = true;
	w->gov.state = WS_DRAINING;
	w->gov.drain_ms = s->now;
	w->drain_until = s->now + rnd(s, 5000);
	s->recycles[reason]++;
	s->breaks++;
	s->g.made_room++;
}

void
sim_let_go(struct sim *s, struct sim_worker *w, bool is_late)
{
	struct sim_slot *slot = &s->slots[w->slot];

	if (slot->serving != w || slot->successor == NULL)
		broken(s, "slot %u: let go without a successor", w->slot);
	if (is_late && !s->forks)
		broken(s, "slot %u: let go for a successor that takes seconds", w->slot);
	slot->serving = slot->successor;
	slot->successor = NULL;
	slot->crashed = true;		/* nobody serves for a moment */
	slot->late = is_late;
	s->recycles[slot->serving->reason]++;
	w->gov.has_successor = false;
	w->gov.breaks = slot->serving->gov.breaks = !is_late;
	w->gov.state = WS_DRAINING;
	w->gov.drain_ms = s->now;
	w->drain_until = s->now + rnd(s, 5000);
	if (is_late)
		s->late++;
	else
		s->let_go++;
}

static bool
is_breaking(const struct sim *s, unsigned slot)
{
	for (size_t i = 0; i < s->n_all; i++)
		if (s->all[i]->slot == slot && s->all[i]->gov.breaks)
			return true;
	return false;
}

void
sim_fill(struct sim *s)
{
	for (unsigned i = 0; i < s->n_slots; i++) {
		struct sim_slot *slot = &s->slots[i];

		if (slot->serving != NULL || (slot->broken && (is_breaking(s, i) || rnd(s, 2) == 0)))
			continue;
		slot->serving = sim_spawn(s, i, false);
		if (slot->broken) {
			s->g.made_room--;
			slot->broken = false;
			slot->serving->gov.breaks = true;
			governor_started(&s->g, &slot->serving->gov, &slot->broken_gov,
			    slot->broken_reason, s->now);
		}
		/* Until its first worker is ready a slot is like one after a crash. */
		slot->crashed = true;
	}
}
