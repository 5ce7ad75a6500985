/*
 * worker_settings.h - what a Python worker is told about its settings. Pure.
 */
#ifndef PREFORKD_WORKER_SETTINGS_H
#define PREFORKD_WORKER_SETTINGS_H

#include "base/base.h"
#include "model/settings.h"

/* What differs from one worker to the next, and a mold from a worker. */
struct worker_settings {
	const char *title;		/* of the process */
	uint64_t limit_requests;	/* 0: none */
	uint64_t beat_ms;		/* between heartbeats, 0: none */
	const char *worker_title;	/* of a mold's workers, with %d for the slot; NULL: no mold */
	pid_t master;			/* whom a mold's workers wait to belong to */
};

/*
 * The value of PREFORKD_SETTINGS: one JSON object (preforkd-worker(7) lists its members).
 * Owned; NULL: out of memory, or a setting that is no UTF-8.
 */
char *worker_settings_json(const struct settings *s, const struct worker_settings *w);

#endif
