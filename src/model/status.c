/*
 * status.c - struct status to JSON.
 *
 * The names here are what scripts and dashboards are written against. Unknown values
 * are null rather than 0, so that nobody averages them; times are seconds with
 * milliseconds behind the point, sizes bytes. Fails only for want of memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/json_build.h"
#include "model/status.h"

#include "base/buf.h"
#include "model/status_cgroup.h"
#include "model/text.h"
#include "model/values.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *
count_or_null(uint64_t n)
{
	return n == 0 ? json_null() : build_count(n);
}

static json_t *
seconds_or_null(uint64_t ms)
{
	return ms == 0 ? json_null() : build_seconds(ms);
}

static json_t *
reason_or_null(enum reason r)
{
	return r == REASON_NONE ? json_null() : json_string(reason_name(r));
}

static json_t *
trim_to_json(const struct status_worker *w)
{
	json_t *o;
	bool ok = true;

	if (!w->trim_known)
		return json_null();
	o = json_object();
	build_put(o, "ago_seconds", build_seconds(w->trim_ago_ms), &ok);
	build_put(o, "bytes", build_count(w->trim_bytes), &ok);
	build_put(o, "took_seconds", json_real((double)w->trim_took_us / 1e6), &ok);
	return build_done(o, ok);
}

static json_t *
worker_to_json(const struct status_worker *w)
{
	bool has_process = w->pid > 0;
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "slot", json_integer(w->slot), &ok);
	build_put(o, "pid", has_process ? json_integer(w->pid) : json_null(), &ok);
	build_put(o, "serial", build_count(w->serial), &ok);
	build_put(o, "generation", json_integer(w->generation), &ok);
	build_put(o, "worker_id", json_integer(w->worker_id), &ok);
	build_put(o, "state", json_string(worker_state_name(w->state)), &ok);
	build_put(o, "successor", json_boolean(w->is_successor), &ok);
	build_put(o, "agent_lost", json_boolean(w->agent_lost), &ok);
	build_put(o, "requests", build_count(w->requests), &ok);
	build_put(o, "in_flight", build_count(w->in_flight), &ok);
	build_put(o, "oldest_request_seconds", seconds_or_null(w->oldest_request_ms), &ok);
	build_put(o, "rss_bytes", count_or_null(w->rss_bytes), &ok);
	build_put(o, "uss_bytes", w->footprint_known ? build_count(w->uss_bytes) : json_null(), &ok);
	build_put(o, "pss_bytes", w->footprint_known ? build_count(w->pss_bytes) : json_null(), &ok);
	build_put(o, "swap_bytes", w->footprint_known ? build_count(w->swap_bytes) : json_null(), &ok);
	build_put(o, "trims", build_count(w->trims), &ok);
	build_put(o, "trimmed_bytes", build_count(w->trimmed_bytes), &ok);
	build_put(o, "last_trim", trim_to_json(w), &ok);
	build_put(o, "trim_refused", text_to_json(w->trim_refusal), &ok);
	build_put(o, "traces", json_boolean(w->traces), &ok);
	build_put(o, "traced_bytes", build_count(w->traced_bytes), &ok);
	build_put(o, "as_bytes", count_or_null(w->as_bytes), &ok);
	build_put(o, "peak_rss_bytes", count_or_null(w->peak_rss_bytes), &ok);
	build_put(o, "fds", w->fds_unavailable ? json_null() : count_or_null(w->fds), &ok);
	build_put(o, "age_seconds", has_process ? build_seconds(w->age_ms) : json_null(), &ok);
	build_put(o, "ready_seconds", seconds_or_null(w->ready_ms), &ok);
	build_put(o, "max_requests", build_count(w->max_requests), &ok);
	build_put(o, "max_lifetime_seconds", build_seconds(w->max_lifetime_ms), &ok);
	build_put(o, "next_attempt_seconds", seconds_or_null(w->next_attempt_ms), &ok);
	build_put(o, "reason", reason_or_null(w->reason), &ok);
	build_put(o, "last_reason", reason_or_null(w->last_reason), &ok);
	build_put(o, "server", text_to_json(w->server), &ok);
	build_put(o, "status", text_to_json(w->status), &ok);
	return build_done(o, ok);
}

static json_t *
workers_to_json(const struct status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_workers && list != NULL; i++)
		list = build_append(list, worker_to_json(&s->workers[i]));
	return list;
}

static json_t *
mold_to_json(const struct status_mold *m)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "pid", json_integer(m->pid), &ok);
	build_put(o, "generation", json_integer(m->generation), &ok);
	build_put(o, "state", json_string(m->state), &ok);
	build_put(o, "age_seconds", build_seconds(m->age_ms), &ok);
	build_put(o, "forked", build_count(m->forked), &ok);
	build_put(o, "rss_bytes", count_or_null(m->rss_bytes), &ok);
	build_put(o, "uss_bytes", m->footprint_known ? build_count(m->uss_bytes) : json_null(), &ok);
	build_put(o, "pss_bytes", m->footprint_known ? build_count(m->pss_bytes) : json_null(), &ok);
	build_put(o, "swap_bytes", m->footprint_known ? build_count(m->swap_bytes) : json_null(), &ok);
	return build_done(o, ok);
}

static json_t *
molds_to_json(const struct status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_molds && list != NULL; i++)
		list = build_append(list, mold_to_json(&s->molds[i]));
	return list;
}

static json_t *
preload_to_json(const struct status_preload *p)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "how", text_to_json(p->how), &ok);
	build_put(o, "text", text_to_json(p->text), &ok);
	build_put(o, "failures", json_integer(p->failures), &ok);
	build_put(o, "next_attempt_seconds", seconds_or_null(p->next_attempt_ms), &ok);
	return build_done(o, ok);
}

/* Sums over workers and molds. In a sum of PSS every page counts once, however many of them map it;
 * what is in nobody's USS is shared. */
