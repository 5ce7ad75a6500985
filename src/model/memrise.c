/*
 * memrise.c - see memrise.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/memrise.h"

#include "model/values.h"

#include <stdio.h>

void
memrise_reset(struct memrise *m)
{
	*m = (struct memrise){ .said_ms = m->said_ms, .said_bytes = m->said_bytes };
}

static uint64_t
rise_of(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

static void
remember(struct memrise *m, const struct memrise_sample *s, uint64_t now_ms)
{
	bool is_new = m->n_steps == 0 || now_ms - m->step_begun_ms >= MEMRISE_STEP_MS;

	if (is_new) {
		m->at = m->n_steps == 0 ? 0 : (m->at + 1) % MEMRISE_STEPS;
		m->n_steps = MIN_OF(m->n_steps + 1, MEMRISE_STEPS);
		m->step_begun_ms = m->step[m->at].ms = now_ms;
	}
	for (unsigned p = 0; p < MEMRISE_N; p++)
		if (is_new || s->part[p] < m->step[m->at].low[p])
			m->step[m->at].low[p] = s->part[p];
}

/* The lowest value of a part within the history; of equal ones the latest. */
static uint64_t
lowest(const struct memrise *m, enum memrise_part p, uint64_t *ret_ms)
{
	uint64_t low = UINT64_MAX;

	*ret_ms = 0;
	for (unsigned i = 0; i < m->n_steps; i++)
		if (m->step[i].low[p] < low ||
		    (m->step[i].low[p] == low && m->step[i].ms > *ret_ms)) {
			low = m->step[i].low[p];
			*ret_ms = m->step[i].ms;
		}
	return low;
}

static bool
is_cache(const struct memrise_sample *s, enum memrise_part part)
{
	return part == MEMRISE_FILE || (part == MEMRISE_KERNEL && s->kernel_has_cache);
}

/* What has risen most, if that is worth a word. */
static enum memrise_part
look(const struct memrise *m, const struct memrise_sample *s, struct memrise_verdict *ret)
{
	uint64_t least = MAX_OF(MEMRISE_MIN, s->limit / 20), all = 0, most = 0, ms;
	enum memrise_part part = MEMRISE_NONE;

	for (unsigned p = MEMRISE_NONE + 1; p < MEMRISE_N; p++) {
		uint64_t from = lowest(m, p, &ms), rise = rise_of(from, s->part[p]);

		all += rise;
		if (rise <= most)
			continue;
		most = rise;
		part = p;
		*ret = (struct memrise_verdict){
			.part = p, .from_bytes = from, .from_ms = ms, .bytes = s->part[p],
		};
	}
	if (part == MEMRISE_ANON || most < least || most < all - most)
		return MEMRISE_NONE;
	if (is_cache(s, part) && (s->limit == 0 || s->used < s->limit / 100 * MEMRISE_FULL))
		return MEMRISE_NONE;
	return part;
}

/* Follows the part that was named; false: it has fallen back. */
static bool
still_stands(struct memrise *m, const struct memrise_sample *s)
{
	struct memrise_verdict *v = &m->verdict;

	v->bytes = s->part[v->part];
	m->highest = MAX_OF(m->highest, v->bytes);
	return rise_of(v->from_bytes, v->bytes) >= (m->highest - v->from_bytes) / 2;
}

/* A line for a new verdict, and for one that has grown by a quarter since. */
static bool
shall_say(struct memrise *m, uint64_t now_ms)
{
	const struct memrise_verdict *v = &m->verdict;

	if (m->said_ms != 0 && now_ms - m->said_ms < MEMRISE_SAY_MS)
		return false;
	if (m->said_bytes != 0 && v->bytes / 5 * 4 < m->said_bytes)
		return false;
	m->said_ms = now_ms;
	m->said_bytes = v->bytes;
	return true;
}

bool
memrise_feed(struct memrise *m, const struct memrise_sample *s, uint64_t now_ms)
{
	struct memrise_verdict found = { .part = MEMRISE_NONE };
	enum memrise_part part;

	remember(m, s, now_ms);
	if (m->verdict.part != MEMRISE_NONE) {
		if (still_stands(m, s))
			return shall_say(m, now_ms);
		m->verdict = (struct memrise_verdict){ .part = MEMRISE_NONE };
		m->suspect = MEMRISE_NONE;
		m->said_bytes = 0;
	}
	part = look(m, s, &found);
	if (part != m->suspect) {
		m->suspect = part;
		m->suspect_ms = now_ms;
	}
	if (part == MEMRISE_NONE || now_ms - m->suspect_ms < MEMRISE_HOLD_MS)
		return false;
	m->verdict = found;
	m->highest = found.bytes;
	return shall_say(m, now_ms);
}

const char *
memrise_name(enum memrise_part part)
{
	switch (part) {
	case MEMRISE_SOCK:
		return "sock";
	case MEMRISE_KERNEL:
		return "kernel";
	case MEMRISE_FILE:
		return "file";
	case MEMRISE_NONE:
	case MEMRISE_ANON:
	case MEMRISE_N:
		break;
	}
	return NULL;
}

const char *
memrise_text(const struct memrise_verdict *v, uint64_t now_ms, char dst[static MEMRISE_TEXT_MAX])
{
	const char *what = NULL, *why = NULL;
	char from[32], to[32], within[32];

	switch (v->part) {
	case MEMRISE_SOCK:
		what = "socket buffers";
		why = "data that clients or upstreams do not read; look at slow clients, large or "
		    "streamed responses, and net.ipv4.tcp_wmem";
		break;
	case MEMRISE_KERNEL:
		what = "the kernel's memory";
		why = "what it holds for open files, pipes, processes, threads and mappings";
		break;
	case MEMRISE_FILE:
		what = "page cache and tmpfs";
		why = "files in use, /dev/shm, shared mappings";
		break;
	case MEMRISE_NONE:
	case MEMRISE_ANON:
	case MEMRISE_N:
		break;
	}
	dst[0] = '\0';
	if (what == NULL)
		return dst;
	value_human_size(v->from_bytes, from, sizeof(from));
	value_human_size(v->bytes, to, sizeof(to));
	value_human_time(now_ms > v->from_ms ? now_ms - v->from_ms : 0, within, sizeof(within));
	(void)snprintf(dst, MEMRISE_TEXT_MAX, "%s of the cgroup grew from %s to %s within %s, more "
	    "than all else in it: not the heap of a worker but %s", what, from, to, within, why);
	return dst;
}
