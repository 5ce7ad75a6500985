/*
 * status_table.c - the status as a person reads it in a terminal.
 *
 * What is wrong stands above, marked "!", then one row per worker. Lines never exceed the width
 * that was asked for: long ones go on in the next line, because what would be cut off
 * is what somebody looks for. Plain ASCII; text of others cannot reach the terminal
 * as anything but text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"
#include "model/status_budget.h"
#include "model/status_lines.h"
#include "model/status_view.h"
#include "model/text.h"
#include "model/values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WIDTH_MIN   80
#define NOTE_MIN    16		/* columns that a note needs beside the others */
#define SLOW_S      5.0		/* an older request is worth a note */
#define NEAR_FULL   0.9		/* of a queue of connections */

enum column { COL_SLOT, COL_PID, COL_STATE, COL_GEN, COL_REQUESTS, COL_BUSY, COL_RSS, COL_USS,
	COL_AGE, COL_N };

static const struct {
	const char *title;
	bool left;
} columns[COL_N] = {
	[COL_SLOT] = { "SLOT", false },
	[COL_PID] = { "PID", false },
	[COL_STATE] = { "STATE", true },
	[COL_GEN] = { "GEN", false },
	[COL_REQUESTS] = { "REQUESTS", false },
	[COL_BUSY] = { "BUSY", false },
	[COL_RSS] = { "RSS", false },
	[COL_USS] = { "USS", false },
	[COL_AGE] = { "AGE", false },
};

struct row {
	char cell[COL_N][STATUS_CELL_MAX];
};

