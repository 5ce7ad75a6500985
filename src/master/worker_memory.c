/*
 * worker_memory.c - what a worker's agent is asked about its memory, and what it answers: trims,
 * traces, and the descriptor by which it can be looked at.
 *
 * What it says is rumour: sizes are bounded, answers that nobody asked for are dropped, and the
 * cost of tracing takes at most half of what was measured away.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"
#include "master/worker.h"

#include "system/clock.h"

#include <stdio.h>
#include <string.h>

/* An agent answers within 5 s and the time of a collection, or not at all. */
#define TRIM_MS UINT64_C(60000)

static bool
can_be_asked(const struct worker *w)
{
	return w->gen->has_agent && w->channel_fd >= 0 && (worker_state(w) == WS_READY ||
	    worker_state(w) == WS_DRAINING);
}

static int
send_numbers(struct worker *w, const char *key, uint64_t value, const char *more)
{
	AUTO_BUF struct buf b = BUF_INIT(128);

	message_put_number(&b, key, value);
	buf_puts(&b, more);
	return b.failed ? -ENOMEM : channel_send(w->channel_fd, b.data, b.len, -1);
}

int
worker_ask_trim(struct worker *w)
{
	uint64_t now = clock_now_ms();
	int r;

	if (!can_be_asked(w) || worker_state(w) != WS_READY)
		return -ENOTSUP;
	if (w->trims.asked_ms != 0 && now - w->trims.asked_ms < TRIM_MS)
		return -EAGAIN;
	r = send_numbers(w, "TRIM", 1, "");
	if (r >= 0)
		w->trims.asked_ms = now;
	return r;
}

void
worker_ask_counts(struct worker *w)
{
	if (can_be_asked(w))
		(void)send_numbers(w, "COUNT", 1, "");
}

static void
take_result(struct worker *w, const struct message *m)
{
	struct worker_trims *t = &w->trims;

	t->last = (struct trim_result){
		.known = true, .before = m->trimmed[0], .after_gc = m->trimmed[1],
		.after_trim = m->trimmed[2], .at_ms = clock_now_ms(),
	};
	t->took_us = (m->has & MK_TOOK) != 0 ? m->took_usec : 0;
	t->n++;
	/* Each is at most 2^50, and they come one by one. */
	t->given_back += trim_gain(&t->last);
	base_replace(&t->refusal, NULL);
}

static void
take_trim(struct worker *w, const struct message *m)
{
	if (w->trims.asked_ms == 0)
		return;
	w->trims.asked_ms = 0;
	if ((m->has & MK_TRIMMED) != 0)
		take_result(w, m);
	else
		base_replace(&w->trims.refusal, message_clean(m->untrimmed, m->untrimmed_len,
		    WORKER_TEXT_MAX));
	w->ops->trimmed(w->ctx, w);
}

void
worker_memory_said(struct worker *w, const struct message *m)
{
	if ((m->has & (MK_TRIMMED | MK_UNTRIMMED)) != 0)
		take_trim(w, m);
	if ((m->has & MK_TRACED) != 0 && w->may_trace) {
		w->traced_bytes = MIN_OF(m->traced, MESSAGE_SIZE_MAX);
		w->may_trace = w->traced_bytes != 0 || w->tracing.on;
	}
}

uint64_t
worker_without_tracing(const struct worker *w, uint64_t bytes)
{
	return bytes - MIN_OF(w->traced_bytes, bytes / 2);
}

void
worker_forget_tracing(const struct worker *w, uint64_t value[GM_N])
{
	static const enum gov_metric sizes[] = { GM_RSS, GM_USS, GM_PSS };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (value[sizes[i]] != GOV_UNKNOWN)
			value[sizes[i]] = worker_without_tracing(w, value[sizes[i]]);
}

int
worker_trace(struct worker *w, bool on)
{
	if (!can_be_asked(w))
		return -ENOTSUP;
	w->may_trace = w->may_trace || on;
	return send_numbers(w, "TRACE", on, "");
}

int
worker_ask_memory(struct worker *w, uint64_t id, unsigned seconds)
{
	char more[64];
	uint64_t now = clock_now_ms();
	int r;

	if (!can_be_asked(w))
		return -ENOTSUP;
	/* One for the log that never came is in nobody's way. */
	if (w->report_id != 0 && ((w->report_id & WORKER_REPORT_FOR_LOG) == 0 ||
	    now - w->report_ms < WORKER_LOG_REPORT_MS))
		return -EAGAIN;
	(void)snprintf(more, sizeof more, "WHAT=memory\nSECONDS=%u\n", seconds);
	r = send_numbers(w, "REPORT", id, more);
	if (r < 0)
		return r;
	w->may_trace = true;
	w->report_id = id;
	w->report_ms = now;
	buf_clear(&w->report);
	return 0;
}

void
worker_take_rollup(struct worker *w, int fd)
{
	int r = procmem_adopt_rollup(&w->mem, w->pid, fd);

	if (r < 0)
		worker_log(w, LOG_LEVEL_DEBUG, "the descriptor that came with READY is of no use: %s",
		    strerror(-r));
}
