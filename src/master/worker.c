/*
 * worker.c - one worker's life: spawn, the state table carried out, liveness, end.
 *
 * Order in worker_handle(): look up, stop the old state's timer, write the state, carry
 * out the acts, arm the new state's timer. An act never calls worker_handle() itself.
 * SPDX-License-Identifier: MIT
 */
#include "master/worker.h"

#include "master/channel.h"
#include "model/values.h"
#include "system/clock.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

static void on_deadline(struct ev_loop *loop, ev_timer *t, int revents);

struct worker *
worker_new(struct ev_loop *loop, const struct worker_ops *ops, void *ctx,
    struct generation *gen, unsigned slot)
{
	struct worker *w = calloc(1, sizeof *w);

	if (w == NULL)
		return NULL;
	w->loop = loop;
	w->ops = ops;
	w->ctx = ctx;
	w->gen = generation_ref(gen);
	w->slot = slot;
	w->channel_fd = -1;
	w->notify_fd = -1;
	w->mem = PROCMEM_NONE;
	w->report = BUF_INIT(WORKER_REPORT_MAX);
	ev_init(&w->deadline, on_deadline);
	worker_liveness_init(w);
	ev_init(&w->probe, NULL);
	ev_init(&w->resume, NULL);
	return w;
}

static void
release_process(struct worker *w)
{
	worker_channel_stop(w);
	ev_timer_stop(w->loop, &w->liveness);
	ev_timer_stop(w->loop, &w->probe);
	procmem_close(&w->mem);
}

void
worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	assert(!worker_state_is_alive(worker_state(w)));
	release_process(w);
	ev_timer_stop(w->loop, &w->deadline);
	output_free(w->out);
	output_free(w->err);
	buf_free(&w->report);
	free(w->last_words);
	free(w->server);
	free(w->status);
	history_free(&w->history);
	free(w->trims.refusal);
	generation_unref(w->gen);
	free(w);
}

struct log_about
worker_about(const struct worker *w)
{
	return (struct log_about){
		.slot = w->slot,
		.pid = w->pid,
		.serial = w->gov.serial,
		.generation = w->gen->number,
		.reason = w->reason != REASON_NONE ? reason_name(w->reason) : NULL,
	};
}

char *
worker_last_words(const struct worker *w)
{
	return output_last_words(w->err, w->last_words);
}

/* Timers. */

static void
arm_deadline(struct worker *w, uint64_t after_ms)
{
	w->deadline_ms = clock_now_ms() + after_ms;
	ev_timer_stop(w->loop, &w->deadline);
	/* libev counts from the begin of this turn of the loop: never shorter than asked. */
	ev_now_update(w->loop);
	ev_timer_set(&w->deadline, (double)after_ms / 1000.0, 0.);
	ev_timer_start(w->loop, &w->deadline);
}

static void
on_deadline(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct worker *w = container_of(t, struct worker, deadline);
	enum worker_state state = worker_state(w);
	uint64_t late = clock_now_ms() - w->deadline_ms;

	/* The master itself stood still (SIGSTOP, suspend, a frozen container): what the
	 * worker may have done in time has not been read yet. */
	if ((state == WS_STARTING || state == WS_DRAINING) && late > WORKER_LATE_MS) {
		arm_deadline(w, MIN_OF(late, 5 * MSEC_PER_SEC));
		return;
	}
	if (worker_state_is_alive(state))
		worker_channel_drain(w);
	if (worker_state(w) != state)
		return;
	worker_handle(w, WE_DEADLINE, state == WS_STARTING ? REASON_BOOT_TIMEOUT : REASON_NONE);
	if (state == WS_BACKOFF)
		w->ops->retry(w->ctx, w);
}

/* Acts. */

static void
send_signal(struct worker *w, int sig)
{
	int r;

	/* worker_born() sends it. */
	if (w->unborn) {
		if (sig == SIGKILL)
			w->ops->unreachable(w->ctx, w);
		return;
	}
	w->kill_sent = w->kill_sent || sig == SIGKILL;
	r = sig == SIGKILL ? reap_signal_group(w->pid, sig) : reap_signal(w->pid, sig);

	/* Group leaders exist from their own setpgid() on only. */
	if (r < 0 && sig == SIGKILL)
		r = reap_signal(w->pid, sig);
	if (r < 0)
		worker_log(w, LOG_LEVEL_WARN, "cannot send %s: %s", sigabbrev_np(sig),
		    strerror(-r));
}

