/*
 * pool.h - all workers: slots are filled, replaced one after another, scaled, emptied.
 *
 * Carries out what the governor decides. A slot has the worker that serves in it, and
 * for a while a successor that boots; a worker that drains belongs to no slot any more.
 * What happens to the whole service (first ready, gave up, empty) is told through
 * struct pool_ops.
 */
#ifndef PREFORKD_POOL_H
#define PREFORKD_POOL_H

#include "base/base.h"
#include "master/generation.h"
#include "master/pool_cgroup.h"
#include "master/worker.h"
#include "model/governor.h"
#include "system/pressure.h"

#include <ev.h>
#include <jansson.h>

#define POOL_WORKERS_MAX 10000u
#define POOL_HOOKS_MAX   32u
#define POOL_CLOSING_MS  UINT64_C(1000)

struct pool_ops {
	/* A worker became ready (its old one, if any, is told to drain already). */
	void (*ready)(void *ctx, struct worker *w);
	/* It ended before it was ready, unasked. words: its last words. Before it is freed. */
	void (*boot_failed)(void *ctx, struct worker *w, const char *how, const char *words);
	/* The first generation has failed boot-attempts times. */
	void (*gave_up)(void *ctx, const char *words);
	/* The mold of a generation is ready, or has decided that none is wanted. */
	void (*mold_ready)(void *ctx, struct mold *m);
	/* It ended before that. Before it is freed. */
	void (*mold_failed)(void *ctx, struct mold *m, const char *how, const char *words);
	/* Any worker ended. Before it is freed. */
	void (*ended)(void *ctx, struct worker *w);
	/* pool_stop was called and nobody is left. */
	void (*empty)(void *ctx);
	void (*reported)(void *ctx, struct worker *w, uint64_t id, const char *text);
};

struct slot {
	struct worker *serving;		/* STARTING, READY or BACKOFF; or NULL */
	struct worker *successor;	/* STARTING, or NULL */
	unsigned failures;		/* ends before the first request, in a row */
	enum reason last_reason;	/* why its previous worker ended */
	uint64_t broken;		/* serial of one that has to end before the next starts, or 0 */
	enum reason broken_reason;
	struct gov_worker broken_gov;	/* as it was */
	struct past *past;		/* owned: the memory of its last workers, pool_history.c */
};

struct pool {
	struct ev_loop *loop;
	const struct pool_ops *ops;
	void *ctx;

	struct generation *gen;		/* current, a reference */
	struct governor governor;
	const char *waiting;		/* why the governor's queue waits, or NULL */
	unsigned queued;

	struct slot *slots;
	size_t n_slots;			/* allocated; >= target */
	size_t target;			/* workers, as many as fit */
	size_t wanted;			/* as many as were asked for */
	uint64_t boot_usec;		/* that starts took lately, from spawn to READY; 0: not known */
	bool boot_is_guess;		/* from a start of all at once, which takes longer */
	uint64_t boot_spread_usec;	/* around that, as a rule */
	uint64_t fit;			/* as many have room in the memory there is */
	uint64_t fit_of;		/* that memory, 0: not judged yet */
	struct worker **all;		/* every worker object, draining ones too */
	size_t n_all, cap_all;
	struct mold **molds;		/* of the current generation, a candidate, older ones */
	size_t n_molds;
	uint64_t mold_next_ms;		/* no new one before this */
	ev_timer mold_retry;
	struct worker *canary;		/* of a generation that has not committed, or NULL */
	struct gov_worker **view;	/* scratch for the governor, cap_all long */

