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
		.fds = view_count(o, "fds"),
		.age_s = view_seconds(o, "age_seconds"),
		.oldest_request_s = view_seconds(o, "oldest_request_seconds"),
		.max_lifetime_s = view_seconds(o, "max_lifetime_seconds"),
		.next_attempt_s = view_seconds(o, "next_attempt_seconds"),
		.is_successor = view_flag(o, "successor"),
		.agent_lost = view_flag(o, "agent_lost"),
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
	if (v.workers == NULL)
		return -ENOMEM;
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
	*v = (struct status_view){ 0 };
}
