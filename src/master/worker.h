/*
 * worker.h - one worker process from spawn to reap.
 *
 * Executes the table of model/lifecycle.h: worker_handle() is the only function that
 * changes a worker's state; it owns the timers and sends the signals and messages of
 * that state. What a worker's news mean for the others is the pool's, told through
 * struct worker_ops; a worker never looks at another one.
 */
#ifndef PREFORKD_WORKER_H
#define PREFORKD_WORKER_H

#include "base/base.h"
#include "base/buf.h"
#include "base/log.h"
#include "master/generation.h"
#include "master/mold.h"
#include "master/output.h"
#include "model/footprint.h"
#include "model/governor.h"
#include "model/history.h"
#include "model/message.h"
#include "model/tracing.h"
#include "system/procmem.h"
#include "system/reap.h"

#include <ev.h>

#define WORKER_TERM_MS    UINT64_C(2000)	/* between SIGTERM and SIGKILL */
#define WORKER_ABORT_MS   UINT64_C(1000)	/* between SIGABRT and SIGKILL */
#define WORKER_LATE_MS    UINT64_C(500)		/* a loop this late has been stopped itself */
#define WORKER_REPORT_MAX 65536u
#define WORKER_TEXT_MAX   200u			/* of SERVER and STATUS */

/* Numbers of reports that are the pool's; all others are those of the control socket. */
#define WORKER_REPORT_FOR_LOG (UINT64_C(1) << 63)
#define WORKER_LOG_REPORT_MS UINT64_C(10000)	/* then it does not come any more */

struct worker;

/* What one trim gave back: bytes of private memory, or RSS on kernels before 4.14. */
struct trim_result {
	bool known;
	uint64_t before, after_gc, after_trim;
	uint64_t at_ms;
};

static inline uint64_t
trim_gain(const struct trim_result *t)
{
	return t->before > t->after_trim ? t->before - t->after_trim : 0;
}

struct worker_trims {
	uint64_t asked_ms;		/* 0: none is under way */
	struct trim_result last;
	uint64_t took_us;		/* of the last one: requests waited for so long */
	unsigned n;			/* that were done */
	uint64_t given_back;		/* bytes, by all of them */
	char *refusal;			/* why the last one was not done; NULL: it was */
};

struct worker_ops {
	/* It serves for the first time. */
	void (*ready)(void *ctx, struct worker *w);
	/* The request count, or anything else that may concern the governor, changed. */
	void (*news)(void *ctx, struct worker *w);
	/* A back-off is over: state VACANT. */
	void (*retry)(void *ctx, struct worker *w);
	/* The pid is that of another worker, a mold, or anything else of ours. */
	bool (*is_known)(void *ctx, pid_t pid);
	/* It has been forked, and its pid is known. */
	void (*born)(void *ctx, struct worker *w);
	/* No process was forked for it; what the mold said of it is in last_words. */
	void (*stillborn)(void *ctx, struct worker *w);
	/* It is to be killed, and no process is known: it may hang before its first word. */
	void (*unreachable)(void *ctx, struct worker *w);
	/* An answer to worker_ask_report or worker_ask_memory is complete. */
	void (*reported)(void *ctx, struct worker *w, uint64_t id, const char *text);
	/* The answer to worker_ask_trim is there: w->trims.last, or w->trims.refusal. */
	void (*trimmed)(void *ctx, struct worker *w);
};

struct worker {
	struct ev_loop *loop;
	const struct worker_ops *ops;
	void *ctx;

	struct generation *gen;		/* a reference */
	unsigned slot;			/* from 1 */
	unsigned lane;			/* which socket of each address it accepts from */
	unsigned worker_id;
	pid_t pid;			/* 0: no process, or not known yet */
	pid_t mold_pid;			/* who was asked to fork it, 0: it was exec'd */
	bool unborn;			/* asked for, and not seen yet */
	bool is_canary;			/* first of a generation that has not committed */
	struct gov_worker gov;		/* gov.state is the state */
	uint64_t spawned_ms;
	uint64_t ended_ms;
	enum reason reason;		/* why it is being ended; NONE: it is not */
	struct death death;		/* once dead */

	bool term_sent;
	bool aborted;			/* SIGABRT was sent */
	bool kill_sent;			/* SIGKILL */
	bool is_sync;
	bool prints_stacks;
	bool has_beat;
	bool agent_lost;		/* it lives, but its channel is closed */
	uint64_t lost_ms;		/* since when */
	bool lost_said;
	bool stopping;			/* it said STOPPING=1 */
	bool holds;			/* draining, but accepts until its queues are empty */
	bool over_stall_warned;

	uint64_t requests;
	uint64_t in_flight;
	bool tells_connections;
	unsigned connections;		/* open ones, where the server tells */
	unsigned steered_connections;	/* when new ones were steered last */
	bool had_waiting;		/* in its queues, at the last look */
	bool waits;			/* at the last two, and nothing got done between them */
	uint64_t seen_requests;		/* at the last look */
	uint64_t moved_ms;		/* it told of completed requests then, or 0 */
	uint64_t oldest_ms;		/* monotonic start of the oldest request, 0: none */
	uint64_t last_beat_ms;
	uint64_t live_until_ms;		/* no liveness kill before this */

	ev_timer deadline;
	uint64_t deadline_ms;		/* when it is due */
	ev_timer liveness;
	uint64_t liveness_ms;
	ev_timer probe;			/* readiness of a plain command */
	ev_timer resume;		/* after a flood */

