/*
 * clock.h - the one clock that deadlines are counted with.
 *
 * libev's ev_now() is wall-clock time and steps with it; nothing here uses it.
 */
#ifndef PREFORKD_CLOCK_H
#define PREFORKD_CLOCK_H

#include "base/base.h"

#include <time.h>

/* CLOCK_MONOTONIC in ms; the same clock that workers report OLDEST_USEC on. */
static inline uint64_t
clock_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * MSEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_MSEC;
}

/* The same in us, for what has to be short. */
static inline uint64_t
clock_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC +
	    (uint64_t)ts.tv_nsec * USEC_PER_MSEC / NSEC_PER_MSEC;
}

#endif
