/*
 * sim_governor.c - the governor under a virtual clock: many slots, random boots, leaks,
 * crashes, reloads and broken releases, memory that is scarce; after every step the promises are
 * checked.
 *
 * usage: sim_governor [SLOTS [SEEDS [FIRST_SEED]]]
 * Prints the seed of a run that broke a promise, and exits 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/governor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MB       (UINT64_C(1) << 20)
#define TICK_MS  100
#define RUN_MS   UINT64_C(600000)
#define MANY     1000		/* from so many slots on a run is a fifth as long */
#define BOOT_MAX UINT64_C(3000)

struct sim_worker {
	struct gov_worker gov;
	unsigned slot;
	uint64_t boot_until, drain_until;
	uint64_t rss, fresh, shared, leak_per_s, requests, rate;
	uint64_t measured_at;		/* its private memory; seldom, as in the pool */
	uint64_t old_serial;		/* of the one it replaces */
	enum reason reason;
	uint64_t trim_until;		/* when it answers, 0: it was not asked */
	bool boot_fails;
};

struct sim_slot {
	struct sim_worker *serving, *successor;
	bool crashed;			/* since it was last ready */
	bool broken;			/* its worker goes before the next one starts */
	bool late;			/* its worker did not wait for the successor */
	struct gov_worker broken_gov;
	enum reason broken_reason;
};

/* Over all seeds: what never happened was not tried. */
struct total {
	uint64_t memory, breaks, let_go, late, trims;
};

struct sim {
	uint64_t seed, random, now;
	struct governor g;
	struct gov_policy p;
	struct sim_slot *slots;
	struct sim_worker **all;
	struct gov_worker **view;
	size_t n_slots, n_all;
	uint64_t serial, last_start, broken_until;
	uint64_t recycles[REASON_N], crashes, shared;
	uint64_t broken_total;
	bool below_baseline;
	enum gov_metric limit;		/* the one that is set */
	uint64_t pool_limit, others;	/* 0: memory is plenty; what is not the workers' */
	bool others_grow;		/* and nothing else does */
	bool forks;			/* workers are ready within a tick, but for a few */
	uint64_t breaks, let_go, late, trims;
	struct total *total;
};

static void __attribute__((noreturn, format(printf, 2, 3)))
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

/* xorshift64*; the same numbers everywhere. */
static uint64_t
rnd(struct sim *s, uint64_t below)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (s->random * UINT64_C(0x2545F4914F6CDD1D) >> 11) % below;
}

static struct sim_worker *
spawn(struct sim *s, unsigned slot, bool is_successor)
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
		w->leak_per_s = s->others_grow ? 0 : w->leak_per_s / (s->n_slots + 8);
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

static void
bury(struct sim *s, struct sim_worker *w)
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
	bury(s, w);
}

static void
crash(struct sim *s, struct sim_worker *w)
{
	struct sim_slot *slot = &s->slots[w->slot];

	s->crashes++;
	slot->crashed = true;
	slot->serving = slot->successor;
	slot->successor = NULL;
	bury(s, w);
}

static void
live(struct sim *s, struct sim_worker *w)
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
		if (s->now % 1000 == 0) {
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
			bury(s, w);
		return;
	case WS_VACANT: case WS_STOPPING: case WS_KILLED: case WS_BACKOFF: case WS_N:
		bury(s, w);
		return;
	}
}

static void
break_first(struct sim *s, struct sim_worker *w, enum reason reason)
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

static void
let_go(struct sim *s, struct sim_worker *w, bool is_late)
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
	w->gov.breaks = !is_late;
	w->gov.state = WS_DRAINING;
	w->gov.drain_ms = s->now;
	w->drain_until = s->now + rnd(s, 5000);
	if (is_late)
		s->late++;
	else
		s->let_go++;
}

static uint64_t
used(const struct sim *s)
{
	uint64_t sum = s->others + s->shared;

	for (size_t i = 0; i < s->n_all; i++)
		sum += s->all[i]->rss - s->all[i]->shared;
	return sum;
}

