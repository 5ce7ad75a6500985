/*
 * master.c - see master.h: the master's states, what starts and stops in which order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/master.h"

#include "base/buf.h"
#include "master/place.h"
#include "master/signals.h"
#include "model/values.h"
#include "system/clock.h"
#include "system/notify.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define TICK_SECONDS   5.
/* More than one tick, so that a late one does no harm. */
#define EXTEND_MS      UINT64_C(30000)
#define STATUS_WEIGHT  0.5

/* State. */

static void
on_stop_delay(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct master *m = container_of(t, struct master, stop_delay);

	notify_extend_timeout(EXTEND_MS);
	pool_stop(&m->pool, false);
}

/* The balancer in front may take a while to see that we are not ready any more. */
static bool
delay_stop(struct master *m)
{
	uint64_t delay = m->pool.gen->settings->stop_delay_ms;
	char text[32];

	if (delay == 0 || !m->pool.ever_ready)
		return false;
	value_human_time(delay, text, sizeof text);
	log_notice("stopping: not ready any more; serves on for %s (stop-delay)", text);
	pool_announce_close(&m->pool);
	ev_timer_set(&m->stop_delay, (double)delay / 1000.0, 0.);
	ev_timer_start(m->loop, &m->stop_delay);
	return true;
}

static void
begin_stop(struct master *m, bool quick)
{
	ev_timer_stop(m->loop, &m->stop_delay);
	m->stop_asked = true;
	master_calls_stop(m);
	notify_stopping("stopping");
	notify_extend_timeout(EXTEND_MS);
	if (!quick && delay_stop(m))
		return;
	log_notice(quick ? "stopping quickly: workers get SIGTERM now, SIGKILL after %llu ms"
	    : "stopping: workers finish what they have, at most %llu ms",
	    quick ? (unsigned long long)WORKER_TERM_MS
	    : (unsigned long long)m->pool.gen->settings->graceful_timeout_ms);
	pool_stop(&m->pool, quick);
}

void
master_handle(struct master *m, enum master_event event)
{
	const struct master_step *step = lifecycle_master_step(m->state, event);
	enum master_state from = m->state;

	assert(step->kind != STEP_UNSET && step->kind != STEP_NEVER);
	if (step->kind == STEP_IGNORE)
		return;
	m->state = step->next;
	if (from != step->next)
		log_debug("%s -> %s", master_state_name(from), master_state_name(step->next));
	if ((step->acts & MACT_QUEUE_RELOAD) != 0) {
		m->reload_queued = true;
		reload_hurry(&m->reload);
	}
	if ((step->acts & MACT_CANCEL_RELOAD) != 0) {
		m->stop_asked = true;
		reload_cancel(&m->reload);
	}
	if ((step->acts & MACT_STOP) != 0)
		begin_stop(m, false);
	if ((step->acts & MACT_QUIT) != 0)
		begin_stop(m, true);
	if ((step->acts & MACT_BEGIN_RELOAD) != 0) {
		m->reload_queued = false;
		notify_reloading("reloading");
		/* After it: on SIGHUP it is RELOADING that starts systemd's timer. */
		notify_extend_timeout(EXTEND_MS);
		master_calls_reload_begins(m);
		reload_begin(&m->reload);
	}
}

/* A reload that waited for the one before, or for the first generation. */
static void
run_queued_reload(struct master *m)
{
	if (!m->reload_queued || m->state != MS_RUNNING)
		return;
	m->reload_queued = false;
	master_handle(m, ME_RELOAD);
}

void
master_reload_ended(struct master *m, const char *error, const char *words)
{
	if (m->state != MS_STOPPING) {
		/* systemd waits for READY whatever the outcome; before preforkctl, whose exit
		 * tells systemd that the reload command itself is over. */
		notify_ready(NULL);
		master_tell_status(m);
	}
	if (m->state == MS_RELOADING)
		master_handle(m, ME_RELOADED);
	master_calls_reload_ended(m, error, words);
	run_queued_reload(m);
}

/* What of the settings concerns the master itself. */
static void
apply_settings(struct master *m, const struct settings *s)
{
	log_set_level((enum log_level)s->log_level);
	log_set_format((enum log_format)s->log_format);
	if (!m->is_check)
		helper_apply(&m->helper, m->pool.gen);
}

void
master_settings_changed(struct master *m)
{
	apply_settings(m, m->pool.gen->settings);
}

/* News of the pool. */

