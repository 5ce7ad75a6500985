/*
 * pool.c - see pool.h. Everything is decided in pool_round(), in one turn of the loop
 * after something has happened: events only note what they found and wake it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/values.h"
#include "system/clock.h"

#include <assert.h>
#include <string.h>

static void on_round(struct ev_loop *loop, ev_timer *t, int revents);
static void on_worker_ready(void *ctx, struct worker *w);
static void on_worker_news(void *ctx, struct worker *w);
static void on_worker_retry(void *ctx, struct worker *w);
static void on_worker_reported(void *ctx, struct worker *w, uint64_t id, const char *text);

static const struct worker_ops worker_ops = {
	.ready = on_worker_ready,
	.news = on_worker_news,
	.retry = on_worker_retry,
	.reported = on_worker_reported,
	.trimmed = pool_on_trimmed,
	.is_known = pool_is_known,
	.born = pool_on_born,
	.stillborn = pool_on_stillborn,
	.unreachable = pool_on_unreachable,
};

static int
grow_slots(struct pool *p, size_t n)
{
	struct slot *slots;

	if (n <= p->n_slots)
		return 0;
	slots = reallocarray(p->slots, n, sizeof *slots);
	if (slots == NULL)
		return -ENOMEM;
	memset(slots + p->n_slots, 0, (n - p->n_slots) * sizeof *slots);
	p->slots = slots;
	p->n_slots = n;
	return 0;
}

int
pool_init(struct pool *p, struct ev_loop *loop, const struct pool_ops *ops, void *ctx,
    struct generation *gen)
{
	*p = (struct pool){ .loop = loop, .ops = ops, .ctx = ctx };
	ev_init(&p->round, on_round);
	ev_init(&p->sampling, NULL);
	ev_init(&p->holding, NULL);
	ev_init(&p->steering, NULL);
	ev_init(&p->pressing, NULL);
	p->pressure = PRESSURE_NONE;
	ev_init(&p->mold_retry, NULL);
	governor_init(&p->governor);
	governor_set_policy(&p->governor, &gen->policy);
	p->gen = generation_ref(gen);
	p->target = p->wanted = gen->settings->workers;
	pool_budget_changed(p);
	/* Kills from before our time are not ours. */
	(void)cgroup_oom_kills(&p->oom_seen);
	pool_fit_lanes(p);
	return grow_slots(p, p->target);
}

void
pool_fini(struct pool *p)
{
	ev_timer_stop(p->loop, &p->round);
	pool_sampling_stop(p);
	pool_pressure_stop(p);
	ev_timer_stop(p->loop, &p->holding);
	ev_timer_stop(p->loop, &p->steering);
	ev_timer_stop(p->loop, &p->mold_retry);
	while (p->n_molds > 0)
		mold_free(p->molds[--p->n_molds]);
	free(p->molds);
	while (p->n_all > 0)
		pool_remove(p, p->all[p->n_all - 1]);
	for (size_t i = 0; i < p->n_leaving; i++)
		listener_unref(p->leaving[i]);
	free(p->leaving);
	for (size_t i = 0; i < p->n_slots; i++)
		pool_history_free(&p->slots[i]);
	free(p->slots);
	free(p->all);
	free(p->view);
	generation_unref(p->gen);
}

void
pool_wake(struct pool *p)
{
	ev_timer_stop(p->loop, &p->round);
	ev_timer_set(&p->round, 0., 0.);
	ev_timer_start(p->loop, &p->round);
}

/* The list of all workers. */

static bool
is_worker_id_taken(const struct pool *p, unsigned id)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i]->worker_id == id)
			return true;
	/* What clears up behind a worker by its id must not meet the next one's things. */
	for (unsigned i = 0; i < p->hooks; i++)
		if (p->hook_ids[i] == id)
			return true;
	return false;
}

/* The lowest that is free: workers that overlap must differ. */
static unsigned
free_worker_id(const struct pool *p)
{
	unsigned id = 1;

	while (is_worker_id_taken(p, id))
		id++;
	return id;
}

