/*
 * worker_spawn.c - everything that a worker's process is started with: its limits are drawn,
 * its channel and pipes opened, the child's ends handed over and closed here.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"
#include "master/launch.h"
#include "master/worker.h"

#include "system/clock.h"

#include <stdio.h>
#include <sys/random.h>

static uint64_t
random_number(void)
{
	uint64_t v;

	if (getrandom(&v, sizeof v, GRND_NONBLOCK) != (ssize_t)sizeof v)
		v = clock_now_ms() * UINT64_C(0x9E3779B97F4A7C15);
	return v;
}

static void
draw_limits(struct worker *w)
{
	const struct settings *s = w->gen->settings;

	w->gov.max_requests = draw_limit(s->max_requests, &s->max_requests_jitter,
	    random_number());
	w->gov.max_lifetime_ms = draw_limit(s->max_worker_lifetime_ms,
	    &s->max_worker_lifetime_jitter, random_number());
}

struct child_ends {
	int channel, out, err;
};

static void
close_child_ends(struct child_ends *c)
{
	base_close_p(&c->channel);
	base_close_p(&c->out);
	base_close_p(&c->err);
}

static int
open_ends(struct worker *w, struct child_ends *c, char notify_name[NOTIFY_NAME_MAX], struct err *e)
{
	const struct generation *g = w->gen;
	bool prefix = g->settings->worker_log.how == WORKER_LOG_PREFIX;
	int r = channel_pair(&w->channel_fd, &c->channel);

	if (r < 0)
		return err_sys(e, -r, "cannot make its channel");
	if (!g->has_agent) {
		w->notify_fd = channel_notify_open(getpid(), w->gov.serial, notify_name);
		if (w->notify_fd < 0)
			return err_sys(e, -w->notify_fd, "cannot make its notify socket");
	}
	if (prefix || g->has_agent) {
		w->err = output_new(w->loop, &c->err);
		if (w->err == NULL)
			return err_sys(e, errno, "cannot make a pipe for its stderr");
	}
	if (prefix) {
		w->out = output_new(w->loop, &c->out);
		if (w->out == NULL)
			return err_sys(e, errno, "cannot make a pipe for its stdout");
	}
	return 0;
}

void
worker_set_prefixes(struct worker *w)
{
	char prefix[48];

	if (w->gen->settings->worker_log.how != WORKER_LOG_PREFIX)
		return;
	if (w->pid > 0)
		snprintf(prefix, sizeof prefix, "worker %u pid %d: ", w->slot, (int)w->pid);
	else
		snprintf(prefix, sizeof prefix, "worker %u: ", w->slot);
	output_set_prefix(w->out, prefix);
	output_set_prefix(w->err, prefix);
}

static pid_t
launch_with(struct worker *w, const struct child_ends *c, const char *notify_name, struct err *e)
{
	const struct generation *g = w->gen;
	const struct settings *s = g->settings;
	bool file = s->worker_log.how == WORKER_LOG_FILE;
	struct launch l = {
		.gen = g, .slot = w->slot, .lane = w->lane, .worker_id = w->worker_id, .serial = w->gov.serial,
		.limit_requests = w->gov.max_requests,
		.channel_fd = c->channel,
		.stdout_fd = file ? g->log_fd : c->out,
		.stderr_fd = c->err,
		.real_stderr_fd = -1,
		.notify_socket = w->notify_fd >= 0 ? notify_name : NULL,
	};

	if (s->worker_log.how == WORKER_LOG_INHERIT && g->has_agent)
		l.real_stderr_fd = 2;
	else if (file && g->has_agent)
		l.real_stderr_fd = g->log_fd;
	else if (file)
		l.stderr_fd = g->log_fd;
	return launch_worker(&l, e);
}

/* Its process comes later, and says so itself: worker_born(). */
static int
fork_with(struct worker *w, struct mold *mold, const struct child_ends *c, struct err *e)
{
	const struct mold_order order = {
		.slot = w->slot, .lane = w->lane, .worker_id = w->worker_id,
		.serial = w->gov.serial, .limit_requests = w->gov.max_requests,
		.channel_fd = c->channel, .stdout_fd = c->out, .stderr_fd = c->err,
		.keeps_stderr = w->gen->settings->worker_log.how == WORKER_LOG_PREFIX,
	};
	int r = channel_name_senders(w->channel_fd, true);

	if (r < 0)
		return err_sys(e, -r, "cannot set up its channel");
	w->unborn = true;
	w->mold_pid = mold->pid;
	r = mold_fork(mold, &order, e);
	/* No failure of this worker: the end of its channel, nobody having the other one, says
	 * in a moment that it is stillborn. */
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

int
worker_spawn(struct worker *w, struct mold *mold, struct err *e)
{
	CLEANUP(close_child_ends) struct child_ends c = { -1, -1, -1 };
	char notify_name[NOTIFY_NAME_MAX];
	int r;

	draw_limits(w);
	w->lane = w->gen->per_slot ? w->slot - 1 : 0;
	r = open_ends(w, &c, notify_name, e);
	if (r >= 0 && mold != NULL) {
		r = fork_with(w, mold, &c, e);
	} else if (r >= 0) {
		w->pid = launch_with(w, &c, notify_name, e);
		r = w->pid < 0 ? (int)w->pid : 0;
	}
	if (r < 0) {
		w->pid = 0;
		w->unborn = false;
		w->mold_pid = 0;
		base_close_p(&w->channel_fd);
		base_close_p(&w->notify_fd);
		return r;
	}
	w->spawned_ms = clock_now_ms();
	worker_set_prefixes(w);
	worker_channel_start(w);
	worker_probe_start(w);
	worker_handle(w, WE_SPAWN, REASON_NONE);
	return 0;
}