	int channel_fd;			/* -1: none */
	ev_io channel_io;
	int notify_fd;
	ev_io notify_io;
	uint64_t flood_window_ms;
	unsigned flood_n;
	struct log_limit rubbish;

	struct output *out, *err;	/* pipes, or NULL */
	char *last_words;		/* ERROR= of the worker */
	char *server;
	char *status;
	uint64_t report_id;		/* 0: none is under way */
	uint64_t report_ms;		/* since when */
	struct buf report;

	struct procmem mem;
	struct procmem_sample own;	/* the leader alone */
	struct procmem_sample group;	/* its descendants */
	unsigned members;		/* how many these are */
	struct footprint footprint;	/* of all of them */
	uint64_t confirmed_ms;		/* when its RSS was asked for exactly, 0: never */
	int64_t statm_error;		/* what the cheap count lacked then, bytes */
	uint64_t peak_bytes;		/* the most that was resident, with descendants; 0: not read */
	uint64_t peak_read_ms;		/* when the kernel was asked for it, 0: never */
	const char *uss_unavailable;	/* why it cannot be measured, NULL: it can */
	struct worker_trims trims;
	struct tracing tracing;		/* leak-report */
	bool may_trace;			/* it was asked to, and has not said that it is over */
	uint64_t traced_bytes;		/* what that costs it */
	uint64_t fds;
	bool fds_unavailable;
	uint64_t fds_ms;		/* when they were counted last */
	struct history history;		/* of its samples since READY */
	uint64_t next_sample_ms;
};

/* A worker in state VACANT for this slot. NULL: out of memory. */
struct worker *worker_new(struct ev_loop *loop, const struct worker_ops *ops, void *ctx,
    struct generation *gen, unsigned slot);
/* Stops every watcher and frees; the process must have been reaped. NULL is fine. */
void worker_free(struct worker *w);

/* Starts its process: forked by the mold, or without one by exec. On failure the state stays
 * VACANT and e says why. */
int worker_spawn(struct worker *w, struct mold *mold, struct err *e);
/* The process that was forked for it has shown itself. */
void worker_born(struct worker *w, pid_t pid);
/* For worker-log = prefix: who it is, in front of each line. */
void worker_set_prefixes(struct worker *w);

/* The one door to the table. reason: why, for events that end the worker. Returns false
 * when the event was ignored in this state. */
bool worker_handle(struct worker *w, enum worker_event event, enum reason reason);

/* Holds the slot for delay_ms, then ops->retry. Only in VACANT. */
void worker_hold(struct worker *w, uint64_t delay_ms);

/* What it has said is read first, then the state becomes VACANT. */
void worker_reaped(struct worker *w, const struct death *d);

/* Asks for stacks; -EAGAIN when a report is under way, -ENOTSUP without an agent. */
int worker_ask_report(struct worker *w, uint64_t id);
void worker_reopen_log(struct worker *w);

/* worker_memory.c */
/* Asks it to give memory back between two requests; ops->trimmed tells the outcome. 0, -EAGAIN:
 * one is under way, or its channel is full; -ENOTSUP without an agent or when it does not serve. */
int worker_ask_trim(struct worker *w);
/* Asks for its counts now, which it tells when it likes else; it may not be able to answer. */
void worker_ask_counts(struct worker *w);
/* Asks what it has allocated and kept, since it traces or within so many seconds from now (0: the
 * agent's default). id: of ops->reported. -EAGAIN when a report is under way, -ENOTSUP. */
int worker_ask_memory(struct worker *w, uint64_t id, unsigned seconds);
/* It shall trace, or need not any more. -ENOTSUP, -EAGAIN. */
int worker_trace(struct worker *w, bool on);
/* bytes, measured of it, without what tracing costs. */
uint64_t worker_without_tracing(const struct worker *w, uint64_t bytes);
/* The same for the sizes of a sample that are known. */
void worker_forget_tracing(const struct worker *w, uint64_t value[GM_N]);
/* From worker_news.c: the part of a message that is about memory. */
void worker_memory_said(struct worker *w, const struct message *m);
/* A descriptor that came with READY, and may be anything; taken. */
void worker_take_rollup(struct worker *w, int fd);

/* Its responses close their connections from now on; it accepts as before. */
void worker_announce_close(struct worker *w);
/* It has `rss` bytes with its descendants now; the kernel's word for its peak is asked for now and
 * then, and whenever its state has changed: soon there will be nobody to ask. */
void worker_note_peak(struct worker *w, uint64_t rss, uint64_t now_ms);
/* It has held the door long enough: it stops accepting, and finishes. */
void worker_release(struct worker *w);

static inline enum worker_state
worker_state(const struct worker *w)
{
	return w->gov.state;
}

/* For log lines about w. */
struct log_about worker_about(const struct worker *w);
#define worker_log(w, level, ...) do {				\
	struct log_about about_ = worker_about(w);		\
	log_write(level, &about_, __VA_ARGS__);			\
} while (0)

/* The last words of a worker that failed: what it said, else the end of its stderr.
 * Owned, "" when it said nothing; NULL: out of memory. */
char *worker_last_words(const struct worker *w);

/* worker_news.c: everything that comes in from the worker */
void worker_channel_start(struct worker *w);
void worker_channel_stop(struct worker *w);
/* Reads what waits now. */
void worker_channel_drain(struct worker *w);
void worker_probe_start(struct worker *w);

/* worker_liveness.c */
void worker_liveness_init(struct worker *w);
/* Looks at liveness again as soon as something changed. */
void worker_liveness_rearm(struct worker *w);

#endif
