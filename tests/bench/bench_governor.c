/*
 * bench_governor.c - what one round of decisions about 1000 workers costs.
 *
 * A round is what the pool does after every event: each worker's sample, one look at the memory
 * of all, and steps until there is nothing more to do. Half of the workers are over a limit, so
 * that the queue is long; the memory of all is scarce. Prints the best and the median.
 */
#include "model/governor.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WORKERS 1000
#define ROUNDS  201
#define MB      (UINT64_C(1) << 20)

static struct governor g;
static struct gov_worker workers[WORKERS];
static struct gov_worker *view[WORKERS];

static double
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static unsigned
one_round(const struct gov_policy *p, const struct gov_budget *b, uint64_t now)
{
	unsigned steps = 0;

	for (int i = 0; i < WORKERS; i++) {
		uint64_t rss = (uint64_t)(40 + i % 120) * MB;
		const uint64_t value[GM_N] = {
			[GM_RSS] = rss, [GM_USS] = rss / 2, [GM_PSS] = rss / 2, [GM_AS] = 3 * rss,
			[GM_FDS] = 20,
		};

		workers[i].own_bytes = rss / 2;
		(void)governor_sample(&g, p, &workers[i], value, now);
	}
	(void)governor_look(&g, p, b, view, WORKERS, now);
	for (;;) {
		struct gov_step s = governor_next(&g, p, view, WORKERS, now);

		steps++;
		if (s.what == GOV_WAIT)
			return steps;
		/* It is being replaced, and its successor boots. */
		s.worker->has_successor = true;
		g.last_start_ms = now;
		g.any_start = true;
	}
}

int
main(void)
{
	struct gov_policy p = {
		.concurrency = 1, .spacing_ms = 1, .samples = 2, .max_draining = 2000,
		.limit = { [GM_RSS] = { LIMIT_SIZE, 100 * MB } },
	};
	const struct gov_budget b = {
		.limit = 60000 * MB, .high = 51000 * MB, .used = 52000 * MB, .cgroup = 60000 * MB,
	};
	double took[ROUNDS];
	unsigned steps = 0;

	governor_init(&g);
	governor_set_policy(&g, &p);
	for (int i = 0; i < WORKERS; i++) {
		view[i] = &workers[i];
		workers[i].state = WS_READY;
		workers[i].ready_ms = 1;
	}
	for (int i = 0; i < ROUNDS; i++) {
		double begun = now_us();

		steps += one_round(&p, &b, (uint64_t)(20000 + 1000 * i));
		took[i] = now_us() - begun;
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare);
	printf("%d rounds, %u steps: best %.3f ms, median %.3f ms, slowest %.3f ms\n", ROUNDS, steps,
	    took[0] / 1e3, took[ROUNDS / 2] / 1e3, took[ROUNDS - 1] / 1e3);
	printf("    target one round for 1000 workers <= 1 ms: %s\n",
	    took[ROUNDS / 2] <= 1000.0 ? "met" : "MISSED");
	return 0;
}
