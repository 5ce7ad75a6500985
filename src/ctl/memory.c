/*
 * memory.c - preforkctl memory: how the memory of the workers grows.
 *
 * The samples come from a master, one answer for each worker, or from a file; the verdicts are
 * made here, so that a master spends no time on them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ctl/commands.h"

#include "base/buf.h"
#include "model/memory_report.h"
#include "model/series.h"

#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define OUTPUT_MAX  (64u << 20)
#define WORKERS_MAX 100000u
#define SAMPLES_MAX 100000u	/* of one worker, from a master */
#define COLUMNS     8

/* What a master has told, in the making. */
struct told {
	struct growth_series *series;	/* owned */
	struct growth_sample **samples;	/* owned: those of each */
	size_t n, cap;
};

static void
told_done(struct told *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->samples[i]);
	free(t->samples);
	free(t->series);
}

static uint64_t
number_or(const json_t *value, uint64_t fallback)
{
	json_int_t n = json_integer_value(value);

	return json_is_integer(value) && n >= 0 ? (uint64_t)n : fallback;
}

static uint64_t
member(const json_t *object, const char *key, uint64_t fallback)
{
	return number_or(json_object_get(object, key), fallback);
}

static void
take_sample(const json_t *row, struct growth_sample *s)
{
	uint64_t *const columns[COLUMNS] = {
		&s->ms, &s->rss, &s->uss, &s->pss, &s->requests, &s->in_flight, &s->fds,
		&s->connections,
	};

	for (size_t i = 0; i < COLUMNS; i++)
		*columns[i] = number_or(json_array_get(row, i), i == 0 ? 0 : GROWTH_UNKNOWN);
}

static enum growth_maybe
maybe(const json_t *value)
{
	return json_is_true(value) ? GROWTH_YES : json_is_false(value) ? GROWTH_NO : GROWTH_MAYBE;
}

/* One answer: one worker. */
static int
on_worker(void *ctx, const json_t *parameters)
{
	const json_t *w = json_object_get(parameters, "worker");
	const json_t *rows = json_object_get(w, "samples");
	size_t n = json_array_size(rows);
	AUTO_FREE struct growth_sample *samples = NULL;
	struct told *t = ctx;

	if (!json_is_object(w) || t->n >= WORKERS_MAX || n > SAMPLES_MAX)
		return -EBADMSG;
	if (t->n == t->cap) {
		size_t cap = t->cap == 0 ? 64 : 2 * t->cap;
		struct growth_series *series = reallocarray(t->series, cap, sizeof(*series));
		struct growth_sample **lists = reallocarray(t->samples, cap, sizeof(*lists));

		t->series = series != NULL ? series : t->series;
		t->samples = lists != NULL ? lists : t->samples;
		if (series == NULL || lists == NULL)
			return -ENOMEM;
		t->cap = cap;
	}
	samples = calloc(MAX_OF(n, 1u), sizeof(*samples));
	if (samples == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		take_sample(json_array_get(rows, i), &samples[i]);
	t->series[t->n] = (struct growth_series){
		.slot = (unsigned)member(w, "slot", 0),
		.serial = member(w, "serial", 0),
		.is_ended = json_is_true(json_object_get(w, "ended")),
		.samples = samples,
		.n = n,
		.facts = {
			.limit_rss = member(w, "limit_rss_bytes", 0),
			.limit_uss = member(w, "limit_uss_bytes", 0),
			.preloaded = maybe(json_object_get(w, "preloaded")),
			.trim_gc = member(w, "trim_gc_bytes", GROWTH_UNKNOWN),
			.trim_malloc = member(w, "trim_malloc_bytes", GROWTH_UNKNOWN),
		},
	};
	t->samples[t->n++] = TAKE_PTR(samples);
	return 0;
}

static int
compare_series(const void *a, const void *b)
{
	const struct growth_series *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->serial < y->serial ? -1 : x->serial > y->serial;
}

/* Judges, and shows the outcome. */
static enum ctl_exit
show(const struct ctl_request *rq, struct memory_report *r)
{
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_MAX);
	json_t *json = NULL;
	bool is_utf8;
	int e = memory_report_judge(r);

	if (e == 0 && rq->options->as_json) {
		json = memory_report_json(r);
		e = json == NULL ? -ENOMEM : 0;
	} else if (e == 0) {
		(void)setlocale(LC_CTYPE, "");
		is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
		e = memory_report_print(r, command_terminal_width(), is_utf8, &out);
	}
	memory_report_done(r);
	if (e < 0) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	if (json != NULL)
		command_show_json(json);
	else
		(void)fwrite(out.data, 1, out.len, stdout);
	json_decref(json);
	return CTL_DONE;
}

/* A file, or standard input for "-". At most SERIES_BYTES_MAX + 1 bytes, so that more is seen. */
static int
read_file(const char *path, struct buf *ret)
{
	bool is_stdin = strcmp(path, "-") == 0;
	AUTO_CLOSE int own = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	int fd = is_stdin ? STDIN_FILENO : own;
	char data[65536];

	if (fd < 0)
		return -errno;
	while (ret->len <= SERIES_BYTES_MAX) {
		ssize_t n = read(fd, data, sizeof(data));

		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (buf_append(ret, data, (size_t)n) < 0)
			return -ENOMEM;
	}
	return 0;
}

