/*
 * status_view.c - a status object taken apart again.
 *
 * Never fails for a member that is odd; only for an object that is no status at all,
 * or for want of memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_view.h"

#include <string.h>

uint64_t
view_count(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n < 0 ? 0 : (uint64_t)n;
}

double
view_seconds(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : -1.0;
}

const char *
view_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

bool
view_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

uint64_t
view_ms(double seconds)
{
	if (!(seconds > 0.0))
		return 0;
	return seconds > 1e12 ? UINT64_C(1000000000000000) : (uint64_t)(seconds * 1000.0);
}

static const char *
text_or(const json_t *object, const char *key, const char *otherwise)
{
	const char *text = view_text(object, key);

	return text == NULL ? otherwise : text;
}

static void
read_worker(const json_t *o, struct view_worker *w)
{
	*w = (struct view_worker){
		.slot = view_count(o, "slot"),
		.pid = view_count(o, "pid"),
		.serial = view_count(o, "serial"),
		.generation = view_count(o, "generation"),
		.requests = view_count(o, "requests"),
		.in_flight = view_count(o, "in_flight"),
		.max_requests = view_count(o, "max_requests"),
		.rss_bytes = view_count(o, "rss_bytes"),
		.uss_bytes = view_count(o, "uss_bytes"),
		.pss_bytes = view_count(o, "pss_bytes"),
		.as_bytes = view_count(o, "as_bytes"),
		.peak_rss_bytes = view_count(o, "peak_rss_bytes"),
		.swap_bytes = view_count(o, "swap_bytes"),
		.swap_known = json_is_integer(json_object_get(o, "swap_bytes")),
		.fds = view_count(o, "fds"),
		.age_s = view_seconds(o, "age_seconds"),
		.oldest_request_s = view_seconds(o, "oldest_request_seconds"),
		.max_lifetime_s = view_seconds(o, "max_lifetime_seconds"),
		.next_attempt_s = view_seconds(o, "next_attempt_seconds"),
		.is_successor = view_flag(o, "successor"),
		.agent_lost = view_flag(o, "agent_lost"),
		.traces = view_flag(o, "traces"),
		.trims = view_count(o, "trims"),
		.trimmed_bytes = view_count(o, "trimmed_bytes"),
		.state = text_or(o, "state", "?"),
		.reason = view_text(o, "reason"),
		.last_reason = view_text(o, "last_reason"),
		.status = view_text(o, "status"),
	};
}

static int
compare_workers(const void *a, const void *b)
{
	const struct view_worker *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	if (x->serial != y->serial)
		return x->serial < y->serial ? -1 : 1;
	return 0;
}

static int
compare_sockets(const void *a, const void *b)
{
	const struct view_socket *x = a, *y = b;
	int order = strcmp(x->address, y->address);

	if (order != 0)
		return order;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* Sockets that were inherited may have an address together: they are taken as one, because
 * a series of the metrics may be there only once. */
static size_t
unite_sockets(struct view_socket *sockets, size_t n)
{
	size_t kept = 0;

	qsort(sockets, n, sizeof(*sockets), compare_sockets);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || compare_sockets(&sockets[kept - 1], &sockets[i]) != 0) {
			sockets[kept++] = sockets[i];
			continue;
		}
		sockets[kept - 1].queue += sockets[i].queue;
		sockets[kept - 1].backlog += sockets[i].backlog;
	}
	return kept;
}

static int
read_sockets(const json_t *list, struct status_view *v)
{
	size_t n = json_array_size(list);

	v->sockets = calloc(n == 0 ? 1 : n, sizeof(*v->sockets));
	if (v->sockets == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(list, i);
		const char *address = view_text(o, "address");

		if (address == NULL || !json_is_integer(json_object_get(o, "queue")) ||
		    !json_is_integer(json_object_get(o, "backlog")))
			continue;
		v->sockets[v->n_sockets++] = (struct view_socket){
			.address = address,
			.slot = view_count(o, "slot"),
			.queue = view_count(o, "queue"),
			.backlog = view_count(o, "backlog"),
		};
	}
	v->n_sockets = unite_sockets(v->sockets, v->n_sockets);
	return 0;
}

int
status_view_read(const json_t *status, struct status_view *ret)
{
	const json_t *workers = json_object_get(status, "workers");
	struct status_view v = { 0 };
	size_t n;

	if (!json_is_array(workers) || view_text(status, "state") == NULL)
		return -EINVAL;
	n = json_array_size(workers);
	v.workers = calloc(n == 0 ? 1 : n, sizeof(*v.workers));
	if (v.workers == NULL || read_sockets(json_object_get(status, "sockets"), &v) < 0) {
		status_view_done(&v);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *o = json_array_get(workers, i);
		struct view_worker *w = &v.workers[v.n_workers];

		if (!json_is_object(o))
			continue;
		read_worker(o, w);
		if (strcmp(w->state, "ready") == 0)
			v.n_ready++;
		v.rss_bytes += w->rss_bytes;
		v.n_workers++;
	}
	qsort(v.workers, v.n_workers, sizeof(*v.workers), compare_workers);

	v.name = text_or(status, "name", "?");
	v.app = text_or(status, "app", "?");
	v.version = text_or(status, "version", "?");
	v.state = text_or(status, "state", "?");
	v.pid = view_count(status, "pid");
	v.generation = view_count(status, "generation");
	v.target_workers = view_count(status, "target_workers");
	v.requests_total = view_count(status, "requests_total");
	v.crashes = view_count(status, "crashes");
	v.oom_kills = view_count(status, "oom_kills");
	v.boot_failures = view_count(status, "boot_failures");
	v.uptime_s = view_seconds(status, "uptime_seconds");
	v.molds = json_object_get(status, "molds");
	v.preload = json_object_get(status, "preload");
	v.memory = json_object_get(status, "memory");
	v.listen = json_object_get(status, "listen");
	v.recycles = json_object_get(status, "recycles");
	v.last_reload = json_object_get(status, "last_reload");
	v.governor = json_object_get(status, "governor");
	*ret = v;
	return 0;
}

void
status_view_done(struct status_view *v)
{
	free(v->workers);
	free(v->sockets);
	*v = (struct status_view){ 0 };
}