	uint64_t last_serial;
	bool ever_ready;
	bool closing;			/* every response closes its connection */
	bool stopping;
	uint64_t stop_ms;		/* since when */
	ev_timer round;			/* the next look at everything */
	ev_timer sampling;
	ev_timer steering;		/* news of connections are gathered for a moment */
	ev_timer holding;		/* looks at queues that workers hold the door of */
	uint64_t next_walk_ms;		/* over process groups */
	size_t sample_from;		/* in all[]: whose private memory may be measured first */
	uint64_t measured_us;		/* spent on that in this tick */
	bool left_out;			/* somebody, for want of time */
	uint64_t next_check_ms;		/* of the listening sockets */
	uint64_t next_queues_ms;	/* of what waits there */
	struct pool_cgroup cgroup;
	struct pressure pressure;
	ev_io pressing;
	uint64_t pressed_ms;		/* processes waited for memory, at this time last; 0: never */
	uint64_t pressure_retry_ms;
	uint64_t next_look_ms;		/* at the memory of all */
	bool is_tight;			/* it was near memory-high then */
	uint64_t others_said_ms;	/* that it is above memory-high for what others use, 0: never */
	bool size_said;			/* that memory-limit is above the cgroup's */
	pid_t hook_pids[POOL_HOOKS_MAX];	/* on-worker-exit commands that run */
	unsigned hook_ids[POOL_HOOKS_MAX];	/* and the worker ids that they are about */
	unsigned hooks;

	struct listener **leaving;	/* removed addresses that are still served */
	size_t n_leaving;

	uint64_t recycles[REASON_N];
	uint64_t crashes;
	uint64_t boot_failures;
	uint64_t oom_kills;
	uint64_t oom_seen;		/* the kernel's counter */
	uint64_t oom_owed;		/* kills by it that no death has been seen for */
	uint64_t oom_ms;		/* when the last of these was seen */
	uint64_t past_requests;		/* of workers that are gone */
	uint64_t trims;			/* that workers have answered */
	uint64_t trimmed_bytes;
};

int pool_init(struct pool *p, struct ev_loop *loop, const struct pool_ops *ops, void *ctx,
    struct generation *gen);
void pool_fini(struct pool *p);

/* Starts all workers. */
void pool_start(struct pool *p);
/* Looks at everything in the next turn of the loop. */
void pool_wake(struct pool *p);

/* Workers wanted from now on. -ERANGE, -ENOMEM. */
int pool_scale(struct pool *p, size_t workers);

/* Starts the first worker of a generation that has not committed; it serves beside the
 * others. Fails with e when no process is to be had. */
int pool_start_canary(struct pool *p, struct generation *gen, struct err *e);
/* The canary is not wanted any more: ends it. */
void pool_drop_canary(struct pool *p, enum reason reason);
/* The canary's generation becomes the current one; the others are replaced one by one. */
void pool_commit(struct pool *p, struct generation *gen);
/* w has the place of one that did not wait until w is ready. */
bool pool_is_let_in(const struct worker *w);
/* Slots that no worker of the current generation serves yet. */
size_t pool_old_serving(const struct pool *p);
/* True while one that was just told to drain may still accept connections: it has not said
 * STOPPING yet. One that hangs is waited for POOL_CLOSING_MS at most. */
bool pool_old_accepting(const struct pool *p);

/* The service will stop soon: every response closes its connection from now on. */
void pool_announce_close(struct pool *p);
/* No new connections; every worker empties the queues and drains (or gets SIGTERM at once),
 * none is started any more. */
void pool_stop(struct pool *p, bool quick);

/* The worker with this pid, or NULL. */
struct worker *pool_find_pid(const struct pool *p, pid_t pid);
struct worker *pool_serving(const struct pool *p, unsigned slot);
/* Reads the first words of workers that were asked for: one of them may be the child that has
 * just died. */
void pool_hear_newborn(struct pool *p);
/* A dead child of ours that has just been reaped. */
void pool_reaped(struct pool *p, struct worker *w, const struct death *d);

/* True when pid was an on-worker-exit command. */
bool pool_hook_reaped(struct pool *p, pid_t pid);

size_t pool_count(const struct pool *p, enum worker_state state);

