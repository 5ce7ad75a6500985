/*
 * loss.c - a client that accounts for every request, for the tests that must lose none.
 *
 *	loss [options] ADDRESS:PORT | unix:PATH
 *
 * One thread keeps conversations of three kinds going, some of each at once:
 *
 *	keep_alive	asks again on the same connection after an idle gap. --gap is below
 *			--drain-idle; --long-share of the gaps are from --long-gap, above it.
 *	close		a connection for each request
 *	slow		keeps its connection, but sends each request in pieces with a --pause
 *			between them (and before the first one of a connection), some with a
 *			body, and reads a larger answer slowly through a small window
 *
 * What becomes of a request is said in loss_conv.h, what it asks for in loss_text.h. The last
 * requests begin --seconds after the start, or at SIGTERM or SIGINT; those that were begun are
 * finished. Then the counts and latencies of each kind are printed, of "quick" (all but the slow
 * ones) and "total". A latency is the time from the beginning, which may be a connect(), to the
 * last byte, without the work that the application was asked for.
 *
 * Losses and late answers are told on standard error. Exits 0 when it ran, whatever was counted;
 * 1 when the client itself had trouble; 2 for bad usage.
 */
#include "loss_conv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

/* A signal just before epoll_wait() is noticed so much later. */
#define TICK_USEC (50 * USEC_PER_MSEC)
/* The first requests begin within so much time. */
#define SPREAD_USEC (50 * USEC_PER_MSEC)

struct loss loss;

static volatile sig_atomic_t stopped;

uint64_t
now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

void
fail(const char *what)
{
	fprintf(stderr, "loss: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
on_signal(int sig UNUSED)
{
	stopped = 1;
}

/* Wakes those whose time has come; when to look again, or UINT64_MAX when all are done. */
static uint64_t
convs_look(size_t n, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < n; i++) {
		struct conv *c = &loss.convs[i];
		const bool idle = c->phase == PHASE_NONE || c->phase == PHASE_GAP ||
		    c->phase == PHASE_END;

		if (now >= c->wake || (idle && now >= loss.until && c->wake != UINT64_MAX))
			conv_wake(c, now);
		next = MIN_OF(next, c->wake);
	}
	return next;
}

static void
run(size_t n)
{
	struct epoll_event evs[256];
	uint64_t now = now_usec(), next;
	int ready;

	while ((next = convs_look(n, now)) != UINT64_MAX) {
		next = MIN_OF(next, now + TICK_USEC);
		ready = epoll_wait(loss.epoll, evs, (int)ARRAY_LEN(evs),
		    next > now ? (int)((next - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC) : 0);
		if (ready < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < ready; i++)
			conv_turn(evs[i].data.ptr, now_usec());
		now = now_usec();
		if (stopped)
			loss.until = MIN_OF(loss.until, now);
	}
}

int
main(int argc, char **argv)
{
	const struct range spread = { 0, SPREAD_USEC };
	uint64_t begun = now_usec();
	size_t n = 0;

	plan_parse(&loss.plan, argc, argv);
	chance_seed(loss.plan.seed);
	if (signal(SIGTERM, on_signal) == SIG_ERR || signal(SIGINT, on_signal) == SIG_ERR)
		fail("signal");
	loss.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loss.epoll < 0)
		fail("epoll_create1");
	loss.until = begun + loss.plan.run;
	for (enum kind kind = 0; kind < KINDS; kind++) {
		for (uint64_t i = 0; i < loss.plan.conversations[kind]; i++)
			conv_init(&loss.convs[n++], kind, begun + chance_between(spread));
	}
	run(n);
	tally_print(loss.tallies, &loss.plan, (double)(now_usec() - begun) / 1e6);
	return 0;
}
