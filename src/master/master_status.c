/*
 * master_status.c - the snapshot of everything, for status, metrics and systemd.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/master.h"

#include "base/buf.h"
#include "model/status.h"
#include "system/clock.h"
#include "system/lanes.h"
#include "system/notify.h"

#include <string.h>

uint64_t
master_requests(const struct master *m)
{
	uint64_t n = m->pool.past_requests;

	for (size_t i = 0; i < m->pool.n_all; i++)
		n += m->pool.all[i]->requests;
	return n;
}

static uint64_t
since(uint64_t now, uint64_t then)
{
	return then != 0 && now > then ? now - then : 0;
}

static enum reason
shown_reason(const struct worker *w)
{
	if (w->reason != REASON_NONE || w->gov.due == 0)
		return w->reason;
	return pool_drain_reason(w);
}

static void
fill_worker(const struct pool *p, const struct worker *w, uint64_t now, struct status_worker *s)
{
	bool alive = worker_state_is_alive(worker_state(w));

	*s = (struct status_worker){
		.slot = w->slot,
		.pid = alive ? w->pid : 0,
		.worker_id = w->worker_id,
		.serial = w->gov.serial,
		.generation = w->gen->number,
		.state = worker_state(w),
		.is_successor = w->gov.is_successor,
		.agent_lost = alive && w->agent_lost,
		.requests = w->requests,
		.in_flight = w->in_flight,
		.oldest_request_ms = since(now, w->oldest_ms),
		.rss_bytes = alive ? w->own.rss_bytes + w->group.rss_bytes : 0,
		.footprint_known = alive && w->footprint.known,
		.uss_bytes = w->footprint.uss,
		.pss_bytes = w->footprint.pss,
		.swap_bytes = w->footprint.swap,
		.trims = w->trims.n,
		.trimmed_bytes = w->trims.given_back,
		.trim_known = w->trims.last.known,
		.trim_ago_ms = since(now, w->trims.last.at_ms),
		.trim_bytes = trim_gain(&w->trims.last),
		.trim_took_us = w->trims.took_us,
		.trim_refusal = w->trims.refusal,
		.traces = alive && w->may_trace,
		.traced_bytes = alive ? w->traced_bytes : 0,
		.as_bytes = alive ? w->own.as_bytes + w->group.as_bytes : 0,
		.peak_rss_bytes = alive ? w->peak_bytes : 0,
		.fds = alive ? w->fds : 0,
		.fds_unavailable = w->fds_unavailable,
		.age_ms = alive ? since(now, w->spawned_ms) : 0,
		.ready_ms = w->gov.ready_ms != 0 ? w->gov.ready_ms - w->spawned_ms : 0,
		.max_requests = w->gov.max_requests,
		.max_lifetime_ms = w->gov.max_lifetime_ms,
		.next_attempt_ms = worker_state(w) == WS_BACKOFF && w->deadline_ms > now
		    ? w->deadline_ms - now : 0,
		.last_reason = w->slot <= p->n_slots ? p->slots[w->slot - 1].last_reason
		    : REASON_NONE,
		.reason = alive ? shown_reason(w) : REASON_NONE,
		.server = w->server,
		.status = w->status,
	};
}

static int
compare_workers(const void *a, const void *b)
{
	const struct status_worker *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->serial < y->serial ? 1 : -1;
}

static void
fill_futile(const struct pool *p, struct status_governor *g)
{
	const struct governor *gov = &p->governor;
	const struct gov_policy *policy = &p->gen->policy;

	for (unsigned m = 0; m < GM_N; m++) {
		struct status_futile f = {
			.key = reason_name(gov_metric_reason(m)),
			.limit_bytes = governor_limit(gov, policy, m),
			.fresh_bytes = MAX_OF(governor_fresh(gov, m), gov->meter[m].poor.size),
			.suggest_bytes = governor_suggest(gov, m),
		};

		if (gov->meter[m].futile && g->n_futile < STATUS_FUTILE_MAX)
			g->futile[g->n_futile++] = f;
		f.key = reason_name(gov_metric_evil(m));
		f.limit_bytes = governor_evil(gov, policy, m);
		f.fresh_bytes = governor_fresh(gov, m);
		if (gov->meter[m].evil_futile && g->n_futile < STATUS_FUTILE_MAX)
			g->futile[g->n_futile++] = f;
	}
}

static void
fill_budget(const struct pool *p, uint64_t now, struct status_budget *b)
{
	const struct gov_pool *g = &p->governor.pool;

	*b = (struct status_budget){
		.limit_bytes = g->b.limit,
		.high_bytes = g->b.high,
		.used_bytes = g->b.used,
		.workers_bytes = g->ours,
		.others_known = g->others_known,
		.others_bytes = g->others,
		.by_others = g->by_others,
		.futile = g->futile,
		.fit = p->fit == UINT64_MAX ? 0 : p->fit,
		.pressure = pool_is_pressed(p, now),
	};
}

static void
fill_governor(const struct pool *p, uint64_t now, struct status_governor *g)
{
	const struct governor *gov = &p->governor;

	*g = (struct status_governor){
		.queued = p->queued,
		.code_bad = gov->code_bad,
		.next_probe_ms = gov->code_bad && gov->next_probe_ms > now
		    ? gov->next_probe_ms - now : 0,
		.roll_stalled = gov->code_bad && pool_old_serving(p) > 0,
		.dry_run = p->gen->policy.dry_run,
		.dry_run_would = gov->dry_run_would,
		.waiting = p->waiting,
		.fresh_rss_bytes = governor_fresh(gov, GM_RSS),
	};
	for (size_t i = 0; i < p->n_all; i++)
		g->starting += p->all[i]->gov.is_successor &&
		    worker_state(p->all[i]) == WS_STARTING;
	fill_futile(p, g);
}

static size_t
count_sockets(const struct generation *gen)
{
	size_t n = 0;

	for (size_t i = 0; i < gen->n_listeners; i++)
		n += lanes_count(gen->listeners[i]);
	return n;
}

static void
fill_sockets(const struct generation *gen, struct status_socket *s)
{
	for (size_t i = 0; i < gen->n_listeners; i++) {
		struct listener *l = gen->listeners[i];
		unsigned lanes = lanes_count(l);
		bool of_slots = gen->per_slot && lanes_possible(l);

		for (unsigned lane = 0; lane < lanes; lane++, s++) {
			*s = (struct status_socket){
				.address = l->address.text,
				.slot = of_slots || lane > 0 ? lane + 1 : 0,
			};
			s->known = listener_queue(lanes_socket(l, lane), &s->queue,
			    &s->backlog) == 0;
		}
	}
}

static void
fill_molds(const struct pool *p, uint64_t now, struct status_mold *s)
{
	static const char *const states[] = {
		[MOLD_BOOTING] = "starting", [MOLD_READY] = "ready", [MOLD_ENDING] = "ending",
	};

	for (size_t i = 0; i < p->n_molds; i++) {
		const struct mold *m = p->molds[i];

		s[i] = (struct status_mold){
			.pid = m->pid,
			.generation = m->gen->number,
			.state = states[m->state],
			.age_ms = since(now, m->spawned_ms),
			.forked = m->forked,
			.rss_bytes = m->rss_bytes,
			.footprint_known = m->footprint.known,
			.uss_bytes = m->footprint.uss,
			.pss_bytes = m->footprint.pss,
			.swap_bytes = m->footprint.swap,
		};
	}
}

static void
fill_preload(const struct pool *p, uint64_t now, struct status_preload *s)
{
	static const char *const hows[] = {
		[STARTS_BY_EXEC] = "exec", [STARTS_BY_FORK] = "fork",
		[STARTS_UNDECIDED] = "undecided",
	};

	*s = (struct status_preload){
		.how = hows[p->gen->starts],
		.text = p->gen->mold_words,
		.failures = p->gen->mold_failures,
		.next_attempt_ms = p->mold_next_ms > now ? p->mold_next_ms - now : 0,
	};
}

static void
fill(struct master *m, struct status *s, struct status_worker *workers, const char **listen)
{
	const struct pool *p = &m->pool;
	uint64_t now = clock_now_ms();

	*s = (struct status){
		.version = PACKAGE_VERSION,
		.name = p->gen->settings->name,
		.app = settings_app_name(p->gen->settings),
		.pid = getpid(),
		.state = m->state,
		.generation = p->gen->number,
		.uptime_ms = now - m->started_ms,
		.listen = listen,
		.n_listen = p->gen->n_listeners,
		.target_workers = p->target,
		.workers = workers,
		.n_workers = p->n_all,
		.crashes = p->crashes,
		.oom_kills = p->oom_kills,
		.boot_failures = p->boot_failures,
		.requests_total = master_requests(m),
		.last_reload = {
			.any = m->reload.any,
			.running = m->reload.phase != RELOAD_NONE,
			.ok = m->reload.ok,
			.generation = m->reload.generation,
			.ago_ms = since(now, m->reload.ended_ms),
			.took_ms = m->reload.took_ms,
			.error = m->reload.error,
		},
	};
	memcpy(s->recycles, p->recycles, sizeof s->recycles);
	for (size_t i = 0; i < p->gen->n_listeners; i++)
		listen[i] = p->gen->listeners[i]->address.text;
	for (size_t i = 0; i < p->n_all; i++) {
		fill_worker(p, p->all[i], now, &workers[i]);
		if (workers[i].pid != 0 && p->all[i]->uss_unavailable != NULL)
			s->uss_unavailable = p->all[i]->uss_unavailable;
	}
	qsort(workers, p->n_all, sizeof *workers, compare_workers);
	fill_preload(p, now, &s->preload);
	pool_cgroup_status(&p->cgroup, now, &s->cgroup);
	fill_budget(p, now, &s->budget);
	s->trims = (struct status_trims){
		.asked = p->trims,
		.given_back_bytes = p->trimmed_bytes,
		.off_ms = p->governor.trims_off_ms == 0 ||
		    now - p->governor.trims_off_ms >= GOV_TRIM_OFF_MS ? 0
		    : p->governor.trims_off_ms + GOV_TRIM_OFF_MS - now,
	};
	fill_governor(p, now, &s->governor);
}

json_t *
master_status(struct master *m)
{
	AUTO_FREE struct status_worker *workers = calloc(m->pool.n_all + 1, sizeof *workers);
	AUTO_FREE const char **listen = calloc(m->pool.gen->n_listeners + 1, sizeof *listen);
	AUTO_FREE struct status_mold *molds = calloc(m->pool.n_molds + 1, sizeof *molds);
	size_t n_sockets = count_sockets(m->pool.gen);
	AUTO_FREE struct status_socket *sockets = calloc(n_sockets + 1, sizeof *sockets);
	struct status s;

	if (workers == NULL || listen == NULL || sockets == NULL || molds == NULL)
		return NULL;
	fill(m, &s, workers, listen);
	fill_sockets(m->pool.gen, sockets);
	fill_molds(&m->pool, clock_now_ms(), molds);
	s.molds = molds;
	s.n_molds = m->pool.n_molds;
	s.sockets = sockets;
	s.n_sockets = n_sockets;
	return status_to_json(&s);
}

void
master_tell_status(struct master *m)
{
	AUTO_FREE struct status_worker *workers = calloc(m->pool.n_all + 1, sizeof *workers);
	AUTO_FREE const char **listen = calloc(m->pool.gen->n_listeners + 1, sizeof *listen);
	AUTO_BUF struct buf line = BUF_INIT(1024);
	struct status s;

	if (workers == NULL || listen == NULL)
		return;
	fill(m, &s, workers, listen);
	status_print_line(&s, m->requests_per_s, &line);
	if (m->reload.any && !m->reload.ok && m->reload.error != NULL)
		buf_printf(&line, "; last reload failed: %.*s",
		    (int)strcspn(m->reload.error, "\n"), m->reload.error);
	if (line.data != NULL)
		notify_status(line.data);
}
