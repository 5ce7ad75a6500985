/*
 * load_stats.c - counters and latencies of the clients; nothing here can fail.
 */
#include "load_stats.h"

#include "base/base.h"

#include <stdio.h>

/* Of a latency, so many leading bits below the first choose the bucket. */
#define SUB_BITS 6

const char *const outcome_names[OUTCOMES] = {
	[OK] = "ok",
	[REFUSED] = "refused",
	[RESET_BEFORE] = "reset_before",
	[RESET_INSIDE] = "reset_inside",
	[TIMEOUT] = "timeout",
	[BAD] = "bad",
};

static size_t
bucket_of(uint64_t usec)
{
	size_t shift;

	if (usec < UINT64_C(2) << SUB_BITS)
		return (size_t)usec;
	shift = (size_t)(63 - __builtin_clzll(usec)) - SUB_BITS;
	return MIN_OF((shift << SUB_BITS) + (size_t)(usec >> shift), (size_t)STATS_BUCKETS - 1);
}

/* The longest time that falls into the bucket. */
static uint64_t
bucket_usec(size_t bucket)
{
	size_t shift;

	if (bucket < (size_t)2 << SUB_BITS)
		return bucket;
	shift = (bucket >> SUB_BITS) - 1;
	return ((uint64_t)(bucket - (shift << SUB_BITS) + 1) << shift) - 1;
}

void
stats_add(struct stats *s, uint64_t usec)
{
	s->measured++;
	s->sum_usec += usec;
	s->max_usec = MAX_OF(s->max_usec, usec);
	s->buckets[bucket_of(usec)]++;
}

static double
percentile_ms(const struct stats *s, double part)
{
	uint64_t seen = 0, wanted = (uint64_t)(part * (double)s->measured);
	size_t i;

	for (i = 0; i < STATS_BUCKETS - 1; i++) {
		seen += s->buckets[i];
		if (seen > wanted)
			break;
	}
	return (double)MIN_OF(bucket_usec(i), s->max_usec) / 1e3;
}

void
stats_merge(struct stats *into, const struct stats *from)
{
	for (int i = 0; i < OUTCOMES; i++)
		into->counts[i] += from->counts[i];
	into->connects += from->connects;
	into->measured += from->measured;
	into->sum_usec += from->sum_usec;
	into->max_usec = MAX_OF(into->max_usec, from->max_usec);
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

void
stats_print(const struct stats *s, double seconds, bool json)
{
	const double rate = (double)s->measured / seconds;
	const double mean = s->measured ? (double)s->sum_usec / (double)s->measured / 1e3 : 0;
	const double p50 = percentile_ms(s, 0.5), p99 = percentile_ms(s, 0.99);
	const double p999 = percentile_ms(s, 0.999), max = (double)s->max_usec / 1e3;

	if (json)
		printf("\"requests_per_second\": %.1f, \"mean_ms\": %.3f, \"p50_ms\": %.3f, "
		    "\"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, \"connects\": %ju",
		    rate, mean, p50, p99, p999, max, (uintmax_t)s->connects);
	else
		printf("%.0f requests/s, mean %.2f ms, p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, "
		    "max %.2f ms\n%ju connections", rate, mean, p50, p99, p999, max,
		    (uintmax_t)s->connects);
	for (int i = 0; i < OUTCOMES; i++)
		printf(json ? ", \"%s\": %ju" : ", %s %ju", outcome_names[i],
		    (uintmax_t)s->counts[i]);
}
