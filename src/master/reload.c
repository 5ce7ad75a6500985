/*
 * reload.c - see reload.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/reload.h"

#include "master/loader.h"
#include "master/master.h"
#include "model/values.h"
#include "system/clock.h"

#include <stdio.h>
#include <string.h>

#define CLOSING_POLL_SECONDS .02

static void on_baked(struct ev_loop *loop, ev_timer *t, int revents);

void
reload_init(struct reload *r, struct master *m)
{
	*r = (struct reload){ .master = m };
	ev_init(&r->bake, on_baked);
}

void
reload_fini(struct reload *r)
{
	ev_timer_stop(r->master->loop, &r->bake);
	generation_unref(r->gen);
	free(r->error);
}

/* summary NULL: it worked. Else it is one line, for status and systemd; reason is what the
 * one who asked is told, words the worker's last ones or NULL. */
static void
end(struct reload *r, const char *summary, const char *reason, const char *words)
{
	struct master *m = r->master;

	ev_timer_stop(m->loop, &r->bake);
	if (r->gen != NULL)
		pool_end_mold(&m->pool, r->gen);
	generation_unref(TAKE_PTR(r->gen));
	r->phase = RELOAD_NONE;
	m->pool.governor.hold = false;
	r->any = true;
	r->ok = summary == NULL;
	r->ended_ms = clock_now_ms();
	r->took_ms = r->ended_ms - r->started_ms;
	r->generation = m->pool.gen->number;
	base_replace(&r->error, summary != NULL ? strdup(summary) : NULL);
	master_reload_ended(m, reason, words);
}

static void PRINTF_LIKE(3, 4)
give_up(struct reload *r, const char *words, const char *fmt, ...)
{
	AUTO_BUF struct buf reason = BUF_INIT(4096);
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_printf(&reason, "%s; generation %u serves on, nothing has changed", text,
	    r->master->pool.gen->number);
	log_error("reload failed: %s", reason.data != NULL ? reason.data : text);
	end(r, text, reason.data != NULL ? reason.data : text, words);
}

/* Every mistake, one a line. */
static void
give_up_settings(struct reload *r, const struct errs *errs)
{
	AUTO_BUF struct buf all = BUF_INIT(65536);
	AUTO_BUF struct buf summary = BUF_INIT(2048);

	if (errs->n == 0) {
		give_up(r, NULL, "out of memory");
		return;
	}
	buf_printf(&all, "%zu mistake%s in the settings; generation %u serves on, nothing has "
	    "changed:", errs->n + errs->dropped, errs->n > 1 ? "s" : "",
	    r->master->pool.gen->number);
	for (size_t i = 0; i < errs->n; i++)
		buf_printf(&all, "\n%s", errs->text[i]);
	buf_puts(&summary, errs->text[0]);
	if (errs->n > 1)
		buf_printf(&summary, " (and %zu more)", errs->n + errs->dropped - 1);
	log_error("reload failed: %s", all.data != NULL ? all.data : "out of memory");
	end(r, summary.data != NULL ? summary.data : "out of memory",
	    all.data != NULL ? all.data : "out of memory", NULL);
}

/* Keys that need a restart keep their values, with a word about it. */
static int
keep_restart_keys(const struct settings *old, struct settings *new_)
{
	AUTO_BUF struct buf names = BUF_INIT(4096);

	settings_restart_diff(old, new_, &names);
	if (names.len == 0)
		return 0;
	log_warn("reload: changes of %s need a restart; the old values stay", names.data);
	return settings_keep_restart_keys(old, new_);
}

/* The first worker of the new generation. */
static void
start_canary(struct reload *r)
{
	struct master *m = r->master;
	struct err e;

	if (pool_start_canary(&m->pool, r->gen, &e) < 0)
		give_up(r, NULL, "%s", e.text);
	else if (m->pool.canary->unborn)
		master_progress(m, "generation %u: a worker is forked", r->gen->number);
	else
		master_progress(m, "generation %u: worker pid %d boots", r->gen->number,
		    (int)m->pool.canary->pid);
}

void
reload_begin(struct reload *r)
{
	struct master *m = r->master;
	struct generation_plan plan = {
		.number = m->pool.gen->number + 1,
		.old = m->pool.gen,
		.inherited = &m->inherited,
		.leaving = m->pool.leaving,
		.n_leaving = m->pool.n_leaving,
	};
	CLEANUP(errs_clear) struct errs errs = {0};
	CLEANUP(settings_freep) struct settings *s = NULL;
	struct err e;

	r->started_ms = clock_now_ms();
	r->phase = RELOAD_BOOT;
	log_notice("reload: generation %u is tried", plan.number);
	master_progress(m, "settings are read");
	if (loader_load(m->loader, &s, &errs) < 0) {
		give_up_settings(r, &errs);
		return;
	}
	if (keep_restart_keys(m->pool.gen->settings, s) < 0) {
		give_up(r, NULL, "out of memory");
		return;
	}
	if (generation_new(TAKE_PTR(s), &plan, &r->gen, &e) < 0) {
		give_up(r, NULL, "%s", e.text);
		return;
	}
	m->pool.governor.hold = true;
	pool_say_lack(&m->pool, r->gen->starts == STARTS_UNDECIDED);
	if (r->gen->starts != STARTS_UNDECIDED)
		start_canary(r);
	else if (pool_start_candidate_mold(&m->pool, r->gen, &e) < 0)
		give_up(r, NULL, "%s", e.text);
	else
		master_progress(m, "generation %u: its mold boots", plan.number);
}

