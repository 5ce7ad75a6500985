/*
 * mold.h - the process of a generation that has imported the application and forks workers.
 *
 * It is started like a worker, without sockets, and serves nobody. When the application is
 * imported it says whether a fork does no harm (READY=1, with FORKS=1 or without); from then
 * on it forks a worker for each FORK= that it is sent, with the descriptors that the worker
 * needs. The worker is not its child but the master's, and speaks for itself on a channel of
 * its own. A mold holds no sockets, so its end harms nobody.
 */
#ifndef PREFORKD_MOLD_H
#define PREFORKD_MOLD_H

#include "base/base.h"
#include "base/log.h"
#include "master/generation.h"
#include "master/output.h"
#include "model/footprint.h"
#include "system/procmem.h"
#include "system/reap.h"

#include <ev.h>

#define MOLD_HANG_MS UINT64_C(15000)	/* for one fork, or the next step of many */
#define MOLD_END_MS  UINT64_C(2000)	/* from the end of its channel to SIGKILL */

struct mold;

struct mold_ops {
	/* It has imported the application; m->gen->starts is decided. */
	void (*ready)(void *ctx, struct mold *m);
};

enum mold_state { MOLD_BOOTING, MOLD_READY, MOLD_ENDING };

struct mold {
	struct ev_loop *loop;
	const struct mold_ops *ops;
	void *ctx;

	struct generation *gen;		/* a reference */
	pid_t pid;
	enum mold_state state;
	bool is_candidate;		/* of a generation that has not committed */
	bool timed_out;
	uint64_t spawned_ms;
	uint64_t ready_ms;
	unsigned owed;			/* forks that were asked for and not seen yet */
	unsigned forked;

	int channel_fd;			/* -1: closed */
	ev_io channel_io;
	ev_timer deadline;
	uint64_t deadline_ms;

	struct output *out, *err;	/* pipes, or NULL */
	char *last_words;		/* ERROR= */
	char *server;
	struct procmem mem;
	uint64_t rss_bytes;
	struct footprint footprint;
};

/* A worker to be forked; descriptors stay the caller's. */
struct mold_order {
	unsigned slot;
	unsigned lane;			/* of the listening sockets */
	unsigned worker_id;
	uint64_t serial;
	uint64_t limit_requests;	/* drawn, 0: none */
	int channel_fd;			/* the worker's end */
	int stdout_fd;			/* -1: the mold's */
	int stderr_fd;
	bool keeps_stderr;		/* also when it is ready */
};

/* Starts the process. NULL with e on failure. */
struct mold *mold_new(struct ev_loop *loop, const struct mold_ops *ops, void *ctx,
    struct generation *gen, struct err *e);
/* It must have been reaped. NULL is fine. */
void mold_free(struct mold *m);

/* It can be asked for workers. */
static inline bool
mold_is_ready(const struct mold *m)
{
	return m->state == MOLD_READY && m->channel_fd >= 0;
}

/* The same, after a look whether its end waits to be read. */
bool mold_is_there(struct mold *m);

/* Asks for a worker. 0 or a negative errno with e; -EPIPE: it has just ended. */
int mold_fork(struct mold *m, const struct mold_order *order, struct err *e);
/* A worker that it was asked for is there, or never will be. */
void mold_answered(struct mold *m, bool born);

/* SIGKILL, for it and for workers that have not left its process group yet. */
void mold_kill(struct mold *m);

/* It is not needed any more. */
void mold_end(struct mold *m);
/* Its end has been seen: what it said last is read. */
void mold_reaped(struct mold *m);
/* Its log was moved away. */
void mold_reopen_log(struct mold *m);

/* What it said, else the end of its stderr. Owned; "" for nothing, NULL: out of memory. */
char *mold_last_words(const struct mold *m);

struct log_about mold_about(const struct mold *m);
#define mold_log(m, level, ...) do {				\
	struct log_about about_ = mold_about(m);		\
	log_write(level, &about_, __VA_ARGS__);			\
} while (0)

#endif
