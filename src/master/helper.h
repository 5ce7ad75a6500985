/*
 * helper.h - preforkd-http, the child that speaks HTTP for the master.
 *
 * Runs while status-listen is set; it is started again, with a growing delay, when it
 * dies. It has one connection of the control socket and its listening socket, nothing else.
 */
#ifndef PREFORKD_HELPER_H
#define PREFORKD_HELPER_H

#include "base/base.h"
#include "master/control.h"
#include "master/generation.h"
#include "system/reap.h"

#include <ev.h>

struct helper {
	struct ev_loop *loop;
	struct control *control;
	struct generation *gen;		/* a reference, while running */
	struct listener *listener;
	pid_t pid;			/* 0: does not run */
	bool replacing;			/* killed by us, to start anew */
	unsigned failures;
	uint64_t started_ms;
	ev_timer retry;
};

void helper_init(struct helper *h, struct ev_loop *loop, struct control *control);
/* Makes what runs match gen's status-listen. A failure is logged and retried. */
void helper_apply(struct helper *h, struct generation *gen);
/* True when pid was the helper. */
bool helper_reaped(struct helper *h, const struct death *d);
void helper_stop(struct helper *h);

#endif