/* At the pace of the samples. */
static void
look(struct sim *s)
{
	struct gov_budget b = {
		.limit = s->pool_limit, .high = s->pool_limit / 100 * 85, .used = used(s), .boot_ms = BOOT_MAX / 2,
	};

	if (s->pool_limit == 0 || s->now % 1000 != 0)
		return;
	for (size_t i = 0; i < s->n_all; i++) {
		s->view[i] = &s->all[i]->gov;
		s->all[i]->gov.own_bytes = s->all[i]->rss - s->all[i]->shared;
	}
	governor_line_up(&s->g, &s->p, s->view, s->n_all);
	governor_look(&s->g, &s->p, &b, s->view, s->n_all, s->now);
	/* Without a successor that boots nothing helps. */
	if (b.used > s->pool_limit && !s->others_grow && s->broken_total == 0)
		broken(s, "%llu MB of %llu MB are used", (unsigned long long)(b.used / MB),
		    (unsigned long long)(s->pool_limit / MB));
}

static void
govern(struct sim *s)
{
	for (;;) {
		struct gov_step step;
		struct sim_worker *w, *x;

		for (size_t i = 0; i < s->n_all; i++)
			s->view[i] = &s->all[i]->gov;
		step = governor_next(&s->g, &s->p, s->view, s->n_all, s->now);
		if (step.what == GOV_WAIT)
			return;
		w = container_of(step.worker, struct sim_worker, gov);
		if (step.what == GOV_END_DRAIN) {
			bury(s, w);
			continue;
		}
		if (step.what == GOV_TRIM) {
			governor_trim_asked(&w->gov, s->now);
			w->trim_until = s->now + 100 + rnd(s, 400);
			s->trims++;
			continue;
		}
		if (step.what == GOV_BREAK) {
			break_first(s, w, step.reason);
			continue;
		}
		if (step.what == GOV_LET_GO) {
			let_go(s, w, step.reason != REASON_MEMORY_LIMIT);
			continue;
		}
		if (step.what != GOV_REPLACE)
			broken(s, "unexpected step %d", step.what);
		if (s->last_start != 0 && s->now - s->last_start < s->p.spacing_ms)
			broken(s, "two starts %llu ms apart", (unsigned long long)(s->now -
			    s->last_start));
		if (s->slots[w->slot].successor != NULL || s->slots[w->slot].serving != w)
			broken(s, "slot %u: replaced twice", w->slot);
		s->last_start = s->now;
		x = spawn(s, w->slot, true);
		x->reason = step.reason;
		s->slots[w->slot].successor = x;
		w->gov.has_successor = true;
		governor_started(&s->g, &x->gov, &w->gov, step.reason, s->now);
	}
}

static void
check(const struct sim *s)
{
	uint64_t patience = (s->n_slots + 1) * (BOOT_MAX + s->p.spacing_ms) / s->p.concurrency +
	    8 * GOV_RANK_MS + s->broken_total * 2 + 2 * GOV_PROBE_MAX_MS;
	size_t starting = 0, breaking = 0, late = 0;

	for (size_t i = 0; i < s->n_all; i++) {
		const struct gov_worker *w = &s->all[i]->gov;

		starting += w->is_successor && w->state == WS_STARTING;
		breaking += w->breaks;
		if (w->state == WS_READY && w->due != 0 && s->now - w->due_ms > patience)
			broken(s, "slot %u waits since %llu ms", s->all[i]->slot,
			    (unsigned long long)(s->now - w->due_ms));
	}
	if (starting > s->p.concurrency)
		broken(s, "%zu successors boot at once", starting);
	if (breaking > 1)
		broken(s, "%zu workers make room at once", breaking);
	for (unsigned i = 0; i < s->n_slots; i++) {
		late += s->slots[i].late;
		if (s->slots[i].serving == NULL && !s->slots[i].crashed && !s->slots[i].broken)
			broken(s, "slot %u serves nobody without a crash", i);
	}
	if (late > s->p.concurrency)
		broken(s, "%zu slots wait for a successor at once", late);
}

static bool
is_breaking(const struct sim *s, unsigned slot)
{
	for (size_t i = 0; i < s->n_all; i++)
		if (s->all[i]->slot == slot && s->all[i]->gov.breaks)
			return true;
	return false;
}

