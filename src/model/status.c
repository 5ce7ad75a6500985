/*
 * status.c - struct status to JSON.
 *
 * The names here are what scripts and dashboards are written against. Unknown values
 * are null rather than 0, so that nobody averages them; times are seconds with
 * milliseconds behind the point, sizes bytes. Fails only for want of memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"
#include "model/status_cgroup.h"
#include "model/text.h"
#include "model/values.h"

#include <inttypes.h>
#include <stdio.h>

/* Adds an owned value; a value or an object that could not be made clears *ok. */
static void
put(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (value == NULL || json_object_set_new(object, key, value) < 0)
		*ok = false;
}

static json_t *
finished(json_t *object, bool ok)
{
	if (ok)
		return object;
	json_decref(object);
	return NULL;
}

static json_t *
count(uint64_t n)
{
	return json_integer(n > INT64_MAX ? (json_int_t)INT64_MAX : (json_int_t)n);
}

static json_t *
count_or_null(uint64_t n)
{
	return n == 0 ? json_null() : count(n);
}

static json_t *
seconds(uint64_t ms)
{
	return json_real((double)ms / (double)MSEC_PER_SEC);
}

static json_t *
seconds_or_null(uint64_t ms)
{
	return ms == 0 ? json_null() : seconds(ms);
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
	put(o, "ago_seconds", seconds(w->trim_ago_ms), &ok);
	put(o, "bytes", count(w->trim_bytes), &ok);
	put(o, "took_seconds", json_real((double)w->trim_took_us / 1e6), &ok);
	return finished(o, ok);
}

static json_t *
worker_to_json(const struct status_worker *w)
{
	bool has_process = w->pid > 0;
	json_t *o = json_object();
	bool ok = true;

	put(o, "slot", json_integer(w->slot), &ok);
	put(o, "pid", has_process ? json_integer(w->pid) : json_null(), &ok);
	put(o, "serial", count(w->serial), &ok);
	put(o, "generation", json_integer(w->generation), &ok);
	put(o, "worker_id", json_integer(w->worker_id), &ok);
	put(o, "state", json_string(worker_state_name(w->state)), &ok);
	put(o, "successor", json_boolean(w->is_successor), &ok);
	put(o, "agent_lost", json_boolean(w->agent_lost), &ok);
	put(o, "requests", count(w->requests), &ok);
	put(o, "in_flight", count(w->in_flight), &ok);
	put(o, "oldest_request_seconds", seconds_or_null(w->oldest_request_ms), &ok);
	put(o, "rss_bytes", count_or_null(w->rss_bytes), &ok);
	put(o, "uss_bytes", w->footprint_known ? count(w->uss_bytes) : json_null(), &ok);
	put(o, "pss_bytes", w->footprint_known ? count(w->pss_bytes) : json_null(), &ok);
	put(o, "swap_bytes", w->footprint_known ? count(w->swap_bytes) : json_null(), &ok);
	put(o, "trims", count(w->trims), &ok);
	put(o, "trimmed_bytes", count(w->trimmed_bytes), &ok);
	put(o, "last_trim", trim_to_json(w), &ok);
	put(o, "trim_refused", text_to_json(w->trim_refusal), &ok);
	put(o, "traces", json_boolean(w->traces), &ok);
	put(o, "traced_bytes", count(w->traced_bytes), &ok);
	put(o, "as_bytes", count_or_null(w->as_bytes), &ok);
	put(o, "peak_rss_bytes", count_or_null(w->peak_rss_bytes), &ok);
	put(o, "fds", w->fds_unavailable ? json_null() : count_or_null(w->fds), &ok);
	put(o, "age_seconds", has_process ? seconds(w->age_ms) : json_null(), &ok);
	put(o, "ready_seconds", seconds_or_null(w->ready_ms), &ok);
	put(o, "max_requests", count(w->max_requests), &ok);
	put(o, "max_lifetime_seconds", seconds(w->max_lifetime_ms), &ok);
	put(o, "next_attempt_seconds", seconds_or_null(w->next_attempt_ms), &ok);
	put(o, "reason", reason_or_null(w->reason), &ok);
	put(o, "last_reason", reason_or_null(w->last_reason), &ok);
	put(o, "server", text_to_json(w->server), &ok);
	put(o, "status", text_to_json(w->status), &ok);
	return finished(o, ok);
}

