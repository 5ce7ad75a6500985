/*
 * signals.c - see signals.h. The table below is fixed by the manual.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/signals.h"

#include "master/master.h"
#include "system/reap.h"

#include <signal.h>
#include <string.h>

#define REAPED_PER_TURN 64

static void
stop_graceful(struct master *m)
{
	master_handle(m, ME_STOP);
}

static void
stop_quick(struct master *m)
{
	master_handle(m, ME_QUIT);
}

static void
reload_all(struct master *m)
{
	log_notice("SIGHUP: reload%s", m->state == MS_RUNNING ? "" :
	    m->state == MS_STOPPING ? " ignored, preforkd stops" : " follows the present one");
	if (m->is_check)
		return;
	master_handle(m, ME_RELOAD);
}

static void
reopen_logs(struct master *m)
{
	struct err e;

	if (generation_reopen_log(m->pool.gen, &e) < 0) {
		log_error("SIGUSR1: %s; the old file stays", e.text);
		return;
	}
	log_notice("SIGUSR1: logs are opened again");
	for (size_t i = 0; i < m->pool.n_all; i++)
		if (worker_state_is_alive(worker_state(m->pool.all[i])))
			worker_reopen_log(m->pool.all[i]);
	for (size_t i = 0; i < m->pool.n_molds; i++)
		mold_reopen_log(m->pool.molds[i]);
}

static void
no_upgrade(struct master *m UNUSED)
{
	log_warn("SIGUSR2: this version cannot be upgraded in place; ignored");
}

static void
scale_by(struct master *m, int by)
{
	size_t n = m->pool.target;

	if (m->state == MS_STOPPING || (by < 0 && n <= 1))
		return;
	n = by < 0 ? n - 1 : n + 1;
	if (pool_scale(&m->pool, n) < 0)
		log_error("cannot change the number of workers to %zu", n);
	else
		log_notice("scale: %zu workers, until the next reload", n);
}

static void
one_more(struct master *m)
{
	scale_by(m, 1);
}

static void
one_less(struct master *m)
{
	scale_by(m, -1);
}

/* Looks at each dead child before it is reaped: while the zombie holds its number, neither
 * it nor its process group can be somebody else. */
static void
reap_children(struct master *m)
{
	struct death d;

	for (int i = 0; i < REAPED_PER_TURN; i++) {
		struct worker *w;

		if (reap_peek(&d) <= 0)
			return;
		w = pool_find_pid(&m->pool, d.pid);
		if (w == NULL) {
			pool_hear_newborn(&m->pool);
			w = pool_find_pid(&m->pool, d.pid);
		}
		/* In a mold's group are workers that have not come as far as their own. */
		reap_finish(&d, w != NULL || pool_is_mold(&m->pool, d.pid));
		if (w != NULL)
			pool_reaped(&m->pool, w, &d);
		else if (pool_mold_reaped(&m->pool, &d))
			continue;
		else if (!helper_reaped(&m->helper, &d) && m->pool.hooks > 0 &&
		    pool_hook_reaped(&m->pool, d.pid))
			log_debug("on-worker-exit command pid %d ended", (int)d.pid);
	}
	/* More may be dead, and no further SIGCHLD has to come. */
	raise(SIGCHLD);
}

static const struct {
	int signal;
	void (*handle)(struct master *m);
} table[] = {
	{ SIGTERM, stop_graceful },
	{ SIGINT, stop_quick },
	{ SIGQUIT, stop_quick },
	{ SIGHUP, reload_all },
	{ SIGUSR1, reopen_logs },
	{ SIGUSR2, no_upgrade },
	{ SIGTTIN, one_more },
	{ SIGTTOU, one_less },
	{ SIGCHLD, reap_children },
};
_Static_assert(ARRAY_LEN(table) <= MASTER_SIGNALS, "room for every signal");

static const int ignored[] = {
	SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, SIGXFSZ, SIGXCPU,
};

void
signals_prepare(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		sigaddset(&set, table[i].signal);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		signal(ignored[i], SIG_IGN);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		signal(i, SIG_IGN);
	/* An ignored SIGCHLD, which a careless parent may leave, would lose every exit status. */
	signal(SIGCHLD, SIG_DFL);
}

static void
on_signal(struct ev_loop *loop UNUSED, ev_signal *s, int revents UNUSED)
{
	struct master *m = s->data;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].signal == s->signum)
			table[i].handle(m);
}

void
signals_start(struct master *m)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		ev_signal_init(&m->signals[i], on_signal, table[i].signal);
		m->signals[i].data = m;
		ev_signal_start(m->loop, &m->signals[i]);
		sigaddset(&set, table[i].signal);
	}
	m->n_signals = ARRAY_LEN(table);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
signals_stop(struct master *m)
{
	for (size_t i = 0; i < m->n_signals; i++)
		ev_signal_stop(m->loop, &m->signals[i]);
}
