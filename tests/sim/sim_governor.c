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
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t
used(const struct sim *s)
{
	uint64_t sum = s->others + s->shared;

	for (size_t i = 0; i < s->n_all; i++)
		sum += s->all[i]->rss - s->all[i]->shared;
	return sum;
}

static void
look(struct sim *s)
{
	struct gov_budget b = {
		.limit = s->pool_limit, .high = s->pool_limit / 100 * 85, .used = used(s), .boot_ms = BOOT_MAX / 2,
	};

	if (s->pool_limit == 0)
		return;
	for (size_t i = 0; i < s->n_all; i++) {
		s->view[i] = &s->all[i]->gov;
		s->all[i]->gov.own_bytes = s->all[i]->rss - s->all[i]->shared;
	}
	governor_line_up(&s->g, &s->p, s->view, s->n_all);
	governor_look(&s->g, &s->p, &b, s->view, s->n_all, s->now);
	s->is_tight = governor_is_tight(&s->g);
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
			sim_bury(s, w);
			look(s);
			continue;
		}
		if (step.what == GOV_TRIM) {
			governor_trim_asked(&w->gov, s->now);
			w->trim_until = s->now + 100 + rnd(s, 400);
			s->trims++;
			continue;
		}
		if (step.what == GOV_BREAK) {
			sim_break_first(s, w, step.reason);
			continue;
		}
		if (step.what == GOV_LET_GO) {
			sim_let_go(s, w, step.reason != REASON_MEMORY_LIMIT);
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
		x = sim_spawn(s, w->slot, true);
		x->reason = step.reason;
		s->slots[w->slot].successor = x;
		w->gov.has_successor = true;
		governor_started(&s->g, &x->gov, &w->gov, step.reason, s->now);
	}
}

/* A later one of its slot makes room as well. */
static bool
is_first_of_two(const struct sim *s, size_t at)
{
	for (size_t i = at + 1; i < s->n_all; i++)
		if (s->all[i]->gov.breaks && s->all[i]->slot == s->all[at]->slot)
			return true;
	return false;
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
		breaking += w->breaks && !is_first_of_two(s, i);
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

/* For fresh workers, which need at most 56 MB each, and some growth. */
static uint64_t
room_wanted(struct sim *s)
{
	uint64_t growth = s->n_slots * (4 + rnd(s, 40));
	uint64_t workers = s->n_slots * 58 + MIN_OF(growth, UINT64_C(400));

	/* The sum of many is near its mean. */
	if (s->n_slots >= MANY)
		workers = (s->n_slots * 52 + 500) / 85 * 84;
	return s->shared + s->others + workers * MB;
}

#define TAKE_FROM UINT64_C(10000)
#define TAKE_TO   UINT64_C(70000)

static void
run(size_t n_slots, uint64_t seed, struct total *total)
{
	struct sim s = { .total = total, .seed = seed, .random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1 };
	uint64_t of_memory, room;

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
		room = room_wanted(&s);
		s.pool_limit = room / 84 * 100;
		s.others_grow = rnd(&s, 4) == 0;
		/* All that is above memory-high: fresh ones fit below the last fifth of that. */
		if (!s.others_grow && rnd(&s, 3) == 0) {
			s.pool_limit = room / 80 * 100;
			s.others_take = s.pool_limit / 100 * 15;
		}
	}
	s.forks = seed % 5 == 2 && s.pool_limit == 0;
	governor_init(&s.g);
	s.g.pool.b.boot_ms = s.forks ? TICK_MS : BOOT_MAX / 2;
	governor_set_policy(&s.g, &s.p);
	for (s.now = TICK_MS; s.now < (n_slots < MANY ? RUN_MS : RUN_MS / 5); s.now += TICK_MS) {
		sim_fill(&s);
		if (s.others_grow && s.now > 30000)
			s.others += MB;
		if (s.now > TAKE_FROM && s.now <= TAKE_TO)
			s.others += s.others_take * TICK_MS / (TAKE_TO - TAKE_FROM);
		if (s.is_tight || s.now % 1000 == 0)
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
			sim_live(&s, s.all[i - 1]);
		govern(&s);
		check(&s);
	}
	if (s.others_grow && s.recycles[REASON_MEMORY_LIMIT] > 0)
		broken(&s, "what others use made %llu recycles",
		    (unsigned long long)s.recycles[REASON_MEMORY_LIMIT]);
	s.total->memory += s.recycles[REASON_MEMORY_LIMIT];
	s.total->taken += s.others_take != 0 ? s.recycles[REASON_MEMORY_LIMIT] : 0;
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
		sim_bury(&s, s.all[0]);
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
	if (seeds >= 20 && slots >= 3 && (total.late == 0 || total.memory == 0)) {
		printf("nobody was replaced for want of memory, or let go for a late successor\n");
		return 1;
	}
	if (seeds >= 100 && slots < MANY && total.taken == 0) {
		printf("nobody was replaced where others had filled memory\n");
		return 1;
	}
	printf("%u seeds from %u, %zu slots: every promise held; %llu recycles for the pool's memory, "
	    "%llu of them where others had filled it, %llu without room for two, %llu let go early, "
	    "%llu of them above a limit, %llu trims\n", seeds, first, slots,
	    (unsigned long long)total.memory, (unsigned long long)total.taken,
	    (unsigned long long)total.breaks,
	    (unsigned long long)(total.let_go + total.late), (unsigned long long)total.late,
	    (unsigned long long)total.trims);
	return 0;
}
