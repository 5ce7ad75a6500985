/*
 * metrics.c - the status as OpenMetrics.
 *
 * Families are written one after another, each with its type and help. During a
 * replacement a slot has two workers; a label set may occur only once, so sizes and
 * requests in flight are sums over the slot, and what belongs to one process is that of
 * the worker which serves. Series do not come and go with pids. Fails only for want of
 * memory or room, or when the JSON is no status.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"
#include "model/metrics_parts.h"
#include "model/status_view.h"

#include <inttypes.h>
#include <string.h>

/* One slot: its serving worker, with the sums over all its workers. */
struct slot_sum {
	struct view_worker serving;
	uint64_t rss_bytes;
	uint64_t uss_bytes;
	uint64_t pss_bytes;
	uint64_t swap_bytes;
	uint64_t as_bytes;
	bool swap_known;
	uint64_t in_flight;
	double oldest_request_s;
};

void
metrics_family(const struct metrics_writer *w, const char *name, const char *type, const char *help)
{
	const char *suffix = "";

	if (w->format == METRICS_TEXT && strcmp(type, "counter") == 0)
		suffix = "_total";
	(void)buf_printf(w->out, "# HELP preforkd_%s%s %s\n", name, suffix, help);
	(void)buf_printf(w->out, "# TYPE preforkd_%s%s %s\n", name, suffix, type);
}

void
metrics_gauge(const struct metrics_writer *w, const char *name, const char *help,
    uint64_t value)
{
	metrics_family(w, name, "gauge", help);
	(void)buf_printf(w->out, "preforkd_%s %" PRIu64 "\n", name, value);
}

void
metrics_counter(const struct metrics_writer *w, const char *name, const char *help,
    uint64_t value)
{
	metrics_family(w, name, "counter", help);
	(void)buf_printf(w->out, "preforkd_%s_total %" PRIu64 "\n", name, value);
}

/* A value of a label in its quotes. */
static void
put_quoted(struct buf *out, const char *value)
{
	(void)buf_putc(out, '"');
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			(void)buf_puts(out, "\\n");
		else if (*value == '"' || *value == '\\')
			(void)buf_printf(out, "\\%c", *value);
		else
			(void)buf_putc(out, *value);
	}
	(void)buf_putc(out, '"');
}

static void
put_label(struct buf *out, const char *key, const char *value)
{
	(void)buf_printf(out, "{%s=", key);
	put_quoted(out, value);
	(void)buf_putc(out, '}');
}

static void
put_time(const struct metrics_writer *w, const char *name, const char *help, double seconds)
{
	metrics_family(w, name, "gauge", help);
	(void)buf_printf(w->out, "preforkd_%s %.3f\n", name, seconds);
}

static void
put_master(const struct metrics_writer *w, const struct status_view *v)
{
	metrics_gauge(w, "up", "1: the master answered.", 1);
	metrics_family(w, "build_info", "gauge", "Version of the running master.");
	(void)buf_puts(w->out, "preforkd_build_info");
	put_label(w->out, "version", v->version);
	(void)buf_puts(w->out, " 1\n");
	metrics_family(w, "state", "gauge", "1 for the state that the master is in.");
	for (enum master_state s = 0; s < MS_N; s++) {
		(void)buf_puts(w->out, "preforkd_state");
		put_label(w->out, "state", master_state_name(s));
		(void)buf_printf(w->out, " %d\n", strcmp(v->state, master_state_name(s)) == 0);
	}
	put_time(w, "uptime_seconds", "Since the master started.", MAX_OF(v->uptime_s, 0.0));
	metrics_gauge(w, "generation", "Successful loads of settings and code.", v->generation);
	metrics_gauge(w, "target_workers", "Workers that there should be.", v->target_workers);
	metrics_family(w, "workers", "gauge", "Workers by state.");
	for (enum worker_state s = 0; s < WS_N; s++) {
		unsigned n = 0;

		for (size_t i = 0; i < v->n_workers; i++)
			n += strcmp(v->workers[i].state, worker_state_name(s)) == 0;
		(void)buf_puts(w->out, "preforkd_workers");
		put_label(w->out, "state", worker_state_name(s));
		(void)buf_printf(w->out, " %u\n", n);
	}
}

static void
put_counters(const struct metrics_writer *w, const struct status_view *v)
{
	const char *reason;
	json_t *n;

	metrics_counter(w, "requests", "Requests completed by all workers ever.", v->requests_total);
	metrics_family(w, "recycles", "counter", "Workers replaced, by reason.");
	json_object_foreach(v->recycles, reason, n) {
		(void)buf_puts(w->out, "preforkd_recycles_total");
		put_label(w->out, "reason", reason);
		(void)buf_printf(w->out, " %" JSON_INTEGER_FORMAT "\n", json_integer_value(n));
	}
	metrics_counter(w, "crashes", "Workers that ended by themselves.", v->crashes);
	metrics_counter(w, "oom_kills", "Workers that the kernel killed for memory.", v->oom_kills);
	metrics_counter(w, "boot_failures", "Workers that ended before they served.",
	    v->boot_failures);
}

