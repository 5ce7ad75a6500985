/*
 * lifecycle.h - what a worker and the master may do next, as data. Pure.
 *
 * Two const tables, [state][event], with designated initialisers in both
 * dimensions; a unit test fails on a cell that nobody filled in. The one function
 * that changes a worker's state is worker_handle() in src/master/worker.c.
 */
#ifndef PREFORKD_LIFECYCLE_H
#define PREFORKD_LIFECYCLE_H

#include "base/base.h"

enum worker_state {
	WS_VACANT,	/* no process */
	WS_STARTING,	/* process runs, not serving yet; deadline boot-timeout */
	WS_READY,	/* serving; deadline of liveness */
	WS_DRAINING,	/* told to finish; deadline graceful-timeout */
	WS_STOPPING,	/* SIGTERM sent; deadline WORKER_TERM_MS */
	WS_KILLED,	/* SIGKILL sent, or SIGABRT with SIGKILL to follow */
	WS_BACKOFF,	/* no process; deadline: next attempt */
	WS_N
};

enum worker_event {
	WE_SPAWN,	/* a process was started */
	WE_READY,	/* it serves */
	WE_DRAIN,	/* planned end */
	WE_STOP,	/* quick stop */
	WE_KILL,	/* hard limit or timeout */
	WE_DEADLINE,	/* the state's timer ran out */
	WE_EXIT,	/* reaped */
	WE_HOLD,	/* wait before the next attempt */
	WE_N
};

enum worker_act {
	ACT_DRAIN = 1 << 0,	/* ask for a graceful end */
	ACT_TERM = 1 << 1,	/* SIGTERM, once in a life */
	ACT_KILL = 1 << 2,	/* SIGKILL, or SIGABRT first where stacks are printed */
	ACT_KILL_NOW = 1 << 3,	/* SIGKILL */
	ACT_GONE = 1 << 4,	/* the process is reaped: release what belonged to it */
};

enum step_kind { STEP_UNSET, STEP_GO, STEP_IGNORE, STEP_NEVER };

struct worker_step {
	enum step_kind kind;
	enum worker_state next;
	unsigned acts;
};

const struct worker_step *lifecycle_worker_step(enum worker_state s, enum worker_event e);
const char *worker_state_name(enum worker_state s);
const char *worker_event_name(enum worker_event e);
/* A process exists. */
bool worker_state_is_alive(enum worker_state s);

enum master_state { MS_STARTING, MS_RUNNING, MS_RELOADING, MS_STOPPING, MS_N };

enum master_event {
	ME_SERVING,	/* the first worker of the first generation is ready */
	ME_RELOAD,	/* asked for a reload */
	ME_RELOADED,	/* committed, or given up and everything is as before */
	ME_STOP,	/* graceful */
	ME_QUIT,	/* quick */
	ME_N
};

enum master_act {
	MACT_BEGIN_RELOAD = 1 << 0,
	MACT_QUEUE_RELOAD = 1 << 1,	/* one more after this one */
	MACT_STOP = 1 << 2,
	MACT_QUIT = 1 << 3,
	MACT_CANCEL_RELOAD = 1 << 4,
};

struct master_step {
	enum step_kind kind;
	enum master_state next;
	unsigned acts;
};

const struct master_step *lifecycle_master_step(enum master_state s, enum master_event e);
const char *master_state_name(enum master_state s);

/* Why a worker ends. */
enum reason {
	REASON_NONE,
	/* planned */
	REASON_MAX_REQUESTS,
	REASON_MAX_LIFETIME,
	REASON_RSS,
	REASON_USS,
	REASON_PSS,
	REASON_AS,
	REASON_FDS,
	REASON_MEMORY_LIMIT,
	REASON_RELOAD,
	REASON_SCALE,
	REASON_REQUEST,
	/* not planned */
	REASON_EVIL_RSS,
	REASON_EVIL_USS,
	REASON_BOOT_TIMEOUT,
	REASON_TIMEOUT,
	REASON_REQUEST_TIMEOUT,
	REASON_CRASH,
	REASON_OOM,
	REASON_STOP,
	REASON_N
};

const char *reason_name(enum reason r);		/* "max-requests", "reload-on-rss", ... */
bool reason_is_planned(enum reason r);		/* ends that never count as failures */

/* Delay before attempt n+1 after n failures in a row (n >= 1): 0.5 s x 1.5^(n-1), at
 * most 30 s. */
uint64_t backoff_ms(unsigned failures);

/* The same for a mold whose workers serve on: half a second once, then 30 s, doubled up to
 * 5 min, as with code that is known to be bad. */
uint64_t mold_backoff_ms(unsigned failures);

/* limit plus a share of the jitter; random is uniform in 0..UINT64_MAX. 0 stays 0. */
struct jitter_setting;
uint64_t draw_limit(uint64_t limit, const struct jitter_setting *jitter, uint64_t random);

/*
 * Liveness of a serving or draining worker.
 * All times in ms of one monotonic clock; 0 for a limit switches it off.
 */
struct liveness {
	uint64_t last_beat_ms;
	uint64_t timeout_ms;
	uint64_t oldest_ms;		/* start of the oldest request, 0: none */
	uint64_t request_timeout_ms;
};

/* REASON_NONE while it is alive; *ret_next_ms is then when to look again
 * (UINT64_MAX: never). */
enum reason liveness_check(const struct liveness *l, uint64_t now_ms,
    uint64_t *ret_next_ms);

#endif
