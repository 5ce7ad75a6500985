/*
 * master_calls.c - the commands of the control socket, carried out.
 *
 * Calls that take time wait in a fixed table, as large as the number of clients can be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/master.h"

#include "model/text.h"
#include "system/clock.h"

#include <stdio.h>
#include <string.h>

#define REPORT_MS UINT64_C(5000)
#define MEMORY_MS UINT64_C(30000)	/* to look through what was traced */
#define TRACE_SECONDS 10u

static struct pending *
add_pending(struct master *m, enum pending_kind kind, control_call_id id)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];

		if (c->kind == PENDING_NONE) {
			*c = (struct pending){ .kind = kind, .id = id };
			return c;
		}
	}
	control_error(m->control, id, "Refused", "too many calls wait already", NULL);
	return NULL;
}

static json_t *
op_status(void *ctx)
{
	return master_status(ctx);
}

void
master_progress(struct master *m, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_debug("reload: %s", text);
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++)
		if (m->pending[i].kind == PENDING_RELOAD && !m->pending[i].is_next)
			control_progress(m->control, m->pending[i].id, text);
}

static void
op_reload(void *ctx, control_call_id id)
{
	struct master *m = ctx;
	struct pending *c;

	if (m->state == MS_STOPPING || m->stop_asked) {
		control_error(m->control, id, "Refused", "preforkd is stopping", NULL);
		return;
	}
	c = add_pending(m, PENDING_RELOAD, id);
	if (c == NULL)
		return;
	/* What runs now has read its files already: this call is about the next one. */
	c->is_next = m->state != MS_RUNNING;
	if (c->is_next)
		control_progress(m->control, id, m->state == MS_STARTING
		    ? "waits for the first generation" : "waits for the reload that runs");
	master_handle(m, ME_RELOAD);
}

void
master_calls_reload_begins(struct master *m)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++)
		m->pending[i].is_next = false;
}

void
master_calls_reload_ended(struct master *m, const char *error, const char *words)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];

		if (c->kind != PENDING_RELOAD || c->is_next)
			continue;
		if (error != NULL)
			control_error(m->control, c->id, "ReloadFailed", error, words);
		else
			control_reply(m->control, c->id, json_pack("{s:I}", "generation",
			    (json_int_t)m->pool.gen->number));
		c->kind = PENDING_NONE;
	}
}

void
master_calls_stop(struct master *m)
{
	master_calls_reload_begins(m);
	master_calls_reload_ended(m, "preforkd stops", NULL);
}

static bool
is_replaceable(const struct worker *w)
{
	return w != NULL && worker_state(w) == WS_READY;
}

/* Workers with a serial up to this one that the call still waits for. */
static size_t
recycle_left(const struct pool *p, unsigned slot, uint64_t serial)
{
	size_t left = 0;

	for (unsigned i = 1; i <= p->n_slots; i++) {
		const struct worker *w = p->slots[i - 1].serving;

		if (w == NULL || (slot != 0 && i != slot))
			continue;
		left += pool_is_let_in(w) || (is_replaceable(w) && w->gov.serial <= serial &&
		    (w->gov.due & (1u << REASON_REQUEST)) != 0);
	}
	return left;
}

static void
op_recycle(void *ctx, control_call_id id, unsigned slot, bool wait)
{
	struct master *m = ctx;
	struct pool *p = &m->pool;
	struct pending *c;
	size_t ordered = 0;

	if (m->state == MS_STOPPING || m->stop_asked) {
		control_error(m->control, id, "Refused", "preforkd is stopping", NULL);
		return;
	}
	if (slot > p->target) {
		control_error(m->control, id, "NoSuchSlot", "there is no such slot", NULL);
		return;
	}
	if (p->governor.code_bad) {
		control_error(m->control, id, "Refused", "the last start failed: workers are replaced "
		    "again once a start has succeeded; repair the application, then: preforkctl "
		    "reload", NULL);
		return;
	}
	for (unsigned i = 1; i <= p->target; i++) {
		if ((slot != 0 && i != slot) || !is_replaceable(p->slots[i - 1].serving))
			continue;
		governor_order(&p->slots[i - 1].serving->gov, REASON_REQUEST, clock_now_ms());
		ordered++;
	}
	if (ordered == 0) {
		control_error(m->control, id, "Refused", "no worker serves there now; its next "
		    "one is on its way already", NULL);
		return;
	}
	pool_wake(p);
	if (!wait) {
		control_reply(m->control, id, NULL);
		return;
	}
	c = add_pending(m, PENDING_RECYCLE, id);
	if (c == NULL)
		return;
	c->slot = slot;
	c->serial = p->last_serial;
}

void
master_calls_check(struct master *m, bool failed, const char *words)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];

		if (c->kind != PENDING_RECYCLE)
			continue;
		if (failed) {
			control_error(m->control, c->id, "Refused", "a worker did not start; the old "
			    "ones serve on and are replaced once a start has succeeded", words);
			c->kind = PENDING_NONE;
		} else if (recycle_left(&m->pool, c->slot, c->serial) == 0) {
			control_reply(m->control, c->id, NULL);
			c->kind = PENDING_NONE;
		}
	}
}