static void
on_ready(void *ctx, struct worker *w)
{
	struct master *m = ctx;
	char took[32];

	if (m->is_check) {
		value_human_time(clock_now_ms() - m->started_ms, took, sizeof took);
		log_notice("the application is ready after %s (%s)", took,
		    w->server != NULL ? w->server : "command");
		m->exit_code = 0;
		master_handle(m, ME_QUIT);
		return;
	}
	if (m->state == MS_STARTING) {
		master_handle(m, ME_SERVING);
		notify_ready("ready");
		log_notice("serving: first worker ready, generation %u", m->pool.gen->number);
		run_queued_reload(m);
	}
	reload_on_ready(&m->reload, w);
	master_calls_check(m, false, NULL);
}

static void
on_boot_failed(void *ctx, struct worker *w, const char *how, const char *words)
{
	struct master *m = ctx;

	reload_on_boot_failed(&m->reload, w, how, words);
	master_calls_check(m, true, words);
}

static void
on_gave_up(void *ctx, const char *words)
{
	struct master *m = ctx;
	AUTO_BUF struct buf status = BUF_INIT(1024);

	log_error("no worker could be started in %llu attempts (boot-attempts); preforkd ends%s%.*s",
	    (unsigned long long)m->pool.gen->settings->boot_attempts, words[0] != '\0' ? ": " : "",
	    (int)strcspn(words, "\n"), words);
	buf_printf(&status, "start failed: %.*s", (int)strcspn(words, "\n"), words);
	if (status.data != NULL)
		notify_status(status.data);
	m->exit_code = 1;
	master_handle(m, ME_QUIT);
}

static void
on_mold_ready(void *ctx, struct mold *mold)
{
	struct master *m = ctx;

	reload_on_mold_ready(&m->reload, mold);
}

static void
on_mold_failed(void *ctx, struct mold *mold, const char *how, const char *words)
{
	struct master *m = ctx;
	bool is_current = mold->gen == m->pool.gen;

	reload_on_mold_failed(&m->reload, mold, how, words);
	/* Who waits for a recycle waits for the current one only. */
	if (is_current)
		master_calls_check(m, true, words);
}

static void
on_ended(void *ctx, struct worker *w)
{
	struct master *m = ctx;

	reload_on_ended(&m->reload, w);
	master_calls_gone(m, w);
	master_calls_check(m, false, NULL);
}

static void
on_empty(void *ctx)
{
	struct master *m = ctx;

	ev_break(m->loop, EVBREAK_ALL);
}

static void
on_reported(void *ctx, struct worker *w UNUSED, uint64_t id, const char *text)
{
	master_calls_reported(ctx, id, text);
}

static const struct pool_ops pool_ops = {
	.ready = on_ready,
	.boot_failed = on_boot_failed,
	.gave_up = on_gave_up,
	.mold_ready = on_mold_ready,
	.mold_failed = on_mold_failed,
	.ended = on_ended,
	.empty = on_empty,
	.reported = on_reported,
};

/* Timers. */

static void
on_tick(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct master *m = container_of(t, struct master, tick);
	uint64_t now = clock_now_ms(), requests = master_requests(m);

	if (now > m->last_tick_ms) {
		double rate = (double)(requests - m->last_requests) * 1000.0 /
		    (double)(now - m->last_tick_ms);

		m->requests_per_s += (rate - m->requests_per_s) * STATUS_WEIGHT;
	}
	m->last_tick_ms = now;
	m->last_requests = requests;
	if (m->state != MS_RUNNING)
		notify_extend_timeout(EXTEND_MS);
	if (m->state == MS_RUNNING)
		master_tell_status(m);
}

static void
on_watchdog(struct ev_loop *loop UNUSED, ev_timer *t UNUSED, int revents UNUSED)
{
	notify_watchdog();
}

static void
start_timers(struct master *m)
{
	double watchdog = (double)notify_watchdog_ms() / 1000.0;

	m->last_tick_ms = clock_now_ms();
	ev_timer_init(&m->tick, on_tick, TICK_SECONDS, TICK_SECONDS);
	ev_timer_init(&m->watchdog, on_watchdog, watchdog, watchdog);
	if (!m->is_check)
		ev_timer_start(m->loop, &m->tick);
	if (watchdog > 0)
		ev_timer_start(m->loop, &m->watchdog);
	notify_extend_timeout(EXTEND_MS);
}

/* Start and stop: mirror images. */

