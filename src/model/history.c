/*
 * history.c - see history.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/history.h"

#include <string.h>

#define UNIT_MS    10
#define UNIT_BYTES 4096
#define NONE32     UINT32_MAX
#define NONE16     UINT16_MAX
#define FIRST_CAP  8
#define CLOSED     3	/* of so many points one stays */

void
history_room(size_t workers, uint16_t *ret_points, uint16_t *ret_tail)
{
	*ret_points = workers <= 256 ? 96 : workers <= 1024 ? 48 : 24;
	*ret_tail = workers <= 256 ? 32 : workers <= 1024 ? 16 : 8;
}

void
history_init(struct history *h, size_t workers)
{
	history_free(h);
	history_room(workers, &h->room, &h->room_tail);
}

void
history_free(struct history *h)
{
	free(h->points);
	free(h->tail);
	*h = (struct history){ 0 };
}

static uint32_t
pack32(uint64_t n, uint64_t unit)
{
	if (n == GROWTH_UNKNOWN)
		return NONE32;
	return (uint32_t)MIN_OF(n / unit, (uint64_t)NONE32 - 1);
}

static uint16_t
pack16(uint64_t n)
{
	return n == GROWTH_UNKNOWN ? NONE16 : (uint16_t)MIN_OF(n, (uint64_t)NONE16 - 1);
}

static uint64_t
unpack32(uint32_t n, uint64_t unit)
{
	return n == NONE32 ? GROWTH_UNKNOWN : n * unit;
}

static uint64_t
unpack16(uint16_t n)
{
	return n == NONE16 ? GROWTH_UNKNOWN : n;
}

static struct history_point
pack(const struct history *h, const struct growth_sample *s)
{
	return (struct history_point){
		.time = pack32(s->ms > h->start_ms ? s->ms - h->start_ms : 0, UNIT_MS),
		.rss = pack32(s->rss, UNIT_BYTES), .uss = pack32(s->uss, UNIT_BYTES),
		.pss = pack32(s->pss, UNIT_BYTES), .requests = pack32(s->requests, 1),
		.in_flight = pack16(s->in_flight), .fds = pack16(s->fds),
		.connections = pack16(s->connections),
	};
}

static struct growth_sample
unpack(const struct history *h, const struct history_point *p)
{
	return (struct growth_sample){
		.ms = h->start_ms + (uint64_t)p->time * UNIT_MS,
		.rss = unpack32(p->rss, UNIT_BYTES), .uss = unpack32(p->uss, UNIT_BYTES),
		.pss = unpack32(p->pss, UNIT_BYTES), .requests = unpack32(p->requests, 1),
		.in_flight = unpack16(p->in_flight), .fds = unpack16(p->fds),
		.connections = unpack16(p->connections),
	};
}

/* What is seldom measured, and not known of p, is taken from an earlier one. */
static void
inherit(struct history_point *p, const struct history_point *from)
{
	if (p->uss == NONE32) {
		p->uss = from->uss;
		p->pss = from->pss;
	}
	if (p->fds == NONE16)
		p->fds = from->fds;
}

/* Keeps points that are `gap` apart, at most `most` of them; the last one goes on to be left out. */
static void
thin(struct history *h, size_t most)
{
	size_t kept = 1;

	h->gap = MAX_OF(h->gap, h->points[h->n - 1].time / (uint32_t)most + 1);
	for (size_t i = 1; i < h->n; i++) {
		struct history_point *p = &h->points[i];

		if (p->time - h->points[kept - 1].time >= h->gap) {
			inherit(p, &h->last);
			h->points[kept++] = *p;
			h->last = (struct history_point){ .uss = NONE32, .pss = NONE32, .fds = NONE16 };
		} else {
			inherit(p, &h->last);
			h->last = *p;
		}
	}
	h->n = (uint16_t)kept;
}