static void
put_reload(const struct metrics_writer *w, const json_t *r)
{
	const char *state = view_text(r, "state");
	double ago_s = view_seconds(r, "ago_seconds");

	if (state == NULL)
		return;
	metrics_gauge(w, "reload_running", "1: a reload is under way.", strcmp(state, "running") == 0);
	if (strcmp(state, "ok") != 0 && strcmp(state, "failed") != 0)
		return;
	metrics_gauge(w, "last_reload_successful", "1: the last reload was committed.",
	    strcmp(state, "ok") == 0);
	if (ago_s >= 0.0)
		put_time(w, "last_reload_age_seconds", "Since the last reload ended.", ago_s);
}

static void
put_governor(const struct metrics_writer *w, const json_t *g)
{
	metrics_gauge(w, "recycles_queued", "Workers that wait for their replacement.",
	    view_count(g, "queued"));
	metrics_gauge(w, "successors_starting", "Replacements that boot now.",
	    view_count(g, "starting"));
	metrics_gauge(w, "code_bad", "1: the code on disk does not boot.", view_flag(g, "code_bad"));
	metrics_gauge(w, "roll_stalled", "1: a reload was committed but cannot be finished.",
	    view_flag(g, "roll_stalled"));
	metrics_gauge(w, "limit_futile", "1: a limit is below what a fresh worker uses.",
	    json_is_object(json_object_get(g, "futile")));
	metrics_gauge(w, "dry_run", "1: recycles are only counted.", view_flag(g, "dry_run"));
	metrics_counter(w, "dry_run_recycles", "Recycles that were only counted.",
	    view_count(g, "dry_run_would"));
	if (view_count(g, "fresh_rss_bytes") > 0)
		metrics_gauge(w, "fresh_worker_rss_bytes", "Median of workers that had just started.",
		    view_count(g, "fresh_rss_bytes"));
}

/* Sockets of all workers have no label slot. */
static void
put_socket(const struct metrics_writer *w, const char *name, const struct view_socket *s, uint64_t value)
{
	(void)buf_printf(w->out, "preforkd_%s{address=", name);
	put_quoted(w->out, s->address);
	if (s->slot > 0)
		(void)buf_printf(w->out, ",slot=\"%" PRIu64 "\"", s->slot);
	(void)buf_printf(w->out, "} %" PRIu64 "\n", value);
}

static void
put_sockets(const struct metrics_writer *w, const struct status_view *v)
{
	metrics_family(w, "accept_queue", "gauge", "Connections that wait to be accepted.");
	for (size_t i = 0; i < v->n_sockets; i++)
		put_socket(w, "accept_queue", &v->sockets[i], v->sockets[i].queue);
	metrics_family(w, "accept_backlog", "gauge", "How many may wait.");
	for (size_t i = 0; i < v->n_sockets; i++)
		put_socket(w, "accept_backlog", &v->sockets[i], v->sockets[i].backlog);
}

/* The serving worker of a slot: a ready one before all others; else the one that was
 * started last, successors after those whose place they take. */
static bool
serves_rather(const struct view_worker *a, const struct view_worker *b)
{
	bool a_ready = strcmp(a->state, "ready") == 0, b_ready = strcmp(b->state, "ready") == 0;

	return a_ready != b_ready ? a_ready : a->serial > b->serial && !a->is_successor;
}

static size_t
sum_slots(const struct status_view *v, struct slot_sum *sums)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n_workers; i++) {
		const struct view_worker *w = &v->workers[i];
		struct slot_sum *s;

		if (n == 0 || sums[n - 1].serving.slot != w->slot)
			sums[n++] = (struct slot_sum){ .serving = *w, .oldest_request_s = 0.0 };
		s = &sums[n - 1];
		if (serves_rather(w, &s->serving))
			s->serving = *w;
		s->rss_bytes += w->rss_bytes;
		s->uss_bytes += w->uss_bytes;
		s->pss_bytes += w->pss_bytes;
		s->swap_bytes += w->swap_bytes;
		s->swap_known = s->swap_known || w->swap_known;
		s->as_bytes += w->as_bytes;
		s->in_flight += w->in_flight;
		s->oldest_request_s = MAX_OF(s->oldest_request_s, w->oldest_request_s);
	}
	return n;
}

