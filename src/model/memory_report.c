/*
 * memory_report.c - see memory_report.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/memory_report.h"

#include "base/buf.h"
#include "model/sparkline.h"
#include "model/status_lines.h"
#include "model/values.h"

#include <stdio.h>

#define LEFT     59		/* columns of a row before its drawing */
#define INDENT   7		/* of what is said about a worker */
#define TEXT_MAX 8192

int
memory_report_judge(struct memory_report *r)
{
	int e = 0;

	r->verdicts = calloc(MAX_OF(r->n, 1u), sizeof(*r->verdicts));
	if (r->verdicts == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < r->n && e == 0; i++)
		e = growth_judge(&r->series[i], &r->verdicts[i]);
	if (e == 0)
		e = growth_judge_pool(r->series, r->verdicts, r->n, &r->pool);
	return e;
}

void
memory_report_done(struct memory_report *r)
{
	free(r->verdicts);
	r->verdicts = NULL;
}

/* What is known of one worker's RSS and requests. */
struct summary {
	uint64_t first, last, highest;	/* bytes; 0: not known */
	uint64_t requests;		/* GROWTH_UNKNOWN: not known */
	uint64_t ms;
};

static struct summary
summarize(const struct growth_series *s)
{
	struct summary r = { .requests = GROWTH_UNKNOWN };

	for (size_t i = 0; i < s->n; i++) {
		if (s->samples[i].requests != GROWTH_UNKNOWN)
			r.requests = s->samples[i].requests;
		if (s->samples[i].rss == GROWTH_UNKNOWN)
			continue;
		if (r.first == 0)
			r.first = s->samples[i].rss;
		r.last = s->samples[i].rss;
		r.highest = MAX_OF(r.highest, r.last);
	}
	if (s->n > 0)
		r.ms = s->samples[s->n - 1].ms - s->samples[0].ms;
	return r;
}

static void
put_name(enum growth_kind kind, struct buf *out)
{
	for (const char *p = growth_name(kind); *p != '\0'; p++)
		(void)buf_putc(out, *p == '-' && kind != GROWTH_WARM_UP ? ' ' : *p);
}

static void
put_verdict(const struct growth_verdict *v, size_t indent, size_t width, struct buf *out)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);

	put_name(v->kind, &text);
	(void)buf_printf(&text, " (%s", v->is_strong ? "strong" : "fair");
	if (v->judged > 0)
		(void)buf_printf(&text, ", %zu of %zu workers", v->agree, v->judged);
	(void)buf_puts(&text, "): ");
	(void)growth_put_evidence(v, &text);
	status_put_blanks(out, indent);
	if (!text.failed)
		status_put_wrapped(out, text.data, indent, indent + 2, width);
}

static void
put_remedy(const struct growth_verdict *v, const struct growth_facts *f, size_t indent,
    size_t width, struct buf *out)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);

	(void)buf_puts(&text, "remedy: ");
	(void)growth_put_remedy(v, f, &text);
	status_put_blanks(out, indent);
	if (!text.failed)
		status_put_wrapped(out, text.data, indent, indent + 2, width);
}

static void
put_row(const struct growth_series *s, size_t width, bool is_utf8, struct buf *out)
{
	struct summary sum = summarize(s);
	char now[STATUS_CELL_MAX], first[STATUS_CELL_MAX], highest[STATUS_CELL_MAX];
	char time[STATUS_CELL_MAX], requests[STATUS_CELL_MAX] = "-", slot[STATUS_CELL_MAX];

	value_human_size(sum.last, now, sizeof(now));
	value_human_size(sum.first, first, sizeof(first));
	value_human_size(sum.highest, highest, sizeof(highest));
	value_human_time(sum.ms, time, sizeof(time));
	if (sum.requests != GROWTH_UNKNOWN)
		snprintf(requests, sizeof(requests), "%llu", (unsigned long long)sum.requests);
	snprintf(slot, sizeof(slot), "%u%s", s->slot, s->is_ended ? "*" : "");
	(void)buf_printf(out, "%5s %6llu %8s %8s %8s %9s %7s  ", slot,
	    (unsigned long long)s->serial, first, now, highest, requests, time);
	(void)sparkline_put(out, s->samples, s->n, MIN_OF(width - LEFT, 60u), is_utf8);
	(void)buf_putc(out, '\n');
}

static void
put_workers(const struct memory_report *r, size_t width, bool is_utf8, struct buf *out)
{
	bool any_ended = false;

	(void)buf_puts(out, " SLOT SERIAL    FIRST      NOW  HIGHEST  REQUESTS    TIME  RSS\n");
	for (size_t i = 0; i < r->n; i++) {
		const struct growth_verdicts *all = &r->verdicts[i];

		put_row(&r->series[i], width, is_utf8, out);
		any_ended = any_ended || r->series[i].is_ended;
		for (size_t k = 0; k < all->n; k++) {
			put_verdict(&all->v[k], INDENT, width, out);
			/* Said once for all of them, where it concerns the pool. */
			if (growth_find(&r->pool, all->v[k].kind) == NULL)
				put_remedy(&all->v[k], &r->series[i].facts, INDENT + 2, width, out);
		}
	}
	if (any_ended)
		(void)buf_puts(out, "* has ended\n");
}

