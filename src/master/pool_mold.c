/*
 * pool_mold.c - each generation has at most one mold, and as long as it has not said how its
 * workers start, there are none.
 *
 * A mold that dies touches nobody: a new one is started at once. Until that is ready recycles
 * wait; a slot that is empty waits as well, but not for a mold that has failed twice.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define FAILURES_BEFORE_EXEC 2
#define STABLE_MS  UINT64_C(10000)
#define ORDERS_MAX 64		/* its socket holds more, but not without an end */

static void on_mold_ready(void *ctx, struct mold *m);

static const struct mold_ops mold_ops = { .ready = on_mold_ready };

struct mold *
pool_mold(const struct pool *p, const struct generation *gen)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->gen == gen && p->molds[i]->state != MOLD_ENDING)
			return p->molds[i];
	return NULL;
}

bool
pool_has_mold(struct pool *p, pid_t pid)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->pid == pid)
			return mold_is_there(p->molds[i]);
	return false;
}

bool
pool_may_order(const struct pool *p)
{
	const struct mold *m = pool_mold(p, p->gen);

	return m == NULL || m->owed < ORDERS_MAX;
}

bool
pool_can_start(const struct pool *p)
{
	const struct mold *m = pool_mold(p, p->gen);

	return p->gen->starts == STARTS_BY_EXEC || (m != NULL && mold_is_ready(m)) ||
	    (p->gen->starts == STARTS_BY_FORK && p->gen->mold_failures >= FAILURES_BEFORE_EXEC);
}

static void
on_mold_ready(void *ctx, struct mold *m)
{
	struct pool *p = ctx;

	p->ops->mold_ready(p->ctx, m);
	pool_wake(p);
}

static struct mold *
add(struct pool *p, struct generation *gen, struct err *e)
{
	struct mold **molds = reallocarray(p->molds, p->n_molds + 1, sizeof *molds);
	struct mold *m;

	if (molds == NULL) {
		err_sys(e, ENOMEM, "mold");
		return NULL;
	}
	p->molds = molds;
	m = mold_new(p->loop, &mold_ops, p, gen, e);
	if (m != NULL)
		p->molds[p->n_molds++] = m;
	return m;
}

/* When the next one may be tried, after some that failed in a row. */
static uint64_t
retry_delay_ms(const struct pool *p)
{
	unsigned failures = p->gen->mold_failures;

	/* The first to end after it was of use is replaced at once. */
	if (failures == 0)
		return p->gen->mold_short_lives < 2 ? 0 : backoff_ms(p->gen->mold_short_lives);
	/* Nobody serves: as with a worker. Else it is a look now and then, at code that is bad. */
	return p->ever_ready ? mold_backoff_ms(failures) : backoff_ms(failures);
}

static void
on_retry(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	pool_wake(container_of(t, struct pool, mold_retry));
}

static void
retry_later(struct pool *p, uint64_t delay)
{
	p->mold_next_ms = clock_now_ms() + delay;
	ev_timer_stop(p->loop, &p->mold_retry);
	/* libev counts from the begin of this turn of the loop: never shorter than asked. */
	ev_now_update(p->loop);
	ev_timer_init(&p->mold_retry, on_retry, (double)delay / 1000.0, 0.);
	ev_timer_start(p->loop, &p->mold_retry);
}

static void
start_missing(struct pool *p)
{
	struct err e;
	char text[32];
	uint64_t delay;

	if (p->gen->starts == STARTS_BY_EXEC || pool_mold(p, p->gen) != NULL)
		return;
	if (clock_now_ms() < p->mold_next_ms) {
		if (!ev_is_active(&p->mold_retry))
			retry_later(p, p->mold_next_ms - clock_now_ms());
		return;
	}
	if (add(p, p->gen, &e) != NULL)
		return;
	p->gen->mold_failures++;
	delay = retry_delay_ms(p);
	value_human_time(delay, text, sizeof text);
	log_error("mold of generation %u cannot be started: %s; tried again in %s", p->gen->number,
	    e.text, text);
	retry_later(p, delay);
}

static bool
is_old(const struct pool *p, const struct mold *m)
{
	return m->gen != p->gen && !m->is_candidate;
}

void
pool_keep_molds(struct pool *p)
{
	bool rolls = pool_old_serving(p) > 0;
	const struct mold *m;
	unsigned newest = 0;

	for (size_t i = 0; i < p->n_molds; i++)
		if (is_old(p, p->molds[i]) && p->molds[i]->state != MOLD_ENDING)
			newest = MAX_OF(newest, p->molds[i]->gen->number);
	/* The last one stays until the roll is over; more would pile up. */
	for (size_t i = 0; i < p->n_molds; i++)
		if (is_old(p, p->molds[i]) && (!rolls || p->molds[i]->gen->number != newest))
			mold_end(p->molds[i]);
	start_missing(p);
	m = pool_mold(p, p->gen);
	p->governor.mold_away = p->gen->starts != STARTS_BY_EXEC &&
	    (m == NULL || !mold_is_ready(m));
}

int
pool_start_candidate_mold(struct pool *p, struct generation *gen, struct err *e)
{
	struct mold *m = add(p, gen, e);

	if (m == NULL)
		return -EAGAIN;
	m->is_candidate = true;
	return 0;
}

void
pool_end_mold(struct pool *p, const struct generation *gen)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->gen == gen)
			mold_end(p->molds[i]);
}

void
pool_end_molds(struct pool *p)
{
	ev_timer_stop(p->loop, &p->mold_retry);
	for (size_t i = 0; i < p->n_molds; i++)
		mold_end(p->molds[i]);
}