/* For the other files of the pool. */
void pool_govern(struct pool *p);
/* The successor of a slot becomes its worker. Returns the one before, which belongs to no slot any
 * more, or NULL. */
struct worker *pool_take_over(struct slot *slot);
/* w finishes and leaves its slot; counted under reason. */
void pool_drain(struct pool *p, struct worker *w, enum reason reason);
/* The most urgent of the reasons for which w is due. */
enum reason pool_drain_reason(const struct worker *w);
void pool_sampling_start(struct pool *p);
void pool_sampling_stop(struct pool *p);
/* The governor has to be asked about w. */
bool pool_is_due(const struct worker *w);
/* Everybody, now. */
void pool_sample_all(struct pool *p);
/* What a fresh worker uses is read before the first request makes it grow. */
void pool_sample_now(struct pool *p, struct worker *w);
/* In a moment, whatever was planned. */
void pool_sample_soon(struct pool *p, struct worker *w);
/* w may be nearer to a limit than when it was sampled last. */
void pool_sampling_hint(struct pool *p, struct worker *w);

/* pool_memory.c */
/* A tick begins: there is time for measurements again. */
void pool_memory_tick(struct pool *p);
/* Measures the private memory of w, which has `rss` bytes now, when that is due and there is
 * time for it. True when w->footprint is of this moment. */
bool pool_measure(struct pool *p, struct worker *w, uint64_t rss, uint64_t now);
/* rss, or where that may be wrong and a limit depends on it what smaps_rollup says instead. */
uint64_t pool_confirm_rss(struct pool *p, struct worker *w, uint64_t rss, uint64_t now);
/* The molds, likewise. */
void pool_measure_molds(struct pool *p, uint64_t now);
/* Says once in a generation when reload-on-rss would replace w for memory that is shared. */
void pool_warn_shared(const struct pool *p, struct worker *w, uint64_t rss);

/* pool_budget.c */
/* Looks at the memory of all when that is due. Returns when it is due again, in ms. */
uint64_t pool_look_at_budget(struct pool *p, uint64_t now);
/* The same, whether it is due or not: what was known is not true any more. */
void pool_look_now(struct pool *p);
/* Another limit, or another generation: how many workers fit is found anew. */
void pool_budget_changed(struct pool *p);
/* Before a reload: says when there is no room for another worker, and another mold. */
void pool_say_lack(const struct pool *p, bool with_mold);
/* Why w goes for the memory of all. */
void pool_describe_budget(const struct pool *p, const struct worker *w, char *dst, size_t len);
/* Says which limits of w's generation cannot help, and what would. */
void pool_say_futile(const struct pool *p, const struct worker *w);

/* pool_trim.c */
/* Asks w to give memory back. */
void pool_trim(struct worker *w, uint64_t now);
/* For struct worker_ops; ctx is the pool. */
void pool_on_trimmed(void *ctx, struct worker *w);

/* pool_pressure.c */
/* At each look at the memory. */
void pool_pressure_tick(struct pool *p, uint64_t now);
void pool_pressure_stop(struct pool *p);
/* Processes have waited for memory within the last seconds. */
bool pool_is_pressed(const struct pool *p, uint64_t now);

/* pool_history.c */
/* w has just been sampled; the values are those with its descendants, without what tracing takes. */
void pool_history_note(struct pool *p, struct worker *w, const uint64_t value[GM_N], uint64_t now);
/* w has ended: its history becomes the slot's. */
void pool_history_ended(struct pool *p, struct worker *w);
/* Of a slot that is given up. */
void pool_history_free(struct slot *slot);
/* One worker's history and what is to be known with it, as method Memory tells it; owned. *cursor
 * is 0 for the first one, and goes on. NULL: there is none left, or no memory for it. */
json_t *pool_history_part(const struct pool *p, uint64_t *cursor);
/* What concerns all of them. */
json_t *pool_history_facts(const struct pool *p);