struct worker *
pool_add(struct pool *p, struct generation *gen, unsigned slot)
{
	struct worker *w;

	if (p->n_all == p->cap_all) {
		size_t cap = p->cap_all + 16;
		struct worker **all = reallocarray(p->all, cap, sizeof *all);
		struct gov_worker **view;

		if (all == NULL)
			return NULL;
		p->all = all;
		view = reallocarray(p->view, cap, sizeof *view);
		if (view == NULL)
			return NULL;
		p->view = view;
		p->cap_all = cap;
	}
	w = worker_new(p->loop, &worker_ops, p, gen, slot);
	if (w == NULL)
		return NULL;
	w->worker_id = free_worker_id(p);
	w->gov.serial = ++p->last_serial;
	p->all[p->n_all++] = w;
	return w;
}

void
pool_remove(struct pool *p, struct worker *w)
{
	for (size_t i = 0; i < p->n_slots; i++) {
		if (p->slots[i].serving == w)
			p->slots[i].serving = NULL;
		if (p->slots[i].successor == w)
			p->slots[i].successor = NULL;
	}
	if (p->canary == w)
		p->canary = NULL;
	for (size_t i = 0; i < p->n_all; i++) {
		if (p->all[i] == w) {
			p->all[i] = p->all[--p->n_all];
			break;
		}
	}
	worker_free(w);
}

struct worker *
pool_find_pid(const struct pool *p, pid_t pid)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i]->pid == pid && worker_state_is_alive(worker_state(p->all[i])))
			return p->all[i];
	return NULL;
}

struct worker *
pool_serving(const struct pool *p, unsigned slot)
{
	return slot >= 1 && slot <= p->n_slots ? p->slots[slot - 1].serving : NULL;
}

size_t
pool_count(const struct pool *p, enum worker_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_all; i++)
		n += worker_state(p->all[i]) == state;
	return n;
}

size_t
pool_old_serving(const struct pool *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_slots; i++) {
		const struct worker *w = p->slots[i].serving;

		n += w != NULL && (w->gen != p->gen || pool_is_let_in(w));
	}
	return n;
}

bool
pool_is_let_in(const struct worker *w)
{
	return w->gov.is_successor && worker_state(w) == WS_STARTING;
}

bool
pool_old_accepting(const struct pool *p)
{
	uint64_t now = clock_now_ms();

	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (worker_state(w) == WS_DRAINING && w->gen != p->gen && w->gen->has_agent &&
		    !w->agent_lost && !w->stopping && now - w->gov.drain_ms < POOL_CLOSING_MS)
			return true;
	}
	return false;
}

/* Starting. */

bool
pool_spawn(struct pool *p, struct worker *w)
{
	struct slot *slot = &p->slots[w->slot - 1];
	struct err e;
	char delay[32];

	if (pool_launch(p, w, &e) >= 0)
		return true;
	slot->failures++;
	value_human_time(backoff_ms(slot->failures), delay, sizeof delay);
	worker_log(w, LOG_LEVEL_ERROR, "cannot be started: %s; tried again in %s", e.text, delay);
	return false;
}

static void
start_in_slot(struct pool *p, unsigned number)
{
	struct slot *slot = &p->slots[number - 1];
	struct worker *w = pool_add(p, p->gen, number);

	if (w == NULL) {
		log_error("slot %u: out of memory; tried again in a second", number);
		ev_timer_stop(p->loop, &p->round);
		ev_timer_set(&p->round, 1., 0.);
		ev_timer_start(p->loop, &p->round);
		return;
	}
	slot->serving = w;
	if (slot->broken != 0) {
		w->gov.breaks = true;
		governor_started(&p->governor, &w->gov, &slot->broken_gov, slot->broken_reason,
		    clock_now_ms());
		slot->broken = 0;
	}
	if (!pool_spawn(p, w))
		worker_hold(w, backoff_ms(slot->failures));
}

/* There is no room for the next one before the old one is gone. */
static bool
is_awaited(const struct pool *p, uint64_t serial)
{
	for (size_t i = 0; i < p->n_all && serial != 0; i++)
		if (p->all[i]->gov.serial == serial)
			return true;
	return false;
}

static void
fill_slots(struct pool *p)
{
	for (unsigned i = 1; i <= p->target && !p->stopping && pool_may_order(p); i++) {
		if (p->slots[i - 1].serving != NULL || is_awaited(p, p->slots[i - 1].broken))
			continue;
		start_in_slot(p, i);
		/* While nothing has ever worked, one at a time is enough to tell. */
		if (!p->ever_ready && p->boot_failures > 0)
			break;
	}
}