void
reload_on_mold_ready(struct reload *r, const struct mold *m)
{
	if (r->phase != RELOAD_BOOT || m->gen != r->gen)
		return;
	if (m->gen->mold_words != NULL)
		master_progress(r->master, "%s", m->gen->mold_words);
	start_canary(r);
}

void
reload_on_mold_failed(struct reload *r, const struct mold *m, const char *how, const char *words)
{
	char text[ERR_TEXT_MAX];

	if ((r->phase == RELOAD_BOOT || r->phase == RELOAD_BAKE) && m->gen == r->gen) {
		give_up(r, words, "the new mold (pid %d) did not become ready: %s%s%.*s",
		    (int)m->pid, how, words[0] != '\0' ? ": " : "", (int)strcspn(words, "\n"),
		    words);
	} else if (r->phase == RELOAD_ROLL && m->gen == r->master->pool.gen) {
		snprintf(text, sizeof text, "generation %u is current, but its mold ended and the next "
		    "one (pid %d) did not become ready: %s%s%.*s; %zu old workers serve on until one "
		    "does", m->gen->number, (int)m->pid, how, words[0] != '\0' ? ": " : "",
		    (int)strcspn(words, "\n"), words, pool_old_serving(&r->master->pool));
		log_error("reload stalled: %s", text);
		end(r, text, text, words);
	}
}

static void
check_roll(struct reload *r)
{
	struct master *m = r->master;
	size_t left;
	char took[32];

	if (r->phase != RELOAD_ROLL)
		return;
	left = pool_old_serving(&m->pool);
	if (left > 0) {
		if (left != r->rolled)
			master_progress(m, "%zu of %zu workers to go", left, m->pool.target);
		r->rolled = left;
		return;
	}
	/* Who asked may try the new release at once: no old worker is to answer then. */
	if (pool_old_accepting(&m->pool)) {
		ev_timer_stop(m->loop, &r->bake);
		ev_timer_set(&r->bake, CLOSING_POLL_SECONDS, 0.);
		ev_timer_start(m->loop, &r->bake);
		return;
	}
	value_human_time(clock_now_ms() - r->started_ms, took, sizeof took);
	log_notice("reload: done, generation %u serves, after %s", m->pool.gen->number, took);
	end(r, NULL, NULL, NULL);
}

static void
commit(struct reload *r)
{
	struct master *m = r->master;
	struct generation *gen = r->gen;

	r->phase = RELOAD_ROLL;
	r->rolled = 0;
	m->pool.governor.hold = false;
	log_notice("reload: generation %u is good and current; the other workers are replaced "
	    "one after another", gen->number);
	master_progress(m, "generation %u is current", gen->number);
	pool_commit(&m->pool, gen);
	r->gen = NULL;
	generation_unref(gen);
	master_settings_changed(m);
	check_roll(r);
}

static void
on_baked(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct reload *r = container_of(t, struct reload, bake);

	if (r->phase == RELOAD_BAKE)
		commit(r);
	else
		check_roll(r);
}

void
reload_on_ready(struct reload *r, const struct worker *w)
{
	struct master *m = r->master;

	if (r->phase == RELOAD_BOOT && w == m->pool.canary) {
		uint64_t bake = r->gen->settings->canary_time_ms;

		r->phase = RELOAD_BAKE;
		master_progress(m, "worker pid %d is ready", (int)w->pid);
		/* Also with 0 from the loop: this is called from within the pool. */
		ev_timer_set(&r->bake, (double)bake / 1000.0, 0.);
		ev_timer_start(m->loop, &r->bake);
		return;
	}
	check_roll(r);
}

void
reload_on_boot_failed(struct reload *r, const struct worker *w, const char *how,
    const char *words)
{
	if (r->phase == RELOAD_BOOT && w->is_canary) {
		char who[32] = "";

		if (w->pid > 0)
			snprintf(who, sizeof who, " (pid %d)", (int)w->pid);
		give_up(r, words, "the new worker%s did not become ready: %s%s%.*s",
		    who, w->reason == REASON_BOOT_TIMEOUT ? "boot-timeout" : how,
		    words[0] != '\0' ? ": " : "", (int)strcspn(words, "\n"), words);
	} else if (r->phase == RELOAD_ROLL) {
		char text[ERR_TEXT_MAX];

		snprintf(text, sizeof text, "generation %u is current, but the worker of slot %u "
		    "(pid %d) did not start: %s%s%.*s; %zu old workers serve on until a start succeeds",
		    r->master->pool.gen->number, w->slot, (int)w->pid, how,
		    words[0] != '\0' ? ": " : "", (int)strcspn(words, "\n"), words,
		    pool_old_serving(&r->master->pool));
		log_error("reload stalled: %s", text);
		end(r, text, text, words);
	}
}

void
reload_on_ended(struct reload *r, const struct worker *w)
{
	/* pool_drop_canary() has cleared it already when it was our own wish. */
	if (r->phase == RELOAD_BAKE && w->is_canary && w == r->master->pool.canary) {
		char how[80];

		death_describe(&w->death, how, sizeof how);
		give_up(r, NULL, "the new worker (pid %d) ended within canary-time: %s",
		    (int)w->pid, how);
		return;
	}
	check_roll(r);
}

void
reload_cancel(struct reload *r)
{
	if (r->phase == RELOAD_NONE)
		return;
	if (r->phase != RELOAD_ROLL)
		pool_drop_canary(&r->master->pool, REASON_STOP);
	end(r, "preforkd stops", "preforkd stops", NULL);
}

void
reload_hurry(struct reload *r)
{
	if (r->phase != RELOAD_ROLL)
		return;
	log_info("reload: generation %u is current; its roll goes on with the next reload",
	    r->master->pool.gen->number);
	end(r, NULL, NULL, NULL);
}