enum slot_value { SV_RSS, SV_USS, SV_PSS, SV_SWAP, SV_AS, SV_PEAK, SV_IN_FLIGHT, SV_OLDEST, SV_REQUESTS,
	SV_MAX_REQUESTS, SV_AGE, SV_GENERATION, SV_FDS, SV_N };

static const struct {
	const char *name, *help;
} slot_families[SV_N] = {
	[SV_RSS] = { "worker_rss_bytes", "Resident memory of the slot's processes." },
	[SV_USS] = { "worker_uss_bytes", "Memory that only the slot's processes use." },
	[SV_PSS] = { "worker_pss_bytes", "The same with their share of what others use as well." },
	[SV_SWAP] = { "worker_swap_bytes", "Memory of the slot's processes that was swapped out." },
	[SV_AS] = { "worker_as_bytes", "Address space of the slot's processes." },
	[SV_PEAK] = { "worker_peak_rss_bytes",
	    "The most that the worker which serves now has had resident." },
	[SV_IN_FLIGHT] = { "worker_in_flight", "Requests that the slot works on." },
	[SV_OLDEST] = { "worker_oldest_request_seconds", "Age of the oldest one of them." },
	[SV_REQUESTS] = { "worker_requests", "Requests completed by the worker that serves now." },
	[SV_MAX_REQUESTS] = { "worker_max_requests", "Its limit, 0: none." },
	[SV_AGE] = { "worker_age_seconds", "Since it was started." },
	[SV_GENERATION] = { "worker_generation", "The generation that it belongs to." },
	[SV_FDS] = { "worker_open_fds", "Its open descriptors." },
};

/* False when the value is not known. */
static bool
slot_value(const struct slot_sum *s, enum slot_value which, double *ret)
{
	const struct view_worker *w = &s->serving;

	switch (which) {
	case SV_RSS:
		*ret = (double)s->rss_bytes;
		return s->rss_bytes > 0;
	case SV_USS:
		*ret = (double)s->uss_bytes;
		return s->uss_bytes > 0;
	case SV_PSS:
		*ret = (double)s->pss_bytes;
		return s->pss_bytes > 0;
	case SV_SWAP:
		*ret = (double)s->swap_bytes;
		return s->swap_known;
	case SV_AS:
		*ret = (double)s->as_bytes;
		return s->as_bytes > 0;
	case SV_PEAK:
		*ret = (double)w->peak_rss_bytes;
		return w->peak_rss_bytes > 0;
	case SV_IN_FLIGHT:
		*ret = (double)s->in_flight;
		return true;
	case SV_OLDEST:
		*ret = s->oldest_request_s;
		return true;
	case SV_REQUESTS:
		*ret = (double)w->requests;
		return w->pid > 0;
	case SV_MAX_REQUESTS:
		*ret = (double)w->max_requests;
		return w->pid > 0;
	case SV_AGE:
		*ret = w->age_s;
		return w->age_s >= 0.0;
	case SV_GENERATION:
		*ret = (double)w->generation;
		return w->pid > 0;
	case SV_FDS:
		*ret = (double)w->fds;
		return w->fds > 0;
	case SV_N:
		break;
	}
	return false;
}

static int
put_slots(const struct metrics_writer *w, const struct status_view *v)
{
	AUTO_FREE struct slot_sum *sums = calloc(v->n_workers + 1, sizeof(*sums));
	size_t n;

	if (sums == NULL)
		return -ENOMEM;
	n = sum_slots(v, sums);
	for (enum slot_value which = 0; which < SV_N; which++) {
		const char *name = slot_families[which].name;

		metrics_family(w, name, "gauge", slot_families[which].help);
		for (size_t i = 0; i < n; i++) {
			bool is_time = which == SV_AGE || which == SV_OLDEST;
			double value;

			if (!slot_value(&sums[i], which, &value))
				continue;
			(void)buf_printf(w->out, "preforkd_%s{slot=\"%" PRIu64 "\"} %.*f\n", name,
			    sums[i].serving.slot, is_time ? 3 : 0, value);
		}
	}
	return 0;
}

int
status_print_metrics(const json_t *status, enum metrics_format format, struct buf *out)
{
	const struct metrics_writer w = { .out = out, .format = format };
	struct status_view v;
	int r = status_view_read(status, &v);

	if (r < 0)
		return r;
	put_master(&w, &v);
	put_counters(&w, &v);
	put_reload(&w, v.last_reload);
	put_governor(&w, v.governor);
	metrics_memory(&w, v.memory);
	put_sockets(&w, &v);
	r = put_slots(&w, &v);
	if (format == METRICS_OPENMETRICS)
		(void)buf_puts(out, "# EOF\n");
	status_view_done(&v);
	if (r == 0 && out->failed)
		r = -ENOMEM;
	return r;
}