static bool
grow(struct history *h)
{
	uint16_t cap = (uint16_t)MIN_OF(h->cap == 0 ? FIRST_CAP : 2 * h->cap, h->room);
	struct history_point *points = reallocarray(h->points, cap, sizeof(*points));

	if (points == NULL)
		return false;
	h->points = points;
	h->cap = cap;
	return true;
}

static void
add_point(struct history *h, struct history_point p)
{
	if (h->n > 0 && p.time - h->points[h->n - 1].time < h->gap) {
		inherit(&p, &h->last);
		h->last = p;
		return;
	}
	if (h->n == h->cap && h->cap < h->room && !grow(h))
		return;
	inherit(&p, &h->last);
	h->last = (struct history_point){ .uss = NONE32, .pss = NONE32, .fds = NONE16 };
	if (h->n == h->cap) {
		thin(h, h->room / 2u);
		if (p.time - h->points[h->n - 1].time < h->gap) {
			inherit(&p, &h->last);
			h->last = p;
			return;
		}
		inherit(&p, &h->last);
		h->last = (struct history_point){ .uss = NONE32, .pss = NONE32, .fds = NONE16 };
	}
	h->points[h->n++] = p;
}

void
history_add(struct history *h, const struct growth_sample *s)
{
	struct history_point p;

	if (h->room == 0)
		return;
	if (h->start_ms == 0) {
		h->start_ms = MAX_OF(s->ms, 1u);
		h->last = (struct history_point){ .uss = NONE32, .pss = NONE32, .fds = NONE16 };
	}
	p = pack(h, s);
	add_point(h, p);
	/* While the first part has every sample the tail would say nothing new. */
	if (h->gap == 0)
		return;
	if (h->tail == NULL)
		h->tail = calloc(h->room_tail, sizeof(*h->tail));
	if (h->tail == NULL)
		return;
	h->tail[h->next_tail] = p;
	h->next_tail = (uint16_t)((h->next_tail + 1) % h->room_tail);
	h->n_tail = (uint16_t)MIN_OF(h->n_tail + 1, h->room_tail);
}

/* The k-th of the tail, from the oldest. */
static const struct history_point *
tail_at(const struct history *h, size_t k)
{
	return &h->tail[(h->next_tail + h->room_tail + k - h->n_tail) % h->room_tail];
}

size_t
history_count(const struct history *h)
{
	return (size_t)h->n + h->n_tail;
}

size_t
history_read(const struct history *h, struct growth_sample *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++) {
		if (h->n_tail > 0 && h->points[i].time >= tail_at(h, 0)->time)
			break;
		ret[n++] = unpack(h, &h->points[i]);
	}
	for (size_t k = 0; k < h->n_tail; k++)
		ret[n++] = unpack(h, tail_at(h, k));
	return n;
}

void
history_close(struct history *h)
{
	struct history_point *points;
	size_t room = h->room / CLOSED;

	if (h->n_tail > 0) {
		struct history_point end = *tail_at(h, h->n_tail - 1u);

		/* How it ended is what it is remembered for. */
		if (end.time > h->points[h->n - 1].time) {
			inherit(&end, &h->last);
			if (h->n == h->cap)
				h->n--;
			h->points[h->n++] = end;
		}
	}
	free(h->tail);
	h->tail = NULL;
	h->n_tail = h->next_tail = 0;
	if (h->n > room) {
		struct history_point end = h->points[h->n - 1];

		thin(h, room - 2);
		if (h->points[h->n - 1].time < end.time)
			h->points[h->n++] = end;
	}
	points = h->n > 0 ? reallocarray(h->points, h->n, sizeof(*points)) : NULL;
	if (points != NULL) {
		h->points = points;
		h->cap = h->n;
	}
	h->room = 0;
}

size_t
history_bytes(const struct history *h)
{
	return (h->cap + (size_t)(h->tail == NULL ? 0 : h->room_tail)) * sizeof(*h->points);
}