static void
put_limit(const char *key, uint64_t bytes, struct buf *out)
{
	char limit[STATUS_CELL_MAX];

	if (bytes == 0)
		return;
	value_human_size(bytes, limit, sizeof(limit));
	(void)buf_printf(out, ", %s = %s", key, limit);
}

static size_t
n_judged(const struct memory_report *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n; i++)
		n += r->verdicts[i].judged || r->verdicts[i].n > 0;
	return n;
}

int
memory_report_print(const struct memory_report *r, size_t width, bool is_utf8, struct buf *out)
{
	if (r->title != NULL)
		status_put_line(out, width, "%s", r->title);
	put_workers(r, width, is_utf8, out);
	(void)buf_puts(out, "\npool");
	put_limit("reload-on-rss", r->facts.limit_rss, out);
	put_limit("reload-on-uss", r->facts.limit_uss, out);
	(void)buf_puts(out, ":\n");
	for (size_t k = 0; k < r->pool.n; k++) {
		put_verdict(&r->pool.v[k], 2, width, out);
		put_remedy(&r->pool.v[k], &r->facts, 4, width, out);
	}
	if (r->pool.n == 0 && n_judged(r) > 0)
		(void)buf_printf(out, "  no growth, nothing out of the ordinary (%zu worker%s judged)\n",
		    n_judged(r), n_judged(r) == 1 ? "" : "s");
	else if (r->pool.n == 0)
		(void)buf_printf(out, "  too little was seen to judge: %.0f requests or %.0f s of one "
		    "worker are\n  needed, unless it grows fast\n", GROWTH_REQUESTS, GROWTH_IDLE_S);
	return out->failed ? -ENOMEM : 0;
}

static void
put(json_t *object, const char *key, json_t *value, bool *ok)
{
	if (value == NULL || json_object_set_new(object, key, value) < 0)
		*ok = false;
}

static json_t *
count(uint64_t n)
{
	return n == GROWTH_UNKNOWN ? json_null() :
	    json_integer((json_int_t)MIN_OF(n, (uint64_t)INT64_MAX));
}

static json_t *
count_or_null(uint64_t n)
{
	return n == 0 ? json_null() : count(n);
}

static json_t *
verdicts_json(const struct growth_verdicts *all, const struct growth_facts *facts)
{
	json_t *list = json_array();

	for (size_t i = 0; list != NULL && i < all->n; i++)
		if (json_array_append_new(list, growth_to_json(&all->v[i], facts)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *
worker_json(const struct memory_report *r, size_t i)
{
	const struct growth_series *s = &r->series[i];
	struct summary sum = summarize(s);
	json_t *o = json_object();
	bool ok = o != NULL;

	if (!ok)
		return NULL;
	put(o, "slot", json_integer(s->slot), &ok);
	put(o, "serial", count(s->serial), &ok);
	put(o, "ended", json_boolean(s->is_ended), &ok);
	put(o, "judged", json_boolean(r->verdicts[i].judged || r->verdicts[i].n > 0), &ok);
	put(o, "samples", count(s->n), &ok);
	put(o, "seconds", json_real((double)sum.ms / 1000.0), &ok);
	put(o, "requests", count(sum.requests), &ok);
	put(o, "rss_bytes", count_or_null(sum.last), &ok);
	put(o, "first_rss_bytes", count_or_null(sum.first), &ok);
	put(o, "highest_rss_bytes", count_or_null(sum.highest), &ok);
	put(o, "limit_rss_bytes", count_or_null(s->facts.limit_rss), &ok);
	put(o, "limit_uss_bytes", count_or_null(s->facts.limit_uss), &ok);
	put(o, "verdicts", verdicts_json(&r->verdicts[i], &s->facts), &ok);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}

json_t *
memory_report_json(const struct memory_report *r)
{
	json_t *o = json_object(), *workers = json_array(), *pool = json_object();
	bool ok = o != NULL && workers != NULL && pool != NULL;

	if (!ok) {
		json_decref(o);
		json_decref(workers);
		json_decref(pool);
		return NULL;
	}
	for (size_t i = 0; i < r->n; i++)
		if (json_array_append_new(workers, worker_json(r, i)) < 0)
			ok = false;
	put(pool, "workers", count(r->facts.workers), &ok);
	put(pool, "workers_judged", count(n_judged(r)), &ok);
	put(pool, "limit_rss_bytes", count_or_null(r->facts.limit_rss), &ok);
	put(pool, "limit_uss_bytes", count_or_null(r->facts.limit_uss), &ok);
	put(pool, "verdicts", verdicts_json(&r->pool, &r->facts), &ok);
	put(o, "workers", workers, &ok);
	put(o, "pool", pool, &ok);
	if (ok)
		return o;
	json_decref(o);
	return NULL;
}