static bool
may_fill(const struct pool *p)
{
	if (!pool_can_start(p))
		return false;
	if (p->ever_ready || p->boot_failures == 0)
		return true;
	for (size_t i = 0; i < p->n_all; i++)
		if (worker_state(p->all[i]) == WS_STARTING || worker_state(p->all[i]) == WS_BACKOFF)
			return false;
	return true;
}

/* One look at everything. */

static void
on_round(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct pool *p = container_of(t, struct pool, round);
	/* Dead workers are freed here, where no callback of theirs is on the stack. */
	bool any_gone = pool_remove_dead(p);

	if (p->stopping) {
		if (p->n_all == 0 && p->n_molds == 0)
			p->ops->empty(p->ctx);
		return;
	}
	/* Else another one would have to go for the memory that this one has given back. */
	if (any_gone && p->is_tight)
		pool_look_now(p);
	pool_keep_molds(p);
	if (may_fill(p))
		fill_slots(p);
	pool_govern(p);
	pool_check_leaving(p);
	pool_trim_lanes(p);
	pool_steer(p);
}

void
pool_start(struct pool *p)
{
	pool_sampling_start(p);
	pool_wake(p);
}

/* What workers tell. */

/* As TCP estimates how long an answer takes (RFC 6298). */
static void
note_boot(struct pool *p, const struct worker *w)
{
	bool is_alone = w->gov.is_successor && !w->is_canary;
	uint64_t usec = MAX_OF((clock_now_ms() - w->spawned_ms) * USEC_PER_MSEC, UINT64_C(1));
	uint64_t off = MAX_OF(usec, p->boot_usec) - MIN_OF(usec, p->boot_usec);

	if (p->boot_usec == 0 || (is_alone && p->boot_is_guess)) {
		p->boot_usec = usec;
		p->boot_spread_usec = usec / 2;
		p->boot_is_guess = !is_alone;
	} else if (is_alone) {
		p->boot_spread_usec = (3 * p->boot_spread_usec + off) / 4;
		p->boot_usec = (7 * p->boot_usec + usec) / 8;
	}
}

struct worker *
pool_take_over(struct slot *slot)
{
	struct worker *old = slot->serving;

	slot->serving = TAKE_PTR(slot->successor);
	if (old != NULL)
		old->gov.has_successor = false;
	return old;
}

static void
on_worker_ready(void *ctx, struct worker *w)
{
	struct pool *p = ctx;
	struct slot *slot = &p->slots[w->slot - 1];

	p->ever_ready = true;
	note_boot(p, w);
	w->gov.breaks = false;
	w->gov.is_successor = w->is_canary;
	w->gov.can_trim = w->gen->has_agent;
	governor_boot_ok(&p->governor);
	pool_start_quiet(p, w->gen);
	pool_check_sockets(p, w->gen, w->lane);
	if (p->closing)
		worker_announce_close(w);
	pool_steer(p);
	if (slot->successor == w) {
		struct worker *old = pool_take_over(slot);

		if (old != NULL)
			pool_drain(p, old, pool_drain_reason(old));
	}
	/* It was let finish its start for those that wait in its lane. */
	if (w->slot > p->target)
		governor_order(&w->gov, REASON_SCALE, clock_now_ms());
	if (p->stopping) {
		w->holds = pool_must_hold(p, w);
		worker_handle(w, WE_DRAIN, REASON_STOP);
		pool_hold_start(p);
		return;
	}
	pool_sample_now(p, w);
	p->ops->ready(p->ctx, w);
	pool_wake(p);
}

static void
on_worker_news(void *ctx, struct worker *w)
{
	struct pool *p = ctx;

	if (w->requests > 0 && worker_state(w) == WS_READY && w->slot <= p->n_slots)
		p->slots[w->slot - 1].failures = 0;
	pool_sampling_hint(p, w);
	pool_steer_soon(p, w);
	if (pool_is_due(w) && p->waiting == NULL)
		pool_wake(p);
}

static void
on_worker_retry(void *ctx, struct worker *w)
{
	struct pool *p = ctx;

	pool_remove(p, w);
	pool_wake(p);
}

static void
on_worker_reported(void *ctx, struct worker *w, uint64_t id, const char *text)
{
	struct pool *p = ctx;

	if (!pool_trace_reported(w, id, text))
		p->ops->reported(p->ctx, w, id, text);
}