static enum ctl_exit
from_file(const struct ctl_request *rq)
{
	const char *path = rq->options->series;
	AUTO_BUF struct buf text = BUF_INIT(SERIES_BYTES_MAX + (1u << 17));
	AUTO_FREE struct growth_series *series = NULL;
	struct memory_report r = { .facts = { .limit_rss = rq->options->reload_on_rss,
		.trim_gc = GROWTH_UNKNOWN, .trim_malloc = GROWTH_UNKNOWN } };
	static struct errs errs;
	struct series s;
	enum ctl_exit result;
	int e = read_file(path, &text);

	if (e < 0) {
		ctl_complain("cannot read '%s': %s", path, strerror(-e));
		return CTL_FAILED;
	}
	if (series_parse(text.data == NULL ? "" : text.data, text.len, &s, &errs) < 0) {
		for (size_t i = 0; i < errs.n; i++)
			ctl_complain("%s: %s", path, errs.text[i]);
		if (errs.n == 0)
			ctl_complain("out of memory");
		errs_clear(&errs);
		return CTL_FAILED;
	}
	buf_free(&text);
	series = calloc(s.n, sizeof(*series));
	if (series == NULL) {
		series_free(&s);
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	for (size_t i = 0; i < s.n; i++)
		r.facts.workers += i == 0 || s.workers[i].slot != s.workers[i - 1].slot;
	for (size_t i = 0; i < s.n; i++)
		series[i] = (struct growth_series){
			.slot = s.workers[i].slot, .serial = s.workers[i].serial,
			.samples = s.workers[i].samples, .n = s.workers[i].n, .facts = r.facts,
			.is_ended = i + 1 < s.n && s.workers[i + 1].slot == s.workers[i].slot,
		};
	r.series = series;
	r.n = s.n;
	result = show(rq, &r);
	series_free(&s);
	return result;
}

static int
write_all(int fd, const struct buf *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = write(fd, b->data + done, b->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static enum ctl_exit
record(const char *path, const struct told *t)
{
	bool is_stdout = strcmp(path, "-") == 0;
	AUTO_BUF struct buf out = BUF_INIT(SERIES_BYTES_MAX);
	AUTO_CLOSE int own = -1;
	uint64_t start = UINT64_MAX;
	size_t samples = 0;
	int e;

	for (size_t i = 0; i < t->n; i++)
		if (t->series[i].n > 0)
			start = MIN_OF(start, t->series[i].samples[0].ms);
	(void)series_put_header(&out);
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; k < t->series[i].n; k++, samples++)
			(void)series_put_sample(&out, t->series[i].slot, t->series[i].serial,
			    &t->series[i].samples[k], start);
	if (out.failed) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	if (!is_stdout)
		own = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	e = !is_stdout && own < 0 ? -errno : write_all(is_stdout ? STDOUT_FILENO : own, &out);
	if (e == 0 && own >= 0 && close(TAKE_FD(own)) < 0)
		e = -errno;
	if (e < 0) {
		ctl_complain("cannot write '%s': %s", path, strerror(-e));
		return CTL_FAILED;
	}
	if (!is_stdout)
		ctl_complain("%zu samples of %zu workers in '%s'", samples, t->n, path);
	return CTL_DONE;
}

/* What concerns all of them, from the last answer. */
static void
take_facts(const json_t *facts, struct memory_report *r, struct told *t, char *title, size_t len)
{
	const char *name = json_string_value(json_object_get(facts, "name"));
	uint64_t workers = MAX_OF(member(facts, "workers", 1), 1u);

	snprintf(title, len, "%.40s: %llu worker%s", name == NULL ? "preforkd" : name,
	    (unsigned long long)workers, workers == 1 ? "" : "s");
	r->title = title;
	r->facts = (struct growth_facts){
		.limit_rss = member(facts, "limit_rss_bytes", 0),
		.limit_uss = member(facts, "limit_uss_bytes", 0), .workers = workers,
		.preloaded = maybe(json_object_get(facts, "preloaded")),
		.trim_gc = GROWTH_UNKNOWN, .trim_malloc = GROWTH_UNKNOWN,
	};
	for (size_t i = 0; i < t->n; i++)
		t->series[i].facts.workers = workers;
	r->series = t->series;
	r->n = t->n;
}

enum ctl_exit
memory_run(const struct ctl_request *rq)
{
	struct told told = { 0 };
	const struct client_call call = { .method = "Memory", .on_part = on_worker, .ctx = &told };
	struct memory_report r = { 0 };
	struct client_answer a;
	enum ctl_exit result;
	char title[128];

	if (rq->options->series != NULL)
		return from_file(rq);
	result = command_call(rq, &call, "memory", &a);
	if (result == CTL_DONE) {
		qsort(told.series, told.n, sizeof(*told.series), compare_series);
		if (rq->options->record != NULL) {
			result = record(rq->options->record, &told);
		} else {
			take_facts(json_object_get(a.parameters, "facts"), &r, &told, title,
			    sizeof(title));
			result = show(rq, &r);
		}
		client_answer_done(&a);
	}
	told_done(&told);
	return result;
}