/* pool_tracing.c */
/* Who traces (leak-report), at every look at the memory. */
void pool_trace_tick(struct pool *p, uint64_t now);
/* w is about to be replaced: if it traces, its report goes to the log. */
void pool_trace_before_end(struct worker *w);
/* True when the report was for the log. */
bool pool_trace_reported(const struct worker *w, uint64_t id, const char *text);

/* pool_sockets.c */
/* Which lane of l w accepts from. */
unsigned pool_lane_at(const struct worker *w, const struct listener *l);
/* Each slot has its lane at each address, where the generation wants that. */
void pool_fit_lanes(struct pool *p);
/* Closes lanes of slots that are no more, once nobody accepts from them. */
void pool_trim_lanes(struct pool *p);
/* Addresses that were only bound until somebody can accept there. */
void pool_start_quiet(const struct pool *p, const struct generation *gen);
/* New connections go to the lanes of ready workers. */
void pool_steer(struct pool *p);
/* The same, soon: w has told how many connections it has. */
void pool_steer_soon(struct pool *p, const struct worker *w);
/* Where connections wait, at every look at the memory. */
void pool_look_at_queues(struct pool *p);
/* True when connections wait in the lane of w, which has a lane of its own. */
bool pool_is_waited_for(const struct worker *w);
/* Puts back what workers may have done to the sockets of a lane. */
void pool_check_sockets(struct pool *p, const struct generation *gen, unsigned lane);
void pool_check_all_sockets(struct pool *p);

/* pool_hold.c */
/* True when w must not stop accepting yet, since it is the last one at some socket. */
bool pool_must_hold(struct pool *p, const struct worker *w);
/* Looks after those until their queues are empty. */
void pool_hold_start(struct pool *p);
/* Addresses of the old generation that the current one does not have. */
void pool_note_leaving(struct pool *p, const struct generation *old);
void pool_check_leaving(struct pool *p);
void pool_block_all(struct pool *p);

/* pool_mold.c */
/* Starts what the current generation lacks, ends what nobody needs. */
void pool_keep_molds(struct pool *p);
/* Starts one for a generation that has not committed. */
int pool_start_candidate_mold(struct pool *p, struct generation *gen, struct err *e);
/* Ends that of the generation, if it has one. */
void pool_end_mold(struct pool *p, const struct generation *gen);
void pool_end_molds(struct pool *p);
/* The one of the generation that is not ending, or NULL. */
struct mold *pool_mold(const struct pool *p, const struct generation *gen);
/* False: workers of the current generation cannot be started now. */
bool pool_can_start(const struct pool *p);
/* False: the mold owes so many workers that it shall not be asked for more. */
bool pool_may_order(const struct pool *p);
/* A mold with this pid is alive, as far as its channel tells. */
bool pool_has_mold(struct pool *p, pid_t pid);
bool pool_is_mold(const struct pool *p, pid_t pid);
/* True when it was a mold. */
bool pool_mold_reaped(struct pool *p, const struct death *d);
/* Starts w's process, by the mold of its generation or by exec. */
int pool_launch(struct pool *p, struct worker *w, struct err *e);
/* For struct worker_ops; ctx is the pool. */
bool pool_is_known(void *ctx, pid_t pid);
void pool_on_born(void *ctx, struct worker *w);
void pool_on_stillborn(void *ctx, struct worker *w);
void pool_on_unreachable(void *ctx, struct worker *w);

void pool_remove(struct pool *p, struct worker *w);
/* All that have been reaped; true when there was one. */
bool pool_remove_dead(struct pool *p);
struct worker *pool_add(struct pool *p, struct generation *gen, unsigned slot);
/* The kernel killed somebody in our cgroup for memory since the last look. */
bool pool_oom_rose(struct pool *p);
/* No process was forked for w. */
void pool_stillborn(struct pool *p, struct worker *w);
/* Starts w's process; on failure says so and holds the slot for a while. */
bool pool_spawn(struct pool *p, struct worker *w);

#endif