static void
op_scale(void *ctx, control_call_id id, unsigned workers)
{
	struct master *m = ctx;
	char text[96];
	int r;

	if (m->state == MS_STOPPING || m->stop_asked) {
		control_error(m->control, id, "Refused", "preforkd is stopping", NULL);
		return;
	}
	r = pool_scale(&m->pool, workers);
	if (r < 0) {
		snprintf(text, sizeof text, r == -ERANGE ? "workers: 1 to %u" : "out of memory "
		    "for so many (at most %u)", POOL_WORKERS_MAX);
		control_error(m->control, id, "Refused", text, NULL);
		return;
	}
	log_notice("scale: %u workers, until the next reload", workers);
	control_reply(m->control, id, NULL);
}

static void
op_stop(void *ctx, control_call_id id, bool quick)
{
	struct master *m = ctx;

	control_reply(m->control, id, NULL);
	master_handle(m, quick ? ME_QUIT : ME_STOP);
}

static void
arm_report_deadline(struct master *m)
{
	uint64_t now = clock_now_ms(), next = UINT64_MAX;

	for (size_t i = 0; i < MASTER_CALLS_MAX; i++)
		if (m->pending[i].kind == PENDING_REPORT)
			next = MIN_OF(next, m->pending[i].until_ms);
	ev_timer_stop(m->loop, &m->report_deadline);
	if (next == UINT64_MAX)
		return;
	ev_timer_set(&m->report_deadline, (double)(next > now ? next - now : 0) / 1000.0, 0.);
	ev_timer_start(m->loop, &m->report_deadline);
}

static void
on_report_deadline(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct master *m = container_of(t, struct master, report_deadline);
	uint64_t now = clock_now_ms();

	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];
		struct worker *w;

		if (c->kind != PENDING_REPORT || c->until_ms > now)
			continue;
		w = pool_serving(&m->pool, c->slot);
		if (w != NULL && w->report_id == c->report_id)
			w->report_id = 0;
		control_error(m->control, c->id, "Refused", c->is_memory
		    ? "the worker did not answer in time; it may hang outside Python, or have too "
		    "much to look through" : "the worker did not answer within 5 s; it may hang "
		    "outside Python", NULL);
		c->kind = PENDING_NONE;
	}
	arm_report_deadline(m);
}

static void
op_report(void *ctx, control_call_id id, unsigned slot, bool memory, unsigned seconds)
{
	struct master *m = ctx;
	struct worker *w = pool_serving(&m->pool, slot);
	struct pending *c;
	int r;

	if (w == NULL) {
		control_error(m->control, id, "NoSuchSlot", "no worker serves in this slot", NULL);
		return;
	}
	c = add_pending(m, PENDING_REPORT, id);
	if (c == NULL)
		return;
	if (seconds == 0)
		seconds = TRACE_SECONDS;
	m->last_report_id++;
	r = memory ? worker_ask_memory(w, m->last_report_id, seconds)
	    : worker_ask_report(w, m->last_report_id);
	if (r < 0) {
		c->kind = PENDING_NONE;
		control_error(m->control, id, "Refused", r == -EAGAIN
		    ? "another report of this worker is under way"
		    : "this worker cannot report (it starts, or is a plain command)", NULL);
		return;
	}
	c->slot = slot;
	c->report_id = m->last_report_id;
	c->is_memory = memory;
	c->until_ms = clock_now_ms() + (memory ? seconds * MSEC_PER_SEC + MEMORY_MS : REPORT_MS);
	ev_set_cb(&m->report_deadline, on_report_deadline);
	arm_report_deadline(m);
}

void
master_calls_reported(struct master *m, uint64_t id, const char *text)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];

		if (c->kind != PENDING_REPORT || c->report_id != id)
			continue;
		control_reply(m->control, c->id, json_pack("{s:o}", "text", text_to_json(text)));
		c->kind = PENDING_NONE;
	}
	arm_report_deadline(m);
}

void
master_calls_gone(struct master *m, const struct worker *w)
{
	for (size_t i = 0; i < MASTER_CALLS_MAX; i++) {
		struct pending *c = &m->pending[i];

		if (c->kind != PENDING_REPORT || w->report_id != c->report_id)
			continue;
		control_error(m->control, c->id, "Refused", "the worker ended before it had "
		    "answered", NULL);
		c->kind = PENDING_NONE;
	}
	arm_report_deadline(m);
}

static json_t *
op_memory(void *ctx, uint64_t *cursor, bool *ret_last)
{
	const struct master *m = ctx;
	uint64_t before = *cursor;
	json_t *part = pool_history_part(&m->pool, cursor);

	*ret_last = part == NULL && *cursor == before;
	return *ret_last ? pool_history_facts(&m->pool) : part;
}

const struct control_ops master_control_ops = {
	.status = op_status,
	.reload = op_reload,
	.recycle = op_recycle,
	.scale = op_scale,
	.stop = op_stop,
	.report = op_report,
	.memory = op_memory,
};