static json_t *
memory_to_json(const struct status *s)
{
	uint64_t rss = 0, pss = 0, uss = 0, swap = 0;
	json_t *o = json_object();
	bool ok = true, known = false;

	for (size_t i = 0; i < s->n_workers; i++) {
		const struct status_worker *w = &s->workers[i];

		rss += w->rss_bytes;
		if (!w->footprint_known)
			continue;
		known = true;
		pss += w->pss_bytes;
		uss += w->uss_bytes;
		swap += w->swap_bytes;
	}
	for (size_t i = 0; i < s->n_molds; i++) {
		const struct status_mold *m = &s->molds[i];

		rss += m->rss_bytes;
		known = known || m->footprint_known;
		pss += m->pss_bytes;
		uss += m->uss_bytes;
		swap += m->swap_bytes;
	}
	build_put(o, "rss_bytes", count_or_null(rss), &ok);
	build_put(o, "pss_bytes", known ? build_count(pss) : json_null(), &ok);
	build_put(o, "uss_bytes", known ? build_count(uss) : json_null(), &ok);
	build_put(o, "shared_bytes", known ? build_count(pss > uss ? pss - uss : 0) : json_null(), &ok);
	build_put(o, "swap_bytes", known ? build_count(swap) : json_null(), &ok);
	build_put(o, "unavailable", text_to_json(s->uss_unavailable), &ok);
	build_put(o, "cgroup", status_cgroup_to_json(&s->cgroup), &ok);
	build_put(o, "budget", status_budget_to_json(&s->budget), &ok);
	build_put(o, "trims", status_trims_to_json(&s->trims), &ok);
	build_put(o, "pressure", json_boolean(s->budget.pressure), &ok);
	return build_done(o, ok);
}

static json_t *
listen_to_json(const struct status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_listen && list != NULL; i++)
		list = build_append(list, text_to_json(s->listen[i]));
	return list;
}

static json_t *
socket_to_json(const struct status_socket *s)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "address", text_to_json(s->address), &ok);
	build_put(o, "slot", count_or_null(s->slot), &ok);
	build_put(o, "queue", s->known ? build_count(s->queue) : json_null(), &ok);
	build_put(o, "backlog", s->known ? build_count(s->backlog) : json_null(), &ok);
	return build_done(o, ok);
}

static json_t *
sockets_to_json(const struct status *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_sockets && list != NULL; i++)
		list = build_append(list, socket_to_json(&s->sockets[i]));
	return list;
}

/* Every reason is there from the beginning, so that rates can be taken. A stop is no
 * recycle, and crashes have a counter of their own. */
static json_t *
recycles_to_json(const struct status *s)
{
	json_t *o = json_object();
	bool ok = true;

	for (enum reason r = REASON_NONE + 1; r < REASON_N; r++)
		if (r != REASON_STOP && r != REASON_CRASH)
			build_put(o, reason_name(r), build_count(s->recycles[r]), &ok);
	return build_done(o, ok);
}