static int
adopt_inherited(struct master *m, struct err *e)
{
	char **names = NULL;
	int n = listen_inherited(&names), r = 0;

	if (n <= 0)
		return n < 0 ? err_sys(e, -n, "LISTEN_FDS") : 0;
	m->inherited.v = calloc((size_t)n, sizeof m->inherited.v[0]);
	if (m->inherited.v == NULL)
		r = err_sys(e, ENOMEM, "LISTEN_FDS");
	for (int i = 0; i < n && r >= 0; i++) {
		r = listener_adopt(3 + i, names != NULL ? names[i] : NULL,
		    &m->inherited.v[m->inherited.n], e);
		m->inherited.n += r >= 0;
	}
	for (int i = 0; names != NULL && i < n; i++)
		free(names[i]);
	free(names);
	return r;
}

static int
start(struct master *m, struct settings *settings, struct err *e)
{
	const struct generation_plan plan = {
		.number = 1, .inherited = &m->inherited, .private_socket = m->is_check,
	};
	struct generation *gen;
	int r;

	r = generation_new(settings, &plan, &gen, e);
	if (r < 0)
		return r;
	if (m->is_check) {
		gen->settings->workers = 1;
		gen->settings->boot_attempts = 1;
	}
	r = pool_init(&m->pool, m->loop, &pool_ops, m, gen);
	generation_unref(gen);
	if (r < 0)
		return err_sys(e, -r, "workers");
	if (!m->is_check) {
		place_control(m);
		r = place_pidfile(m, e);
		if (r < 0)
			return r;
	}
	apply_settings(m, m->pool.gen->settings);
	start_timers(m);
	pool_start(&m->pool);
	return 0;
}

static void
stop(struct master *m)
{
	helper_stop(&m->helper);
	ev_timer_stop(m->loop, &m->tick);
	ev_timer_stop(m->loop, &m->watchdog);
	ev_timer_stop(m->loop, &m->report_deadline);
	ev_timer_stop(m->loop, &m->stop_delay);
	place_remove(m);
	reload_fini(&m->reload);
	pool_fini(&m->pool);
	control_free(m->control);
	for (size_t i = 0; i < m->inherited.n; i++)
		listener_unref(m->inherited.v[i]);
	free(m->inherited.v);
	signals_stop(m);
}

static void
log_start(const struct master *m)
{
	const struct settings *s = m->pool.gen->settings;
	AUTO_BUF struct buf on = BUF_INIT(4096);

	for (size_t i = 0; i < m->pool.gen->n_listeners; i++)
		buf_printf(&on, "%s%s", i > 0 ? ", " : "", m->pool.gen->listeners[i]->address.text);
	log_notice("preforkd %s, pid %d: %s, %llu worker%s on %s", PACKAGE_VERSION, (int)getpid(),
	    settings_app_name(s), (unsigned long long)s->workers, s->workers > 1 ? "s" : "",
	    on.data != NULL ? on.data : "");
}

int
master_run(const struct loader *loader, struct settings *settings, bool is_check)
{
	struct master m = {
		.loader = loader, .is_check = is_check, .state = MS_STARTING,
		.exit_code = is_check ? 1 : 0, .started_ms = clock_now_ms(),
	};
	struct err e;

	/* Not the default loop: that one reaps every child before we can look at it. */
	m.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (m.loop == NULL) {
		settings_free(settings);
		log_error("cannot make an event loop");
		return 1;
	}
	ev_init(&m.report_deadline, NULL);
	ev_init(&m.stop_delay, on_stop_delay);
	m.control = control_new(m.loop, &master_control_ops, &m);
	reload_init(&m.reload, &m);
	helper_init(&m.helper, m.loop, m.control);
	signals_start(&m);
	if (m.control == NULL || adopt_inherited(&m, &e) < 0) {
		settings_free(settings);
		log_error("cannot start: %s", m.control == NULL ? "out of memory" : e.text);
		m.exit_code = 1;
	} else if (start(&m, settings, &e) < 0) {
		log_error("cannot start: %s", e.text);
		notify_status(e.text);
		m.exit_code = 1;
	} else {
		if (!is_check)
			log_start(&m);
		ev_run(m.loop, 0);
		if (!is_check)
			log_notice("stopped after %llu requests",
			    (unsigned long long)master_requests(&m));
	}
	stop(&m);
	ev_loop_destroy(m.loop);
	return m.exit_code;
}