static json_t *
workers_to_json(const struct status *s)
{
	json_t *list = json_array();

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < s->n_workers; i++) {
		json_t *w = worker_to_json(&s->workers[i]);

		if (w == NULL || json_array_append_new(list, w) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *
mold_to_json(const struct status_mold *m)
{
	json_t *o = json_object();
	bool ok = true;

	put(o, "pid", json_integer(m->pid), &ok);
	put(o, "generation", json_integer(m->generation), &ok);
	put(o, "state", json_string(m->state), &ok);
	put(o, "age_seconds", seconds(m->age_ms), &ok);
	put(o, "forked", count(m->forked), &ok);
	put(o, "rss_bytes", count_or_null(m->rss_bytes), &ok);
	put(o, "uss_bytes", m->footprint_known ? count(m->uss_bytes) : json_null(), &ok);
	put(o, "pss_bytes", m->footprint_known ? count(m->pss_bytes) : json_null(), &ok);
	put(o, "swap_bytes", m->footprint_known ? count(m->swap_bytes) : json_null(), &ok);
	return finished(o, ok);
}

static json_t *
molds_to_json(const struct status *s)
{
	json_t *list = json_array();

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < s->n_molds; i++) {
		json_t *m = mold_to_json(&s->molds[i]);

		if (m == NULL || json_array_append_new(list, m) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *
preload_to_json(const struct status_preload *p)
{
	json_t *o = json_object();
	bool ok = true;

	put(o, "how", text_to_json(p->how), &ok);
	put(o, "text", text_to_json(p->text), &ok);
	put(o, "failures", json_integer(p->failures), &ok);
	put(o, "next_attempt_seconds", seconds_or_null(p->next_attempt_ms), &ok);
	return finished(o, ok);
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
	put(o, "rss_bytes", count_or_null(rss), &ok);
	put(o, "pss_bytes", known ? count(pss) : json_null(), &ok);
	put(o, "uss_bytes", known ? count(uss) : json_null(), &ok);
	put(o, "shared_bytes", known ? count(pss > uss ? pss - uss : 0) : json_null(), &ok);
	put(o, "swap_bytes", known ? count(swap) : json_null(), &ok);
	put(o, "unavailable", text_to_json(s->uss_unavailable), &ok);
	put(o, "cgroup", status_cgroup_to_json(&s->cgroup), &ok);
	put(o, "budget", status_budget_to_json(&s->budget), &ok);
	put(o, "trims", status_trims_to_json(&s->trims), &ok);
	put(o, "pressure", json_boolean(s->budget.pressure), &ok);
	return finished(o, ok);
}

static json_t *
listen_to_json(const struct status *s)
{
	json_t *list = json_array();

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < s->n_listen; i++) {
		json_t *address = text_to_json(s->listen[i]);

		if (address == NULL || json_array_append_new(list, address) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *
socket_to_json(const struct status_socket *s)
{
	json_t *o = json_object();
	bool ok = true;

	put(o, "address", text_to_json(s->address), &ok);
	put(o, "slot", count_or_null(s->slot), &ok);
	put(o, "queue", s->known ? count(s->queue) : json_null(), &ok);
	put(o, "backlog", s->known ? count(s->backlog) : json_null(), &ok);
	return finished(o, ok);
}

static json_t *
sockets_to_json(const struct status *s)
{
	json_t *list = json_array();

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < s->n_sockets; i++) {
		json_t *o = socket_to_json(&s->sockets[i]);

		if (o == NULL || json_array_append_new(list, o) < 0) {
			json_decref(list);
			return NULL;
		}
	}
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
			put(o, reason_name(r), count(s->recycles[r]), &ok);
	return finished(o, ok);
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

	put(o, "state", json_string(reload_state(r)), &ok);
	put(o, "generation", r->any ? json_integer(r->generation) : json_null(), &ok);
	put(o, "ago_seconds", is_over ? seconds(r->ago_ms) : json_null(), &ok);
	put(o, "took_seconds", is_over ? seconds(r->took_ms) : json_null(), &ok);
	put(o, "error", is_over && !r->ok ? text_to_json(r->error) : json_null(), &ok);
	return finished(o, ok);
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

	put(o, "starting", json_integer(g->starting), &ok);
	put(o, "queued", json_integer(g->queued), &ok);
	put(o, "waiting", text_to_json(g->waiting), &ok);
	put(o, "code_bad", json_boolean(g->code_bad), &ok);
	put(o, "next_probe_seconds", seconds_or_null(g->next_probe_ms), &ok);
	put(o, "roll_stalled", json_boolean(g->roll_stalled), &ok);
	put(o, "dry_run", json_boolean(g->dry_run), &ok);
	put(o, "dry_run_would", count(g->dry_run_would), &ok);
	put(o, "fresh_rss_bytes", count_or_null(g->fresh_rss_bytes), &ok);
	put(o, "futile", futile_to_json(futile), &ok);
	put(o, "futile_limits", futile, &ok);
	return finished(o, ok);
}

json_t *
status_to_json(const struct status *s)
{
	json_t *o = json_object();
	bool ok = true;

	put(o, "version", text_to_json(s->version), &ok);
	put(o, "name", text_to_json(s->name), &ok);
	put(o, "app", text_to_json(s->app), &ok);
	put(o, "pid", json_integer(s->pid), &ok);
	put(o, "state", json_string(master_state_name(s->state)), &ok);
	put(o, "generation", json_integer(s->generation), &ok);
	put(o, "uptime_seconds", seconds(s->uptime_ms), &ok);
	put(o, "listen", listen_to_json(s), &ok);
	put(o, "sockets", sockets_to_json(s), &ok);
	put(o, "target_workers", count(s->target_workers), &ok);
	put(o, "workers", workers_to_json(s), &ok);
	put(o, "molds", molds_to_json(s), &ok);
	put(o, "preload", preload_to_json(&s->preload), &ok);
	put(o, "memory", memory_to_json(s), &ok);
	put(o, "requests_total", count(s->requests_total), &ok);
	put(o, "recycles", recycles_to_json(s), &ok);
	put(o, "crashes", count(s->crashes), &ok);
	put(o, "oom_kills", count(s->oom_kills), &ok);
	put(o, "boot_failures", count(s->boot_failures), &ok);
	put(o, "last_reload", reload_to_json(&s->last_reload), &ok);
	put(o, "governor", governor_to_json(&s->governor), &ok);
	return finished(o, ok);
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
