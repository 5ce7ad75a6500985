/*
 * reload.h - the transaction of SIGHUP and `preforkctl reload`.
 *
 * BOOT: the new settings are read and checked, sockets opened, the mold of the new generation
 * boots, where there is one, and then one worker (the canary). BAKE: it has served for canary-time. Then the commit:
 * the new generation is the current one and the others are replaced one by one (ROLL).
 * Before the commit every failure leaves everything as it was. Never blocks.
 */
#ifndef PREFORKD_RELOAD_H
#define PREFORKD_RELOAD_H

#include "base/base.h"
#include "master/generation.h"
#include "master/worker.h"

#include <ev.h>

struct master;

enum reload_phase { RELOAD_NONE, RELOAD_BOOT, RELOAD_BAKE, RELOAD_ROLL };

struct reload {
	struct master *master;
	enum reload_phase phase;
	struct generation *gen;		/* the candidate, until the commit */
	ev_timer bake;			/* BAKE: canary-time; ROLL: old workers close */
	uint64_t started_ms;
	size_t rolled;			/* old workers left when last told */
	/* the last one that ended */
	bool any, ok;
	uint64_t ended_ms, took_ms;
	unsigned generation;
	char *error;
};

void reload_init(struct reload *r, struct master *m);
void reload_fini(struct reload *r);

/* Begins; ends through master_reload_ended, at the latest. */
void reload_begin(struct reload *r);
/* The master stops: gives up. */
void reload_cancel(struct reload *r);

/* News of the pool. */
void reload_on_ready(struct reload *r, const struct worker *w);
void reload_on_boot_failed(struct reload *r, const struct worker *w, const char *how,
    const char *words);
void reload_on_mold_ready(struct reload *r, const struct mold *m);
void reload_on_mold_failed(struct reload *r, const struct mold *m, const char *how,
    const char *words);
void reload_on_ended(struct reload *r, const struct worker *w);
/* Another reload waits: a roll need not be waited for. */
void reload_hurry(struct reload *r);

#endif