/* "a, b, c" */
static void
put_item(struct buf *line, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
put_item(struct buf *line, const char *fmt, ...)
{
	va_list ap;

	if (line->len > 0)
		(void)buf_puts(line, ", ");
	va_start(ap, fmt);
	(void)buf_vprintf(line, fmt, ap);
	va_end(ap);
}

static void
put_summary(const struct status_view *v, size_t width, struct buf *out)
{
	AUTO_BUF struct buf listen = BUF_INIT(STATUS_LINE_MAX / 2);
	AUTO_BUF struct buf events = BUF_INIT(STATUS_LINE_MAX / 2);
	char t[STATUS_CELL_MAX], size[STATUS_CELL_MAX];
	const char *reason;
	json_t *n;

	for (size_t i = 0; i < json_array_size(v->listen); i++) {
		const char *address = json_string_value(json_array_get(v->listen, i));

		if (address != NULL)
			put_item(&listen, "%s", address);
	}
	status_put_line(out, width, "%s: %s, generation %" PRIu64 ", up %s, pid %" PRIu64
	    ", preforkd %s", v->name, v->state, v->generation, status_human_time(v->uptime_s, t),
	    v->pid, v->version);
	status_put_line(out, width, "%s on %s", v->app, listen.len == 0 ? "no address" : listen.data);
	status_put_line(out, width, "%" PRIu64 " of %" PRIu64 " workers ready, %s resident, %" PRIu64
	    " requests", v->n_ready, v->target_workers,
	    v->rss_bytes == 0 ? "unknown memory" : status_human_size(v->rss_bytes, size),
	    v->requests_total);
	status_put_molds(v, width, out);
	status_put_memory(v, width, out);

	json_object_foreach(v->recycles, reason, n)
		if (json_integer_value(n) > 0)
			put_item(&events, "%" JSON_INTEGER_FORMAT " %s", json_integer_value(n),
			    reason);
	if (events.len > 0)
		status_put_line(out, width, "recycled: %s", events.data);
	buf_clear(&events);
	if (v->crashes > 0)
		put_item(&events, "%" PRIu64 " crashed", v->crashes);
	if (v->oom_kills > 0)
		put_item(&events, "%" PRIu64 " killed for want of memory (oom)", v->oom_kills);
	if (v->boot_failures > 0)
		put_item(&events, "%" PRIu64 " failed to boot", v->boot_failures);
	if (events.len > 0)
		status_put_line(out, width, "workers: %s", events.data);
}

/* Above 1 the kernel drops what comes. */
static double
fullness(const struct view_socket *s)
{
	return (double)s->queue / (double)MAX_OF(s->backlog, UINT64_C(1));
}

/* The fullest queue of connections; nothing is said while none waits. */
static void
put_queues(const struct status_view *v, size_t width, struct buf *out)
{
	const struct view_socket *fullest = NULL;
	char slot[STATUS_CELL_MAX + 8] = "", more[2 * STATUS_CELL_MAX + 16] = "";
	uint64_t waiting = 0;
	size_t n = 0;

	for (size_t i = 0; i < v->n_sockets; i++) {
		const struct view_socket *s = &v->sockets[i];

		if (s->queue == 0)
			continue;
		waiting += s->queue;
		n++;
		if (fullest == NULL || fullness(s) > fullness(fullest))
			fullest = s;
	}
	if (fullest == NULL)
		return;
	if (fullest->slot > 0)
		(void)snprintf(slot, sizeof(slot), " slot %" PRIu64, fullest->slot);
	if (n > 1)
		(void)snprintf(more, sizeof(more), ", %" PRIu64 " at %zu other%s",
		    waiting - fullest->queue, n - 1, n == 2 ? "" : "s");
	status_put_line(out, width, "%squeue: %s%s: %" PRIu64 " of %" PRIu64 " wait%s",
	    fullness(fullest) >= NEAR_FULL ? "! " : "", fullest->address, slot, fullest->queue,
	    fullest->backlog, more);
}

static void
put_reload(const json_t *r, size_t width, struct buf *out)
{
	const char *state = view_text(r, "state");
	const char *error = view_text(r, "error");
	char t[STATUS_CELL_MAX];

	if (state == NULL)
		return;
	if (strcmp(state, "running") == 0)
		status_put_line(out, width, "a reload is under way");
	else if (strcmp(state, "failed") == 0)
		status_put_line(out, width, "! the last reload failed %s ago, the old generation serves"
		    " on: %s", status_human_time(view_seconds(r, "ago_seconds"), t),
		    error == NULL ? "reason not known" : error);
}

static void
put_governor(const json_t *g, size_t width, struct buf *out)
{
	uint64_t queued = view_count(g, "queued"), starting = view_count(g, "starting");
	const char *waiting = view_text(g, "waiting");
	double probe_s = view_seconds(g, "next_probe_seconds");
	char t[STATUS_CELL_MAX];

	if (queued > 0 || starting > 0)
		status_put_line(out, width, "%" PRIu64 " to be replaced, %" PRIu64 " successor%s"
		    " starting%s%s", queued, starting, starting == 1 ? "" : "s",
		    waiting == NULL ? "" : "; waiting: ", waiting == NULL ? "" : waiting);
	if (view_flag(g, "code_bad"))
		status_put_line(out, width, "! the code on disk does not boot: only workers that must be"
		    " are replaced, next try %s%s; repair it, then: preforkctl reload",
		    probe_s > 0.0 ? "in " : "soon", probe_s > 0.0 ? status_human_time(probe_s, t) : "");
	if (view_flag(g, "roll_stalled"))
		status_put_line(out, width, "! the roll to the new generation has stopped: its workers"
		    " fail to boot, old ones serve on");
	status_put_futile(json_object_get(g, "futile_limits"), width, out);
	if (view_flag(g, "dry_run"))
		status_put_line(out, width, "recycle-dry-run: %" PRIu64 " recycles were only counted",
		    view_count(g, "dry_run_would"));
}

/* Our own states are short and plain; whatever else a master says must be harmless. */
static void
put_state(const char *state, char dst[static STATUS_CELL_MAX])
{
	size_t n = 0;

	for (; n < 12 && state[n] != '\0'; n++)
		dst[n] = state[n] > ' ' && state[n] < 0x7f ? state[n] : '?';
	dst[n] = '\0';
}

static void
make_row(const struct view_worker *w, struct row *row)
{
	char (*cell)[STATUS_CELL_MAX] = row->cell;

	for (size_t i = 0; i < COL_N; i++)
		strcpy(cell[i], "-");
	(void)snprintf(cell[COL_SLOT], STATUS_CELL_MAX, "%" PRIu64, w->slot);
	put_state(w->state, cell[COL_STATE]);
	if (w->pid == 0)
		return;
	(void)snprintf(cell[COL_PID], STATUS_CELL_MAX, "%" PRIu64, w->pid);
	(void)snprintf(cell[COL_GEN], STATUS_CELL_MAX, "%" PRIu64, w->generation);
	(void)snprintf(cell[COL_REQUESTS], STATUS_CELL_MAX, "%" PRIu64, w->requests);
	(void)snprintf(cell[COL_BUSY], STATUS_CELL_MAX, "%" PRIu64, w->in_flight);
	if (w->rss_bytes > 0)
		status_human_size(w->rss_bytes, cell[COL_RSS]);
	if (w->uss_bytes > 0)
		status_human_size(w->uss_bytes, cell[COL_USS]);
	if (w->age_s >= 0.0)
		status_human_time(w->age_s, cell[COL_AGE]);
}

/* What is special about a worker; what comes next when nothing is. */
static void
make_note(const struct view_worker *w, struct buf *note)
{
	char t[STATUS_CELL_MAX];

	if (w->pid == 0 && w->next_attempt_s > 0.0)
		put_item(note, "next try in %s%s%s", status_human_time(w->next_attempt_s, t),
		    w->last_reason == NULL ? "" : " after ",
		    w->last_reason == NULL ? "" : w->last_reason);
	else if (w->pid == 0 && w->last_reason != NULL)
		put_item(note, "after %s", w->last_reason);
	if (w->is_successor)
		put_item(note, "successor");
	if (w->reason != NULL)
		put_item(note, "%s%s", strcmp(w->state, "ready") == 0 ? "to be replaced: " : "",
		    w->reason);
	else if (w->max_requests > 0 && strcmp(w->state, "ready") == 0)
		put_item(note, "recycle at %" PRIu64, w->max_requests);
	else if (w->max_lifetime_s > 0.0 && strcmp(w->state, "ready") == 0)
		put_item(note, "recycle at age %s", status_human_time(w->max_lifetime_s, t));
	if (w->oldest_request_s >= SLOW_S)
		put_item(note, "a request runs for %s", status_human_time(w->oldest_request_s, t));
	if (w->trims > 0)
		put_item(note, "trimmed %s in %" PRIu64, status_human_size(w->trimmed_bytes, t),
		    w->trims);
	if (w->traces)
		put_item(note, "traces allocations");
	if (w->agent_lost)
		put_item(note, "agent lost");
	if (w->status != NULL && w->status[0] != '\0')
		put_item(note, "\"%.200s\"", w->status);
}

static void
put_row(const char *cells, size_t stride, const size_t widths[static COL_N], struct buf *out)
{
	for (size_t i = 0; i < COL_N; i++) {
		const char *cell = cells + i * stride;
		size_t pad = widths[i] - strlen(cell);

		if (i > 0)
			(void)buf_putc(out, ' ');
		if (!columns[i].left)
			status_put_blanks(out, pad);
		(void)buf_puts(out, cell);
		if (columns[i].left)
			status_put_blanks(out, pad);
	}
}

static int
put_workers(const struct status_view *v, size_t width, struct buf *out)
{
	AUTO_FREE struct row *rows = calloc(v->n_workers + 1, sizeof(*rows));
	size_t widths[COL_N], note_at = COL_N;
	bool wide;

	if (rows == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < COL_N; i++)
		widths[i] = strlen(strcpy(rows[0].cell[i], columns[i].title));
	for (size_t n = 0; n < v->n_workers; n++) {
		make_row(&v->workers[n], &rows[n + 1]);
		for (size_t i = 0; i < COL_N; i++)
			widths[i] = MAX_OF(widths[i], strlen(rows[n + 1].cell[i]));
	}
	for (size_t i = 0; i < COL_N; i++)
		note_at += widths[i];
	wide = note_at + NOTE_MIN > width;

	put_row(rows[0].cell[0], STATUS_CELL_MAX, widths, out);
	(void)buf_puts(out, " NOTE\n");
	for (size_t n = 0; n < v->n_workers; n++) {
		AUTO_BUF struct buf note = BUF_INIT(STATUS_LINE_MAX);
		AUTO_BUF struct buf safe = BUF_INIT(6 * STATUS_LINE_MAX);

		make_note(&v->workers[n], &note);
		(void)text_put_safe(&safe, note.data, TEXT_ASCII);
		put_row(rows[n + 1].cell[0], STATUS_CELL_MAX, widths, out);
		if (safe.len == 0 || wide)
			(void)buf_putc(out, '\n');
		else
			(void)buf_putc(out, ' ');
		if (safe.len > 0 && wide)
			status_put_blanks(out, 2 * STATUS_INDENT);
		if (safe.len > 0)
			status_put_wrapped(out, safe.data, wide ? 2 * STATUS_INDENT : note_at,
			    wide ? 2 * STATUS_INDENT : note_at, width);
	}
	return 0;
}

int
status_print_table(const json_t *status, unsigned width, struct buf *out)
{
	struct status_view v;
	size_t columns_n = MAX_OF(width, WIDTH_MIN);
	int r = status_view_read(status, &v);

	if (r < 0)
		return r;
	put_summary(&v, columns_n, out);
	put_queues(&v, columns_n, out);
	put_reload(v.last_reload, columns_n, out);
	put_governor(v.governor, columns_n, out);
	(void)buf_putc(out, '\n');
	r = put_workers(&v, columns_n, out);
	status_view_done(&v);
	if (r == 0 && out->failed)
		r = -ENOMEM;
	return r;
}