static void
fill(struct sim *s)
{
	for (unsigned i = 0; i < s->n_slots; i++) {
		struct sim_slot *slot = &s->slots[i];

		if (slot->serving != NULL || (slot->broken && (is_breaking(s, i) || rnd(s, 2) == 0)))
			continue;
		slot->serving = spawn(s, i, false);
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

static void
run(size_t n_slots, uint64_t seed, struct total *total)
{
	struct sim s = { .total = total, .seed = seed, .random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1 };
	uint64_t of_memory;

	s.n_slots = n_slots;
	s.slots = calloc(n_slots, sizeof *s.slots);
	s.all = calloc(4 * n_slots + 64, sizeof *s.all);
	s.view = calloc(4 * n_slots + 64, sizeof *s.view);
	if (s.slots == NULL || s.all == NULL || s.view == NULL)
		abort();
	s.below_baseline = rnd(&s, 4) == 0;
	s.p = (struct gov_policy){
		.concurrency = 1 + rnd(&s, 4), .spacing_ms = rnd(&s, 3) * 500,
		.min_lifetime_ms = 10000, .max_draining = n_slots, .samples = 2,
	};
	/* Every third run is one of workers that share most of their memory. */
	s.shared = seed % 3 == 0 ? 150 * MB : 0;
	s.limit = s.shared != 0 ? GM_USS : GM_RSS;
	s.p.limit[s.limit] = limit_size(100 * MB);
	/* Every fourth is one in a cgroup, without a limit for each worker. */
	if (seed % 4 == 1 && !s.below_baseline) {
		s.p.limit[s.limit] = (struct limit){0};
		s.others = 100 * MB;
		/* Fresh ones need at most 60 MB each, and have to fit. */
		s.pool_limit = (s.shared + s.others + n_slots * (62 + rnd(&s, 40)) * MB) / 84 * 100;
		s.others_grow = rnd(&s, 4) == 0;
	}
	s.forks = seed % 5 == 2 && s.pool_limit == 0;
	governor_init(&s.g);
	s.g.pool.b.boot_ms = s.forks ? TICK_MS : BOOT_MAX / 2;
	governor_set_policy(&s.g, &s.p);
	for (s.now = TICK_MS; s.now < (n_slots < MANY ? RUN_MS : RUN_MS / 5); s.now += TICK_MS) {
		fill(&s);
		if (s.others_grow && s.now > 30000)
			s.others += MB;
		look(&s);
		if (rnd(&s, 3000) == 0)
			for (unsigned i = 0; i < n_slots; i++)
				if (s.slots[i].serving != NULL)
					governor_order(&s.slots[i].serving->gov, REASON_RELOAD, s.now);
		if (rnd(&s, 4000) == 0 && s.broken_until < s.now) {
			s.broken_until = s.now + rnd(&s, 60000);
			s.broken_total += s.broken_until - s.now;
		}
		for (size_t i = s.n_all; i > 0; i--)
			live(&s, s.all[i - 1]);
		govern(&s);
		check(&s);
	}
	if (s.others_grow && s.recycles[REASON_MEMORY_LIMIT] > 0)
		broken(&s, "what others use made %llu recycles",
		    (unsigned long long)s.recycles[REASON_MEMORY_LIMIT]);
	s.total->memory += s.recycles[REASON_MEMORY_LIMIT];
	s.total->breaks += s.breaks;
	s.total->let_go += s.let_go;
	s.total->late += s.late;
	s.total->trims += s.trims;
	of_memory = s.recycles[gov_metric_reason(s.limit)];
	if (s.below_baseline && of_memory > n_slots)
		broken(&s, "a limit below a fresh worker made %llu recycles",
		    (unsigned long long)of_memory);
	if (!s.below_baseline && s.pool_limit == 0 && n_slots > 3 && of_memory + s.recycles[REASON_MAX_REQUESTS] +
	    s.recycles[REASON_MAX_LIFETIME] == 0)
		broken(&s, "nothing was ever recycled");
	while (s.n_all > 0)
		bury(&s, s.all[0]);
	free(s.slots);
	free(s.all);
	free(s.view);
}

int
main(int argc, char **argv)
{
	size_t slots = argc > 1 ? (size_t)atoi(argv[1]) : 40;
	unsigned seeds = argc > 2 ? (unsigned)atoi(argv[2]) : 20;
	unsigned first = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
	struct total total = {0};

	for (unsigned i = 0; i < seeds; i++)
		run(slots, first + i, &total);
	if (seeds >= 20 && slots >= 3 && total.late == 0) {
		printf("nobody was let go for a successor that is late\n");
		return 1;
	}
	printf("%u seeds from %u, %zu slots: every promise held; %llu recycles for the pool's memory, "
	    "%llu of them and others without room for two, %llu let go early, %llu of them above a "
	    "limit, %llu trims\n", seeds, first, slots, (unsigned long long)total.memory,
	    (unsigned long long)total.breaks,
	    (unsigned long long)(total.let_go + total.late), (unsigned long long)total.late,
	    (unsigned long long)total.trims);
	return 0;
}
