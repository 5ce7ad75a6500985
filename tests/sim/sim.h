/*
 * sim.h - workers that boot, leak, crash and finish under a virtual clock.
 */
#ifndef PREFORKD_SIM_H
#define PREFORKD_SIM_H

#include "model/governor.h"

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
	uint64_t memory, taken, breaks, let_go, late, trims;
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
	bool others_grow;		/* without end, and nothing else does */
	uint64_t others_take;		/* what they take in a minute, and keep */
	bool is_tight;			/* near memory-high: everything is looked at in each tick */
	bool forks;			/* workers are ready within a tick, but for a few */
	uint64_t breaks, let_go, late, trims;
	struct total *total;
};

/* The run has broken a promise: prints its seed and time, and what it was; exits 1. */
void __attribute__((noreturn, format(printf, 2, 3))) broken(const struct sim *s, const char *fmt,
    ...);

/* 0 to below - 1; the same numbers everywhere. */
uint64_t rnd(struct sim *s, uint64_t below);

/* A worker that boots; sim_bury() frees it. */
struct sim_worker *sim_spawn(struct sim *s, unsigned slot, bool is_successor);
void sim_bury(struct sim *s, struct sim_worker *w);
/* What happens to it in a tick; it may be freed. */
void sim_live(struct sim *s, struct sim_worker *w);
/* Starts workers in slots that have none. */
void sim_fill(struct sim *s);

/* Steps of the governor. It finishes before its successor starts, for want of room; or before that
 * one is ready, as memory runs out or, when is_late, as it is far above a limit. */
void sim_break_first(struct sim *s, struct sim_worker *w, enum reason reason);
void sim_let_go(struct sim *s, struct sim_worker *w, bool is_late);

#endif