static void
term(struct worker *w)
{
	if (w->term_sent)
		return;
	w->term_sent = true;
	send_signal(w, SIGTERM);
}

void
worker_announce_close(struct worker *w)
{
	static const char close[] = "CLOSE=1\n";

	if (w->gen->has_agent && w->channel_fd >= 0)
		/* One that cannot take it now closes its connections when it drains. */
		(void)channel_send(w->channel_fd, close, sizeof close - 1, -1);
}

static void
drain(struct worker *w)
{
	AUTO_BUF struct buf b = BUF_INIT(256);
	uint64_t grace = w->gen->settings->graceful_timeout_ms;
	uint64_t used = w->gov.drain_ms != 0 ? clock_now_ms() - w->gov.drain_ms : 0;

	if (w->holds) {
		worker_announce_close(w);
		return;
	}
	if (!w->gen->has_agent || w->channel_fd < 0) {
		term(w);
		return;
	}
	message_put_number(&b, "DRAIN", 1);
	message_put_number(&b, "GRACE_USEC", (grace > used ? grace - used : 0) * USEC_PER_MSEC);
	if (b.failed || channel_send(w->channel_fd, b.data, b.len, -1) < 0)
		term(w);
}

void
worker_release(struct worker *w)
{
	w->holds = false;
	w->gov.is_surplus = w->reason == REASON_SCALE;
	drain(w);
}

static void
kill_worker(struct worker *w, bool now)
{
	bool is_timeout = w->reason == REASON_TIMEOUT || w->reason == REASON_REQUEST_TIMEOUT ||
	    w->reason == REASON_BOOT_TIMEOUT;

	if (!now && is_timeout && w->prints_stacks && !w->aborted && !w->agent_lost) {
		w->aborted = true;
		send_signal(w, SIGABRT);
		return;
	}
	send_signal(w, SIGKILL);
}

static void
became_ready(struct worker *w)
{
	uint64_t now = clock_now_ms();
	char took[32];

	w->gov.ready_ms = now;
	w->last_beat_ms = now;
	value_human_time(now - w->spawned_ms, took, sizeof took);
	worker_log(w, LOG_LEVEL_INFO, "ready after %s%s%s", took,
	    w->server != NULL ? ", " : "", w->server != NULL ? w->server : "");
	/* The agent has put the real stderr back, so the pipe has said all it will. With
	 * `prefix` the pipes stay. */
	if (w->err != NULL && w->gen->has_agent && output_drain(w->err)) {
		output_free(w->err);
		w->err = NULL;
	}
	w->next_sample_ms = now;
}

static void
enter(struct worker *w, enum worker_state state)
{
	const struct settings *s = w->gen->settings;

	switch (state) {
	case WS_STARTING:
		if (s->boot_timeout_ms != 0)
			arm_deadline(w, s->boot_timeout_ms);
		break;
	case WS_READY:
		became_ready(w);
		break;
	case WS_DRAINING:
		w->gov.drain_ms = clock_now_ms();
		arm_deadline(w, s->graceful_timeout_ms);
		break;
	case WS_STOPPING:
		/* A command was drained by SIGTERM: after graceful-timeout it has had its time. */
		arm_deadline(w, !w->gen->has_agent && w->gov.drain_ms != 0 && clock_now_ms() -
		    w->gov.drain_ms >= s->graceful_timeout_ms ? 1 : WORKER_TERM_MS);
		break;
	case WS_KILLED:
		arm_deadline(w, WORKER_ABORT_MS);
		break;
	case WS_VACANT:
	case WS_BACKOFF:
	case WS_N:
		break;
	}
}

static void
log_transition(struct worker *w, enum worker_state from, enum worker_state to,
    enum worker_event event)
{
	char grace[32];