/* One that has forked was good, whatever it died of; but not one after another. */
static void
note_failure(const struct mold *m)
{
	bool is_stable = m->ready_ms != 0 && clock_now_ms() - m->ready_ms > STABLE_MS;

	m->gen->mold_failures = m->forked > 0 ? 0 : m->gen->mold_failures + 1;
	m->gen->mold_short_lives = is_stable ? 0 : m->gen->mold_short_lives + 1;
}

/* Ended by itself: what follows, and one line about it. */
static void
unasked(struct pool *p, struct mold *m, const char *how, const char *words)
{
	bool is_current = m->gen == p->gen && !p->stopping, gave_up;
	bool booting = m->state == MOLD_BOOTING;
	char next[80] = "", text[32], age[32];
	uint64_t delay = 0;

	note_failure(m);
	p->boot_failures += booting && !p->stopping;
	gave_up = is_current && !p->ever_ready &&
	    m->gen->mold_failures >= m->gen->settings->boot_attempts;
	if (gave_up) {
		snprintf(next, sizeof next, "; it was the last attempt (boot-attempts)");
	} else if (is_current) {
		delay = retry_delay_ms(p);
		value_human_time(delay, text, sizeof text);
		snprintf(next, sizeof next, delay == 0 ? "; a new one starts"
		    : "; next attempt in %s", text);
	}
	if (booting && words[0] != '\0')
		base_replace(&m->gen->mold_words, strndup(words, strcspn(words, "\n")));
	value_human_time(clock_now_ms() - m->spawned_ms, age, sizeof age);
	mold_log(m, LOG_LEVEL_ERROR, "mold ended %s: %s after %s%s%.*s%s",
	    booting ? "before it was ready" : "unasked", how, age, words[0] != '\0' ? ": " : "",
	    (int)strcspn(words, "\n"), words, next);
	if (booting)
		p->ops->mold_failed(p->ctx, m, how, words);
	if (gave_up)
		p->ops->gave_up(p->ctx, words);
	else if (is_current)
		retry_later(p, delay);
}

/* In words; of_itself are those about its status. */
static const char *
how_it_ended(struct pool *p, const struct mold *m, const struct death *d, const char *of_itself)
{
	if (m->timed_out)
		return "boot-timeout";
	if (!d->by_signal || d->status != SIGKILL || !pool_oom_rose(p))
		return of_itself;
	p->oom_kills++;
	return "killed by the kernel because the cgroup ran out of memory";
}

bool
pool_is_mold(const struct pool *p, pid_t pid)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->pid == pid)
			return true;
	return false;
}

bool
pool_mold_reaped(struct pool *p, const struct death *d)
{
	AUTO_FREE char *words = NULL;
	struct mold *m;
	size_t i = 0;
	char how[80];

	while (i < p->n_molds && p->molds[i]->pid != d->pid)
		i++;
	if (i == p->n_molds)
		return false;
	m = p->molds[i];
	mold_reaped(m);
	p->molds[i] = p->molds[--p->n_molds];
	death_describe(d, how, sizeof how);
	words = mold_last_words(m);
	if (m->state == MOLD_ENDING)
		mold_log(m, LOG_LEVEL_DEBUG, "mold ended: %s", how);
	else
		unasked(p, m, how_it_ended(p, m, d, how), words != NULL ? words : "");
	mold_free(m);
	pool_wake(p);
	return true;
}

/* Workers that are forked. */

int
pool_launch(struct pool *p, struct worker *w, struct err *e)
{
	struct mold *m = w->gen->starts == STARTS_BY_FORK ? pool_mold(p, w->gen) : NULL;

	if (m != NULL && !mold_is_ready(m))
		m = NULL;
	return worker_spawn(w, m, e);
}

bool
pool_is_known(void *ctx, pid_t pid)
{
	const struct pool *p = ctx;

	if (pool_is_mold(p, pid))
		return true;
	for (unsigned i = 0; i < p->hooks; i++)
		if (p->hook_pids[i] == pid)
			return true;
	return pool_find_pid(p, pid) != NULL;
}

/* The mold that was asked for w, while it can be asked for more. */
static void
answered(struct pool *p, const struct worker *w, bool born)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->pid == w->mold_pid)
			mold_answered(p->molds[i], born);
	/* More may be ordered now. */
	pool_wake(p);
}

void
pool_on_born(void *ctx, struct worker *w)
{
	worker_log(w, LOG_LEVEL_DEBUG, "forked by the mold, pid %d, after %llu ms",
	    (int)w->mold_pid, (unsigned long long)(clock_now_ms() - w->spawned_ms));
	answered(ctx, w, true);
}

void
pool_on_stillborn(void *ctx, struct worker *w)
{
	answered(ctx, w, false);
	pool_stillborn(ctx, w);
}

/* What hangs before it is a worker is in the group of its mold, and ends with that. */
void
pool_on_unreachable(void *ctx, struct worker *w)
{
	struct pool *p = ctx;

	for (size_t i = 0; i < p->n_molds; i++) {
		if (p->molds[i]->pid != w->mold_pid)
			continue;
		mold_log(p->molds[i], LOG_LEVEL_ERROR, "the worker that slot %u was to get has not "
		    "shown itself; its mold is killed", w->slot);
		mold_kill(p->molds[i]);
	}
}

void
pool_hear_newborn(struct pool *p)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i]->unborn)
			worker_channel_drain(p->all[i]);
}
