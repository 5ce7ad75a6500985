/*
 * history.h - a worker's samples over its whole life in a few kB. Pure.
 *
 * Two parts: points that cover the whole life, at least `gap` apart, and a shorter exact tail. When
 * the first part is full every second of its points goes and the gap grows: what is left is evenly
 * spread over the life. The gap begins at nothing, so that of a worker which lives a second all
 * samples are kept. Seldom measured values (USS, PSS, descriptors) of a point that is left out move
 * to the next one that lacks them.
 *
 * How much one worker may take depends on how many there are (history_room()): 3.3 kB each up to 256,
 * 0.9 kB each when there are 10,000, and a third of that for those that have ended. Memory grows
 * with the samples; a failed allocation costs samples and nothing else.
 */
#ifndef PREFORKD_HISTORY_H
#define PREFORKD_HISTORY_H

#include "base/base.h"
#include "model/growth.h"

#define HISTORY_ENDED 3		/* ended workers of each slot that are remembered */

/* Units: 10 ms since the first sample, 4 KiB. The highest value of each is "not known". */
struct history_point {
	uint32_t time;
	uint32_t rss, uss, pss;
	uint32_t requests;
	uint16_t in_flight;
	uint16_t fds;
	uint16_t connections;
} __attribute__((packed, aligned(2)));	/* 26 bytes, not 28: there are many of them */

struct history {
	uint64_t start_ms;		/* of the first sample, 0: there is none */
	uint32_t gap;			/* between points of the first part */
	uint16_t n, cap;		/* points of the first part */
	uint16_t n_tail, next_tail;	/* and of the tail, a ring */
	uint16_t room, room_tail;	/* how many there may be */
	struct history_point *points;	/* owned; the tail has a place of its own */
	struct history_point *tail;	/* owned */
	struct history_point last;	/* what was left out since the last point */
};

/* Points for each of so many workers, and for the tail in addition. */
void history_room(size_t workers, uint16_t *ret_points, uint16_t *ret_tail);

/* h is all zero, or was in use. */
void history_init(struct history *h, size_t workers);
/* s->ms is of one clock and ascends. */
void history_add(struct history *h, const struct growth_sample *s);
/* The worker has ended: gives up the tail and all but a third of the points. */
void history_close(struct history *h);
void history_free(struct history *h);

/* How many samples there are, and all of them in order; ret has room for as many. Returns how many
 * were written. */
size_t history_count(const struct history *h);
size_t history_read(const struct history *h, struct growth_sample *ret);

/* Bytes that it takes beside itself. */
size_t history_bytes(const struct history *h);

#endif