	worker_log(w, LOG_LEVEL_DEBUG, "%s -> %s (%s)", worker_state_name(from),
	    worker_state_name(to), worker_event_name(event));
	if (event != WE_DEADLINE)
		return;
	value_human_time(w->gen->settings->graceful_timeout_ms, grace, sizeof grace);
	if (from == WS_STARTING)
		worker_log(w, LOG_LEVEL_ERROR, "not ready within boot-timeout; it is killed");
	else if (from == WS_DRAINING)
		worker_log(w, LOG_LEVEL_WARN, "has not finished within graceful-timeout (%s), "
		    "%llu requests in flight; SIGTERM, then SIGKILL", grace,
		    (unsigned long long)w->in_flight);
	else if (from == WS_STOPPING)
		worker_log(w, LOG_LEVEL_WARN, "ignored SIGTERM; SIGKILL");
	else if (from == WS_KILLED && !w->aborted && !w->unborn && !w->over_stall_warned) {
		w->over_stall_warned = true;
		worker_log(w, LOG_LEVEL_ERROR, "does not end after SIGKILL (waits in the kernel?); "
		    "tried again every second");
	}
}

bool
worker_handle(struct worker *w, enum worker_event event, enum reason reason)
{
	const struct worker_step *step = lifecycle_worker_step(worker_state(w), event);
	enum worker_state from = worker_state(w);

	assert(step->kind != STEP_UNSET && step->kind != STEP_NEVER);
	if (step->kind == STEP_IGNORE)
		return false;
	ev_timer_stop(w->loop, &w->deadline);
	/* The first reason stays: it is why the rest happened. */
	if (reason != REASON_NONE && w->reason == REASON_NONE)
		w->reason = reason;
	log_transition(w, from, step->next, event);
	w->gov.state = step->next;
	if ((step->acts & ACT_DRAIN) != 0)
		drain(w);
	if ((step->acts & ACT_TERM) != 0)
		term(w);
	if ((step->acts & (ACT_KILL | ACT_KILL_NOW)) != 0)
		kill_worker(w, (step->acts & ACT_KILL_NOW) != 0);
	if ((step->acts & ACT_GONE) != 0)
		release_process(w);
	enter(w, step->next);
	worker_liveness_rearm(w);
	if (event == WE_READY)
		w->ops->ready(w->ctx, w);
	return true;
}

void
worker_born(struct worker *w, pid_t pid)
{
	w->pid = pid;
	w->unborn = false;
	(void)channel_name_senders(w->channel_fd, false);
	worker_set_prefixes(w);
	/* What was decided about it meanwhile. */
	if (worker_state(w) == WS_STOPPING)
		send_signal(w, SIGTERM);
	else if (worker_state(w) == WS_KILLED)
		send_signal(w, SIGKILL);
	w->ops->born(w->ctx, w);
}

void
worker_hold(struct worker *w, uint64_t delay_ms)
{
	worker_handle(w, WE_HOLD, REASON_NONE);
	arm_deadline(w, delay_ms);
}

void
worker_reaped(struct worker *w, const struct death *d)
{
	/* Its last messages are still in the socket. */
	worker_channel_drain(w);
	if (w->err != NULL)
		output_drain(w->err);
	if (w->out != NULL)
		output_drain(w->out);
	w->death = *d;
	w->peak_bytes = MAX_OF(w->peak_bytes, d->peak_bytes);
	w->ended_ms = clock_now_ms();
	w->gov.own_bytes = w->gov.seen_bytes = 0;
	worker_handle(w, WE_EXIT, REASON_NONE);
}

/* Requests to the agent. */

int
worker_ask_report(struct worker *w, uint64_t id)
{
	AUTO_BUF struct buf b = BUF_INIT(64);

	if (!w->gen->has_agent || w->channel_fd < 0 || worker_state(w) == WS_STARTING)
		return -ENOTSUP;
	if (w->report_id != 0 && ((w->report_id & WORKER_REPORT_FOR_LOG) == 0 ||
	    clock_now_ms() - w->report_ms < WORKER_LOG_REPORT_MS))
		return -EAGAIN;
	message_put_number(&b, "REPORT", id);
	if (b.failed)
		return -ENOMEM;
	w->report_id = id;
	w->report_ms = clock_now_ms();
	buf_clear(&w->report);
	return channel_send(w->channel_fd, b.data, b.len, -1);
}

void
worker_reopen_log(struct worker *w)
{
	static const char reopen[] = "REOPEN=1\n";

	/* One that boots finds the message later. */
	if (w->gen->has_agent && w->channel_fd >= 0)
		/* A worker that cannot take it now keeps the old file: no harm. */
		(void)channel_send(w->channel_fd, reopen, sizeof reopen - 1, w->gen->log_fd);
}