static const char *
reload_state(const struct status_reload *r)
{
	if (r->running)
		return "running";
	if (!r->any)
		return "none";
	return r->ok ? "ok" : "failed";
}

static json_t *
reload_to_json(const struct status_reload *r)
{
	bool is_over = r->any && !r->running;
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "state", json_string(reload_state(r)), &ok);
	build_put(o, "generation", r->any ? json_integer(r->generation) : json_null(), &ok);
	build_put(o, "ago_seconds", is_over ? build_seconds(r->ago_ms) : json_null(), &ok);
	build_put(o, "took_seconds", is_over ? build_seconds(r->took_ms) : json_null(), &ok);
	build_put(o, "error", is_over && !r->ok ? text_to_json(r->error) : json_null(), &ok);
	return build_done(o, ok);
}

/* The first one under the name that it had when there could be but one. */
static json_t *
futile_to_json(const json_t *list)
{
	json_t *first = json_array_get(list, 0);

	return first != NULL ? json_incref(first) : json_null();
}

static json_t *
governor_to_json(const struct status_governor *g)
{
	json_t *o = json_object(), *futile = status_futile_to_json(g->futile, g->n_futile);
	bool ok = true;

	build_put(o, "starting", json_integer(g->starting), &ok);
	build_put(o, "queued", json_integer(g->queued), &ok);
	build_put(o, "waiting", text_to_json(g->waiting), &ok);
	build_put(o, "code_bad", json_boolean(g->code_bad), &ok);
	build_put(o, "next_probe_seconds", seconds_or_null(g->next_probe_ms), &ok);
	build_put(o, "roll_stalled", json_boolean(g->roll_stalled), &ok);
	build_put(o, "dry_run", json_boolean(g->dry_run), &ok);
	build_put(o, "dry_run_would", build_count(g->dry_run_would), &ok);
	build_put(o, "fresh_rss_bytes", count_or_null(g->fresh_rss_bytes), &ok);
	build_put(o, "futile", futile_to_json(futile), &ok);
	build_put(o, "futile_limits", futile, &ok);
	return build_done(o, ok);
}

json_t *
status_to_json(const struct status *s)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "version", text_to_json(s->version), &ok);
	build_put(o, "name", text_to_json(s->name), &ok);
	build_put(o, "app", text_to_json(s->app), &ok);
	build_put(o, "pid", json_integer(s->pid), &ok);
	build_put(o, "state", json_string(master_state_name(s->state)), &ok);
	build_put(o, "generation", json_integer(s->generation), &ok);
	build_put(o, "uptime_seconds", build_seconds(s->uptime_ms), &ok);
	build_put(o, "listen", listen_to_json(s), &ok);
	build_put(o, "sockets", sockets_to_json(s), &ok);
	build_put(o, "target_workers", build_count(s->target_workers), &ok);
	build_put(o, "workers", workers_to_json(s), &ok);
	build_put(o, "molds", molds_to_json(s), &ok);
	build_put(o, "preload", preload_to_json(&s->preload), &ok);
	build_put(o, "memory", memory_to_json(s), &ok);
	build_put(o, "requests_total", build_count(s->requests_total), &ok);
	build_put(o, "recycles", recycles_to_json(s), &ok);
	build_put(o, "crashes", build_count(s->crashes), &ok);
	build_put(o, "oom_kills", build_count(s->oom_kills), &ok);
	build_put(o, "boot_failures", build_count(s->boot_failures), &ok);
	build_put(o, "last_reload", reload_to_json(&s->last_reload), &ok);
	build_put(o, "governor", governor_to_json(&s->governor), &ok);
	return build_done(o, ok);
}

void
status_print_line(const struct status *s, double requests_per_s, struct buf *out)
{
	uint64_t ready = 0, rss = 0;
	char size[32];

	for (size_t i = 0; i < s->n_workers; i++) {
		if (s->workers[i].state == WS_READY)
			ready++;
		rss += s->workers[i].rss_bytes;
	}
	value_human_size(rss, size, sizeof(size));
	if (ready == s->target_workers)
		(void)buf_printf(out, "%" PRIu64, ready);
	else
		(void)buf_printf(out, "%" PRIu64 "/%" PRIu64, ready, s->target_workers);
	(void)buf_printf(out, " worker%s, %.*f requests/s, %s", s->target_workers == 1 ? "" : "s",
	    requests_per_s > 0.0 && requests_per_s < 9.95 ? 1 : 0, requests_per_s, size);
}
